"""Differences, derivatives and integrals of sampled functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record.arrays import as_array
from ..record.elementwise import elementwise
from .arguments import (
    NO,
    Array,
    axes_of,
    axis_of,
    cast,
    contains_recording,
    fail,
    floating,
    invalid,
    reshaped,
)
from .reductions import cumsum, total
from .registry import function

Index = tuple[Any, ...]


def _at(ndim: int, axis: int, what: Any) -> Index:
    """The index that picks `what` along an axis and everything along the others."""
    index: list[Any] = [slice(None)] * ndim
    index[axis] = what
    return tuple(index)


@function("diff")
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = NO, append: Any = NO) -> Any:
    """Differences of neighbours, n times."""
    x = as_array(a)
    if n < 0:
        invalid(f"np.diff: order {n} is negative")
    if not n:
        return a
    if not x.ndim:
        fail("np.diff of a scalar")
    axis = axis_of(axis, x.ndim)
    ends = [_end(x, axis, end) for end in (prepend, append)]
    if any(end is not None for end in ends):
        parts = [part for part in (ends[0], x, ends[1]) if part is not None]
        x = as_array(np.concatenate(parts, axis))
    upper, lower = _at(x.ndim, axis, slice(1, None)), _at(x.ndim, axis, slice(None, -1))
    for _ in range(n):
        if x.dtype.kind == "b":
            x = as_array(elementwise("not_equal", x[upper], x[lower]))
        else:
            x = as_array(x[upper] - x[lower])
    return x


def _end(x: Array, axis: int, end: Any) -> Array | None:
    if end is NO:
        return None
    value = as_array(end)
    if value.ndim:
        return value
    return as_array(np.broadcast_to(value, [1 if i == axis else n for i, n in enumerate(x.shape)]))


@function("ediff1d")
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours of the flattened array, with values before and after."""
    x = reshaped(ary, [as_array(ary).size])
    parts = [x[1:] - x[:-1]]
    if to_begin is not None:
        parts.insert(0, np.ravel(as_array(to_begin)))
    if to_end is not None:
        parts.append(np.ravel(as_array(to_end)))
    return parts[0] if len(parts) == 1 else np.concatenate(parts).astype(x.dtype)


# --- gradient of samples --------------------------------------------------------------------------


@function("gradient")
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences, one-sided at the edges; the spacing may be recording."""
    if as_array(f).dtype.kind == "b":
        raise UnsupportedError("np.gradient of booleans: NumPy does not subtract them")
    x = floating(f)
    axes = axes_of(axis, x.ndim) if axis is None or np.ndim(axis) == 0 else tuple(
        axis_of(i, x.ndim) for i in axis
    )  # fmt: skip
    if edge_order not in (1, 2):
        invalid(f"np.gradient: edge_order is 1 or 2, not {edge_order!r}")
    steps = _spacings(x, varargs, axes)
    for i in axes:
        if x.shape[i] < edge_order + 1:
            fail(f"np.gradient of shape {x.shape} needs {edge_order + 1} elements along axis {i}")
    results = [_slope(x, i, h, edge_order) for i, h in zip(axes, steps, strict=True)]
    return results[0] if len(results) == 1 else tuple(results)


def _spacings(x: Array, varargs: tuple[Any, ...], axes: tuple[int, ...]) -> list[Any]:
    """For each axis a distance, or an array of the distances between its points."""
    if not varargs:
        return [1.0] * len(axes)
    given = list(varargs) * (len(axes) if len(varargs) == 1 and not _rank(varargs[0]) else 1)
    if len(given) != len(axes):
        fail(f"np.gradient: {len(given)} spacings for {len(axes)} axes")
    return [_distances(x.shape[i], h) for i, h in zip(axes, given, strict=True)]


def _rank(h: Any) -> int:
    return int(as_array(h).ndim)


def _distances(n: int, h: Any) -> Any:
    if not _rank(h):
        return h
    points = floating(h) if contains_recording(h) else np.asarray(h, np.float64)
    if points.shape != (n,):
        fail(f"np.gradient: coordinates of shape {points.shape} for {n} elements")
    steps = points[1:] - points[:-1]
    if not contains_recording(h) and steps.size and np.all(steps == steps[0]):
        return float(steps[0])  # as NumPy: the formula for equal steps rounds less
    return steps


def _slope(x: Array, axis: int, h: Any, edge_order: int) -> Any:
    n = x.shape[axis]

    def at(what: Any) -> Any:
        """Samples along the axis: an index keeps the axis, as a slice of one."""
        if isinstance(what, int):
            what = slice(what % n, what % n + 1)
        return x[_at(x.ndim, axis, what)]

    def steps(what: Any) -> Any:
        """Steps, in a shape that broadcasts along the axis."""
        part = h[what]
        return reshaped(part, [-1 if i == axis else 1 for i in range(x.ndim)])

    even = not np.ndim(h) if not contains_recording(h) else not _rank(h)
    before, after, around = at(slice(None, -2)), at(slice(2, None)), at(slice(1, -1))
    if even:
        first = last = h
        middle = (after - before) / (2.0 * h)
    else:
        a, b = steps(slice(None, -1)), steps(slice(1, None))
        middle = (
            -b / (a * (a + b)) * before + (b - a) / (a * b) * around + a / (b * (a + b)) * after
        )
        first, last = steps(slice(0, 1)), steps(slice(-1, None))
    if edge_order == 1:
        left, right = (at(1) - at(0)) / first, (at(-1) - at(-2)) / last
    elif even:
        left = (-1.5 / h) * at(0) + (2.0 / h) * at(1) + (-0.5 / h) * at(2)
        right = (0.5 / h) * at(-3) + (-2.0 / h) * at(-2) + (1.5 / h) * at(-1)
    else:
        left = _edge(at(0), at(1), at(2), first, steps(slice(1, 2)))
        right = -_edge(at(-1), at(-2), at(-3), last, steps(slice(-2, -1)))
    parts = [left, middle, right] if n > 2 else [left, right]
    return cast(np.concatenate(parts, axis), x.dtype)


def _edge(x0: Any, x1: Any, x2: Any, a: Any, b: Any) -> Any:
    """Second-order slope at the first of three points with steps a and b."""
    return -(2.0 * a + b) / (a * (a + b)) * x0 + (a + b) / (a * b) * x1 - a / (b * (a + b)) * x2


@function("trapezoid", "trapz")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integral by the trapezoid rule."""
    samples = floating(y)
    axis = axis_of(axis, samples.ndim)
    upper = _at(samples.ndim, axis, slice(1, None))
    lower = _at(samples.ndim, axis, slice(None, -1))
    if x is not None:
        points = as_array(x)
        dx = points[1:] - points[:-1] if points.ndim == 1 else diff(points, axis=axis)
        if points.ndim == 1:
            dx = reshaped(dx, [-1 if i == axis else 1 for i in range(samples.ndim)])
    areas = as_array(dx * (samples[upper] + samples[lower]) / 2.0)
    return total(areas, (axis,))


@function("unwrap")
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    """Angles without jumps of a period; the jumps have derivative 0."""
    x = floating(p)
    axis = axis_of(axis, x.ndim)
    steps = as_array(diff(x, axis=axis))
    half = period / 2.0
    turned = elementwise("mod", steps + half, period) - half
    edge = elementwise(
        "logical_and", elementwise("equal", turned, -half), elementwise("greater", steps, 0.0)
    )
    turned = elementwise("where", edge, half, turned)
    limit = half if discont is None else elementwise("maximum", half, discont)
    small = elementwise("less", elementwise("abs", steps), limit)
    jumps = cumsum(elementwise("stop", elementwise("where", small, 0.0, turned - steps)), axis)
    head = x[_at(x.ndim, axis, slice(0, 1))]
    return np.concatenate([head, x[_at(x.ndim, axis, slice(1, None))] + jumps], axis)
