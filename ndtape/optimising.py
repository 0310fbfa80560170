"""`nt.optimize`: a tape after the passes, to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ArgumentError
from .passes import DEFAULT_LEVEL, Goal, OptimisedTape, Step, checked_level, code_of, optimised
from .passes import sealed as sealed_tape
from .record import core
from .record.arrays import Array
from .record.core import Recorder
from .record.values import Var
from .run import leading_inputs
from .tape import Tape
from .transforms.evaluation import slots_of
from .trees import flatten


def optimize(
    tape: Tape, results: Any = None, level: int = DEFAULT_LEVEL, reverse: bool = True
) -> OptimisedTape:
    """What the passes of a level make of a tape, as a tape that prints and counts like others.

    `results` are the recording values (a tree of them), or the slots, that are wanted; the passes
    may drop everything else.  By default that is the last result.  `reverse` says whether
    derivatives are wanted as well; without, slots are used again.  The levels are those of
    `Function.optimize`; traced functions do all this by themselves.

    The result has `results`, the slots of what was wanted; `steps`, what each pass has done, and
    how long it took; and ``tape.diff(result)`` shows what has changed.  Raises `ArgumentError` for
    results that are not on the tape, another level, and tapes that are optimised already.

    >>> import ndtape as nt
    >>> x = nt.var(2.0, name="x")
    >>> with nt.Tape() as tape:
    ...     y = nt.sin(x) * 3.0
    ...     unused = nt.exp(x)
    >>> print(nt.optimize(tape, y))
       0  x = input(2)
       1  r1 = sin(x)
       2  r2 = r1 * 3
    """
    checked_level(level)
    tape = tape.whole()
    if isinstance(tape, OptimisedTape):
        raise ArgumentError("this tape is optimised already: optimise the one that was recorded")
    if not len(tape):
        raise ArgumentError("an empty tape has no results")
    wanted = _slots(tape, results)
    made, order, new_slot = sealed_tape(tape)
    steps: list[Step] = []
    code = code_of(made, leading_inputs(made)[0], new_slot[wanted])
    optimal = OptimisedTape(optimised(code, Goal(level, reverse), steps), made)
    optimal.code = optimal.code._replace(positions=order[optimal.code.positions])
    optimal.steps = steps
    return optimal


def _slots(tape: Tape, results: Any) -> np.ndarray:
    """The slots of what is wanted from a tape."""
    if results is None:
        first, size = tape.span_of(tape.slots - 1)
        return np.arange(first, first + size)
    found = [np.zeros(0, np.int64)]
    for x in flatten(results)[0]:
        if isinstance(x, (Var, Array)):
            slots = _slots_of(tape, x)
        else:
            slots = np.atleast_1d(np.asarray(x))
        if slots.dtype.kind not in "iu" or ((slots < 0) | (slots >= tape.slots)).any():
            raise ArgumentError(f"{x!r:.60} is neither a result on this tape nor one of its slots")
        found.append(slots.astype(np.int64))
    return np.concatenate(found)


def _slots_of(tape: Tape, x: Any) -> np.ndarray:
    """The slots of the elements of a recording value; -1 where they are not on the tape."""
    where = x.storage if isinstance(x, Array) else x
    if isinstance(where.tape, Recorder):
        core.resolve(where)
    if where.tape is tape:
        return slots_of(x)[0]
    first = getattr(tape, "leaf_slots", {}).get(getattr(where, "token", None))
    if first is None:
        return np.array([-1])
    places = x.places().ravel() if isinstance(x, Array) else np.arange(1)
    slots: np.ndarray = first + places
    return slots
