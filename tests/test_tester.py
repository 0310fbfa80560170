"""The matrix itself is tested: an error planted in any row is noticed.

The checks take what a row *says* as numbers, so a row with an error needs no compiled sweep: its
text is interpreted.  `test_ops` puts the numbers of the compiled sweeps through the same checks.
"""

import matrix
import numpy as np
import pytest
from matrix import ROWS_TESTED, interpreted

FIELDS = ("dx", "dy", "du")


def complaints(row):
    """What the matrix says about a row's text; only operands that are slots in some form."""
    chosen = matrix.regular(matrix.true_row(row))
    with np.errstate(all="ignore"):
        said = interpreted(row, chosen)
    moving = [j for j, f in enumerate(matrix.widest(row).form) if f == "v"]
    return matrix.wrong_partials(row, said, chosen, moving)


def value_complaints(row):
    chosen = matrix.regular(matrix.true_row(row))
    return [
        text
        for text in matrix.wrong_values(row, interpreted(row, chosen).value, chosen)
        if "NumPy" in text or _ulps(text) > 1e4  # NumPy's own functions are not all to 2 ulp
    ]


def _ulps(text):
    return float(text.split("off by ")[1].split()[0])


@pytest.mark.parametrize("row", ROWS_TESTED, ids=lambda row: row.name)
def test_right_rows_pass(row):
    """Else the tests below would prove nothing."""
    assert not complaints(row)
    assert not value_complaints(row)


PARTIALS = [
    pytest.param(row, field, id=f"{row.name}-{field}")
    for row in ROWS_TESTED
    for j, field in enumerate(FIELDS[: len(row.operands)])
    if matrix.widest(row).form[j] == "v"
]


@pytest.mark.parametrize("row, field", PARTIALS)
def test_wrong_sign_is_caught(row, field):
    text = getattr(row, field)
    planted = "1" if text == "0" else f"-({text})"
    assert complaints(row._replace(**{field: planted}))


@pytest.mark.parametrize("row, field", [p for p in PARTIALS if getattr(*p.values) != "0"])
@pytest.mark.parametrize("error", ["({}) * 1.000000001", "2 * ({})", "0"])
def test_wrong_factor_is_caught(row, field, error):
    assert complaints(row._replace(**{field: error.format(getattr(row, field))}))


@pytest.mark.parametrize("row", ROWS_TESTED, ids=lambda row: row.name)
@pytest.mark.parametrize("error", ["1 - ({})", "({}) + 0.0000001"])
def test_wrong_value_is_caught(row, error):
    assert value_complaints(row._replace(z=error.format(row.z)))


def test_wrong_second_derivative_is_caught():
    """Second derivatives come from the text of the first: a first one that is right at one point
    only shows in the second."""
    row = matrix.ROWS["square"]
    chosen = matrix.inside(row)[:3]
    assert not matrix.wrong_second(row, interpreted(row, chosen), chosen, [0])
    planted = row._replace(dx="x + x * x / x - x * x * x * 0.001 + x * x * x * 0.002")
    assert matrix.wrong_second(row, interpreted(planted, chosen), chosen, [0])


def test_one_wrong_bit_is_seen():
    a = np.array([1.0, 0.0, np.nan])
    assert matrix.same(a, a.copy()).all()
    assert not matrix.same(a, np.array([1.0 + 2.0**-52, 0.0, np.nan]))[0]
    assert not matrix.same(a, np.array([1.0, -0.0, np.nan]))[1]


def test_ulps():
    assert matrix.ulps(1.0, matrix.mpf(1)) == 0.0
    assert matrix.ulps(1.0 + 2.0**-52, matrix.mpf(1)) == 1.0
    assert matrix.ulps(5e-324, matrix.mpf(0)) == 1.0
    assert matrix.ulps(np.inf, matrix.mpf(10) ** 400) == 0.0
    assert matrix.ulps(1e308, matrix.mpf(10) ** 400) == np.inf
    assert matrix.ulps(np.nan, matrix.mpf(1)) == np.inf
