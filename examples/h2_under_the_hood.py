"""Under the hood: one program, as ndtape's tape and as the nodes of the one-file library.

The two libraries do the same work in the same order. The one-file library keeps a node object an
operation and walks pointers; ndtape keeps an instruction an operation, a few integers in a row of
arrays, and walks indices in a compiled loop. Their values and adjoints are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import h1_one_file as h1
from walkthrough import Numbers, same, walk

import ndtape as nt

INPUTS = {"w": 0.7, "x": -1.5, "b": 0.2, "v": 1.3, "c": -0.4}


def program(m, w, x, b, v, c) -> list:
    """A neuron, an output unit and a loss that uses w twice; m is the library: ndtape or h1.

    Everything it computes, in the order in which it does so."""
    p = w * x
    s = p + b
    a = m.tanh(s)
    q = v * a
    t = q + c
    y = m.sigmoid(t)
    e = y - 1.0
    r = m.square(e)
    u = m.square(w)
    z = 0.01 * u
    return [p, s, a, q, t, y, e, r, u, z, r + z]


def side_by_side(numbers: Numbers) -> None:
    """The tape, instruction by instruction, beside the nodes"""
    leaves = {name: nt.var(value, name=name) for name, value in INPUTS.items()}
    with nt.Tape() as tape:
        results = program(nt, **leaves)
    adjoints = tape.gradient(results[-1], results)
    print("  ndtape's tape:\n")
    print(tape.listing(values=True, adjoints=True))

    nodes = {name: h1.Node(value) for name, value in INPUTS.items()}
    their_results = program(h1, **nodes)
    their_adjoints = h1.gradients(their_results[-1], their_results)

    print("\n  the same operations, ndtape | one file:\n")
    rows = zip(results, adjoints, their_results, their_adjoints, strict=True)
    for ours, adjoint, theirs, their_adjoint in rows:
        if len(ours.parents) != len(theirs.parents):
            raise AssertionError(f"{ours.op} and {theirs.op.name} have other operands")
        same(ours.value, float(theirs.value))
        same(adjoint, float(their_adjoint))
        print(
            f"    {ours.op:10s} {ours.value:9.6f} {adjoint:9.6f}  |"
            f"  {theirs.op.name:8s} {theirs.value:9.6f} {their_adjoint:9.6f}"
        )
    numbers.check("operations", len(results), "11")
    numbers.check("nodes, inputs among them", len(h1.sequence(their_results[-1])), "16")
    numbers.check("the loss", results[-1].value, LOSS)


def inputs_too(numbers: Numbers) -> None:
    """The gradients of the inputs"""
    leaves = {name: nt.var(value, name=name) for name, value in INPUTS.items()}
    program(nt, **leaves)[-1].backward()
    nodes = {name: h1.Node(value) for name, value in INPUTS.items()}
    slopes = h1.gradients(program(h1, **nodes)[-1], list(nodes.values()))
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        same(leaf.grad, float(slope))
        numbers.check(f"d loss/d{name}", leaf.grad, SLOPES[name])


LOSS = "0.622010720071"
SLOPES = {
    "w": "0.283617311969",
    "x": "-0.125821412252",
    "b": "-0.179744874646",
    "v": "0.182899530887",
    "c": "-0.264661570032",
}


def rule(op: h1.Op) -> Callable:
    """An operation of the one-file library as one of ndtape's: the same forward, the same vjps.

    They are written with NumPy's functions, which run on ndtape's values as they are. A partial
    gets the operands and the result; a vjp gets an adjoint, here 1, and the operands.
    """

    def partial(vjp: Callable) -> Callable:
        return lambda *operands_and_result: vjp(1.0, *operands_and_result[:-1])

    return nt.define(op.forward, *(partial(vjp) for vjp in op.vjps))


def user_rules(numbers: Numbers) -> None:
    """The homework's operations given to ndtape as rules of the user's"""
    for op, points in [
        (h1.exp, [(1.0,)]),
        (h1.log, [(2.0,)]),
        (h1.sin, [(1.0,)]),
        (h1.square, [(-3.0,)]),
        (h1.tanh, [(1.0,), (1000.0,)]),
        (h1.relu, [(1.5,), (0.0,), (-1.5,)]),
        (h1.sigmoid, [(1.0,), (-1000.0,)]),
        (h1.logistic_loss, [(2.0, -1.0), (2.0, 1.0), (1000.0, -1.0)]),
    ]:
        for point in points:
            value, slopes = nt.value_and_grad(rule(op), argnums=tuple(range(len(point))))(*point)
            nodes = [h1.Node(v) for v in point]
            theirs = op(*nodes)
            same(value, float(theirs.value))
            for slope, their_slope in zip(slopes, h1.gradients(theirs, nodes), strict=True):
                same(slope, float(their_slope))
            print(f"    {op.name}{point} = {value:.9g}, slopes {', '.join(map(str, slopes))}")

    # A rule is an operation like any other: it has derivatives of every order that its own
    # derivative, written in ndtape's functions, has.
    curvature = nt.grad(nt.grad(rule(h1.tanh)))
    numbers.check("tanh'' at 1", curvature(1.0), "-0.639700008449")
    same(curvature(1.0), nt.grad(nt.grad(nt.tanh))(1.0))


SECTIONS = [side_by_side, inputs_too, user_rules]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("Under the hood", SECTIONS)


if __name__ == "__main__":
    main()
