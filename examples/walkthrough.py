"""What the walk-throughs share: run sections one after another, and hold each number to its print.

A walk-through is a list of functions, a section each, whose docstring is the section's title. A
section hands every number that it works out to `Numbers.check`, beside the number as a textbook
prints it; a difference in the last printed digit is an error, so an example that has gone wrong
cannot look right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np


class Numbers(dict):
    """The numbers a walk-through has shown, by section and name."""

    section = ""

    def check(self, name: str, value: object, printed: str) -> None:
        """Print `name = printed`, having made sure that `value` is that number."""
        self._hold(name, value, printed)
        print(f"    {name:34s} = {printed}")

    def check_all(self, name: str, values: Iterable[object], printed: str) -> None:
        """The same for a row of numbers, printed with spaces between: `name[0]`, `name[1]`, …"""
        values, texts = list(values), printed.split()
        if len(values) != len(texts):
            raise AssertionError(f"{name} should have {len(texts)} numbers, but has {len(values)}")
        for i, (value, text) in enumerate(zip(values, texts, strict=True)):
            self._hold(f"{name}[{i}]", value, text)
        print(f"    {name:34s} = {'  '.join(texts)}")

    def check_array(self, name: str, value: object, shape: tuple[int, ...], printed: str) -> None:
        """The same for an array of that shape, a line of print for each of its rows."""
        array = np.asarray(getattr(value, "value", value))
        if array.shape != shape:
            raise AssertionError(f"{name} should have the shape {shape}, but has {array.shape}")
        texts = printed.split()
        if array.size != len(texts):
            raise AssertionError(f"{name} has {array.size} numbers, but {len(texts)} are printed")
        for position, text in zip(np.ndindex(shape), texts, strict=True):
            self._hold(f"{name}[{', '.join(map(str, position))}]", array[position], text)
        columns = shape[-1] if shape else 1
        rows = [texts[i : i + columns] for i in range(0, len(texts), columns)]
        width = max(map(len, texts))
        head = f"    {f'{name} {shape}':34s} = "
        for row in rows:
            print(head + "  ".join(text.rjust(width) for text in row))
            head = " " * len(head)

    def _hold(self, name: str, value: object, printed: str) -> None:
        key = f"{self.section}: {name}"
        if key in self:
            raise AssertionError(f"{key} is shown twice")
        number = float(getattr(value, "value", value))  # a result of ndtape, or a plain number
        if not agrees(number, printed):
            raise AssertionError(f"{key} should print as {printed}, but is {number!r}")
        self[key] = number


def agrees(number: float, printed: str) -> bool:
    """Does `number` round to the number printed? One without a point is meant exactly."""
    if printed in ("nan", "inf", "-inf"):
        return str(number) == printed
    if "." not in printed:
        return number == float(printed)
    digits, _, exponent = printed.partition("e")
    last_place = 10.0 ** (int(exponent or 0) - len(digits.split(".")[1]))
    return math.isfinite(number) and abs(number - float(printed)) <= 0.51 * last_place


def walk(title: str, sections: Iterable[Callable[[Numbers], None]]) -> Numbers:
    """Run the sections in their order; the numbers they showed."""
    print(f"{title}\n{'=' * len(title)}")
    numbers = Numbers()
    for section in sections:
        heading = (section.__doc__ or section.__name__).strip().splitlines()[0]
        print(f"\n{heading}\n{'-' * len(heading)}")
        numbers.section = section.__name__
        section(numbers)
    print(f"\n{len(numbers)} numbers shown, each as it should be.")
    return numbers


def same(actual: float, expected: float, within: float = 1e-12) -> None:
    """Two ways to one number: they must agree to `within`, relative to it."""
    if not math.isclose(actual, expected, rel_tol=within, abs_tol=1e-300):
        raise AssertionError(f"{actual!r} is not {expected!r}")


def same_array(actual: object, expected: object, within: float = 1e-12) -> None:
    """The same for arrays: equal shapes, and entries that agree to `within`, relative above 1."""
    a, b = (np.asarray(getattr(x, "value", x)) for x in (actual, expected))
    if a.shape != b.shape:
        raise AssertionError(f"the shapes {a.shape} and {b.shape} differ")
    if not np.allclose(a, b, rtol=within, atol=within):
        raise AssertionError(f"{a} is not {b}")
