"""Recorders: they append instructions and never evaluate; for a number they ask `run`."""
