"""Traced functions beside the same functions in plain Python and recorded afresh."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import ndtape as nt


def copied(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that a function may write into without the caller seeing it."""
    return tuple(copy.deepcopy(a) if isinstance(a, (np.ndarray, list, dict)) else a for a in args)


def close(found: Any, expected: Any, tolerance: float) -> bool:
    """Equal shapes and nearly equal numbers; nan where nan is."""
    if isinstance(expected, (tuple, list)):
        pairs = zip(found, expected, strict=True)
        return type(found) is type(expected) and all(close(a, b, tolerance) for a, b in pairs)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            close(found[k], expected[k], tolerance) for k in expected
        )
    if expected is None or isinstance(expected, str):
        return bool(found == expected)
    if np.shape(found) != np.shape(expected):
        return False
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True))


def bits(found: Any, expected: Any) -> bool:
    """The same trees of the same numbers, to the last bit."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(bits(found[k], expected[k]) for k in found)
    if isinstance(expected, (tuple, list)):
        return len(found) == len(expected) and all(map(bits, found, expected))
    if not isinstance(expected, (float, int, np.ndarray, np.generic)):
        return bool(found == expected)
    nan = np.asarray(expected).dtype.kind == "f"
    return np.shape(found) == np.shape(expected) and bool(
        np.array_equal(found, expected, equal_nan=nan)
    )


def check_value(F: Any, f: Any, *args: Any, tolerance: float = 1e-12) -> None:
    """The traced function gives what plain Python gives, and leaves its arguments alone."""
    given, plain = copied(args), f(*copied(args))
    found = F(*given)
    assert close(found, plain, tolerance), f"{found!r} is not {plain!r} at {args!r}"
    assert bits(given, args), f"the arguments {args!r} were written to"


def check(F: Any, f: Any, *args: Any, argnums: Any = 0, tolerance: float = 1e-12) -> None:
    """Value as in plain Python, value and gradient as recorded afresh, bit for bit."""
    check_value(F, f, *args, tolerance=tolerance)
    value, gradient = nt.value_and_grad(f, argnums)(*copied(args))
    given = copied(args)
    found, slopes = nt.value_and_grad(F, argnums)(*given)
    assert bits(found, value), f"{found!r} is not {value!r} at {args!r}"
    assert bits(slopes, gradient), f"{slopes!r} is not {gradient!r} at {args!r}"
    assert bits(given, args), f"the arguments {args!r} were written to"
    assert close(value, f(*copied(args)), tolerance)
