"""ndtape's own contestants: the sweeps of a sealed tape, and single operations recorded afresh."""

import numpy as np

import ndtape as nt
from ndtape.passes import seal
from ndtape.run import Workspace, address, entry

from . import INPUTS, RECORDED, SWEPT, SWEPT_GRADIENT, Contestant

FUNCTIONS = {
    "add": np.add,
    "multiply": np.multiply,
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": nt.sigmoid,
    "sin": np.sin,
    "sum": np.sum,
    "matmul": np.matmul,
    "mat-vec": np.matmul,
}


class Swept:
    """A sealed tape with `count` operations on INPUTS sets of operands in turn.

    The sweeps are called the way `Workspace.gradient` calls them, but the inputs stay as they are
    and every result has an adjoint: a root that combines them would be an operation more.
    """

    def __init__(self, function, groups, count):
        self.shapes = [x.shape for x in groups[0]]
        leaves = [tuple(nt.var(x) for x in group) for group in groups]
        with nt.Tape() as tape:
            results = [function(*leaves[k % INPUTS]) for k in range(count)]
        self.shape = getattr(results[0], "shape", ())
        self.tape = seal(tape)
        self.work = Workspace(self.tape)
        numbers = np.concatenate([x.ravel() for group in groups for x in group])
        self.work.set_inputs(numbers)
        self.inputs, self.hi = len(numbers), len(self.tape)
        self.lo = self.hi - count
        if len(leaves) * len(leaves[0]) != self.lo:
            raise AssertionError(f"{self.hi} instructions for {count} operations")
        self.work.reverse({self.tape.slots - 1: 1.0})  # loads what the sweeps call
        self.v, self.g = self.work.array("v"), self.work.array("g")
        self.g[self.inputs : self.tape.slots] = 1.0
        self.call = entry("holding")
        self.sweeps = address("forward"), address("reverse")
        self.forward()
        self.gradient()

    def forward(self):
        self.call(self.sweeps[0], self.work.frame_address, self.lo, self.hi)

    def gradient(self):
        forward, reverse = self.sweeps
        self.call(forward, self.work.frame_address, self.lo, self.hi)
        self.g[: self.inputs] = 0.0
        self.call(reverse, self.work.frame_address, self.lo, self.hi)

    def values(self):
        """The results of the first turn, after forgetting what was there."""
        self.v[self.inputs : self.tape.slots] = 0.0
        self.forward()
        z = self.v[self.inputs : self.tape.slots].reshape(-1, *self.shape)
        return [z[:INPUTS].copy()]

    def derivatives(self):
        """With the derivatives of all turns, which repeat each other."""
        values = self.values()
        self.gradient()
        turns = (self.hi - self.lo) / INPUTS
        columns = [np.empty((INPUTS, *shape)) for shape in self.shapes]
        rest = self.g[: self.inputs] / turns
        for k in range(INPUTS):
            for column in columns:
                size = column[k].size
                column[k] = rest[:size].reshape(column[k].shape)
                rest = rest[size:]
        return values + columns


def recorded(function, groups):
    """One operation and its derivative from Python, on leaves that stay."""
    leaves = [tuple(nt.var(x) for x in group) for group in groups]
    shape = getattr(function(*leaves[0]), "shape", ())
    seed = np.ones(shape) if shape else 1.0

    def run():
        for group in leaves:
            z = function(*group)
            z.backward(seed)
            for x in group:
                x.zero_grad()

    def found():
        columns = []
        for group in leaves:
            z = function(*group)
            z.backward(seed)
            columns.append((z.value, *(np.array(x.grad) for x in group)))
            for x in group:
                x.zero_grad()
        return [np.array(column) for column in zip(*columns, strict=True)]

    return run, found


def contestants(operation, size):
    function, groups = FUNCTIONS[operation.name], operation.operands(size)
    count = operation.count(size) // INPUTS * INPUTS
    swept = Swept(function, groups, count)
    yield Contestant("ndtape", SWEPT, swept.forward, count, swept.values)
    yield Contestant("ndtape", SWEPT_GRADIENT, swept.gradient, count, swept.derivatives)
    run, found = recorded(function, groups)
    yield Contestant("ndtape", RECORDED, run, INPUTS, found)
