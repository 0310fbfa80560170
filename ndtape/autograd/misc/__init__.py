"""autograd.misc: trees as vectors, optimisers, fixed points, graphs that are kept."""

from .flatten import flatten as flatten
