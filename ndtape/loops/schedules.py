"""Checkpoint schedules: which states of a loop are kept, and what is computed again in reverse.

A loop of T steps takes state 0 to state T.  Its reverse sweep needs the values inside each step,
the step's *locals*, from the last step to the first.  Keeping all of them costs memory that grows
with T; a schedule keeps some of the states instead, the *snapshots*, and runs steps again from
them.  Whatever the schedule, the same operations give the same numbers, so the gradient is the
same to the last bit.

With S bytes a state and L bytes the locals of one step:

=====================  ================================  ===================================
schedule               bytes                             steps run again, a reverse sweep
=====================  ================================  ===================================
`none()`               T·L                               0
`every(k)`             ⌈T/k⌉·S + k·L                     T
`sqrt()`               `every(k)` with k = ⌈√T⌉          T
`binomial(n)`          n·S + L                           r·T − C(n+r, r−1); r is the least
                                                         with T ≤ C(n+r, n)
`binomial(memory=M)`   at most M, if one state and       the least of the above, for blocks
                       one step's locals fit             of steps instead of steps
=====================  ================================  ===================================

Sources: Griewank and Walther, "Algorithm 799: revolve", ACM Transactions on Mathematical Software
26 (2000), for `binomial`; Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory
cost", arXiv:1604.06174 (2016), for `sqrt`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError
from ..ops import ADVANCE, RESTORE, REVERSE, STORE, TAPE
from .revolve import recomputed, revolve

REMEMBERED = 10_000  # steps of a plan that is kept for the next call; longer ones are large


class Plan(NamedTuple):
    """What a loop does, step by step, as rows (action, a, b) of two int64 arrays of shape (n, 3).

    ==========  ========  ==================================================================
    `ADVANCE`   a, b      the state is that of step a: run steps a … b-1, keep no locals
    `TAPE`      a, b      the same, keeping their locals in place of those held before
    `STORE`     slot, t   the snapshot becomes the state, which is that of step t
    `RESTORE`   slot, t   the state becomes the snapshot, which is that of step t
    `REVERSE`   a, b      go backwards over steps b-1 … a, whose locals are held
    ==========  ========  ==================================================================

    `forward` takes the state of step 0 to that of step T; `reverse` is run for a reverse sweep
    after it.  Both are read-only.  `snapshots` is the number of slots, `kept` how many steps have
    their locals held at once.  Where `repeatable` is False, `reverse` uses up what `forward` left:
    run `forward` again before another sweep.

    >>> from ndtape.loops.schedules import every
    >>> plan = every(2).plan(4)
    >>> plan.forward.tolist()  # store 0, run 0 and 1, store 2, run 2 and 3
    [[2, 0, 0], [0, 0, 2], [2, 1, 2], [0, 2, 4]]
    >>> plan.evaluations, plan.bytes(state_bytes=8, locals_bytes=100)
    ((4, 4), 216)
    """

    forward: np.ndarray
    reverse: np.ndarray
    snapshots: int
    kept: int
    repeatable: bool

    @property
    def evaluations(self) -> tuple[int, int]:
        """How many steps are run by `forward`, and by `reverse`."""
        return _evaluations(self.forward), _evaluations(self.reverse)

    def __repr__(self) -> str:
        ahead, back = self.evaluations
        return (
            f"<Plan: {self.snapshots} snapshots, {self.kept} steps held, {ahead} steps forward "
            f"and {back} again in reverse>"
        )

    def bytes(self, state_bytes: int, locals_bytes: int) -> int:
        """The memory of snapshots and locals; the plan itself has 24 bytes for each row."""
        return self.snapshots * int(state_bytes) + self.kept * int(locals_bytes)


class Schedule:
    """How a loop keeps what its reverse sweep needs: made by the functions of `nt.schedules`.

    Immutable; schedules that were made alike are equal and have one hash, so that they can be
    static arguments of traced functions.

    >>> import ndtape as nt
    >>> from ndtape.loops import schedules
    >>> schedules.every(3) == schedules.every(3), schedules.binomial(snapshots=5)
    (True, nt.schedules.binomial(snapshots=5))
    """

    __slots__ = ("_name", "_options")
    _name: str
    _options: tuple[tuple[str, int], ...]

    def __init__(self, name: str, **options: int) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_options", tuple(sorted(options.items())))

    def plan(self, length: int, state_bytes: int = 8, locals_bytes: int = 8) -> Plan:
        """The `Plan` of a loop of `length` steps, for the sizes of its state and its locals.

        The sizes matter to `binomial(memory=...)` only.  Raises `ArgumentError` where one of the
        three is no whole number or negative.
        """
        steps = _whole(length, 0, "a plan is for a number of steps, 0 or more")
        state = _whole(state_bytes, 0, "state_bytes is a number of bytes")
        held = _whole(locals_bytes, 0, "locals_bytes is a number of bytes")
        make = _planned if steps <= REMEMBERED else _planned.__wrapped__
        return make(self, steps, state, held)

    def __setattr__(self, name: str, value: Any = None) -> None:
        raise AttributeError(f"{self!r} does not change; make another schedule")

    __delattr__ = __setattr__

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self._options)
        return f"nt.schedules.{self._name}({options})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, self._key

    @property
    def _key(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        return self._name, self._options


@lru_cache(maxsize=16)
def _planned(schedule: Schedule, steps: int, state_bytes: int, locals_bytes: int) -> Plan:
    if steps == 0:
        plan = Plan(_rows([]), _rows([]), 0, 0, True)
    else:
        make, options = _PLANS[schedule._name], dict(schedule._options)
        plan = make(steps, state_bytes, locals_bytes, **options)
    plan.forward.flags.writeable = plan.reverse.flags.writeable = False
    return plan


def _again(name: str, options: Iterable[tuple[str, int]]) -> Schedule:
    return Schedule(name, **dict(options))


# --- the schedules --------------------------------------------------------------------------------


def none() -> Schedule:
    """Keep the locals of every step: T·L bytes, nothing is run again.

    >>> none().plan(1000).evaluations
    (1000, 0)
    """
    return Schedule("none")


def every(k: int) -> Schedule:
    """Keep the state before each k-th step; in reverse run k steps again and go back over them.

    ⌈T/k⌉·S + k·L bytes, and T steps run again in a reverse sweep.  `every(1)` keeps each state
    and the locals of one step.  The last block of steps is run again like the others: between
    value and gradient nothing but snapshots is held, and they serve any number of sweeps.

    Raises `ArgumentError` where k is no whole number from 1 on.

    >>> plan = every(10).plan(1000)
    >>> plan.snapshots, plan.kept, plan.evaluations
    (100, 10, (1000, 1000))
    """
    return Schedule("every", k=_whole(k, 1, "every(k) keeps the state before each k-th step"))


def sqrt() -> Schedule:
    """`every(k)` with k = ⌈√T⌉: memory that grows as √T, each step run twice (Chen et al. 2016).

    At most ⌈√T⌉·(S + L) bytes.  Where S and L are far from each other, `every(k)` with k near
    √(T·S/L) takes the least memory, 2·√(T·S·L).

    >>> plan = sqrt().plan(10_000)
    >>> plan.snapshots, plan.kept, plan.evaluations
    (100, 100, (10000, 10000))
    """
    return Schedule("sqrt")


def binomial(snapshots: int | None = None, memory: int | None = None) -> Schedule:
    """The fewest steps run again for a number of snapshots, or for a memory budget in bytes.

    `snapshots`: n states are kept at a time, that of step 0 among them, and the locals of one
    step.  A reverse sweep runs ``r·T − C(n+r, r−1)`` steps again, where r, how often a step is run
    again at most, is the least with ``T ≤ C(n+r, n)``; no schedule with n snapshots needs fewer
    (Griewank and Walther 2000, where that number counts the first pass, too, but not the run of
    each step whose locals are kept: the same number).  Memory and time grow together as log T
    where n is chosen so.

    `memory`: of all numbers of snapshots n and lengths g of a block of steps whose locals are
    held together, with n·S + g·L within the budget, those for which the fewest steps run again:
    blocks take the place of steps above.  At the ends stand `none()`, where the locals of all
    steps fit, and one snapshot and one step's locals, which are kept even where they do not fit.

    The locals of the last step (or block) stay from the value to its gradient, and snapshots are
    used over again in reverse: a second reverse sweep begins with another forward one.

    Raises `ArgumentError` unless one of the two is given, a whole number from 1 on.

    >>> plan = binomial(snapshots=3).plan(10)  # C(3+2, 3) = 10: no step is run more than twice
    >>> plan.evaluations, 2 * 10 - 5  # C(3+2, 1) = 5
    ((10, 15), 15)
    >>> plan = binomial(memory=100_000).plan(10_000, state_bytes=1000, locals_bytes=4000)
    >>> plan.snapshots, plan.kept, plan.evaluations, plan.bytes(1000, 4000)
    (52, 12, (10000, 19368), 100000)
    """
    if (snapshots is None) == (memory is None):
        raise ArgumentError(
            "binomial needs the number of snapshots or the memory in bytes, one of the two: "
            "binomial(snapshots=20) or binomial(memory=10**8)"
        )
    if snapshots is not None:
        what = "binomial(snapshots=n) keeps n states, that of the first step among them"
        return Schedule("binomial", snapshots=_whole(snapshots, 1, what))
    return Schedule("binomial", memory=_whole(memory, 1, "memory is a number of bytes"))


def _whole(value: Any, least: int, meaning: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{meaning}: a whole number from {least} on, not {value!r}")
    return number


# --- plans: blocks of equal length ----------------------------------------------------------------


def _plan_none(steps: int, state_bytes: int, locals_bytes: int) -> Plan:
    return Plan(_rows([(TAPE, 0, steps)]), _rows([(REVERSE, 0, steps)]), 0, steps, True)


def _plan_every(steps: int, state_bytes: int, locals_bytes: int, k: int) -> Plan:
    starts = np.arange(0, steps, k)
    ends = np.minimum(starts + k, steps)
    slots = np.arange(len(starts))
    forward = _interleaved((STORE, slots, starts), (ADVANCE, starts, ends))
    back = slots[::-1]
    reverse = _interleaved(
        (RESTORE, back, starts[back]), (TAPE, starts[back], ends[back]),
        (REVERSE, starts[back], ends[back]),
    )  # fmt: skip
    return Plan(forward, reverse, len(starts), min(k, steps), True)


def _plan_sqrt(steps: int, state_bytes: int, locals_bytes: int) -> Plan:
    k = int(np.sqrt(steps))
    return _plan_every(steps, state_bytes, locals_bytes, k + (k * k < steps))


# --- plans: binomial ------------------------------------------------------------------------------


def _plan_binomial(
    steps: int,
    state_bytes: int,
    locals_bytes: int,
    snapshots: int | None = None,
    memory: int | None = None,
) -> Plan:
    block = 1
    if snapshots is None:
        assert memory is not None
        if steps * locals_bytes <= memory:
            return _plan_none(steps, state_bytes, locals_bytes)
        snapshots, block = _fitting(steps, state_bytes, locals_bytes, memory)
    blocks = -(-steps // block)
    if blocks == 1:
        return _plan_none(steps, state_bytes, locals_bytes)
    forward, reverse, slots = revolve(blocks, snapshots)
    for rows in (forward, reverse) if block > 1 else ():
        copies = (rows[:, 0] == STORE) | (rows[:, 0] == RESTORE)
        rows[copies, 2] *= block
        rows[~copies, 1:] = np.minimum(rows[~copies, 1:] * block, steps)
    return Plan(forward, reverse, slots, block, False)


def _fitting(steps: int, state_bytes: int, locals_bytes: int, memory: int) -> tuple[int, int]:
    """Snapshots and steps of a block that fit, for which the fewest steps run again.

    With longer blocks there are fewer of them to run, with more snapshots they run less often.
    """
    most = max(1, min(steps - 1, (memory - locals_bytes) // max(1, state_bytes)))
    n = np.arange(1, most + 1)
    block = np.clip((memory - n * state_bytes) // max(1, locals_bytes), 1, steps)
    again = block * recomputed(-(-steps // block), n)
    best = int(again.argmin())
    return int(n[best]), int(block[best])


# --- rows -----------------------------------------------------------------------------------------


def _rows(entries: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(entries, np.int64).reshape(-1, 3)


def _interleaved(*columns: tuple[Any, np.ndarray, np.ndarray]) -> np.ndarray:
    """Rows that come by turns from several (action, a, b)."""
    found = np.empty((len(columns[0][1]), len(columns), 3), np.int64)
    for j, parts in enumerate(columns):
        for i, part in enumerate(parts):
            found[:, j, i] = part
    return found.reshape(-1, 3)


def _evaluations(rows: np.ndarray) -> int:
    runs = rows[rows[:, 0] <= TAPE]
    return int((runs[:, 2] - runs[:, 1]).sum())


_PLANS: dict[str, Callable[..., Plan]] = {
    "none": _plan_none,
    "every": _plan_every,
    "sqrt": _plan_sqrt,
    "binomial": _plan_binomial,
}
