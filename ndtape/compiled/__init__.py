"""The compiled recorder: functions that record themselves from inside compiled code."""
