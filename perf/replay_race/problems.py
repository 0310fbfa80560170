"""What is raced: where a function is differentiated, and what the right answer is."""

from dataclasses import dataclass

import numpy as np
from workloads import GOLDEN, distance, fill, gmm, golden_distance, lynx_hare, moons

POINTS = 8  # how many points take turns: every call gets new inputs
NEAR, AGREED = 1e-10, 1e-9  # to the golden numbers; of two libraries with each other
TITLES = {
    "rosenbrock": "Rosenbrock, n = {}",
    "ackley": "Ackley, n = {}",
    "gmm": "Gaussian mixture, {}",
    "moons": "moons",
    "lynx_hare": "lynx and hare",
    "cascade": "cascade of n = {} equations",
}


@dataclass
class Problem:
    """`points[0]` is where the golden numbers are; every point is a flat array."""

    name: str
    kind: str
    size: int | str | None
    points: list[np.ndarray]
    direction: np.ndarray  # of Hessian-vector products

    @property
    def title(self):
        return TITLES[self.kind].format(self.size)

    def check(self, who, task, result, expected=None):
        """Raises AssertionError where the numbers at `points[0]` are wrong.

        Against the golden ones where there are any, and against `expected`, another library's.
        """
        golden = {"value and gradient": self.name, "Hessian-vector product": self.name_of_product}
        known = golden.get(task) in GOLDEN
        if known and task == "value and gradient":
            found = golden_distance(self.name, *result)
        elif known:
            found = golden_distance(self.name_of_product, GOLDEN[self.name]["f"], result)
        if known and not found < NEAR:
            raise AssertionError(f"{who}, {self.title}: {task} is {found:.1e} from the golden one")
        if expected is not None:
            self.compare(who, task, result, expected)

    def compare(self, who, task, result, expected):
        pairs = [(result, expected)]
        if isinstance(expected, tuple):
            pairs = list(zip(result, expected, strict=True))
        found = max(distance(a, b) for a, b in pairs)
        if not found < AGREED:
            raise AssertionError(f"{who}, {self.title}: {task} is {found:.1e} from another's")

    @property
    def name_of_product(self):
        return f"{self.kind}_hvp_{self.size}"


def start_of(kind, size):
    if kind in ("rosenbrock", "ackley"):
        return fill(size)
    if kind == "cascade":
        return 1.0 + fill(size)
    if kind == "gmm":
        data = gmm.read(size)
        return gmm.joined([data.alphas, data.means, data.icf])
    if kind == "moons":
        moons.make_points()  # seeds the generators
        return moons.to_vector(moons.make_network())
    return np.array(lynx_hare.POINT)


def problem(name):
    """The problem of a name such as "rosenbrock_100", "gmm_d2_K5" or "moons"."""
    kind = next(k for k in TITLES if name.startswith(k))
    size = name[len(kind) + 1 :] or None
    if size is not None and size.isdigit():
        size = int(size)
    start = start_of(kind, size)
    points = [start * (1.0 + 1e-3 * k) for k in range(POINTS)]
    return Problem(name, kind, size, points, fill(start.size, offset=7))
