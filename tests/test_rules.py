"""The algebra of rule text, by exact text: derivatives, products with zero, expansion."""

import ast

import pytest

from ndtape import rules
from ndtape.ops import ROWS, TABLE


def along(text, *names):
    found = rules.along(rules.parse(text), {n: ast.Name(f"{n}t") for n in names})
    return None if found is None else ast.unparse(found)


@pytest.mark.parametrize(
    "text, names, expected",
    [
        ("2", "x", None),
        ("y", "x", None),
        ("x", "x", "xt"),
        ("-x", "x", "-xt"),
        ("x + y", "x", "xt"),
        ("x + y", "xy", "xt + yt"),
        ("x - y", "xy", "xt + -yt"),
        ("2 * x", "x", "xt * 2"),
        ("x * y", "xy", "mz(xt, y) + mz(yt, x)"),
        ("x * x", "x", "mz(xt, x) + mz(xt, x)"),
        ("1 / x", "x", "mz(xt, -(1 / x) / x)"),
        ("sin(x)", "x", "mz(xt, cos(x))"),
        ("exp(x)", "x", "mz(xt, exp(x))"),
        ("exp(y)", "x", None),
        ("sign(x)", "x", None),
        ("sin(cos(x))", "x", "mz(mz(xt, -sin(x)), cos(cos(x)))"),
        ("z * (1 - z)", "z", "mz(zt, 1 - z) + mz(-zt, z)"),
        ("x if x > 0 else 2", "x", "xt if x > 0 else 0.0"),
        ("1 if x > 0 else 2", "x", None),
        ("y if x > 0 else x", "xy", "yt if x > 0 else xt"),
    ],
)
def test_along(text, names, expected):
    got = along(text, *names)
    assert got == (expected if expected is None else ast.unparse(rules.parse(expected)))


def test_along_refuses_what_no_row_is():
    with pytest.raises(ValueError, match="outside the grammar"):
        rules.along(rules.parse("x[0]"), {"x": ast.Name("xt")})


@pytest.mark.parametrize(
    "partial, expected",
    [
        ("0", None),
        ("0.0", None),
        ("1", "w"),
        ("1.0", "w"),
        ("-1", "-w"),
        ("2", "w * 2"),
        ("0.5", "w * 0.5"),
        ("cos(x)", "mz(w, cos(x))"),
        ("-x", "mz(w, -x)"),
        ("1 if x > 0 else 0", "w if x > 0 else 0.0"),
        ("0.5 if x == y else (0 if z == y else 1)", "w * 0.5 if x == y else 0.0 if z == y else w"),
        ("y if x > 0 else -1", "mz(w, y) if x > 0 else -w"),
    ],
)
def test_scaled(partial, expected):
    got = rules.scaled(ast.Name("w"), rules.parse(partial))
    assert (None if got is None else ast.unparse(got)) == expected


def test_scaled_by_nothing():
    assert rules.scaled(ast.Name("w"), None) is None


def test_plus():
    a, b = ast.Name("a"), ast.Name("b")
    assert rules.plus(None, None) is None
    assert rules.plus(a, None) is a
    assert rules.plus(None, b) is b
    assert ast.unparse(rules.plus(a, b)) == "a + b"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("sin(x)", "sin(x)"),
        ("abs(x)", "fabs(x)"),
        ("abs(x + 1)", "fabs(x + 1)"),
        ("square(abs(x))", "fabs(x) * fabs(x)"),
        ("clip(x, 0, 1)", "minimum(maximum(x, 0), 1)"),
        ("subtract(x - y, y)", "x - y - y"),
        ("logit(x)", "2 * arctanh(2 * x - 1) if fabs(x - 0.5) < 0.25 else log(x / (1 - x))"),
    ],
)
def test_expand(text, expected):
    assert ast.unparse(rules.expand(rules.parse(text))) == expected


def test_expand_leaves_its_argument():
    node = rules.parse("abs(x)")
    rules.expand(node)
    assert ast.unparse(node) == "abs(x)"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_rows_obey_the_grammar(row):
    """Names are the operands, in partial derivatives also z; calls are of rows."""
    for text in (row.z, *row.partials):
        allowed = set(row.operands) | ({"z"} if text is not row.z else set())
        tree = rules.parse(text)
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call)}
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - called
        assert names <= allowed
        if text is not row.z:
            assert called <= set(ROWS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_table_is_closed_under_differentiation(row):
    """The derivatives of the partial derivatives are again in the grammar."""
    tangents = {x: ast.Name(f"{x}t") for x in [*row.operands, "z"]}
    for text in row.partials:
        change = rules.along(rules.parse(text), tangents)
        again = None if change is None else rules.along(rules.expand(change), {})
        assert again is None


def test_primitive():
    assert rules.is_primitive("sin") and rules.is_primitive("power")
    assert not rules.is_primitive("abs") and not rules.is_primitive("square")
