"""ndtape's own contestants: recording, every sweep over a sealed tape, and both gradient races."""

from collections.abc import Iterator

import numpy as np
from peers import RECORD, REPLAY, Contestant
from problems import check_gradient

import ndtape as nt
from ndtape.passes import seal
from ndtape.run import LANES, Workspace

LARGEST_PACKS = 2_000_000  # instructions; values and adjoints of 16 lanes take 256 bytes each


class Recorded:
    """A program of `problems.py` on a sealed tape, with a workspace to sweep it in."""

    def __init__(self, problem, size):
        self.problem, self.size = problem, size
        self.leaves = problem.inputs(size)
        tape, positions = self.record_inputs()
        self.tape = seal(tape)
        self.root = len(self.tape) - 1  # the programs end with the operation that gives the result
        self.inputs = np.array(self.leaves)[positions]
        self.order = np.argsort(positions)  # from the tape's inputs back to the program's
        self.work = Workspace(self.tape)
        self.packs = None

    def record_inputs(self):
        """A freshly recorded tape, and which of the program's inputs each of its inputs is."""
        leaves = [nt.var(value) for value in self.leaves]
        with nt.Tape() as tape:
            self.problem.program(self.size)(leaves, nt.sin)
        place = {id(leaf): k for k, leaf in enumerate(leaves)}
        return tape, [place[id(leaf)] for _, leaf in sorted(tape.inputs, key=lambda x: x[0])]

    def gradient(self):
        """Value and gradient from new inputs: forward and reverse."""
        self.work.set_inputs(self.inputs)
        g = self.work.gradient(self.root)
        return self.work.values[self.root], g[self.order]

    def reverse(self):
        g = self.work.reverse({self.root: 1.0})
        return self.work.values[self.root], g[self.order]

    def forward(self):
        self.work.forward(lo=len(self.inputs))

    def tangent(self):
        """Along the first input: seeding thousands one by one would outweigh the sweep."""
        return self.work.tangent({0: 1.0})[self.root]

    def second(self):
        g, _ = self.work.second(self.root, {0: 1.0})
        return self.work.values[self.root], g[self.order]

    def packs_gradient(self):
        """The gradient of 16 evaluations side by side; returns the last of them."""
        if self.packs is None:
            self.packs = Workspace(self.tape, LANES)
            self.lanes_of_inputs = np.repeat(self.inputs[:, None], LANES, axis=1)
        self.packs.set_inputs(self.lanes_of_inputs)
        g = self.packs.gradient(self.root)
        return self.packs.array("v")[self.root, -1], g[self.order, -1]

    def facts(self, expected):
        """What a sealed tape with values and adjoints weighs, and how it did on accuracy."""
        work = Workspace(self.tape)
        work.set_inputs(self.inputs)
        g = work.reverse({self.root: 1.0})
        found = work.values[self.root], g[self.order]
        everywhere = dict.fromkeys(range(len(self.inputs)), 1.0)
        tangent, total = self.work.tangent(everywhere)[self.root], expected[1].sum()
        if not abs(tangent - total) <= 1e-9 * np.abs(expected[1]).sum():
            raise AssertionError(f"the tangent of {self.problem.name} is {tangent}, not {total}")
        held = self.tape.allocated() + work.allocated()
        return {
            "problem": self.problem.name,
            "operations": self.problem.operations(self.size),
            "instructions": len(self.tape),
            "bytes_per_operation": round(held / self.problem.operations(self.size), 2),
            "share_of_nonzero_adjoints": np.count_nonzero(g[: len(self.tape)]) / len(self.tape),
            "worst_relative_error": check_gradient(self.problem, "ndtape", expected, found),
        }


def contestants(recorded, patience) -> Iterator[Contestant]:
    """The two races first, then the pieces that they are made of."""
    problem, size = recorded.problem, recorded.size
    program, inputs = problem.program(size), problem.inputs(size)

    def record():
        leaves = [nt.var(value) for value in inputs]
        return leaves, program(leaves, nt.sin)

    def record_and_differentiate():
        leaves, result = record()
        result.backward()
        return result.value, [leaf.grad for leaf in leaves]

    yield Contestant("ndtape", RECORD, record_and_differentiate)
    yield Contestant("ndtape", REPLAY, recorded.gradient)
    yield Contestant("ndtape", "record", record, checked=False)
    yield Contestant("ndtape", "forward", recorded.forward, checked=False)
    yield Contestant("ndtape", "reverse", recorded.reverse)
    yield Contestant("ndtape", "tangent", recorded.tangent, checked=False)
    yield Contestant("ndtape", "tangent and forward-over-reverse", recorded.second)
    if len(recorded.tape) <= LARGEST_PACKS * patience:
        name = f"value and gradient in packs of {LANES}"
        yield Contestant("ndtape", name, recorded.packs_gradient, lanes=LANES)
