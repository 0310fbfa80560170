"""Computational graphs and the reverse walk: thirteen small graphs, by hand and by ndtape.

Every section takes a graph that fits on a slide, records it with ordinary Python, and shows the
values forwards and the derivatives backwards. Each number is held to the one worked out by hand.
"""

from __future__ import annotations

import math

from walkthrough import Numbers, same, walk

import ndtape as nt


def a1(numbers: Numbers) -> None:
    """A1. e = a² + 3b: inputs carry a derivative, constants carry none"""
    for spelling, square in (("pow(a, 2)", lambda a: pow(a, 2)), ("a ** 2", lambda a: a**2)):
        a, b = nt.var(2.0, name="a"), nt.var(3.0, name="b")
        with nt.Tape() as tape:
            c = square(a)
            d = 3 * b
            e = c + d
        print(f"  with {spelling}: the 2 and the 3 are constants inside their instruction")
        print(tape)
        numbers.check_all(f"{spelling}: c d e", [c.value, d.value, e.value], "4 9 13")
        numbers.check_all(f"{spelling}: de/dc de/dd", tape.gradient(e, [c, d]), "1 1")
        numbers.check(f"{spelling}: dc/da", tape.gradient(c, a), "4")
        numbers.check(f"{spelling}: dd/db", tape.gradient(d, b), "3")
        numbers.check_all(f"{spelling}: de/da de/db", tape.gradient(e, [a, b]), "4 3")

    # d(a**y)/dy is a**y·log(a), nan for a = -2; nobody asked for it, so nobody computes it.
    slope = nt.grad(lambda a, b: a**2 + 3 * b)(-2.0, 3.0)
    numbers.check("de/da at a = -2", slope, "-4")


def a2(numbers: Numbers) -> None:
    """A2. c = sin(x² + y): the first graph to walk backwards"""
    x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    with nt.Tape() as tape:
        a = nt.square(x)
        b = a + y
        c = nt.sin(b)
    numbers.check_all("a b", [a.value, b.value], "25 28")
    numbers.check("c", c.value, "0.270905788308")

    dc_db, dc_da, dc_dy, dc_dx = tape.gradient(c, [b, a, y, x])
    numbers.check("dc/db", dc_db, "-0.962605866314")
    numbers.check("dc/da", dc_da, "-0.962605866314")
    numbers.check("dc/dy", dc_dy, "-0.962605866314")
    numbers.check("dc/dx", dc_dx, "-9.62605866314")
    same(dc_dx, dc_da * 2 * x.value)  # dc/da was there already: one more factor is all it takes
    print(tape.listing(values=True, adjoints=True))


def a3(numbers: Numbers) -> None:
    """A3. fork and join: b = a², c = sin(a), d = b + c"""
    for name, at, values, paths, total in [
        # At π/2 the second path carries 6e-17 and a lost path would not show; hence also a = 1.
        (
            "pi/2",
            math.pi / 2,
            "2.46740110027 1 3.46740110027",
            "3.14159265359 0.000000000000",
            "3.14159265359",
        ),
        ("1", 1.0, "1 0.841470984808 1.841470984808", "2 0.540302305868", "2.540302305868"),
    ]:
        a = nt.var(at, name="a")
        with nt.Tape() as tape:
            b = a**2
            c = nt.sin(a)
            d = b + c
        numbers.check_all(f"a={name}: b c d", [b.value, c.value, d.value], values)
        dd_db, dd_dc, dd_da = tape.gradient(d, [b, c, a])
        path1 = dd_db * tape.gradient(b, a)
        path2 = dd_dc * tape.gradient(c, a)
        numbers.check_all(f"a={name}: paths", [path1, path2], paths)
        numbers.check(f"a={name}: total", dd_da, total)
        same(dd_da, path1 + path2)


def a4(numbers: Numbers) -> None:
    """A4. f = (a + b)·c, node by node"""
    a, b, c = nt.var(2.0, name="a"), nt.var(3.0, name="b"), nt.var(4.0, name="c")
    with nt.Tape() as tape:
        d = a + b
        f = d * c
    numbers.check_all("d f", [d.value, f.value], "5 20")
    numbers.check_all("local dd/da dd/db", tape.gradient(d, [a, b]), "1 1")
    numbers.check_all("local df/dd df/dc", tape.gradient(f, [d, c]), "4 5")
    numbers.check_all("df/da df/db df/dc", tape.gradient(f, [a, b, c]), "4 4 5")


def dot(xs: list[float], ys: list[float]) -> float:
    return sum(x * y for x, y in zip(xs, ys, strict=True))


def a5(numbers: Numbers) -> None:
    """A5. e = (a + b)·(b + 1): one forward pass an input, or one reverse pass for all"""

    def nodes(a: nt.Var, b: nt.Var) -> tuple[nt.Var, nt.Var, nt.Var]:
        c = a + b
        d = b + 1
        return c, d, c * d

    a, b = nt.var(3.0, name="a"), nt.var(2.0, name="b")
    with nt.Tape() as tape:
        c, d, e = nodes(a, b)
    numbers.check_all("c d e", [c.value, d.value, e.value], "5 3 15")

    # Forward mode: a seed on one input travels with the values, through one node after another.
    for name, da, db, expected in [("a", 1.0, 0.0, "1 0 3"), ("b", 0.0, 1.0, "1 1 8")]:
        dc = dot(tape.gradient(c, [a, b]), [da, db])
        dd = tape.gradient(d, b) * db
        de = dot(tape.gradient(e, [c, d]), [dc, dd])
        numbers.check_all(f"seed {name}: dc dd de", [dc, dd, de], expected)

    # Reverse mode: a seed on the output colours every node, inputs last.
    de_dc, de_dd, de_da, de_db = tape.gradient(e, [c, d, a, b])
    numbers.check_all("de/dc de/dd", [de_dc, de_dd], "3 5")
    numbers.check_all("de/da de/db", [de_da, de_db], "3 8")
    same(de_db, de_dc * 1 + de_dd * 1)


def a6(numbers: Numbers) -> None:
    """A6. one parameter in three places: y = x·exp(x·x)"""

    def program(x1: nt.Var, x2: nt.Var, x3: nt.Var) -> nt.Var:
        return x3 * nt.exp(x1 * x2)

    parts = nt.grad(program, argnums=(0, 1, 2))(0.5, 0.5, 0.5)
    y, slope = nt.value_and_grad(lambda x: program(x, x, x))(0.5)
    numbers.check("y", y, "0.642012708344")
    numbers.check_all(
        "an occurrence at a time", parts, "0.321006354172 0.321006354172 1.284025416688"
    )
    numbers.check("dy/dx", slope, "1.926038125032")
    same(slope, sum(parts))


def a7(numbers: Numbers) -> None:
    """A7. the logistic unit 1/(1 + exp(-(t0 + t1·x1 + t2·x2))), drawn as primitive nodes"""
    t0, t1, t2 = (nt.var(v, name=f"t{i}") for i, v in enumerate((-3.0, 2.0, -3.0)))
    x1, x2 = nt.var(-1.0, name="x1"), nt.var(-2.0, name="x2")
    with nt.Tape() as tape:
        p1, p2 = t1 * x1, t2 * x2
        z = t0 + p1 + p2
        neg = -z
        e = nt.exp(neg)
        below = 1 + e
        f = 1 / below
    numbers.check_all("products, z, neg", [v.value for v in (p1, p2, z, neg)], "-2 6 1 -1")
    numbers.check_all("e, 1+e", [e.value, below.value], "0.367879441 1.367879441")
    numbers.check("f", f.value, "0.731058578630")

    df_dbelow, df_de, df_dneg, df_dz = tape.gradient(f, [below, e, neg, z])
    numbers.check_all("df/d(1+e) df/de", [df_dbelow, df_de], "-0.534446645 -0.534446645")
    numbers.check("df/dneg", df_dneg, "-0.196611933")
    numbers.check("df/dz", df_dz, "0.196611933241")
    same(df_dz, f.value * (1 - f.value))
    theta = tape.gradient(f, [t0, t1, t2])
    numbers.check_all("dtheta", theta, "0.196611933 -0.196611933 -0.393223866")
    numbers.check_all("dx", tape.gradient(f, [x1, x2]), "0.393223866 -0.589835800")


def a8(numbers: Numbers) -> None:
    """A8. derive arccoth once, then use function and derivative as one component"""
    arccoth = nt.define(
        lambda x: 0.5 * nt.log((x + 1) / (x - 1)),
        lambda x, z: 1 / (1 - x * x),
    )
    slope = nt.grad(arccoth)
    numbers.check("arccoth(2)", arccoth(2.0), "0.549306144334")
    numbers.check("derivative at 2", slope(2.0), "-0.333333333333")
    numbers.check("second derivative at 2", nt.grad(slope)(2.0), "0.444444444444")

    component = nt.grad(lambda x: arccoth(x**2 + 1))
    numbers.check("d arccoth(x²+1) at 1", component(1.0), "-0.666666666667")
    same(slope(2.0), nt.grad(nt.arccoth)(2.0))  # ndtape has it too, under the same name


def horner(c: list[nt.Var], x: nt.Var) -> nt.Var:
    """The polynomial with coefficients c, highest power first: two operations a coefficient."""
    total = c[0]
    for coefficient in c[1:]:
        total = total * x + coefficient
    return total


def newton(x: nt.Var) -> tuple[nt.Var, int]:
    """The square root of x and the steps it took, which depend on the value of x."""
    y, steps = 1.0, 0
    while abs(y * y - x) > 1e-12 * x:
        y, steps = (y + x / y) / 2, steps + 1
    return y, steps


def a9(numbers: Numbers) -> None:
    """A9. the number of operations may depend on the input"""
    for size, value, dx, dc in [(3, "11", "6", "4 2 1"), (6, "120", "201", "32 16 8 4 2 1")]:
        c = [float(k + 1) for k in range(size)]
        y, (grad_c, grad_x) = nt.value_and_grad(horner, argnums=(0, 1))(c, 2.0)
        numbers.check(f"Horner, n={size}: y", y, value)
        numbers.check(f"Horner, n={size}: dy/dx", grad_x, dx)
        numbers.check_all(f"Horner, n={size}: dy/dc", grad_c, dc)

    for at, steps, slope in [
        (2.0, 5, "0.353553390593"),
        (1e-4, 11, "50.0000000000"),
        (1e6, 14, "5.00000000000e-4"),
    ]:
        x = nt.var(at)
        root, count = newton(x)
        root.backward()
        numbers.check(f"Newton, x={at:g}: steps", count, str(steps))
        numbers.check(f"Newton, x={at:g}: d root/dx", x.grad, slope)
        same(x.grad, 0.5 / math.sqrt(at))


def a10(numbers: Numbers) -> None:
    """A10. the chain rule: along a chain, and over two paths"""
    x = nt.var(0.5, name="x")
    with nt.Tape() as tape:
        u = nt.square(x)
        v = nt.sin(u)
        y = nt.exp(v)
    numbers.check("u", u.value, "0.25")
    numbers.check("v", v.value, "0.247403959")
    numbers.check("y", y.value, "1.280696357444")
    edges = [tape.gradient(u, x), tape.gradient(v, u), tape.gradient(y, v)]
    numbers.check_all("du/dx dv/du dy/dv", edges, "1 0.968912422 1.280696357")
    numbers.check("dy/dx", tape.gradient(y, x), "1.240882609167")
    same(tape.gradient(y, x), math.prod(edges))

    s = nt.var(1.0, name="s")
    with nt.Tape() as tape:
        x, y = s**2, nt.sin(s)
        z = x * y
    dz_dx, dz_dy, dz_ds = tape.gradient(z, [x, y, s])
    paths = [dz_dx * tape.gradient(x, s), dz_dy * tape.gradient(y, s)]
    numbers.check("z", z.value, "0.841470985")
    numbers.check_all("paths", paths, "1.682941970 0.540302306")
    numbers.check("dz/ds", dz_ds, "2.223244275484")
    same(dz_ds, sum(paths))


def a11(numbers: Numbers) -> None:
    """A11. a thousand sines, one inside the other"""

    def program(x: nt.Var) -> nt.Var:
        for _ in range(1000):
            x = nt.sin(x)
        return x

    value, slope = nt.value_and_grad(program)(1.0)
    numbers.check("value", value, "0.0545929715102")
    numbers.check("derivative", slope, "1.24363811358e-4")

    x, product = 1.0, 1.0
    for _ in range(1000):
        x, product = math.sin(x), product * math.cos(x)
    same(slope, product, within=1e-11)


def a12(numbers: Numbers) -> None:
    """A12. an operation needs to know one thing, its local derivatives"""
    table = nt.table()
    print(table)
    rows = [line for line in table.splitlines() if line.strip()]
    for name in ("sin", "cos", "add", "multiply"):
        if not any(row.split()[0] == name for row in rows):
            raise AssertionError(f"the table has no row for {name}")

    sin, cos = nt.grad(nt.sin), nt.grad(nt.cos)
    numbers.check("d sin at 1 = cos 1", sin(1.0), "0.540302305868")
    numbers.check("d cos at 1 = -sin 1", cos(1.0), "-0.841470984808")
    numbers.check_all("d(a+b)", nt.grad(nt.add, argnums=(0, 1))(2.0, 3.0), "1 1")
    numbers.check_all("d(a·b) = b, a", nt.grad(nt.multiply, argnums=(0, 1))(2.0, 3.0), "3 2")


def a13(numbers: Numbers) -> None:
    """A13. sixty forks make 2⁶⁰ paths, and still each node is walked once"""
    start = nt.var(1.0)
    with nt.Tape() as tape:
        x = start
        for _ in range(60):
            x = x + x
    numbers.check("gradient", tape.gradient(x, start), "1152921504606846976")
    numbers.check("reverse steps", tape.stats().walked, "60")


SECTIONS = [a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("Computational graphs, and walking them backwards", SECTIONS)


if __name__ == "__main__":
    main()
