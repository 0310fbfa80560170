"""What is raced: a program, where it is differentiated, and what the right answer is.

A program is called as f(*moving, *still): derivatives are taken with respect to the first ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np
from workloads import advection, ar5, fill, garch, golden_distance

from . import value_and_flat
from .adjoints import adjoint_of

POINTS = 3  # how many points take turns: every call gets new inputs
NEAR, AGREED = 1e-10, 1e-9  # ours to the hand-written and golden numbers; of other libraries
CHAIN, LOOP, ARRAYS = "chain", "scalar loop", "arrays"  # how a program is written


@dataclass
class Kind:
    """A program for all sizes; `arguments(size)` gives (moving, still)."""

    title: str
    form: str
    source: tuple[str, str]  # module, function
    sizes: tuple[int, ...]
    arguments: Callable[[int], tuple[tuple[Any, ...], tuple[Any, ...]]]
    cost: float  # scalar operations a unit of size, about
    adjoint: str
    golden: dict[int, str] = dataclass_field(default_factory=dict)  # size: name in golden.json
    rounding: dict[int, float] = dataclass_field(default_factory=dict)  # size: see `Problem.near`


def circle(size):
    return (0.5, 0.5, 2.39996), (size // 4,)


def oscillator(size):
    return (0.5, 0.1, 0.8, 0.1), (size // 8,)


def numbers(size):
    return (fill(size),), ()


def factors(size):
    """Their product neither overflows nor vanishes at any length."""
    return (np.exp(fill(size)),), ()


def returns(size):
    return (fill(size), 0.95, 0.25, -1.02), (fill(size, offset=7),)


def garch_series(size):
    y, first = garch.read(-(-size // 200))
    return (np.array(garch.POINT),), (y[:size], first)


def ar5_series(size):
    return (np.array(ar5.POINT),), (ar5.read(-(-size // 200))[:size],)


def field(steps):
    return (advection.start(),), (steps,)


def planets(steps):
    """A star and four planets on nearly circular orbits."""
    radii, angles = np.array([0.0, 1.0, 1.5, 2.2, 3.1]), np.array([0.0, 0.3, 1.7, 3.1, 4.6])
    speeds = np.array([0.0, *1.0 / np.sqrt(radii[1:])])
    positions = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    velocities = np.stack([-speeds * np.sin(angles), speeds * np.cos(angles)], axis=1)
    velocities[0] = 1e-3
    masses = np.array([1.0, 1e-3, 5e-4, 3e-4, 2e-4])
    return (positions, velocities, masses), (0.01, steps)


def levels(size):
    return np.cumsum(np.sin(np.arange(size)) + 0.1)


def level_and_slope(size):
    return (0.1, 0.2, 0.5, 0.05, 0.3), (levels(size),)


def state_and_variances(size):
    return (np.array([0.1, 0.2]), np.array([0.5, 0.05]), 0.3), (levels(size),)


PROGRAMS = "compiled_race.programs"
SIZES, LENGTHS = (100, 10_000, 1_000_000), (1_000, 100_000, 1_000_000)


def standard():
    """FastAD's set, each function in both forms."""
    for title, name, arguments, cost in (
        ("sum", "total", numbers, 1),
        ("product", "product", factors, 1),
        ("log-sum-exp", "log_sum_exp", numbers, 2),
        ("normal log density", "normal", numbers, 4),
        ("stochastic volatility", "stochastic_volatility", returns, 15),
    ):
        for form, module in ((LOOP, "loops"), (ARRAYS, "arrays")):
            source = (f"{PROGRAMS}.{module}", name)
            suffix = "loop" if form == LOOP else "arrays"
            yield f"{name}_{suffix}", Kind(title, form, source, SIZES, arguments, cost, name)


def schemes():
    """Advection by both schemes in both forms."""
    for title, name, cost in (("Lax and Wendroff", "lax_wendroff", 8), ("Toon", "toon", 11)):
        golden = {steps: f"{name}_{steps}" for steps in (100, 2000)}
        # Toon's quotient of differences: neighbours meet to 2e-7, and rounding is divided by that.
        rounding = {2000: 1e-5} if name == "toon" else {}
        for form, suffix, function in ((LOOP, "loop", name), (ARRAYS, "arrays", f"{name}_slices")):
            source, sizes = ("workloads.advection", function), tuple(golden)
            kind = Kind(
                title, form, source, sizes, field, cost * advection.SIZE, name, golden, rounding
            )
            yield f"{name}_{suffix}", kind


CHAINS, KALMAN = f"{PROGRAMS}.chains", f"{PROGRAMS}.kalman"
SERIES = (200, 10_000)
KINDS = {
    "circle": Kind("circle map", CHAIN, (CHAINS, "circle"), LENGTHS, circle, 1, "circle"),
    "oscillator": Kind(
        "arithmetic", CHAIN, (CHAINS, "oscillator"), LENGTHS, oscillator, 1, "oscillator"
    ),
    **dict(standard()),
    "garch": Kind(
        title="GARCH(1,1)",
        form=LOOP,
        source=("workloads.garch", "log_likelihood"),
        sizes=SERIES,
        arguments=garch_series,
        cost=14,
        adjoint="garch",
        golden={200: "garch"},
    ),
    "ar5": Kind(
        title="AR(5)",
        form=LOOP,
        source=("workloads.ar5", "log_posterior"),
        sizes=SERIES,
        arguments=ar5_series,
        cost=16,
        adjoint="ar5",
        golden={200: "ar5"},
    ),
    **dict(schemes()),
    "bodies": Kind(
        "five bodies", LOOP, (f"{PROGRAMS}.bodies", "bodies"), (1000,), planets, 270, "bodies"
    ),
    "kalman_loop": Kind(
        "Kalman filter", LOOP, (KALMAN, "loop"), SERIES, level_and_slope, 40, "kalman"
    ),
    "kalman_arrays": Kind(
        "Kalman filter", ARRAYS, (KALMAN, "arrays"), SERIES, state_and_variances, 40, "kalman"
    ),
}
STANDARD = [name for name, _ in standard()]


@dataclass
class Problem:
    """A program of one size; `points[0]` is where the golden numbers are."""

    name: str
    kind: str
    size: int

    @property
    def program(self):
        return KINDS[self.kind]

    @property
    def title(self):
        return f"{self.program.title}, {self.program.form}, {self.size:,}".replace(",0", " 0")

    @property
    def operations(self):
        """Of one evaluation, about; the chains' are counted exactly."""
        return int(self.program.cost * self.size)

    @cached_property
    def points(self):
        """Complete arguments, which differ in the first one."""
        moving, still = self.program.arguments(self.size)
        first, *others = moving
        return [(first * (1.0 + 1e-4 * k), *others, *still) for k in range(POINTS)]

    @cached_property
    def moving(self):
        """How many arguments are differentiated."""
        return len(self.program.arguments(self.size)[0])

    @property
    def argnums(self):
        return tuple(range(self.moving))

    @property
    def near(self):
        """How far gradients may be apart: more where rounding makes much of them."""
        return self.program.rounding.get(self.size, NEAR)

    @property
    def function(self):
        module, name = self.program.source
        return getattr(import_module(module), name)

    def function_with(self, library):
        """The same text with `np` another library."""
        source, name = self.program.source
        specification = find_spec(source)
        module = module_from_spec(specification)
        specification.loader.exec_module(module)
        module.np = library
        return getattr(module, name)

    @cached_property
    def by_hand(self):
        """The hand-written gradient: arguments -> (value, gradient), which it overwrites."""
        return adjoint_of(self.program.adjoint, self.points[0])

    @cached_property
    def expected(self):
        """(value, gradient) at each point, by hand; held to the golden numbers where there are."""
        found = [value_and_flat(self.by_hand(*point)) for point in self.points]
        name = self.program.golden.get(self.size)
        if name is not None and not golden_distance(name, *found[0]) < self.near:
            raise AssertionError(f"{self.title}: the gradient by hand is not the golden one")
        return found

    def check(self, who, point, value, gradient=None, tolerance=NEAR):
        """Raises AssertionError unless finite, non-zero and what is expected at that point."""
        want_value, want = self.expected[point]
        trials = [(value, want_value, tolerance)]
        if gradient is not None:
            trials.append((gradient, want, max(tolerance, self.near)))
            if not np.all(gradient):
                raise AssertionError(f"{who}, {self.title}: the gradient has zero entries")
        for found, wanted, most in trials:
            error = relative_error(np.asarray(found), np.asarray(wanted))
            if not error < most:
                raise AssertionError(f"{who}, {self.title}: off by {error:.1e} from that by hand")


def relative_error(found, wanted):
    """The largest over all entries; those below a thousandth of the largest relative to that."""
    if found.shape != wanted.shape:
        return np.inf
    scale = np.maximum(np.abs(wanted), 1e-3 * np.max(np.abs(wanted)))
    return float(np.max(np.abs(found - wanted) / scale))  # nan is no error below a tolerance


def names(forms=(CHAIN, LOOP, ARRAYS)):
    """Of all problems, size after size."""
    return [
        f"{name}_{size}"
        for name, kind in KINDS.items()
        if kind.form in forms
        for size in kind.sizes
    ]


def problem(name):
    """The problem of a name such as "total_loop_100"; any size will do."""
    kind, _, size = name.rpartition("_")
    if kind not in KINDS or not size.isdigit():
        raise ValueError(f"no problem {name!r}: a kind of {', '.join(KINDS)} and _<size>")
    return Problem(name, kind, int(size))
