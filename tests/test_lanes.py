"""Packs: operators, memory, choices and lanes, against NumPy; kernels' own control flow."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from ndtape.vmath import lanes
from ndtape.vmath.kernel import constant, loop, when
from ndtape.vmath.lanes import (
    FINGERPRINT,
    LANES,
    any_lane,
    bits,
    fma,
    from_bits,
    kernel,
    lane,
    lanewise,
    pack_at,
    select,
    splat,
    with_lane,
)

X = np.array(
    [-2.5, -1, -0.0, 0, 0.5, 1, 2, 3, 4, 5e-324, 1e300, -1e300, np.inf, -np.inf, np.nan, 7]
)
Y = np.array([1.5, -1, 0, 0, 2, np.nan, 2, -3, 0.1, 1, 1e300, 2, 1, np.inf, np.nan, 6])


def aligned(values):
    """A copy that starts at a multiple of 64 bytes."""
    space = np.empty(values.size + 8)
    start = -space.ctypes.data // 8 % 8
    out = space[start : start + values.size]
    out[:] = values
    return out


def on_packs(f, *columns):
    """f of one pack from each column, compiled; the pack that it returns."""
    f = njit(error_model="numpy")(f)
    buffers = [aligned(np.asarray(c, float)) for c in columns]
    out = aligned(np.full(LANES, 99.0))

    @njit(error_model="numpy")
    def one(x, out):
        pack_at(out)[0] = f(pack_at(x)[0])

    @njit(error_model="numpy")
    def two(x, y, out):
        pack_at(out)[0] = f(pack_at(x)[0], pack_at(y)[0])

    (one if len(buffers) == 1 else two)(*(b.ctypes.data for b in buffers), out.ctypes.data)
    return out


def assert_same(got, expected):
    np.testing.assert_array_equal(got, expected)
    finite = ~np.isnan(expected)
    assert (np.signbit(got) == np.signbit(expected))[finite].all()


ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("op", ARITHMETIC)
def test_arithmetic(op):
    with np.errstate(all="ignore"):
        assert_same(on_packs(lambda x, y: op(x, y), X, Y), op(X, Y))
        assert_same(on_packs(lambda x: op(x, 3), X), op(X, 3.0))
        assert_same(on_packs(lambda x: op(0.1, x), X), op(0.1, X))


@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons(op):
    assert_same(on_packs(lambda x, y: select(op(x, y), 1.0, 0.0), X, Y), op(X, Y) * 1.0)
    assert_same(on_packs(lambda x: select(op(x, 2), 1.0, 0.0), X), op(X, 2) * 1.0)
    assert_same(on_packs(lambda x: select(op(2.0, x), 1.0, 0.0), X), op(2, X) * 1.0)


def test_negation_keeps_zeros_and_in_place_operators_work():
    assert_same(on_packs(lambda x: -x, X), -X)

    def accumulate(x, y):
        x += y
        x -= 1
        x *= 2.0
        x /= y
        return x

    with np.errstate(all="ignore"):
        assert_same(on_packs(accumulate, X, Y), (X + Y - 1) * 2 / Y)


def test_masks_combine():
    def f(x, y):
        both = (x > 0) & (y > 0)
        either = (x > 0) | (y > 0)
        return select(~both & either ^ False, 1.0, 0.0)

    assert_same(on_packs(f, X, Y), ((X > 0) ^ (Y > 0)) * 1.0)


def test_masks_count_as_numbers_in_arithmetic():
    assert_same(on_packs(lambda x: (x > 0) * 2.0, X), (X > 0) * 2.0)


def test_integers():
    def f(x):
        i = bits(x)
        return from_bits((((i >> 52) & 0x7FF) << 1) + (i ^ i) - ~i * 0)

    expected = (((X.view(np.int64) >> 52) & 0x7FF) << 1).view(float)
    np.testing.assert_array_equal(on_packs(f, X).view(np.int64), expected.view(np.int64))
    assert_same(on_packs(lambda x: select(bits(x) < 0, 1, 0), X), np.signbit(X) * 1.0)


def test_select_takes_scalars_and_packs():
    assert_same(on_packs(lambda x, y: select(x > y, x, y), X, Y), np.where(X > Y, X, Y))
    assert_same(on_packs(lambda x: select(x > 0, x, 0), X), np.where(X > 0, X, 0))
    assert_same(on_packs(lambda x: select(True, x, 0.0), X), X)
    assert lanes.select(False, 1.0, 2.0) == 2.0


ROUNDING = {"sqrt": np.sqrt, "fabs": np.abs, "floor": np.floor, "ceil": np.ceil,
            "trunc": np.trunc, "rint": np.rint}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDING)
def test_rounding(name):
    f = getattr(lanes, name)
    with np.errstate(invalid="ignore"):
        expected = ROUNDING[name](X)
    assert_same(on_packs(lambda x: f(x), X), expected)
    assert_same(np.array([f(x) for x in X]), expected)


def test_fma_rounds_once():
    x = 1 + 2.0**-30
    assert fma(x, x, -1 - 2.0**-29) == 2.0**-60
    assert on_packs(lambda p: fma(p, p, -1 - 2.0**-29), np.full(LANES, x))[3] == 2.0**-60


def test_copysign():
    copysign = lanes.copysign
    assert_same(on_packs(lambda x, y: copysign(x, y), X, Y), np.copysign(X, Y))


def test_any_lane():
    f = njit(lambda x: any_lane(pack_at(x)[0] > 5))
    values = np.zeros(LANES)
    assert f(aligned(values).ctypes.data) is False
    for k in range(LANES):
        values[:] = 0
        values[k] = 6
        assert f(aligned(values).ctypes.data) is True
    assert njit(lambda x: any_lane(x > 5))(6.0) is True


def test_lanes_at_run_time():
    def reverse(x):
        out = splat(0)
        for k in range(LANES):
            out = with_lane(out, k, lane(x, LANES - 1 - k))
        return out

    assert_same(on_packs(reverse, X), X[::-1])
    assert njit(lambda x: lane(x, 5))(2.5) == 2.5


def test_memory_is_indexed_by_packs():
    source, target = aligned(np.arange(64.0)), aligned(np.full(64, -1.0))

    @njit
    def copy(x, out, index):
        pack_at(out)[index[1]] = pack_at(x)[index[0]]
        pack_at(out)[3] = 7
        pack_at(out)[3] += 1

    for dtype in (np.uint8, np.uint32, np.uint64, np.int64):
        target[:] = -1
        copy(source.ctypes.data, target.ctypes.data, np.array([2, 1], dtype))
        assert target.tolist() == [-1.0] * 16 + source[32:48].tolist() + [-1.0] * 16 + [8.0] * 16


def test_narrow_indices_are_unsigned():
    """Index 200 in a byte is pack 200, not pack -56."""
    source, target = aligned(np.arange(201.0 * LANES)), aligned(np.zeros(LANES))

    @njit
    def load(x, out, index):
        pack_at(out)[0] = pack_at(x)[index[0]]

    load(source.ctypes.data, target.ctypes.data, np.array([200], np.uint8))
    assert target[0] == 200 * LANES


def test_packs_live_across_branches_and_loops():
    def f(x, y):
        total = x * 0.0
        for k in range(5):
            if k % 2:
                total = total + x
            else:
                total = total - y
        return total

    assert_same(on_packs(f, np.arange(16.0), np.ones(16)), 2 * np.arange(16.0) - 3)


def test_lanewise_lifts_a_scalar_function():
    @lanewise
    def collatz(x):
        steps = 0.0
        while x > 1:
            x = x / 2 if x % 2 == 0 else 3 * x + 1
            steps += 1
        return steps

    values = np.arange(1.0, 17.0)
    assert_same(on_packs(lambda x: collatz(x), values), np.array([collatz(v) for v in values]))
    assert collatz(27.0) == 111

    @lanewise
    def larger(x, y):
        return x if x > y else y

    assert_same(on_packs(lambda x: larger(x, 2.0), X), np.where(X > 2, X, 2.0))
    assert njit(lambda x: larger(x, 2.0))(3.0) == 3.0


def test_when_is_a_choice_by_lanes():
    @kernel("f:f")
    def halved_above_two(x):
        return when(x > 2.0, lambda: 0.5 * x, x)

    assert_same(on_packs(lambda x: halved_above_two(x), X), np.where(X > 2, X / 2, X))
    assert [halved_above_two(v) for v in (1.0, 4.0)] == [1.0, 2.0]


def test_loops_in_kernels():
    @kernel("f:f", lanewise=True)
    def sum_to(x):
        zero = constant(x, 0.0)
        return loop((zero, zero), lambda k, s: k < x, lambda k, s: (k + 1.0, s + k))[1]

    assert sum_to(5.0) == 10.0
    assert on_packs(lambda x: sum_to(x), np.arange(16.0)).tolist() == [
        k * (k - 1) / 2 for k in range(16)
    ]


def test_kernels_have_no_truth_while_they_are_emitted():
    @kernel("f:f")
    def wrong(x):
        return x if x > 0.0 else -x

    with pytest.raises(TypeError, match="use select"):
        wrong(1.0)


def test_an_operator_that_packs_lack_is_an_error():
    with pytest.raises(TypingError):
        on_packs(lambda x: x & x, X)


def test_wrong_arguments_are_errors():
    with pytest.raises(TypingError):
        njit(lambda x: lanes.fma(x, x))(1.0)


def test_type_names_change_with_the_sources():
    """Numba's cache tells types by their names, and does not see other files change."""
    for kind in (lanes.pack, lanes.int_pack, lanes.mask_pack, lanes.pack_pointer):
        assert FINGERPRINT in str(kind)


def test_a_mask_has_one_truth_only_through_any_lane():
    with pytest.raises(TypingError):
        on_packs(lambda x: x if x > 0 else -x, X)


def test_nan_is_unequal_to_itself():
    assert_same(on_packs(lambda x: select(x != x, 1.0, 0.0), X), np.isnan(X) * 1.0)
