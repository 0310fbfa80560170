"""Recorders: they append instructions and never evaluate; for a number they ask `run`."""

from . import graph as graph
from . import methods as methods  # both give values and arrays operators, methods, properties
