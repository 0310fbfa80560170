"""A tape being recorded: its leaves, its lifetime, and which tape an operation goes to.

An operation goes to the tape of its operands, else to the current one of the context (threads and
asyncio tasks have their own), which is held weakly: a tape lives as long as its results do.
`backward` gives a tape up: new work starts a new one.
lifetime.py joins tapes that meet, and drops what no live result reaches.

Only tapes that may be written are *armed* (see `Tape.arm`); everything rare (a full chunk, a joined
tape, `no_grad` somewhere in the process) meets a disarmed tape, hence the slow path.  The fast path
pays nothing for any of it.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from .. import nest
from ..errors import EscapedError, UnsupportedError
from ..ops import INPUT_CODE, WIDE_CODES
from ..run import SPENT, Workspace
from ..tape import Instruction, Stats, Tape

if TYPE_CHECKING:
    from .storage import ArrayLeaf
    from .values import Leaf, Var

    AnyLeaf: TypeAlias = Leaf | ArrayLeaf

WIDE_INPUT = WIDE_CODES["wide_input"]
COMPACT_AT = 100_000  # instructions; below, dropping dead ones is not worth a scan of the heap
COMPACT_SLOTS = 1 << 24  # the same in slots, of which an array operation needs many

_current: ContextVar[weakref.ref[Recorder] | None] = ContextVar("ndtape_current", default=None)
_recording: ContextVar[bool] = ContextVar("ndtape_recording", default=True)
transform_depth: ContextVar[int] = ContextVar("ndtape_transform_depth", default=0)
_pauses = 0  # contexts inside no_grad; while there are any, no tape in the process is armed
_pause_lock = threading.Lock()
growth = threading.RLock()  # held where a tape changes in more than one step
_forget_at = [1000]
_armed: dict[int, weakref.ref[Recorder]] = {}  # by id: a WeakSet costs a new tape 1 us


class _EndedSlots(dict[object, int]):
    """Leaves of an ended tape: fast paths find none of them, so `apply` chooses the tape."""

    def __getitem__(self, token: object) -> NoReturn:
        raise KeyError


class Seed:
    """The plans that tapes have used lately, with their words packed: what a new tape begins with.

    A training step makes a new tape for the same operations; without this, it would spend more time
    on learning its plans than on recording them.
    """

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}
        self.words = np.zeros(0, np.int64)
        self.count = 0

    def learn(self, plans: Iterable[Any]) -> None:
        places, words, count = {}, [], 0
        for plan in plans:
            places[plan] = count
            words.append(plan.words)
            count += len(plan.words)
        room = np.zeros(max(count // 2, 64), np.int64)
        self.words, self.count, self.places = np.concatenate([*words, room]), count, places


MOST_PLANS = 256  # that a new tape begins with
_seed = Seed()


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
                 "any_spent", "compact_at", "compact_slots", "entered", "known_arrays",
                 "places", "traced", "scope", "results")  # fmt: skip

    def __init__(self, lines: bool = False) -> None:
        super().__init__()
        self.work = Workspace(self, owned=True)
        self.inputs: list[tuple[int, AnyLeaf | None]] = []  # slots and the leaves they stand for
        self.leaf_slots: dict[object, int] = {}  # leaf.token -> slot
        self.retained: dict[int, Any] = {}
        self.joined: tuple[Recorder, int, int] | None = (
            None  # into which, offsets in slots and pool
        )
        self.absorbed: list[Recorder] = []
        self.kept = False  # a user holds it: no instruction is ever dropped
        self.ended = False
        self.any_spent = False
        # Of the descriptors of plans, see fast.py: a new tape knows those of the last one.
        self.places: dict[Any, int] = dict(_seed.places)
        if _seed.places:
            self.words, self.mn = _seed.words.copy(), _seed.count
        self.known_arrays: dict[int, tuple[np.ndarray, int]] = {}  # large constants by id
        self.compact_at = COMPACT_AT
        self.compact_slots = COMPACT_SLOTS
        if lines or lines_wanted():
            self.keep_lines([])
        self.entered: list[weakref.ref[Recorder] | None] = []  # what was current, a `with` each
        self.traced: Any = None  # what Python has seen of its numbers, if it will be replayed
        self.scope: Any = None  # of a loop's body: what it uses from outside
        self.results: dict[str, Any] = {}  # that a file has named: slot, shape, dtype

    def arm(self) -> None:
        here = current_if_any() if _pauses == 0 else None
        if _pauses or (here is not None and here.scope is not None and here is not self):
            self.disarm()
        else:
            super().arm()
            _armed[id(self)] = weakref.ref(self)
            if len(_armed) > _forget_at[0]:
                _forget_dead()

    # --- context --------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        refuse_in_trace("`with nt.Tape()`", "the function is recorded on a tape of its own")
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

    def add_input(self, value: float | np.ndarray, leaf: AnyLeaf | None = None) -> int:
        """An input holding `value`, a number or a vector of at least one; the gradient in it goes
        to `leaf`, if there is one."""
        if isinstance(value, np.ndarray) and len(value) > 1:
            start = self.extend_pool(value)
            words = nest.descriptor(len(value), (), nest.X_CONSTANT)
            slot = push_wide(self, WIDE_INPUT, start, 0, words)
        else:
            slot = push(self, INPUT_CODE, self.constant(float(np.asarray(value).item())))
        self.inputs.append((slot, leaf))
        return slot

    def slot_of(self, leaf: AnyLeaf) -> int:
        """The first slot of a leaf, whose value is copied in at its first use."""
        known = self.leaf_slots.get(leaf.token)
        if known is not None:
            return known
        slot = self.leaf_slots[leaf.token] = self.add_input(leaf.number, leaf)
        if leaf.name:
            self.names[slot] = leaf.name
        return slot

    def end(self) -> None:
        """Stop being current: operations on leaves alone begin a new tape."""
        self.ended = True
        self.leaf_slots = _EndedSlots()
        if len(_seed.places) < len(self.places) <= MOST_PLANS:
            _seed.learn(self.places)

    # --- growth ---------------------------------------------------------------------------------

    def open_chunk(self) -> None:
        with growth:
            armed = bool(self.op)
            self.disarm()  # other threads meet the lock in `apply` until the chunk is in place
            super().open_chunk()
            if armed:
                self.arm()

    def _grow_pool(self, needed: int = 0) -> None:
        with growth:  # who copies large constants holds it, and lets other threads run
            super()._grow_pool(needed)

    def allocated(self) -> int:
        return super().allocated() + self.work.allocated()

    # --- what users ask ---

    if TYPE_CHECKING:  # installed by backward.py and lookup.py

        def __getitem__(self, key: slice | str) -> Any: ...
        def gradient(self, y: Any, xs: Any) -> Any: ...
        def tangent(self, ys: Any, xs: Any, seeds: Any = None) -> Any: ...
        def check_finite(self) -> None: ...

    # A joined tape shows what it was joined into.

    def whole(self) -> Recorder:
        return destination(self)

    def __len__(self) -> int:
        return Tape.__len__(destination(self))

    def columns(self) -> dict[str, np.ndarray]:
        return Tape.columns(destination(self))

    def instruction(self, i: int) -> Instruction:
        return Tape.instruction(destination(self), i)

    def program(self, notes: dict[int, str] | None = None, limit: int = 200) -> str:
        return Tape.program(destination(self), notes, limit)

    def stats(self) -> Stats:
        return Tape.stats(destination(self))

    def listing(self, values: bool = True, adjoints: bool = False) -> str:
        """The program with the value, and the adjoint of the last reverse sweep, of each line.

        Constants stand in the text and have no adjoint: none is kept for them.
        """
        tape = destination(self)
        if tape.traced is not None and tape.ended:  # no numbers are its own
            return tape.program()
        with tape.work.lock:
            tape.work.forward()
            v, g = tape.work.array("v"), tape.work.array("g")
        notes = {}
        for instruction in tape:
            span = slice(instruction.out, instruction.out + instruction.size)
            notes[instruction.position] = (f"  value {shown(v[span]):<16}" if values else "") + (
                f"  adjoint {shown(g[span])}" if adjoints else ""
            )
        return tape.program(notes)


def shown(numbers: np.ndarray) -> str:
    """A number, or the first few of a span."""
    few = " ".join(f"{x:.9g}" for x in numbers[:4])
    return few if len(numbers) == 1 else f"[{few}{' ...' if len(numbers) > 4 else ''}]"


def lines_wanted() -> bool:
    return _lines[0]


_lines = [False]


def record_lines(on: bool = True) -> None:
    """Let tapes begun from now on keep the source line of every operation (0.2 us each)."""
    _lines[0] = on


# --- appending ----------------------------------------------------------------------------------


def push(tape: Recorder, code: int, a: int = 0, b: int = 0, c: int = 0) -> int:
    """Append one instruction to a tape that may be full or disarmed; returns its slot."""
    if tape.ended and tape.traced is not None:
        refuse_ended(tape)
    if tape.n == tape.chunks[-1].size:
        tape.open_chunk()
    slot = tape.append(code, a, b, c)
    if tape.lines is not None:
        note_line(tape, Tape.__len__(tape) - 1)
    if not _pauses and not tape.op:
        tape.arm()
    return slot


def push_wide(tape: Recorder, code: int, a: int, b: int, words: Any, share: bool = True) -> int:
    """`push` for a wide instruction: `words` is its descriptor; returns its first slot."""
    if tape.ended and tape.traced is not None:
        refuse_ended(tape)
    if tape.n == tape.chunks[-1].size:
        tape.open_chunk()
    slot = tape.append_wide(code, a, b, words, share)
    if tape.lines is not None:
        note_line(tape, Tape.__len__(tape) - 1)
    if not _pauses and not tape.op:
        tape.arm()
    return slot


def refuse_ended(tape: Recorder) -> NoReturn:
    """A traced function has returned; its tape is being replayed and does not grow."""
    raise EscapedError(
        f"a value recorded by {tape.traced.name} was used after the function had returned; it "
        f"stands for a step of the program, not for a number: return it [{user_line()}]"
    )


INSIDE = (__name__.rpartition(".record.")[0] + ".", "numpy.", "scipy.")


def user_frame() -> Any:
    """The innermost frame outside the package, and outside of NumPy and SciPy, which call back."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(INSIDE):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """``file:line`` of the user's code that is running."""
    frame = user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def foreign_function() -> str:
    """The function of SciPy that the user's code is calling, "" for none."""
    frame, name = sys._getframe(1), ""
    while frame is not None and frame.f_globals.get("__name__", "").startswith(INSIDE):
        module = frame.f_globals["__name__"]
        if module.startswith("scipy."):
            name = f"{'.'.join(module.split('.')[:2])}.{frame.f_code.co_name}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return name


def is_spent(x: Var) -> bool:
    """Whether `backward` has walked through this value: then it is only a number."""
    resolve(x)
    if not x.tape.any_spent:
        return False
    with x.tape.work.lock:
        return bool(x.tape.work.array("mark")[x.slot] & SPENT)


def note_line(tape: Tape, index: int) -> None:
    """Remember which line of the user's code recorded an instruction."""
    assert tape.lines is not None
    frame = user_frame()
    tape.lines[index] = (frame.f_code, frame.f_lasti)


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
            if tape.kept and not tape.entered:
                tape = None  # a user's tape that has been left: only operands lead there
        if tape is None or tape.ended:
            tape = Recorder()
        _current.set(weakref.ref(tape))
    return tape


def current_if_any() -> Recorder | None:
    """The tape that operations on leaves alone go to, if there is one already."""
    reference = _current.get()
    return None if reference is None else reference()


def destination(tape: Recorder) -> Recorder:
    """Where the instructions of a joined tape are now."""
    while tape.joined is not None:
        tape = tape.joined[0]
    return tape


def resolve(x: Any) -> None:
    """Point a result, or the storage of arrays, at the tape that its own one was joined to."""
    if x.tape.joined is not None:
        with growth:  # two threads may come with the same one, which moves only once
            while x.tape.joined is not None:
                tape, offset, pool = x.tape.joined
                x.shift(tape, offset, pool)


def _forget_dead() -> None:
    for key, reference in list(_armed.items()):
        if reference() is None:
            _armed.pop(key, None)
    _forget_at[0] = max(1000, 2 * len(_armed))


def refuse_in_trace(what: str, advice: str) -> None:
    """Raise inside a traced function, whose replays would not see it."""
    tape = current_if_any()
    if tape is not None and tape.traced is not None and not tape.ended:
        raise UnsupportedError(f"{what} inside {tape.traced.name}: {advice} [{user_line()}]")


# --- no_grad ------------------------------------------------------------------------------------


class no_grad(ContextDecorator):
    """Operations inside are computed and not recorded; leaves may be updated in place.

    A context, or a decorator; derivatives taken inside by `nt.grad` are plain numbers.

    >>> import ndtape as nt
    >>> w = nt.var(2.0)
    >>> (w * w).backward()
    >>> with nt.no_grad():
    ...     w -= 0.1 * w.grad
    >>> w
    var(1.6)
    """

    def __init__(self) -> None:
        self._before: list[bool] = []  # one entry a nesting

    def __repr__(self) -> str:
        return "nt.no_grad()"

    def __enter__(self) -> None:
        refuse_in_trace("nt.no_grad", "use nt.stop_gradient(x), which a replay can follow")
        self._before.append(_recording.get())
        _recording.set(False)
        _pause(1)
        disarm_all()

    def __exit__(self, *exc: object) -> None:
        _pause(-1)
        _recording.set(self._before.pop())


def disarm_all() -> None:
    """Fast paths write to no tape, until the slow path arms it again."""
    for reference in list(_armed.values()):
        tape = reference()
        if tape is not None:
            tape.disarm()
    _armed.clear()


def _pause(change: int) -> None:
    global _pauses
    with _pause_lock:
        _pauses += change


@contextmanager
def recording_on(tape: Recorder) -> Iterator[None]:
    """Record on `tape` whatever surrounds us: the inside of a transform."""
    variables: Any = (_current, _recording, transform_depth)
    before = [variable.get() for variable in variables]
    inside = weakref.ref(tape), before[2] + 1
    try:
        _current.set(inside[0])
        _recording.set(True)
        transform_depth.set(inside[1])
        yield
    finally:
        # In one call of C code: an exception from a signal comes before all or after all.
        deque(map(ContextVar.set, variables, before), maxlen=0)
