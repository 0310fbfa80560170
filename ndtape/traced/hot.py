"""The workspace of fast calls of a trace, and the words that they need."""

from __future__ import annotations

import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nest
from ..ops import FLIPPED, PLAN, PLAN_LIMIT, WIDE_CODES
from ..passes import OptimisedTape
from ..run import COLUMNS, Workspace, address, entry
from ..tape import Tape, address_of
from .pieces import Pieces
from .program import Trace

if TYPE_CHECKING:
    from .function import Function

RUNS, COUNT, INPUTS = (PLAN.index(name) for name in ("runs", "count", "inputs"))
NEVER = (1 << 64) - 1
DOT = WIDE_CODES["dot"]
NO_LIMIT = 1 << 40  # steps of a loop in a fast call, which is short: see `fits`
LONGEST_CALL = 0.01  # seconds
PRODUCT = 0.03  # of the time of another operation: one of a sum of products
KERNEL = 20.0  # operations that a kernel's call costs
TIMED_CALLS, TIMED_SECONDS = 16, 1e-4
VALUES, GRADIENT, SECOND = range(3)
Key = tuple[int, int, int, int]  # one of these, root, first and count of the numbers wanted


class Hot:
    """A workspace of a trace for fast calls, which are atomic: no caller needs one of his own.

    It is over the recorded tape, or over `lean`, what the passes have made of it; `final` says that
    nothing better is to come.
    """

    def __init__(
        self, trace: Trace, words: np.ndarray | None = None, final: bool = False,
        lean: OptimisedTape | None = None,
    ) -> None:  # fmt: skip
        self.trace, self.words, self.final, self.lean = trace, words, final, lean
        self.tape: Tape = trace.tape if lean is None else lean
        # A final one of its own: loops on the tape may have gone through passes meanwhile.
        self.work = Workspace(self.tape) if final else trace.borrow()
        if lean is None:
            self.work.leading = trace.leading
            self.work.own_words = words
        self.calls = np.zeros(1, np.uint64)
        self.length = len(self.tape)
        self.work._prepare(self.length)
        self.work.prepare_loops("forward", NO_LIMIT)
        self.plans: dict[Key, np.ndarray] = {}
        self.stopped = 0  # instructions of calls that ended at a guard
        self.retired = False
        self.lock = threading.Lock()  # held by a call in pieces

    def replay(self, words: np.ndarray) -> Any:
        """What makes a call by these words."""
        seconds = self.trace.cost or 0.0
        return entry("replay_flat") if seconds < LONGEST_CALL else Pieces(self, words, seconds)

    @property
    def runs(self) -> int:
        return sum(int(plan[RUNS]) for plan in list(self.plans.values()))

    @property
    def instructions(self) -> int:
        return self.runs * len(self.trace.tape) + self.stopped

    def plan(self, key: Key) -> np.ndarray:
        """The words for numbers `first .. first + count` of the values, or of a gradient."""
        if key not in self.plans:
            mode, root, first, count = key
            if mode == GRADIENT:
                self.work.prepare_loops("reverse", NO_LIMIT)
            if mode == SECOND:
                for name, sweep in (("t", "tangent"), ("h", "forward_over_reverse")):
                    self.work.array(name)
                    self.work.prepare(sweep)
                    self.work.prepare_loops("tangent" if name == "t" else "second", NO_LIMIT)
            second = mode == SECOND
            known, inputs = self.trace.leading
            if self.lean is not None:
                root = int(self.lean.results[0])
                if mode == VALUES:
                    first, count = root, len(self.lean.results)
            words = {
                "forward": address("forward"),
                "reverse": address("reverse") if mode == GRADIENT else 0,
                "tangent": address("tangent") if second else 0,
                "second": address("forward_over_reverse") if second else 0,
                "frame": self.work.frame_address, "inputs": inputs, "known": known,
                "end": self.length, "top": self.tape.above((root,)) - 1, "root": root,
                "slots": self.tape.slots, "first": first, "count": count, "runs": 0,
                "calls": address_of(self.calls),
            }  # fmt: skip
            self.plans[key] = np.array([*[words[name] for name in PLAN], NEVER], np.uint64)
        return self.plans[key]

    def time(self, key: Key, numbers: np.ndarray | None = None) -> float | None:
        """Seconds of a call, by default of one like the last; None where it stops at a guard."""
        words = self.plan(key)
        if numbers is None:
            numbers = self.work.arrays["v"][: self.trace.leading[1]].copy()
        runs, limit = int(words[RUNS]), int(words[PLAN_LIMIT])
        words[PLAN_LIMIT] = NEVER
        outs = [np.empty(int(words[COUNT])) for _ in range(1 + (key[0] == SECOND))]
        given = (numbers,) if key[0] != SECOND else (numbers, np.ones(len(numbers)))
        call = entry("replay_second") if key[0] == SECOND else self.replay(words)
        start, count = time.perf_counter(), 0
        while count < TIMED_CALLS and (count < 1 or time.perf_counter() - start < TIMED_SECONDS):
            status, _ = call(address_of(words), *given, *outs)
            count += 1
            if status:
                break
        seconds = (time.perf_counter() - start) / count
        words[RUNS], words[PLAN_LIMIT] = runs, limit
        return None if status else seconds

    def stop(self, function: Function, status: int, call: float) -> None:
        """A call ended early: the general way goes on from there, with the values so far.

        They are taken away from fast calls; unless another thread has made one meanwhile, they are
        those of the call with this number.
        """
        if status < 1:
            return
        with self.trace.lock:
            if self.retired:
                return
            self.refuse()
            if int(self.calls[0]) == int(call):  # none came in between, and now none can
                flipped = self.work.frame[COLUMNS["status"]] == FLIPPED
                self.work.frame[COLUMNS["status"]] = 0
                if flipped:
                    stopped, work = status - 1, self.work
                    work.swept = stopped
                    work.unprepare()  # general calls have other ways where there are loops
                    if self.lean is not None:
                        stopped, work = int(self.lean.code.positions[stopped]), self._again()
                    self.stopped += stopped
                    function.stopped[get_ident()] = self.trace, work
            self.trace.retire(self)

    def refuse(self) -> None:
        """No number of inputs fits from now on: the next fast call makes a new plan."""
        for words in self.plans.values():
            words[INPUTS] = NEVER
        self.retired = True

    def _again(self) -> Workspace:
        """The recorded tape with the inputs of the last call: other values may be missing."""
        work = self.trace.borrow()
        work.own_words = self.words
        work.unprepare()
        work.set_inputs(self.work.arrays["v"][: self.trace.leading[1]])
        return work


def fits(trace: Trace, mode: int) -> bool:
    """Whether sweeps over a tape need no Python on the way.

    A compiled call holds the GIL and does not hear Ctrl-C: 10 ms at most, of which 5 are what
    threads wait for one another anyway.  Longer ones go in pieces, but for loops, which pause by
    themselves in a general call, and for second derivatives.
    """
    if trace.cost is None:
        trace.cost = cost(trace.tape)
    loops = all(call.loop is not None for call in trace.tape.calls)
    pieces = not trace.tape.calls and mode != SECOND and len(trace.tape.chunks) == 1
    return loops and trace.leading[1] > 0 and (pieces or trace.cost < LONGEST_CALL)


def cost(tape: Tape) -> float:
    """About how long value and gradient take, in seconds."""
    operations = 2.0 * len(tape)
    chunk = tape.chunks[-1]
    for index, _, size in tape.wide:
        c = chunk.c[index]
        extents = tape.words[
            c + nest.BODY : c + nest.BODY + nest.LOOP * int(tape.words[c + nest.LOOPS])
        ]
        steps = float(np.prod(extents[:: nest.LOOP], dtype=float))
        operations += KERNEL + size + steps * (PRODUCT if chunk.op[index] == DOT else 1.0)
    for call in tape.calls:
        if call.loop is not None:
            operations += call.loop.steps * max(cost(body.tape) for body in call.loop.bodies) / 3e-9
    return 3e-9 * operations
