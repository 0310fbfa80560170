"""Workload 01, ADBench's D-LSTM, as a problem of the race: `dlstm_l2_c1024`, `dlstm_l4_c4096`.

`dlstm_l2_c1024_first10` is that of the first ten steps, for who compiles every step of a loop.
"""

from functools import cached_property

import numpy as np
from workloads import GOLDEN, dlstm, golden_distance

from .problems import POINTS, Agreement

NEAR = 1e-10  # to the golden numbers


class Forecast(Agreement):
    """Parameters are the pair (main, extra); `points[0]` is where the golden numbers are."""

    module = "workloads.dlstm"
    cell = "dlstm"
    dtype = "float64"
    unit, scale = "ms", 1e3

    def __init__(self, name):
        self.name, self.expected = name, {}
        size, _, first = name.removeprefix("dlstm_").partition("_first")
        self.read = dlstm.read(size)
        self.bits = self.read.bits[: int(first) + 1 if first else None]
        self.T, self.layers = len(self.bits) - 1, len(self.read.state)
        self.width = self.bits.shape[1]

    @property
    def title(self):
        return f"D-LSTM, {self.layers} layers, {self.T} steps"

    @property
    def description(self):
        return {"row": self.name, "layers": self.layers, "T": self.T, "dtype": self.dtype}

    @cached_property
    def points(self):
        factors = [1.0 + 1e-3 * k for k in range(POINTS)]
        return [(self.read.main * factor, self.read.extra * factor) for factor in factors]

    @property
    def data(self):
        return self.read.state, self.bits

    def unrolled(self, module=dlstm):
        return module.loop

    def scanned(self, scan, module=dlstm):
        return module.scanned(scan)

    def check(self, who, point, result):
        """Raises AssertionError where numbers are not the golden ones, or others than another's."""
        super().check(who, point, result)
        if point == 0 and self.name in GOLDEN:
            value, gradient = result
            found = golden_distance(self.name, value, np.concatenate(list(map(np.ravel, gradient))))
            if not found < NEAR:
                raise AssertionError(f"{who}, {self.title}: {found:.1e} from the golden numbers")
