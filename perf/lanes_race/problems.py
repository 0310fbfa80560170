"""What is raced: `arithmetic_n1000_gradient`, `asian_d12_p10000_mean`, and who must agree."""

import re
from functools import cached_property

import numpy as np
from rnn_race.problems import POINTS, Agreement

from . import programs

WORK = 16_000_000  # operations and lanes, multiplied; rows are as many as make this
FEWEST = 160  # rows
CHAIN = re.compile(r"(arithmetic|transcendental)_n(\d+)_(value|gradient)")
ASIAN = re.compile(r"asian_d(\d+)_p(\d+)_(mean|paths)")
MARKET = np.array([100.0, 100.0, 0.05, 0.02, 0.25, 1.0])  # spot, strike, rate, yield, vol, time


class Chain(Agreement):
    """n operations one after another, on rows of three numbers: value, or with the gradient."""

    dtype = "float64"
    unit = "ns an operation a lane"

    def __init__(self, kind, operations, task):
        self.kind, self.task, self.expected = kind, task, {}
        self.steps = max(1, operations // programs.OPERATIONS[kind])
        self.operations = self.steps * programs.OPERATIONS[kind]
        self.rows = max(FEWEST, WORK // operations)
        self.name = f"{kind}_n{operations}_{task}"

    @property
    def title(self):
        return f"{self.kind}, {self.operations} operations, {self.rows} lanes, {self.task}"

    @property
    def scale(self):
        """From seconds to the unit."""
        return 1e9 / (self.operations * self.rows)

    @property
    def description(self):
        keys = ("kind", "task", "operations", "rows", "dtype")
        return {"row": self.name, **{key: getattr(self, key) for key in keys}}

    @cached_property
    def points(self):
        """(x, a, b), a vector each."""
        x, a, b = np.random.default_rng(0).uniform(0.5, 1.5, (3, self.rows))
        return [(x * (1 + 1e-3 * k), a, b) for k in range(POINTS)]

    def step(self, module=programs):
        return getattr(module, f"{self.kind}_step")

    def unrolled(self, module=programs):
        return programs.unrolled(self.step(module), self.steps)

    def scanned(self, scan, module=programs):
        return programs.scanned(self.step(module), self.steps, scan)


class Asian(Agreement):
    """Price and six greeks of an Asian call: of the mean over all paths, or of every path."""

    kind = "asian"
    dtype = "float64"
    unit, scale = "ms", 1e3

    def __init__(self, dates, paths, task):
        self.dates, self.rows, self.task, self.expected = dates, paths, task, {}
        self.name = f"asian_d{dates}_p{paths}_{task}"
        self.operations = 4 * dates + 16

    @property
    def title(self):
        of = "mean" if self.task == "mean" else "every path"
        return f"Asian call with greeks of {of}, {self.dates} dates, {self.rows} paths"

    @property
    def description(self):
        keys = ("kind", "task", "dates", "operations", "rows", "dtype")
        return {"row": self.name, **{key: getattr(self, key) for key in keys}}

    @cached_property
    def points(self):
        """Six numbers of the market each."""
        return [MARKET * (1 + 1e-3 * k) for k in range(POINTS)]

    @cached_property
    def z(self):
        return np.random.default_rng(0).standard_normal((self.rows, self.dates))


def problem(name):
    """The problem of such a name."""
    if found := CHAIN.fullmatch(name):
        kind, operations, task = found.groups()
        return Chain(kind, int(operations), task)
    if found := ASIAN.fullmatch(name):
        dates, paths, task = found.groups()
        return Asian(int(dates), int(paths), task)
    raise ValueError(
        f"{name!r} is no row: they are named like arithmetic_n1000_gradient and "
        "asian_d12_p10000_mean"
    )
