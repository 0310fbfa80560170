"""A tape being recorded: its leaves, its lifetime, and which tape an operation goes to.

An operation goes to the tape of its operands, else to the current one of the context (threads and
asyncio tasks have their own), which is held weakly: a tape lives as long as its results do.
Tapes that meet in an operation are joined.  `backward` gives a tape up: new work starts a new one.
A long tape first drops what no live result reaches, so that a loop that only reads its losses
runs in constant memory.

Only tapes that may be written are *armed* (see `Tape.arm`); everything rare (a full chunk, a joined
tape, `no_grad` somewhere in the process) meets a disarmed tape, hence the slow path.  The fast path
pays nothing for any of it.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ops import INPUT_CODE
from ..passes import rearranged
from ..run import REACHED, SPENT, Workspace
from ..tape import Chunk, Stats, Tape

if TYPE_CHECKING:
    from .values import Leaf, Var

COMPACT_AT = 100_000  # instructions; below, dropping dead ones is not worth a scan of the heap

_current: ContextVar[weakref.ref[Recorder] | None] = ContextVar("ndtape_current", default=None)
_recording: ContextVar[bool] = ContextVar("ndtape_recording", default=True)
transform_depth: ContextVar[int] = ContextVar("ndtape_transform_depth", default=0)
_pauses = 0  # contexts inside no_grad; while there are any, no tape in the process is armed
_pause_lock = threading.Lock()
_armed: dict[int, weakref.ref[Recorder]] = {}  # by id: a WeakSet costs a new tape 1 us


class Recorder(Tape):
    """A `Tape` that grows from operations on recording values.

    Use it as a context to choose the tape that operations on leaves go to, to look at the program,
    and to take several gradients of it.  `lines=True` records the source line of each operation.

    >>> import ndtape as nt
    >>> x, w = nt.var(3.0, name="x"), nt.var(2.0, name="w")
    >>> with nt.Tape() as tape:
    ...     y = x * x * w
    >>> tape.gradient(y, [x, w])
    [12.0, 9.0]
    >>> tape.gradient(y, x)
    12.0
    """

    __slots__ = ("work", "inputs", "leaf_slots", "retained", "joined", "absorbed", "kept", "ended",
                 "any_spent", "compact_at", "entered")  # fmt: skip

    def __init__(self, lines: bool = False) -> None:
        super().__init__()
        self.work = Workspace(self, owned=True)
        self.inputs: list[tuple[int, Leaf | None]] = []  # slots and the leaves they stand for
        self.leaf_slots: dict[object, int] = {}  # leaf.token -> slot
        self.retained: dict[int, float | None] = {}
        self.joined: tuple[Recorder, int] | None = None  # where the instructions went, and offset
        self.absorbed: list[Recorder] = []
        self.kept = False  # a user holds it: no instruction is ever dropped
        self.ended = False
        self.any_spent = False
        self.compact_at = COMPACT_AT
        self.lines = {} if lines or lines_wanted() else None
        self.entered: list[weakref.ref[Recorder] | None] = []  # what was current, a `with` each

    def arm(self) -> None:
        if _pauses:
            self.disarm()
        else:
            super().arm()
            _armed[id(self)] = weakref.ref(self)
            if len(_armed) > 1000:
                _forget_dead()

    # --- context --------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        self.kept = True
        self.entered.append(_current.get())
        _current.set(weakref.ref(self))
        return self

    def __exit__(self, *exc: object) -> None:
        previous = self.entered.pop()
        here = _current.get()
        if here is not None and here() is self:  # a generator may leave in another order
            _current.set(previous)

    # --- inputs ---------------------------------------------------------------------------------

    def add_input(self, value: float, leaf: Leaf | None = None) -> int:
        """An input holding `value`; the gradient in it goes to `leaf`, if there is one."""
        slot = push(self, INPUT_CODE, self.constant(value))
        self.inputs.append((slot, leaf))
        return slot

    def slot_of(self, leaf: Leaf) -> int:
        """The slot of a leaf, whose value is copied in at its first use."""
        slot = self.leaf_slots.get(leaf.token)
        if slot is None:
            slot = self.leaf_slots[leaf.token] = self.add_input(leaf.number, leaf)
            if leaf.name:
                self.names[slot] = leaf.name
        return slot

    # --- growth ---------------------------------------------------------------------------------

    def open_chunk(self) -> None:
        super().open_chunk()
        self.arm()

    def make_room(self) -> None:
        """Before an operation reads its slots: drop dead instructions, or grow, when full.

        Only here: in the middle of an operation the numbers of its slots must not change.
        """
        if self.n == self.chunks[-1].size:
            if len(self) >= self.compact_at and not self.kept and not transform_depth.get():
                compact(self)
            else:
                self.open_chunk()

    def allocated(self) -> int:
        return super().allocated() + self.work.allocated()

    # --- what users ask -------------------------------------------------------------------------

    def gradient(self, y: Var, xs: Any) -> Any:
        """Derivatives of the scalar y with respect to xs, which stay usable: nothing is spent.

        `xs` is a value or a list of values, leaves or intermediate results; the answer is a float
        or a list of floats, 0.0 where y does not depend on x.  Raises `ArgumentError` if y, or an
        x, is not a recording value.
        """
        from .backward import gradient

        return gradient(y, xs)

    def check_finite(self) -> None:
        """Raise `NonFiniteError` naming the first value, or adjoint, that is nan or infinite.

        Values are looked at in order of execution, adjoints (of the last reverse sweep) backwards,
        so that the report names the cause and not its consequences.  Source lines are part of it
        where the tape records them: ``nt.Tape(lines=True)``.
        """
        from .backward import check_finite

        check_finite(destination(self))

    def program(self, notes: dict[int, str] | None = None, limit: int = 200) -> str:
        return Tape.program(destination(self), notes, limit)

    def stats(self) -> Stats:
        return Tape.stats(destination(self))

    def __getitem__(self, key: slice) -> Tape:
        return Tape.__getitem__(destination(self), key)

    def listing(self, values: bool = True, adjoints: bool = False) -> str:
        """The program with the value, and the adjoint of the last reverse sweep, of each line.

        Constants stand in the text and have no adjoint: none is kept for them.
        """
        tape = destination(self)
        tape.work.forward()
        v, g = tape.work.array("v"), tape.work.array("g")
        notes = {
            i: (f"  v = {v[i]:<14.9g}" if values else "")
            + (f"  g = {g[i]:.9g}" if adjoints else "")
            for i in range(len(tape))
        }
        return tape.program(notes)


def lines_wanted() -> bool:
    return _lines[0]


_lines = [False]


def record_lines(on: bool = True) -> None:
    """Let tapes begun from now on keep the source line of every operation (+70 ns each)."""
    _lines[0] = on


# --- appending ----------------------------------------------------------------------------------


def push(tape: Recorder, code: int, a: int = 0, b: int = 0, c: int = 0) -> int:
    """Append one instruction to a tape that may be full or disarmed; returns its slot."""
    if tape.n == tape.chunks[-1].size:
        tape.open_chunk()
    slot = tape.append(code, a, b, c)
    if tape.lines is not None:
        note_line(tape, slot)
    if not _pauses and not tape.op:
        tape.arm()
    return slot


PACKAGE = __name__.rpartition(".record.")[0] + "."


def user_frame() -> Any:
    """The innermost frame outside the package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(PACKAGE):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """``file:line`` of the user's code that is running."""
    frame = user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def is_spent(x: Var) -> bool:
    """Whether `backward` has walked through this value: then it is only a number."""
    resolve(x)
    return x.tape.any_spent and bool(x.tape.work.array("mark")[x.slot] & SPENT)


def note_line(tape: Tape, slot: int) -> None:
    """Remember which line of the user's code recorded an instruction."""
    assert tape.lines is not None
    frame = user_frame()
    tape.lines[slot] = (frame.f_code, frame.f_lasti)


# --- which tape ---------------------------------------------------------------------------------


def recording() -> bool:
    """Whether operations are recorded here: not inside `no_grad`."""
    return not _pauses or _recording.get()


def current() -> Recorder:
    """The tape for operations on leaves alone, made when there is none."""
    reference = _current.get()
    tape = reference() if reference is not None else None
    if tape is None or tape.ended or tape.joined is not None:
        if tape is not None and tape.joined is not None:
            tape = destination(tape)
        if tape is None or tape.ended:
            tape = Recorder()
        _current.set(weakref.ref(tape))
    return tape


def destination(tape: Recorder) -> Recorder:
    """Where the instructions of a joined tape are now."""
    while tape.joined is not None:
        tape = tape.joined[0]
    return tape


def resolve(x: Var) -> None:
    """Point a result at the tape that its own one was joined to."""
    while x.tape.joined is not None:
        tape, offset = x.tape.joined
        x.slot += offset
        x.tape = tape


def common_tape(results: Iterable[Var]) -> Recorder:
    """The tape of the operands, joined if there are several; the current one if there is none."""
    tape: Recorder | None = None
    operands = list(results)
    for x in operands:
        resolve(x)
        if tape is None:
            tape = x.tape
        elif x.tape is not tape:
            tape = join(tape, x.tape)
    for x in operands:  # a join moves those seen before it, too
        resolve(x)
    return current() if tape is None else tape


def join(one: Recorder, other: Recorder) -> Recorder:
    """Append the shorter tape to the longer one; results of both stay valid."""
    if (other.kept, len(other)) > (one.kept, len(one)):
        one, other = other, one
    one.work.forward()
    other.work.forward()
    offset, n = len(one), len(other)
    columns = shifted(other.columns(), offset, one.kn)
    one.extend(columns)
    one.extend_pool(columns["k"])
    for name in ("v", "mark"):
        one.work.array(name)[offset : offset + n] = other.work.array(name)[:n]
    one.work.swept = len(one)
    one.work.lay_out()
    one.inputs += [(slot + offset, leaf) for slot, leaf in other.inputs]
    for token, slot in other.leaf_slots.items():
        one.leaf_slots.setdefault(token, slot + offset)
    one.retained |= {slot + offset: grad for slot, grad in other.retained.items()}
    one.names |= {slot + offset: name for slot, name in other.names.items()}
    if one.lines is not None and other.lines is not None:
        one.lines |= {slot + offset: line for slot, line in other.lines.items()}
    one.any_spent |= other.any_spent
    one.absorbed += [other, *other.absorbed]
    one.arm()
    _retire(other, one, offset)
    return one


def _retire(tape: Recorder, into: Recorder, offset: int) -> None:
    tape.joined = (into, offset)
    tape.chunks, tape.base, tape.n = [Chunk(0, 1)], 0, 0
    tape.inputs, tape.leaf_slots, tape.absorbed = [], {}, []
    tape.work = into.work
    tape.disarm()


def shifted(columns: dict[str, np.ndarray], slots: int, constants: int) -> dict[str, np.ndarray]:
    """Columns whose slots and constants count from further on."""
    from ..tape import CONSTANT_MASK, SLOT_MASK

    op = columns["op"]
    result = {"op": op, "k": columns["k"]}
    for j, name in enumerate("abc"):
        shift = SLOT_MASK[op, j] * np.uint32(slots) + CONSTANT_MASK[op, j] * np.uint32(constants)
        result[name] = columns[name] + shift.astype(np.uint32)
    return result


# --- dropping dead instructions -----------------------------------------------------------------


def live_results(tape: Recorder) -> list[Var]:
    """Every result object on a tape, found through the garbage collector's references.

    Rejected: a registry of weak references, which costs each operation more than recording it.
    """
    from .values import Var

    owners = [tape, *tape.absorbed]
    found = {id(x): x for x in gc.get_referrers(*owners) if isinstance(x, Var)}
    results = [x for x in found.values() if x.tape in owners]
    for x in results:
        resolve(x)
    return results


def compact(tape: Recorder) -> None:
    """Keep only what live results depend on; a spent result keeps its value and nothing else."""
    if gc.get_freeze_count():  # frozen objects are invisible to the collector
        return
    work = tape.work
    with work.lock:
        work.forward()
        results = live_results(tape)
        slots = np.array([x.slot for x in results], np.int64)
        mark = work.reach(slots) if len(slots) else work.array("mark")
        order = np.flatnonzero(mark[: len(tape)] & REACHED) if len(slots) else slots
        columns = tape.columns()
        spent = np.flatnonzero(mark[: len(tape)] & SPENT)
        values = work.array("v")[: len(tape)].copy()
        _forget_operands(columns, spent, values)
        fresh, new_slot = rearranged(columns, order)
        marks = mark[order] & SPENT
        _replace(tape, fresh, new_slot, results)
        tape.work.array("v")[: len(order)] = values[order]
        tape.work.array("mark")[: len(order)] = marks
        tape.work.swept = len(order)


def _forget_operands(columns: dict[str, np.ndarray], spent: np.ndarray, values: np.ndarray) -> None:
    """Turn spent instructions into inputs that hold their value."""
    for name in ("op", "a"):
        columns[name] = columns[name].copy()
    columns["a"][spent] = len(columns["k"]) + np.arange(len(spent), dtype=np.uint32)
    columns["op"][spent] = INPUT_CODE
    columns["k"] = np.concatenate([columns["k"], values[spent]])


def _replace(
    tape: Recorder, columns: dict[str, np.ndarray], new_slot: np.ndarray, results: list[Var]
) -> None:
    """Give a tape other instructions, and everything that names a slot the new number."""

    def kept(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        return ((int(new_slot[slot]), item) for slot, item in items if new_slot[slot] >= 0)

    count = len(columns["op"])
    tape.chunks = [Chunk(0, max(count + count // 2, COMPACT_AT))]
    tape.base = tape.n = tape.kn = 0
    tape.constants = np.empty(max(len(columns["k"]), 16))
    tape.k = memoryview(tape.constants)
    tape.extend(columns)
    tape.extend_pool(columns["k"])
    tape.work = Workspace(tape, owned=True)
    for x in results:
        x.slot = int(new_slot[x.slot])
    tape.inputs = list(kept(tape.inputs))
    tape.leaf_slots = {
        token: int(new_slot[s]) for token, s in tape.leaf_slots.items() if new_slot[s] >= 0
    }
    tape.retained = dict(kept(tape.retained.items()))
    tape.names = dict(kept(tape.names.items()))
    if tape.lines is not None:
        tape.lines = dict(kept(tape.lines.items()))
    tape.compact_at = max(COMPACT_AT, 2 * count)
    tape.arm()


def _forget_dead() -> None:
    for key, reference in list(_armed.items()):
        if reference() is None:
            _armed.pop(key, None)


# --- no_grad ------------------------------------------------------------------------------------


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are computed and not recorded; leaves may be updated in place.

    >>> import ndtape as nt
    >>> w = nt.var(2.0)
    >>> (w * w).backward()
    >>> with nt.no_grad():
    ...     w -= 0.1 * w.grad
    >>> w
    var(1.6)
    """
    before = _recording.get()
    _recording.set(False)
    _pause(1)
    for reference in list(_armed.values()):
        tape = reference()
        if tape is not None:
            tape.disarm()
    _armed.clear()
    try:
        yield
    finally:
        _pause(-1)
        _recording.set(before)


def _pause(change: int) -> None:
    global _pauses
    with _pause_lock:
        _pauses += change


@contextmanager
def recording_on(tape: Recorder) -> Iterator[None]:
    """Record on `tape` whatever surrounds us: the inside of a transform."""
    tokens = _current.get(), _recording.get()
    depth = transform_depth.get()
    _current.set(weakref.ref(tape))
    _recording.set(True)
    transform_depth.set(depth + 1)
    try:
        yield
    finally:
        _current.set(tokens[0])
        _recording.set(tokens[1])
        transform_depth.set(depth)
