"""What an automatic differentiation system does: the statements of the lectures, all tested."""

from __future__ import annotations

import math

import numpy as np
from walkthrough import Numbers, same, same_array, walk

import ndtape as nt


def key(node: nt.Var) -> tuple[str, int]:
    """Which node it is: inputs are objects of their own, results are slots of the tape."""
    return ("result", node.slot) if node.parents else ("input", id(node))


def ancestors(y: nt.Var) -> dict[tuple[str, int], nt.Var]:
    """Every node that y was computed from, y first, found through `parents` alone."""
    found, waiting = {}, [y]
    while waiting:
        node = waiting.pop()
        if key(node) not in found:
            found[key(node)] = node
            waiting += [p for p in node.parents if isinstance(p, nt.Var)]
    return found


def s1(numbers: Numbers) -> None:
    """S1. It stores operations and results; every node knows its parents, value and operation"""
    x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    a = nt.square(x)
    b = a + y
    c = nt.sin(b)
    for node, op, parents in [(a, "square", [x]), (b, "add", [a, y]), (c, "sin", [b])]:
        print(f"  {node.op}({', '.join(f'{p.value:g}' for p in node.parents)}) = {node.value:g}")
        if node.op != op:
            raise AssertionError(f"{op} is called {node.op}")
        if [key(p) for p in node.parents] != [key(p) for p in parents]:
            raise AssertionError(f"the parents of {op} are not its operands")
    numbers.check_all("values of a, b, c", [a.value, b.value, c.value], "25 28 0.270905788308")
    numbers.check("inputs have no parents", len(x.parents) + len(y.parents), "0")

    # Directed and without cycles: nothing can be reached from itself, for parents come before
    # children. (A program cannot write a cycle, since an operand exists before its operation.)
    numbers.check("nodes above c", len(ancestors(c)), "5")
    for node in (a, b, c):
        if any(key(node) in ancestors(p) for p in node.parents):
            raise AssertionError(f"{node.op} is its own ancestor")


def s2(numbers: Numbers) -> None:
    """S2. Values come from applying +, -, *, pow, sin, cos, exp, … one after another"""
    x = nt.var(0.5, name="x")
    with nt.Tape() as tape:
        y = nt.exp(nt.cos(x) - nt.sin(x**3) * x) + 1
    print(tape.listing(values=True))
    numbers.check("y", y.value, f"{math.exp(math.cos(0.5) - math.sin(0.5**3) * 0.5) + 1:.12f}")
    for step in ancestors(y).values():
        if step.op in STEPS:
            operands = [getattr(p, "value", p) for p in step.parents]
            same(step.value, STEPS[step.op](*operands))


STEPS = {
    "add": lambda p, q: p + q,
    "subtract": lambda p, q: p - q,
    "multiply": lambda p, q: p * q,
    "cube": lambda p: p**3,  # x**3: a constant exponent has an operation of its own
    "sin": math.sin,
    "cos": math.cos,
    "exp": math.exp,
}

# What each operation knows: its own derivatives, with respect to each of its operands.
LOCAL = {
    "add": lambda p, q: (1.0, 1.0),
    "multiply": lambda p, q: (q, p),
    "sin": lambda p: (math.cos(p),),
    "exp": lambda p: (math.exp(p),),
}


def s3(numbers: Numbers) -> None:
    """S3. Each operation knows its local derivative; the walk runs from the end to the start"""
    x, y = nt.var(0.5, name="x"), nt.var(2.0, name="y")
    with nt.Tape() as tape:
        u = x * y
        v = nt.sin(u)
        e = nt.exp(v)
        z = e + u

    # The whole of reverse mode by hand: last node first, each hands out adjoint times local.
    adjoint = {key(z): 1.0}
    for node in (z, e, v, u):
        w = adjoint[key(node)]
        partials = LOCAL[node.op](*[p.value for p in node.parents])
        for parent, partial in zip(node.parents, partials, strict=True):
            adjoint[key(parent)] = adjoint.get(key(parent), 0.0) + w * partial
        print(f"    {node.op}: adjoint {w:.6f}, local {', '.join(f'{p:.6f}' for p in partials)}")

    nodes = [e, v, u, x, y]
    for node, got in zip(nodes, tape.gradient(z, nodes), strict=True):
        same(got, adjoint[key(node)])
    expected = 1 + math.exp(math.sin(1.0)) * math.cos(1.0)
    numbers.check("dz/du", adjoint[key(u)], f"{expected:.12f}")
    numbers.check("dz/dx", adjoint[key(x)], f"{2 * expected:.12f}")


def s4(numbers: Numbers) -> None:
    """S4. backward() adds up the paths, visits each node once, and reuses what is computed"""
    x, y = nt.var(3.0, name="x"), nt.var(2.0, name="y")
    with nt.Tape() as tape:
        a = x * y  # x arrives here,
        b = a + x  # and here;
        c = a * b  # a arrives above and here
    c.backward()
    numbers.check("c = x²·y² + x²·y", c.value, "54")
    numbers.check("dc/dx = 2x·y² + 2x·y", x.grad, "36")
    numbers.check("dc/dy = 2x²·y + x²", y.grad, "45")
    numbers.check("operations", len(ancestors(c)) - 2, "3")
    numbers.check("steps of the walk", tape.stats().walked, "3")


def s5(numbers: Numbers) -> None:
    """S5. No derivative is kept for constants"""
    x = nt.var(2.0, name="x")
    with nt.Tape() as tape:
        y = 3 * x
        z = y + 4
    constants = [p for node in (y, z) for p in node.parents if not isinstance(p, nt.Var)]
    numbers.check_all("the constants", sorted(constants), "3 4")
    numbers.check("inputs on the tape", tape.stats().histogram["input"], "1")
    numbers.check("dz/dx", tape.gradient(z, x), "3")
    print(tape.listing(values=True, adjoints=True))


def s6(numbers: Numbers) -> None:
    """S6. Operations propagate by vjp (V·Yᵀ, Xᵀ·V, Jᵀv); a Jacobian is formed when asked for"""
    n = 40
    left = np.sin(np.arange(n * n, dtype=float)).reshape(n, n)
    right = np.cos(np.arange(n * n, dtype=float)).reshape(n, n)
    v = np.sin(np.arange(n * n, dtype=float) + 0.5).reshape(n, n)

    # A matrix product: its Jacobian by X has n⁴ = 2 560 000 entries, its vjp is another product.
    x, y = nt.var(left, name="X"), nt.var(right, name="Y")
    with nt.Tape() as tape:
        z = x @ y
        loss = np.sum(z * v)  # whose adjoint at z is v
    dx, dy = tape.gradient(loss, [x, y])
    same_array(dx, v @ right.T)
    same_array(dy, left.T @ v)
    print(f"    {n}×{n} matrices: {tape.stats().slots} slots, the Jacobian would take {n**4}")
    numbers.check("product: slots below 6·n²", tape.stats().slots < 6 * n * n, "1")

    # Softmax of n numbers: Jᵀv = s∘(v - s·v), without the n² numbers of J.
    x = nt.var(left[0] * 3, name="x")
    with nt.Tape() as tape:
        s = nt.softmax(x)
        loss = np.sum(s * v[0])
    (dx,) = tape.gradient(loss, [x])
    numbers.check("softmax: slots below n²/2", tape.stats().slots < n * n / 2, "1")
    jacobian = nt.jacobian(nt.softmax)(x.value)  # asked for: now it is there
    numbers.check_all("shape of the Jacobian", jacobian.shape, "40 40")
    same_array(dx, jacobian.T @ v[0])
    same_array(dx, nt.vjp(nt.softmax, x.value)[1](v[0])[0])


def s7(numbers: Numbers) -> None:
    """S7. The number of operations may depend on the input; functions are reusable components"""

    def power_sum(x: nt.Var, terms: int) -> nt.Var:
        """1 + x + x² + … written as a loop, as long as the caller says."""
        total = term = 1.0
        for _ in range(terms):
            term = term * x
            total = total + term
        return total

    for terms, value, slope in [(2, "7", "5"), (4, "31", "49")]:
        got, got_slope = nt.value_and_grad(power_sum)(2.0, terms)
        numbers.check(f"{terms} terms: value", got, value)
        numbers.check(f"{terms} terms: slope", got_slope, slope)

    # The component with its derivative, inside another function:
    slope = nt.grad(lambda x: nt.sin(power_sum(x, 2)))
    numbers.check("d sin(power_sum) at 2", slope(2.0), f"{5 * math.cos(7):.12f}")
    slope_of_power_sum = nt.grad(power_sum)
    outer = nt.grad(lambda x: slope_of_power_sum(x, 4) * x)  # its derivative, in a third function
    numbers.check("d (x·slope) at 2", outer(2.0), f"{1 + 4 * 2 + 9 * 4 + 16 * 8}")


SECTIONS = [s1, s2, s3, s4, s5, s6, s7]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("What an automatic differentiation system does", SECTIONS)


if __name__ == "__main__":
    main()
