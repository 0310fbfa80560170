"""What is raced: a cell over a sequence, `rnn_H16_B1_T100_float64`, and who must agree with whom.

The loss is the sum of squares of the last state up to a hundred steps. Beyond, the adjoint of a
first step would be too small to be represented, and products with 0 cost another time than those
of a useful gradient: there it is the sum over the states of all steps.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from . import cells

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TITLES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
AGREED = {"float64": 1e-9, "float32": 1e-4}
POINTS = 3  # sets of weights that take turns: every call gets new ones
LONGEST_LAST = 100  # steps; a longer sequence has a loss at every step
NAME = re.compile(r"(rnn|gru|lstm)_H(\d+)_B(\d+)_T(\d+)_(float32|float64)")


def relative(found, wanted):
    """The largest difference over the largest entry; inf where something is not a number."""
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    if found.shape != wanted.shape:
        raise AssertionError(f"shapes {found.shape} and {wanted.shape} differ")
    if not np.isfinite(found).all():
        return np.inf
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


class Agreement:
    """A problem whose contestants must agree: `title`, `dtype` and a dict `expected`."""

    def check(self, who, point, result):
        """Raises AssertionError where numbers differ from those of the first one to come here."""
        value, gradient = result
        if not all(np.any(part) for part in gradient):
            raise AssertionError(f"{who}, {self.title}: a part of the gradient is zero")
        first, wanted_value, wanted = self.expected.setdefault(point, (who, value, gradient))
        pairs = [(value, wanted_value), *zip(gradient, wanted, strict=True)]
        found = max(relative(a, b) for a, b in pairs)
        if not found < AGREED[self.dtype]:
            raise AssertionError(f"{who}, {self.title}: {found:.1e} from {first}")


@dataclass
class Problem(Agreement):
    """A cell of H units and H inputs, T steps of B sequences; without a batch axis for B = 1."""

    cell: str
    H: int
    B: int
    T: int
    dtype: str
    expected: dict = field(default_factory=dict)  # numbers by point: the first one's to come here
    module = "rnn_race.cells"  # where the programs are
    layers = 1
    unit = "µs a step"

    @property
    def name(self):
        return f"{self.cell}_H{self.H}_B{self.B}_T{self.T}_{self.dtype}"

    @property
    def title(self):
        return f"{TITLES[self.cell]}, H = {self.H}, B = {self.B}, T = {self.T}, {self.dtype}"

    @property
    def scale(self):
        """From seconds to the unit."""
        return 1e6 / self.T

    @property
    def description(self):
        keys = ("cell", "H", "B", "T", "dtype")
        return {"row": self.name, **{key: getattr(self, key) for key in keys}}

    @property
    def every(self):
        """Whether there is a loss at every step, or only at the last one."""
        return self.T > LONGEST_LAST

    @property
    def bytes(self):
        """About what the values and adjoints of an unroll take: an input, gates and states."""
        return 16 * self.T * self.B * self.H * (2 * GATES[self.cell] + 3)

    @cached_property
    def points(self):
        """Weights as tuples of arrays: those that `weights` draws, and others near them."""
        drawn = weights(self.cell, self.H)
        return [
            tuple((w * (1.0 + 1e-3 * k)).astype(self.dtype) for w in drawn) for k in range(POINTS)
        ]

    @property
    def lengths(self):
        return () if self.B == 1 else (self.B,)

    @cached_property
    def data(self):
        """(state at the start, inputs of all steps)."""
        generator = np.random.default_rng(7)
        h, c = (0.1 * generator.normal(size=(*self.lengths, self.H)) for _ in range(2))
        xs = generator.normal(size=(self.T, *self.lengths, self.H)).astype(self.dtype)
        h, c = h.astype(self.dtype), c.astype(self.dtype)
        return ((h, c) if self.cell == "lstm" else h), xs

    def unrolled(self, module=cells):
        return module.unrolled(getattr(module, self.cell), self.every)

    def scanned(self, scan, module=cells):
        return module.scanned(getattr(module, self.cell), self.every, scan)


def weights(cell, H):
    """Weights from the inputs and from the state, and biases, of which GRU has two."""
    generator, G = np.random.default_rng(0), GATES[cell]
    Wx = 0.5 / np.sqrt(H) * generator.normal(size=(G * H, H))
    Wh = 0.9 / np.sqrt(H) * generator.normal(size=(G * H, H))
    biases = [0.1 * generator.normal(size=G * H) for _ in range(2 if cell == "gru" else 1)]
    if cell == "lstm":
        biases[0][H : 2 * H] += 1.0  # of the forget gate
    return Wx, Wh, *biases


def problem(name):
    """The problem of a name such as "lstm_H64_B8_T100_float32"."""
    found = NAME.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is no row: they are named like rnn_H16_B1_T100_float64")
    cell, H, B, T, dtype = found.groups()
    return Problem(cell, int(H), int(B), int(T), dtype)
