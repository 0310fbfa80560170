"""Loops as one instruction: `nt.scan`, and the schedules by which its values are kept."""
