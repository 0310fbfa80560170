"""A tape as a graph: nodes, edges, names, formulas, local derivatives, what flows along edges."""

import numpy as np
import pass_programs
import pytest

import ndtape as nt
from ndtape.graph import graph_of
from ndtape.graph.notation import LATEX, latex_name, latex_numeral, numeral, numerals
from ndtape.graph.symbols import expression, partial
from ndtape.ops import STRUCTURE, TABLE
from ndtape.rules import ast, number


def by_name(graph):
    return {node.name: node for node in graph.nodes}


def edges_of(graph):
    names = [node.name for node in graph.nodes]
    return {(names[e.parent] + e.part, names[e.child], e.operand): e for e in graph.edges}


def test_numbers_of_a_small_graph():
    x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    with nt.Tape(lines=True) as tape:
        c = nt.sin(nt.square(x) + y)
    graph = graph_of(tape, c)
    nodes, edges = by_name(graph), edges_of(graph)
    assert [n.name for n in graph.nodes] == ["x", "a", "y", "b", "c"]  # letters for the unnamed
    assert [nodes[n].expression for n in "abc"] == ["x²", "a + y", "sin b"]
    assert (nodes["x"].kind, nodes["a"].kind) == ("input", "operation")
    assert nodes["b"].value == 28.0 and nodes["b"].adjoint == np.cos(28.0)
    assert nodes["c"].line.startswith(__file__) and graph.results == [nodes["c"].index]
    square = edges["x", "a", 0]
    assert (square.local, square.symbolic, square.latex) == (10.0, "2·x", r"2 \cdot x")
    assert square.contribution == nodes["x"].adjoint and square.jacobian_shape == (1, 1)
    assert edges["b", "c", 0].symbolic == "cos b"


def test_constants_are_nodes_of_their_own():
    a, b = nt.var(-2.0, name="a"), nt.var(3.0, name="b")
    with nt.Tape() as tape:
        e = a**2 + 3 * b + 3 * a
    graph = graph_of(tape, e)
    constants = [n for n in graph.nodes if n.kind == "constant"]
    assert [n.name for n in constants] == ["3", "3"] and all(n.adjoint is None for n in constants)
    edges = [e for e in graph.edges if graph.nodes[e.parent] in constants]
    assert all((e.local, e.contribution, e.symbolic) == (None, None, "") for e in edges)
    assert edges_of(graph)["a", "c", 0].local == -4.0  # no nan from an exponent's derivative


def test_what_the_result_depends_on():
    x = nt.var(2.0, name="x")
    with nt.Tape() as tape:
        y = nt.exp(x)
        z = nt.sin(x) * 2
    assert [n.op for n in graph_of(tape, y).nodes] == ["input", "exp"]
    both = graph_of(tape)
    assert len(both.results) == 2 and all(n.adjoint is None for n in both.nodes)
    assert graph_of(tape, z, adjoints=False).nodes[0].adjoint is None
    parameters = graph_of(tape, y, wrt=[])
    assert (parameters.nodes[0].kind, parameters.nodes[0].adjoint) == ("parameter", None)


def test_names_of_users():
    a, b = nt.var(3.0), nt.var(2.0)
    with nt.Tape() as tape:
        total = a + b
        out = total * (b + 1)
    graph = graph_of(tape, out, names=locals())
    assert [n.name for n in graph.nodes] == ["a", "b", "total", "1", "c", "out"]
    with pytest.raises(nt.ArgumentError, match="names maps names to recording values"):
        graph_of(tape, out, names=["a"])


def test_names_on_long_tapes_are_positions():
    x = nt.var(0.5, name="v7")
    with nt.Tape() as tape:
        y = x
        for _ in range(30):
            y = nt.sin(y)
    names = [n.name for n in graph_of(tape, y).nodes]
    assert names[:3] == ["v7", "v1", "v2"] and "v7′" in names and names[-1] == "v30"


def test_arrays_have_shapes_and_jacobians():
    x = nt.var([1.0, 2.0, 3.0], name="x")
    w = nt.var([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]], name="W")
    with nt.Tape() as tape:
        h = np.tanh(w @ x)
        y = (2 * h).sum() + x[1] * x[2]
    graph = graph_of(tape, y, names={"h": h})
    nodes, edges = by_name(graph), edges_of(graph)
    assert (nodes["W"].shape, nodes["x"].shape, nodes["h"].shape) == ((2, 3), (3,), (2,))
    assert nodes["a"].expression == "W·x" and nodes["h"].expression == "tanh a"
    by_w, by_x = edges["W", "a", 0], edges["x", "a", 1]
    assert (by_w.symbolic, by_w.jacobian_shape, by_w.local) == ("I ⊗ xᵀ", (2, 6), None)
    assert (by_x.symbolic, by_x.jacobian_shape) == ("W", (2, 3))
    np.testing.assert_allclose(by_w.contribution, nodes["W"].adjoint)
    assert edges["a", "h", 0].symbolic == "diag((1 − h)·(1 + h))"
    np.testing.assert_allclose(edges["a", "h", 0].local, 1 - h.value**2)
    assert edges["h", "b", 1].symbolic == "2·I"
    assert edges["x[1]", "d", 0].contribution == 3.0  # the element that is read
    assert edges["b", "c", 0].symbolic == "1ᵀ"


@pytest.mark.parametrize(
    ("program", "text", "jacobians"),
    [
        (lambda a, b, c: a @ b, "aᵀ·b", ("bᵀ", "aᵀ")),
        (lambda a, b, c: b @ c, "bᵀ·c", ("cᵀ", "bᵀ ⊗ I")),
        (lambda a, b, c: np.outer(a, b), "a·bᵀ", ("I ⊗ b", "a ⊗ I")),
        (lambda a, b, c: c @ c, "c·c", ("I ⊗ cᵀ", "c ⊗ I")),
        (lambda a, b, c: c.T @ a, "cᵀ·a", ("aᵀ ⊗ I", "cᵀ")),
    ],
)
def test_products_of_a_textbook(program, text, jacobians):
    """The formula of each Jacobian, as numbers."""
    numbers = {"a": np.array([0.5, -1.0]), "b": np.array([2.0, 0.3]),
               "c": np.array([[0.1, -0.2], [0.4, 0.7]])}  # fmt: skip
    leaves = {name: nt.var(x, name=name) for name, x in numbers.items()}
    with nt.Tape() as tape:
        y = program(*leaves.values())
    seed = np.linspace(1.0, 2.0, np.size(y.value)).reshape(np.shape(y.value))
    graph = graph_of(tape, y, seed=seed)
    node = graph.nodes[-1]
    edges = node.inputs
    assert node.expression == text
    assert sorted(e.symbolic for e in edges) == sorted(jacobians)
    for edge in edges:
        value = _evaluated(edge.symbolic, numbers)
        assert value.shape == edge.jacobian_shape
        np.testing.assert_allclose(seed.ravel() @ value, np.ravel(edge.contribution))


def _evaluated(text, numbers):
    """``I ⊗ bᵀ`` and the like."""

    def factor(name):
        if name == "I":
            return np.eye(2)
        x = numbers[name[0]]
        x = x[:, None] if x.ndim == 1 else x
        return x.T if name.endswith("ᵀ") else x

    parts = [factor(name) for name in text.split(" ⊗ ")]
    return np.kron(*parts) if len(parts) == 2 else parts[0]


def test_parts_are_written_like_slices():
    x = nt.var(np.arange(12.0).reshape(3, 4), name="x")
    with nt.Tape() as tape:
        y = x[0, 1] + x[1].sum() + x[:, ::2].sum() + x[1:, 1:3].sum() + x.T[3].sum()
    parts = {e.part for e in graph_of(tape, y).edges if e.part}
    assert parts == {"[0, 1]", "[1]", "[:, ::2]", "[1:, 1:3]", "[:, 3]"}


def test_conditions_are_decided_by_the_numbers():
    x = nt.var([-1.0, 2.0], name="x")
    with nt.Tape() as tape:
        y = (nt.relu(x[1]) + nt.relu(x[0]) + nt.relu(x)).sum()
    graph = graph_of(tape, y)
    edges = edges_of(graph)
    assert edges["x[1]", "a", 0].symbolic == "1" and edges["x[0]", "b", 0].symbolic == "0"
    assert edges["x", "d", 0].symbolic == "diag(relu′(x))"


def test_loops_and_primitives_are_single_nodes():
    x, a = nt.var(0.5, name="x"), nt.var([[2.0, 0.1], [0.3, 1.0]], name="A")
    with nt.Tape() as tape:
        s, _ = nt.scan(lambda c, _: (nt.sin(c) * x, None), x, None, length=3)
        y = np.linalg.solve(a, nt.array([s, x])).sum()
    graph = graph_of(tape, y)
    scan, solve = (next(n for n in graph.nodes if n.op == name) for name in ("scan", "solve"))
    assert all(e.local is None and e.symbolic == "" for e in scan.inputs)
    assert solve.inputs[0].jacobian_shape == (2, 4)
    np.testing.assert_allclose(solve.inputs[0].contribution, by_name(graph)["A"].adjoint)


@pytest.mark.parametrize("seed", [1, 5, 9, 14, 27])
def test_contributions_add_up_to_adjoints(seed):
    """On random programs with arrays, loops, branches and linear algebra."""
    f = pass_programs.compiled(pass_programs.source(seed, 4))
    leaves = [nt.var(x) for x in pass_programs.points(seed, 1)[0]]
    with nt.Tape() as tape:
        y = f(*leaves)
    graph = graph_of(tape, y)
    totals = {}
    for edge in graph.edges:
        flow = edge.contribution
        if flow is not None:
            total = totals.setdefault(edge.parent, np.zeros(graph.nodes[edge.parent].size))
            places = edge.elements.places
            total[slice(None) if places is None else places] += np.ravel(flow)
            assert isinstance(edge.symbolic, str) and edge.latex.count("{") == edge.latex.count("}")
    for index, total in totals.items():
        node = graph.nodes[index]
        size = max(1.0, np.abs(total).max())
        np.testing.assert_allclose(total, np.ravel(node.adjoint), rtol=1e-9, atol=1e-12 * size)


def test_pieces_of_long_programs():
    x = nt.var(0.5, name="x")
    with nt.Tape() as tape:
        y = x
        for _ in range(1000):
            y = nt.sin(y) * x
    graph = graph_of(tape, y, most=4)
    assert [n.op for n in graph.nodes] == [
        "input",
        "multiply",
        "sin",
        "multiply",
        "sin",
        "multiply",
    ]
    assert graph.left_out == 1996 and graph.unseen[0] == 999  # once as the beginning of the chain
    assert not graph.nodes[1].inputs  # cut: what it was computed from is left out


def test_complaints():
    x = nt.var(2.0)
    with nt.Tape() as tape:
        y = nt.exp(x)
    with nt.Tape() as other:
        z = nt.sin(x)
    with pytest.raises(nt.ArgumentError, match="another tape"):
        graph_of(other, y)
    with pytest.raises(nt.ArgumentError, match="passes"):
        graph_of(nt.optimize(tape, y))
    with pytest.raises(nt.ArgumentError, match="slot 9"):
        graph_of(tape, 9)
    with pytest.raises(nt.ArgumentError, match="a recording value, its name or its slot, not flo"):
        graph_of(tape, 3.0)
    with pytest.raises(nt.ShapeError, match="seed"):
        graph_of(other, z, seed=[1.0, 2.0])


# --- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [r for r in TABLE if r.kind not in STRUCTURE], ids=lambda r: r.name)
def test_every_row_is_written(row):
    names = {key: ast.Name(name) for key, name in zip("xyuz", ("a", "b", "c", "d"), strict=True)}
    values = dict(zip("xyuz", (0.5, 0.25, 0.3, 0.1), strict=True))
    formulas = [expression(row, [names[x] for x in row.operands])]
    formulas += [partial(row, j, names, values) for j in range(len(row.operands))]
    for formula in formulas:
        if formula is not None:
            text = LATEX.write(formula)
            assert text.count("{") == text.count("}") and text.count("(") == text.count(")")


def test_a12_local_derivatives():
    """The four rules of the decks, as the library writes them."""
    a, b = nt.var(0.3, name="a"), nt.var(0.7, name="b")
    for operation, rules in (
        (lambda: nt.sin(a), ["cos a"]),
        (lambda: nt.cos(a), ["−sin a"]),
        (lambda: a + b, ["1", "1"]),
        (lambda: a * b, ["b", "a"]),
    ):
        with nt.Tape() as tape:
            c = operation()
        assert [edge.symbolic for edge in graph_of(tape, c).edges] == rules


def test_constant_exponents_simplify():
    (power,) = (r for r in TABLE if r.name == "power")
    texts = []
    for exponent in (2.0, 3.0, -1.0, 0.5, 1.0, 0.0):
        names = {"x": ast.Name("a"), "y": number(exponent), "z": ast.Name("c")}
        formula = partial(power, 0, names, {"x": 2.0, "y": exponent, "z": 2.0**exponent})
        texts.append(LATEX.write(formula))
    assert texts == [r"2 \cdot a", r"3 \cdot a^{2}", "-a^{-2}", r"0.5 \cdot a^{-0.5}", "1", "0"]


def test_names_in_latex():
    given = ["theta1", "W_h", "loss", "x[0]", "v12", "Wᵀ", "a b%"]
    assert [latex_name(n) for n in given] == [
        r"\theta_{1}", "W_{h}", r"\mathrm{loss}", "x_{0}", "v_{12}", r"W^\mathsf{T}",
        r"\mathrm{a b\%}",
    ]  # fmt: skip


def test_numerals():
    assert [numeral(x) for x in (3.0, -0.962605866, 2.0**60, 1e-9, np.inf)] == [
        "3", "−0.962606", "1.15292e+18", "1e−09", "inf"]  # fmt: skip
    assert numeral(2.0**60, 19) == "1152921504606846976"
    assert numerals(np.arange(9.0)) == "[0, 1, 2, 3, 4, 5, …]"
    assert numerals(np.eye(2)) == "[[1, 0], [0, 1]]"
    assert latex_numeral(numeral(-1e-9)) == r"-1\cdot 10^{-9}"
