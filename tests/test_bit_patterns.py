"""Kernels of vmath on 10**6 random bit patterns each and as many hard arguments: errors, paths.

``pytest -s tests/test_bit_patterns.py`` prints the worst error of every function and where it is;
``python perf/vmath.py`` prints the same table with times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import accuracy
import numpy as np
import pytest
from accuracy import BOUND, CASES, MANY, arguments, by_packs, by_scalars, by_spans, same_bits, worst

pytestmark = pytest.mark.skipif(
    not accuracy.EXTENDED, reason="long doubles are no wider than float64 here"
)


@pytest.mark.parametrize("name", CASES)
def test_errors_and_paths(name):
    """At most 2 ulp, nans, infinities and signs of zeros right; scalars, packs and spans agree."""
    columns = arguments(name)
    assert columns[0].size >= MANY
    got = by_scalars(name, *columns)
    for others in (by_packs(name, *columns), by_spans(name, *columns)):
        different = ~same_bits(got[: others.size], others)
        assert not different.any(), [c[: others.size][different][:3] for c in columns]
    found = worst(name, columns, got)
    print(f"{name}: {found}")
    assert found.ulp <= BOUND, f"{name}: {found}"


LIKE_NUMPY = {
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "fabs": np.fabs,
    "sign": np.sign,
    "copysign": np.copysign,
    "mod": np.remainder,
    "floor_divide": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmax": np.fmax,
    "fmin": np.fmin,
}


@pytest.mark.parametrize("name", LIKE_NUMPY)
def test_exact_functions_have_numpys_bits(name):
    rng = np.random.default_rng(1)
    function = LIKE_NUMPY[name]
    columns = []
    for _ in range(function.nin):
        half = accuracy.patterns(rng, MANY // 2)
        columns.append(np.concatenate([half, rng.uniform(-10, 10, MANY // 2)]))
    with np.errstate(all="ignore"):
        expected = function(*columns)
    row = {"fabs": "abs"}.get(name, name)
    for got in (by_scalars(name, *columns), by_packs(name, *columns), by_spans(row, *columns)):
        different = ~same_bits(got, expected[: got.size])
        assert not different.any(), [c[: got.size][different][:3] for c in columns]


# --- the test's own tools --------------------------------------------------------------------


def test_long_doubles_and_mpmath_agree():
    """The two references on arguments that neither finds hard, a hundredth of an ulp apart."""
    for name in CASES:
        columns = tuple(c[-800:] for c in arguments(name, seed=2, n=4000))
        got = by_scalars(name, *columns)
        approximate = accuracy.approximate_ulps(name, columns, got)
        exact = [
            accuracy.exact_ulps(name, tuple(float(c[i]) for c in columns), float(got[i]))
            for i in range(0, 800, 16)
        ]
        both = np.stack([approximate[::16], exact])
        both = both[:, np.isfinite(both).all(axis=0) & (both[0] < BOUND)]
        assert np.abs(both[0] - both[1]).max() < 0.01, name


def test_an_error_of_a_few_ulp_is_found():
    columns = arguments("exp", n=MANY // 10)
    got = by_scalars("exp", *columns)
    wrong = np.flatnonzero(np.isfinite(got) & (got > 1e-300) & (abs(columns[0]) > 1))[1234]
    got[wrong] = np.nextafter(np.nextafter(np.nextafter(got[wrong], 0), 0), 0)
    found = worst("exp", columns, got)
    assert found.ulp > BOUND
    assert found.x == (columns[0][wrong],)


def test_a_wrong_sign_of_zero_is_found():
    columns = (np.zeros(accuracy.LANES),)
    assert worst("sin", columns, -columns[0]).ulp == np.inf


def test_the_worst_argument_for_reduction_is_among_the_hard_ones():
    """Known from the literature: no float64 is closer to a multiple of pi/2, relatively."""
    assert 6381956970095103 * 2.0**797 in accuracy._closest()


def test_the_table_of_errors_and_times(tmp_path):
    script = Path(__file__).parent.parent / "perf" / "vmath.py"
    output = tmp_path / "vmath.json"
    command = [sys.executable, str(script), "--only", "exp,digamma", "--patterns", "4000"]
    command += ["--seconds", "0.01", "--output", str(output)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "times faster than libm" in finished.stdout
    rows = json.loads(output.read_text())["rows"]
    assert set(rows) == {"exp", "digamma"}
    assert all(0 < row["ulp"] <= BOUND and row["span"] > 0 for row in rows.values())
