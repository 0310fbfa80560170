"""XAD: a C++ expression tape driven from Python; it evaluates as it records, and has no replay."""

import xad.adj_1st as xadj
import xad.math

from peers import RECORD, Contestant

PACKAGES = ("xad",)
LARGEST = 2_000_000


def contestants(problem, size, patience):
    if problem.operations(size) > LARGEST * patience:
        return
    program, inputs = problem.program(size), problem.inputs(size)

    def run():
        with xadj.Tape() as tape:
            leaves = [xadj.Real(value) for value in inputs]
            for leaf in leaves:
                tape.registerInput(leaf)
            tape.newRecording()
            result = program(leaves, xad.math.sin)
            tape.registerOutput(result)
            result.derivative = 1.0
            tape.computeAdjoints()
            return result.value, [leaf.derivative for leaf in leaves]

    yield Contestant("XAD", RECORD, run)
