"""`tape.explain(y)`: the reverse walk of a lecture, with the numbers of the worked examples."""

import math
import re

import numpy as np
import pytest

import ndtape as nt
from ndtape.explain import derivative


def explained(program, *, digits=12, names=None, **numbers):
    """The walkthrough of a program of named leaves, with its intermediate results under `names`.

    The program returns a dict of its results by their names, of which the last is explained.
    """
    leaves = {name: nt.var(x, name=name) for name, x in numbers.items()}
    with nt.Tape() as tape:
        found = program(**leaves)
    y = list(found.values())[-1]
    return tape.explain(y, names=found, digits=digits, steps=1000)


def lines(walk):
    return [re.sub(r" {2,}.*", "", line.strip()) for line in str(walk).splitlines()]


# --- the worked examples -------------------------------------------------------------------------


def test_a1_constants():
    def program(a, b):
        c, d = pow(a, 2), 3 * b
        return {"c": c, "d": d, "e": c + d}

    walk = explained(program, a=2.0, b=3.0)
    text = lines(walk)
    assert "de/da = 4" in text and "de/db = 3" in text and "d = 3·b = 3·3 = 9" in text
    assert not any("/d3" in line for line in text)  # no derivative is kept for a constant
    assert explained(program, a=-2.0, b=3.0).gradient == {"a": -4.0, "b": 3.0}


def test_a2_reuse():
    def program(x, y):
        a = nt.square(x)
        b = a + y
        return {"a": a, "b": b, "c": nt.sin(b)}

    text = lines(explained(program, x=5.0, y=3.0))
    assert "c = sin b = sin 28 = 0.270905788308" in text
    assert "dc/da = dc/db · db/da = −0.962605866314 · 1 = −0.962605866314" in text
    assert "dc/dx = dc/da · da/dx = dc/da · 2·x = −0.962605866314 · 10 = −9.62605866314" in text
    assert "3. through a = x²; dc/da = −0.962605866314 is already computed" in text


@pytest.mark.parametrize(
    ("a", "cosine", "total"), [(math.pi / 2, None, "3.14159265359"), (1.0, "0.540302305868",
                                                                       "2.54030230587")]
)  # fmt: skip
def test_a3_fork_and_join(a, cosine, total):
    def program(a):
        b, c = a**2, nt.sin(a)
        return {"b": b, "c": c, "d": b + c}

    walk = explained(program, a=a)
    text = str(walk)
    assert "path 1 of 2" in text and "path 2 of 2" in text
    first, second, both = (s for s in walk.steps if s.node.name == "a")
    assert (first.path, second.path) == (2, 1)  # in the order of the program
    assert first.symbols == "dd/da = dd/dc · dc/da = dd/dc · cos a"
    assert second.symbols == "dd/da = dd/db · db/da = dd/db · 2·a"
    assert cosine is None or f"= {cosine}" in first.numbers
    assert both.symbols == "dd/da = dd/db · db/da + dd/dc · dc/da"
    assert both.numbers.endswith(f"= {total}") and both.note == "total of 2 paths"


def test_a4_a_node_at_a_time():
    def program(a, b, c):
        d = a + b
        return {"d": d, "f": d * c}

    text = lines(explained(program, a=2.0, b=3.0, c=4.0))
    assert "df/dd = c = 4" in text and "df/dc = d = 5" in text
    assert {"df/da = 4", "df/db = 4", "df/dc = 5"} <= set(text)


def test_a5_accumulation():
    def program(a, b):
        c, d = a + b, b + 1
        return {"c": c, "d": d, "e": c * d}

    text = lines(explained(program, a=3.0, b=2.0))
    assert "de/db = de/dd · dd/db = 5 · 1 = 5" in text
    assert "de/db = de/dc · dc/db + de/dd · dd/db = 3 + 5 = 8" in text
    assert "3. through c = a + b; de/dc = 3 is already computed" in text


def test_a6_a_shared_parameter():
    def program(x):
        u = x * x
        v = nt.exp(u)
        return {"u": u, "v": v, "y": x * v}

    walk = explained(program, x=0.5)
    paths = [s.value for s in walk.steps if s.node.name == "x" and s.kind == "edge"]
    np.testing.assert_allclose(sorted(paths), [0.321006354172, 0.321006354172, 1.284025416688])
    assert "0.321006354172 + 0.321006354172 + 1.28402541669 = 1.92603812503" in str(walk)


def test_a7_logistic_unit():
    def program(t0, t1, t2, x1, x2):
        z = t0 + t1 * x1 + t2 * x2
        e = nt.exp(-z)
        return {"z": z, "f": 1 / (1 + e)}

    walk = explained(program, digits=9, t0=-3.0, t1=2.0, t2=-3.0, x1=-1.0, x2=-2.0)
    text = str(walk)
    assert re.search(r"df/dz = df/d(\w) · d\1/dz = −0.196611933 · \(−1\) = 0.196611933", text)
    assert "= −0.534446645 · 1 = −0.534446645" in text  # the adjoints of 1 + exp(-z) and exp(-z)
    expected = {"t0": 0.196611933, "t1": -0.196611933, "t2": -0.393223866, "x1": 0.393223866,
                "x2": -0.5898358}  # fmt: skip
    np.testing.assert_allclose([walk.gradient[k] for k in expected], [*expected.values()], 1e-8)


def test_a8_a_user_defined_rule():
    arccoth = nt.define(
        lambda x: 0.5 * nt.log((x + 1) / (x - 1)), lambda x, z: 1 / (1 - nt.square(x))
    )
    walk = explained(lambda x: {"y": arccoth(x * x + 1)}, x=1.0)
    np.testing.assert_allclose(walk.gradient["x"], -2 / 3)
    assert explained(lambda x: {"y": nt.arccoth(x)}, x=2.0).gradient["x"] == -1 / 3


def test_a9_horner():
    def program(x, c0, c1, c2):
        return {"y": (c2 * x + c1) * x + c0}

    walk = explained(program, x=2.0, c0=1.0, c1=2.0, c2=3.0)
    assert walk.gradient == {"x": 14.0, "c0": 1.0, "c1": 2.0, "c2": 4.0}


def test_a10_the_chain_rule():
    def chain(x):
        u = nt.square(x)
        v = nt.sin(u)
        return {"u": u, "v": v, "y": nt.exp(v)}

    text = lines(explained(chain, x=0.5))
    assert "dy/du = dy/dv · dv/du = dy/dv · cos u = 1.28069635744 · 0.968912421711 = " \
           "1.24088260917" in text  # fmt: skip

    def fork(s):
        x, y = s**2, nt.sin(s)
        return {"x": x, "y": y, "z": x * y}

    text = lines(explained(fork, s=1.0))
    assert "dz/ds = dz/dx · dx/ds + dz/dy · dy/ds = 1.68294196962 + 0.540302305868 = " \
           "2.22324427548" in text  # fmt: skip


def test_a11_long_composition():
    x = nt.var(1.0, name="x")
    with nt.Tape() as tape:
        y = x
        for _ in range(1000):
            y = nt.sin(y)
    walk = tape.explain(y, steps=5, digits=12)
    assert "0.0545929715102" in str(walk) and "dh/dx" not in str(walk)
    assert f"{walk.gradient['x']:.11e}" == "1.24363811358e-04"
    assert "… 995 steps more, down to the inputs" in str(walk)
    assert len([s for s in walk.steps if s.kind == "edge"]) == 5


def test_a13_every_node_once():
    def program(x):
        found = {}
        for j in range(60):
            x = x + x
            found[f"s{j}"] = x
        return found

    walk = explained(program, digits=19, x=1.0)
    assert "1152921504606846976" in str(walk)
    assert len([s for s in walk.steps if s.kind == "total"]) == 60


# --- arrays --------------------------------------------------------------------------------------


def network():
    w = nt.var([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]], name="W")
    b, x = nt.var([0.05, -0.05], name="b"), nt.var([1.0, 2.0, 3.0], name="x")
    with nt.Tape() as tape:
        z = w @ x + b
        h = np.tanh(z)
        loss = (h * np.array([1.0, -2.0])).sum()
    return tape, loss, {"z": z, "h": h, "l": loss}


def test_shapes_of_factors_are_shown():
    """B8: the rows of Jacobians, and B15: the factors with their shapes."""
    tape, loss, names = network()
    text = str(tape.explain(loss, names=names))
    for shapes in ("(1×1)(1×2) = (1×2)", "(1×2)(2×2) = (1×2)", "(1×2)(2×3) = (1×3)",
                   "(1×2)(2×6) = (1×6)"):  # fmt: skip
        assert shapes in text
    assert "dl/dz = dl/dh · dh/dz = dl/dh · diag((1 − h)·(1 + h)) = [0.673193, −1.644]" in text
    assert "dl/dx = dl/da · da/dx = dl/da · W" in text and "dl/da · (I ⊗ xᵀ)" in text
    assert "W = [[0.1, −0.2, 0.3], [0.4, 0.5, −0.6]]" in text and "input, 2×3" in text


def test_an_array_needs_a_seed():
    x = nt.var([1.0, 2.0], name="x")
    with nt.Tape() as tape:
        y = nt.sin(x)
    with pytest.raises(nt.ArgumentError, match="seed of its shape"):
        tape.explain(y)
    walk = tape.explain(y, seed=[2.0, 0.0])
    np.testing.assert_allclose(walk.gradient["x"], [2 * np.cos(1.0), 0.0])
    with pytest.raises(nt.ShapeError, match=r"shape \(2, 1\) for a result of shape \(2,\)"):
        tape.explain(y, seed=[[1.0], [1.0]])
    assert "The walk back from L, the sum of a seed times a" in str(walk)
    assert "dL/dx = dL/da · da/dx = dL/da · diag(cos x) = [1.0806, 0]" in str(walk)


def test_elements_of_arrays_are_named():
    x = nt.var([2.0, 3.0, 4.0], name="x")
    with nt.Tape() as tape:
        y = x[0] * x[1] + x[0]
    text = lines(tape.explain(y))
    assert "dy" not in text and "db/dx[0] = 1" in text
    assert "db/dx[0] = db/da · da/dx[0] + 1 = 3 + 1 = 4" in text
    assert "db/dx[1] = db/da · da/dx[1] = db/da · x[0] = 1 · 2 = 2" in text
    assert "db/dx = [4, 2, 0]" in text
    with nt.Tape() as tape:
        y = x.sum() * x[1]  # all of it, and a part again
    walk = tape.explain(y)
    (total,) = (s for s in walk.steps if s.kind == "total")
    np.testing.assert_allclose(total.value, walk.gradient["x"])


# --- forms ---------------------------------------------------------------------------------------


def test_markdown_and_latex():
    tape, loss, names = network()
    walk = tape.explain(loss, names=names)
    markdown, latex = walk.markdown(), walk.latex()
    assert walk._repr_markdown_() == markdown and markdown.count("$") % 2 == 0
    assert r"\frac{dl}{dz} = \frac{dl}{dh} \cdot \frac{dh}{dz}" in markdown
    assert r"\operatorname{diag}\left((1 - h) \cdot (1 + h)\right)" in latex
    assert latex.count(r"\begin{align*}") == latex.count(r"\end{align*}") > 3
    for text in (markdown, latex):
        assert text.count("{") == text.count("}") and "−" not in text


def test_formulas_can_be_set():
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    tape, loss, names = network()
    formulas = set(re.findall(r"\$([^$]*)\$", tape.explain(loss, names=names).markdown()))
    for formula in formulas:
        parser.parse(f"${formula}$")
    assert len(formulas) > 15


def test_names_that_are_markup_are_escaped():
    x = nt.var(2.0, name=r"a_{%$&#b\x")
    with nt.Tape() as tape:
        y = x * x
    for text in (tape.explain(y).latex(), tape.explain(y).markdown()):
        inside = text.replace(r"\{", "").replace(r"\}", "").replace(r"\$", "")
        assert inside.count("{") == inside.count("}") and inside.count("$") % 2 == 0
        assert not re.search(r"(?<!\\)[%#]", inside.replace("### ", ""))


def test_derivatives_are_written():
    assert derivative("c", "x[0]") == "dc/dx[0]"
    assert derivative("c", "theta1", latex=True) == r"\frac{dc}{d\theta_{1}}"


# --- which result --------------------------------------------------------------------------------


def test_the_only_result_is_explained():
    x = nt.var(2.0, name="x")
    with nt.Tape() as tape:
        y = nt.exp(x)
    assert str(tape.explain()) == str(tape.explain(y)) == repr(tape.explain(y))
    with tape:
        nt.sin(x)
    with pytest.raises(nt.ArgumentError, match="say which one"):
        tape.explain()
    with pytest.raises(nt.ArgumentError, match="nothing on this tape"):
        nt.Tape().explain()


def test_parameters_get_no_derivative():
    x, w = nt.var(2.0, name="x"), nt.var(3.0, name="w")
    with nt.Tape() as tape:
        y = w * x
    walk = tape.explain(y, wrt=w)
    assert list(walk.gradient) == ["w"] and "parameter" in str(walk)
    assert "dy/dx" not in str(tape.explain(y, names={"y": y}, wrt=w))


def test_a_recorded_gradient_is_a_program_like_others():
    x = nt.var(0.5, name="x")
    with nt.Tape() as tape:
        y = nt.grad(nt.sin)(x)  # cos
    np.testing.assert_allclose(tape.explain(y).gradient["x"], -math.sin(0.5))


def test_tapes_of_traced_functions():
    @nt.function
    def f(x):
        return nt.sin(x) * x

    nt.grad(f)(2.0)
    walk = f.tapes[0].explain()
    np.testing.assert_allclose(list(walk.gradient.values()), [math.sin(2) + 2 * math.cos(2)])


def test_explaining_spends_nothing():
    x = nt.var(2.0, name="x")
    with nt.Tape() as tape:
        y = x * x
    str(tape.explain(y))
    y.backward()
    assert x.grad == 4.0
