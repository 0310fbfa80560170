"""A traced function under one signature: the tapes of its branches, and how a replay changes tapes.

A `Trace` is one recording.  Its guards are where Python looked at numbers; a replay that stops at
one goes on with the sibling trace that went the other way: up to the guard the two tapes are equal,
slot by slot, so that the values are copied and nothing is computed twice.  Where there is no
sibling yet, the function is recorded again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from ..errors import ChangedShapeError, TooManyTapesError, UnstableProgramError
from ..named import counted
from ..ops import WIDE_CODES
from ..passes import quiet
from ..record.arrays import Array, as_array, of_span, plain
from ..record.core import Recorder, destination
from ..record.tracing import Guard
from ..record.values import Boolean, Integer, Result, Var, result
from ..record.wide import in_order
from ..run import Flip, Workspace
from ..tape import Tape
from ..trees import flatten, unflatten
from .captures import Captures
from .parameters import Parameters

DOT, CALL = WIDE_CODES["dot"], WIDE_CODES["call"]

Outcome = tuple[Any, ...]  # of a guard: (number,); of a call: the shapes it gave


class Slots(NamedTuple):
    """A result on the tape: first slot, shape, and how its numbers become what users get."""

    start: int
    shape: tuple[int, ...] | None  # None for a scalar
    dtype: Any

    @property
    def size(self) -> int:
        return 1 if self.shape is None else int(np.prod(self.shape, dtype=np.int64))

    def read(self, v: np.ndarray) -> Any:
        if self.shape is None:
            return self.dtype(v[self.start])
        return v[self.start : self.start + self.size].reshape(self.shape).astype(self.dtype)


class Output:
    """What a recording returned: a tree of results on its tape and of constants."""

    def __init__(self, tape: Recorder, y: Any) -> None:
        leaves, self.structure = flatten(y)
        self.leaves = [settled(tape, x) for x in leaves]
        self.tree = unflatten(self.structure, self.leaves)
        self.parts = [_slots(x) for x in self.leaves]
        self.single = self.parts[0] if len(leaves) == 1 and leaves[0] is y else None

    def shifted(self, first: int) -> Output:
        """The same for numbers that begin with slot `first`."""
        twin = copy(self)
        twin.parts = [
            p._replace(start=p.start - first) if isinstance(p, Slots) else p for p in self.parts
        ]
        twin.single = None if self.single is None else twin.parts[0]
        return twin

    def laid_out(self) -> Output:
        """The same for the numbers of all results, one behind the other."""
        twin = copy(self)
        twin.parts, start = [], 0
        for p in self.parts:
            if isinstance(p, Slots):
                p, start = p._replace(start=start), start + p.size
            twin.parts.append(p)
        twin.single = None if self.single is None else twin.parts[0]
        return twin

    def read(self, v: np.ndarray) -> Any:
        """The tree with numbers in the place of results."""
        if isinstance(self.single, Slots):
            return self.single.read(v)
        numbers = [p.read(v) if isinstance(p, Slots) else _plain(p) for p in self.parts]
        return unflatten(self.structure, numbers)


def settled(tape: Recorder, x: Any) -> Any:
    """A result whose elements lie in one span in order: the tape will not grow any more."""
    if isinstance(x, Array) and x.storage.tape is not None and x.size:
        tape = destination(tape)
        start, is_constant = in_order(tape, x)
        if is_constant:
            return plain(x.value)
        return of_span(tape, start, x.shape, x.dtype)
    if isinstance(x, Array) and not x.size:
        return plain(np.empty(x.shape, x.dtype))
    return x


def _slots(x: Any) -> Any:
    if isinstance(x, Array) and x.storage.tape is not None and x.size:
        return Slots(x.storage.slot, x.shape, x.dtype)
    if isinstance(x, Result):
        kind = bool if isinstance(x, Boolean) else int if isinstance(x, Integer) else float
        return Slots(x.slot, None, kind)
    return x


def _plain(x: Any) -> Any:
    """A constant result: numbers of its own each time."""
    if isinstance(x, (Array, Var)):
        return x.value
    return x.copy() if isinstance(x, np.ndarray) else x


class Trace:
    """One recording: its tape, its inputs and results, and what it knows of its siblings."""

    def __init__(
        self, tape: Recorder, variables: list[Any], output: Output, work: Workspace
    ) -> None:
        self.tape = tape
        self.variables = variables
        moving = [x for x in variables if not isinstance(x, Array) or x.size]
        self.leading = len(moving), sum(x.size if isinstance(x, Array) else 1 for x in moving)
        work.leading = self.leading
        self.output = output
        self.guards: list[Guard] = tape.traced.guards
        self.siblings: dict[tuple[int, Outcome], Trace] = {}
        self.runs = 0
        self.fast_runs = self.fast_instructions = 0  # of fast calls that are over
        self.free = [work]  # workspaces that nobody uses
        self.words: dict[tuple[int, ...], np.ndarray | None] = {}
        self.lock = threading.RLock()  # held where fast calls are prepared, or come to an end
        self.cost: float | None = None  # of a fast call, see replay.py
        self.seconds: dict[int, float] = {}  # that one took, by its mode, see hot.py
        self.patience: float | None = None  # before it goes through the passes, see lean.py
        self.forced = False  # to go through the passes at once
        self.loops = _loops(tape)  # on the tape, each with its instruction
        self.lean_length = 0  # of what steady replays sweep, see lean.py
        self.hot: dict[Any, Any] = {}  # workspaces of fast calls, see replay.py

    def __repr__(self) -> str:
        guards = counted(len(self.guards), "guard")
        return f"<Trace of {counted(len(self.tape), 'instruction')}, {guards}>"

    def borrow(self, chosen: Sequence[int] | None = None) -> Workspace:
        """A workspace that is this caller's alone until `give_back`.

        `chosen` are the variables whose adjoints are wanted; by default all.
        """
        try:
            work = self.free.pop()
        except IndexError:
            work = Workspace(self.tape)
            work.leading = self.leading
        if self.tape.calls:
            work.unwanted = self._unwanted(chosen)
        words = None if chosen is None else self.quiet_words(tuple(chosen))
        if words is not work.own_words:
            work.own_words = words
            work.unprepare()  # its frame points at the others
        return work

    def _unwanted(self, chosen: Sequence[int] | None) -> frozenset[int]:
        """Where the arguments begin that are only data."""
        if chosen is None:
            return frozenset()
        return frozenset([x.storage.slot for j, x in enumerate(self.variables)
                          if j not in chosen and isinstance(x, Array) and x.size])  # fmt: skip

    def quiet_words(self, chosen: tuple[int, ...]) -> np.ndarray | None:
        """The words of sweeps that take no adjoints of arguments that are only data."""
        if DOT not in self.tape.codes or len(chosen) == len(self.variables):
            return None
        if chosen not in self.words:
            spans = [
                (x.storage.slot, x.storage.slot + x.size)
                for j, x in enumerate(self.variables)
                if j not in chosen and isinstance(x, Array) and x.size
            ]
            self.words[chosen] = quiet(self.tape, spans)
        return self.words[chosen]

    def give_back(self, work: Workspace) -> None:
        if len(self.free) < 8:
            self.free.append(work)

    @property
    def all_runs(self) -> int:
        """Replays and recordings that ended on this tape, fast calls included."""
        return self.runs + self.fast_runs + sum([int(h.runs) for h in list(self.hot.values())])

    def renew(self) -> None:
        """Let the next fast calls make plans of their own."""
        with self.lock:
            for hot in {id(hot): hot for hot in self.hot.values()}.values():
                hot.refuse()
                self.retire(hot)

    def retire(self, hot: Any) -> None:
        """Fast calls no longer use this workspace; what it has counted is kept."""
        for key, known in list(self.hot.items()):
            if known is hot:
                self.hot.pop(key, None)
        self.fast_runs += hot.runs
        self.fast_instructions += hot.instructions

    def outcomes(self, stop: int) -> list[tuple[int, float]]:
        """What the guards before an instruction saw."""
        return [(g.index, g.outcome) for g in self.guards if g.index < stop]


def _loops(tape: Tape) -> list[tuple[int, Any]]:
    found = []
    if any(call.loop is not None for call in tape.calls):
        for index, *_ in tape.wide:
            chunk = tape.chunk_of(index)
            if chunk.op[index - chunk.base] == CALL:
                loop = tape.calls[tape.kind_word(index)].loop
                found += [(int(index), loop)] if loop is not None else []
    return found


Record = Callable[[], Trace]


class Program:
    """All traces of a function for arguments of one signature and one state of what it captures."""

    def __init__(self, name: str, max_tapes: int) -> None:
        self.name = name
        self.max_tapes = max_tapes
        self.traces: list[Trace] = []
        self.last: Trace | None = None
        self.watched: Captures | None = None  # objects among the arguments
        self.captures: Captures | None = None  # the state that this is for
        self.parameters: Parameters | None = None  # captured arrays that are fed
        self.inline = False  # a leaf of the user takes part: record afresh each time
        self.flips: dict[tuple[str, int], int] = {}  # by file and line
        self.lock = threading.RLock()
        self.recordings = self.replays = self.turns = self.instructions = 0

    def __repr__(self) -> str:
        return f"<Program {self.name}: {counted(len(self.traces), 'trace')}>"

    def run(
        self,
        numbers: np.ndarray,
        record: Record,
        chosen: Sequence[int] | None = None,
        begun: tuple[Trace, Workspace] | None = None,
    ) -> tuple[Trace, Workspace]:
        """Values for new inputs: the trace that Python would have recorded, and its workspace.

        `begun` is a replay of these inputs that has stopped at a guard already.
        """
        trace = self.last
        if trace is None:
            return self._recorded(record, None, 0, chosen)
        if begun is not None:
            trace, work = begun
        else:
            work = trace.borrow(chosen)
            work.set_inputs(numbers)
        start = work.swept
        self.replays += 1
        while True:
            try:
                work.forward()
                break
            except Flip as flip:
                i = flip.index
                outcome: Outcome = (float(work.arrays["v"][trace.tape.instruction(i).slots[0]]),)
            except ChangedShapeError as change:
                i, outcome = change.index, change.shapes
            self.instructions += i - start
            start = i
            trace, work = self._turned(trace, work, i, outcome, record, chosen)
            if work.swept == len(trace.tape):
                break
        self.instructions += len(trace.tape) - start
        trace.runs += 1
        self.last = trace
        return trace, work

    def _turned(
        self,
        trace: Trace,
        work: Workspace,
        i: int,
        outcome: Outcome,
        record: Record,
        chosen: Sequence[int] | None,
    ) -> tuple[Trace, Workspace]:
        """The trace that goes another way at instruction i, with the values up to there."""
        self.turns += 1
        self._count(trace, i)
        sibling = trace.siblings.get((i, outcome)) or self._find(trace, i, outcome)
        if sibling is None:
            fresh = self._recorded(record, trace, i, chosen)
            trace.give_back(work)
            return fresh
        trace.siblings[i, outcome] = sibling
        known = sibling.borrow(chosen)
        stop = trace.tape.slot_of_index(i)
        known.array("v")[:stop] = work.array("v")[:stop]
        known.swept = i
        trace.give_back(work)
        return sibling, known

    def _count(self, trace: Trace, i: int) -> None:
        guard = next((g for g in trace.guards if g.index == i), None)
        if guard is not None:
            key = guard.file, guard.line
            self.flips[key] = self.flips.get(key, 0) + 1

    def _find(self, trace: Trace, i: int, outcome: Outcome) -> Trace | None:
        """A trace with the same outcomes before instruction i, and this one there."""
        path = trace.outcomes(i)
        for other in self.traces:
            if other is not trace and other.outcomes(i) == path and _goes(other, i, outcome):
                if same_prefix(trace, other, i) and _captures_as_much(other, trace, i):
                    if _asks_the_same(trace, other, i):  # always, but for tapes from a forged file
                        return other
        return None

    def _recorded(
        self, record: Record, before: Trace | None, i: int, chosen: Sequence[int] | None
    ) -> tuple[Trace, Workspace]:
        """A new trace, which must agree with the one that sent us here up to instruction i; with
        the workspace of its recording, which nobody else may have."""
        if len(self.traces) >= self.max_tapes:
            raise TooManyTapesError(self.too_many())
        fresh = record()
        if before is not None and not same_prefix(before, fresh, i):
            raise UnstableProgramError(
                f"{self.name} was recorded twice with the same branches and gave two different "
                "programs: it depends on something else than its arguments, such as random "
                "numbers, a clock, a file or a counter; pass that as an argument"
            )
        work = fresh.borrow(chosen)
        with self.lock:
            self.recordings += 1
            self.instructions += len(fresh.tape)
            self.inline = self.inline or any(leaf is not None for _, leaf in fresh.tape.inputs)
            fresh.runs += before is None  # a replay that ends here is counted where it ends
            # What has changed meanwhile, by this recording or by another thread, may be in it or
            # not: right for this call, but nobody may find it when that state comes back.
            if self.captures is None or not self.captures.changed():
                self.traces.append(fresh)
                self.last = fresh
        return fresh, work

    def too_many(self) -> str:
        """The sentence for a function whose branches do not come to an end."""
        key = max(self.flips, key=self.flips.__getitem__, default=None)
        where = (
            f"{short(key[0])}:{key[1]} has decided otherwise {self.flips[key]} times" if key else ""
        )
        return (
            f"{self.name} keeps {len(self.traces)} tapes, one for each way its branches have gone, "
            f"and may keep no more: the comparison at {where}. Write it with nt.where(condition, "
            "a, b), which needs no branch, take what decides out of the function, or allow more "
            "with nt.function(max_tapes=...)"
        )


def short(file: str) -> str:
    """A file's path as users write it: from where they are, if it lies below."""
    here = os.path.join(os.getcwd(), "")
    return file.removeprefix(here)


def _asks_the_same(trace: Trace, other: Trace, i: int) -> bool:
    """Whether the guards in instruction i look at one slot: else two traces could send a replay to
    each other for ever."""
    one, two = trace.tape.instruction(i), other.tape.instruction(i)
    return one.name == two.name and (one.name != "guard" or one.slots == two.slots)


def _goes(trace: Trace, i: int, outcome: Outcome) -> bool:
    """Whether instruction i of a trace is a guard, or a call, with this outcome."""
    if i >= len(trace.tape):
        return False
    instruction = trace.tape.instruction(i)
    if instruction.name == "guard":
        return any(g.index == i and (g.outcome,) == outcome for g in trace.guards)
    if instruction.name != "call":
        return False
    call = trace.tape.calls[trace.tape.kind_word(i)]
    if call.loop is not None:
        return bool(call.captures_more(outcome))
    return tuple(shape for shape, _ in call.results) == outcome


def _captures_as_much(one: Trace, two: Trace, stop: int) -> bool:
    """Whether the loops before an instruction can take all the branches that another trace's can.

    The values there have come from these, and derivatives sweep the loops again.
    """
    pairs = zip(one.loops, two.loops, strict=False)
    return all(len(x.order) >= len(y.order) for (i, x), (_, y) in pairs if i < stop)


def same_prefix(one: Trace, two: Trace, stop: int) -> bool:
    """Whether two tapes do the same before instruction `stop`, their arguments aside."""
    if stop > len(two.tape):
        return False
    return one.tape.same(two.tape, one.leading[0], stop)


def input_values(leaves: list[Any], count: int) -> np.ndarray:
    """The numbers of all dynamic leaves, one behind the other: shape (slots,)."""
    numbers = np.empty(count)
    place = 0
    for x in leaves:
        if isinstance(x, np.ndarray):
            numbers[place : place + x.size] = x.ravel()
            place += x.size
        else:
            numbers[place] = x
            place += 1
    return numbers


def variables_on(tape: Recorder, leaves: list[Any], floats: list[bool]) -> list[Any]:
    """One recording value a leaf; `floats` says which are differentiated, hence no integers."""
    made: list[Any] = []
    for x, differentiated in zip(leaves, floats, strict=True):
        if isinstance(x, np.ndarray):
            dtype = np.dtype(np.float64) if differentiated and x.dtype.kind != "f" else x.dtype
            if not x.size:
                made.append(as_array(x.astype(dtype)))
                continue
            slot = tape.add_input(x.astype(np.float64).ravel())
            made.append(of_span(tape, slot, x.shape, dtype))
            continue
        slot = tape.add_input(float(x))
        kind = Result
        if not differentiated and isinstance(x, (bool, np.bool_)):
            kind = Boolean
        elif not differentiated and isinstance(x, (int, np.integer)):
            kind = Integer
        made.append(result(tape, slot, kind))
    return made
