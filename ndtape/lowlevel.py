"""`nt.lowlevel`: value and gradient of a function for compiled code, without Python between.

The tape of a traced function is swept by C functions that find everything through addresses; so it
can be called from Numba, SciPy's compiled integrators, or any C code.  A guard that flips
goes on with the sibling's tape, still without Python; a way that has not been recorded yet is
recorded by a call back into Python, which takes the GIL.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError
from .named import counted
from .run import Workspace, address
from .tape import address_of
from .traced.function import Function
from .traced.program import Slots, Trace, input_values

POINTER = ctypes.POINTER(ctypes.c_double)
VALUE_AND_GRADIENT = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, POINTER, POINTER)
NUMBER = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_void_p)
VECTOR = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, POINTER, ctypes.c_void_p)
SLOW = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
NAN = float("nan")

_pinned: set[LowLevel] = set()  # whose addresses somebody may have kept as numbers


def lowlevel(f: Callable[..., Any], example_args: Sequence[Any]) -> LowLevel:
    """The scalar function `f` and its gradient as a C function, recorded at `example_args`.

    `example_args` is a tuple with an argument of the right shape each; the C function takes all
    their numbers as one vector, in the order of `nt.ravel`, as float64.  The result has

    - ``vg(x, gradient)`` in Numba's compiled functions, where vg is a global, a closure variable
      or an argument (functions that take one compile once for all); in Python too, where
      `gradient` may be left out;
    - ``.address`` and ``.ctypes``, ``double (int64_t n, const double *x, double *gradient)``, where
      the null pointer as `gradient` asks for the value only;
    - ``.scipy("quad")`` and ``.scipy("nquad")``, `scipy.LowLevelCallable` objects of the value, for
      a function of one number, and for one of several.

    What `f` captures is fixed, as Numba fixes globals: `check()` raises where it has changed.
    An exception in a call from C (while a new branch is recorded) gives nan, in the
    gradient too, and `check()` raises it.

    Threads may call one object together: one sweeps, the others meanwhile take the slow way through
    Python; for speed give each its own.  The object must live as long as it is called: `.ctypes`
    and `.scipy` keep it alive, and where `.address` has been asked for, it is never freed.

    Raises `ArgumentError` where `f` returns no scalar, or captures recording values.

    >>> import ndtape as nt, numpy as np
    >>> vg = nt.lowlevel(lambda x: np.sum(x**3), (np.zeros(2),))
    >>> gradient = np.empty(2)
    >>> vg(np.array([1.0, 2.0]), gradient), gradient
    (9.0, array([ 3., 12.]))
    """
    return LowLevel(f, example_args)


class LowLevel:
    """Value and gradient as C functions; see `nt.lowlevel`."""

    def __init__(self, f: Callable[..., Any], example_args: Sequence[Any]) -> None:
        from . import _callbacks

        if not isinstance(example_args, (tuple, list)):
            raise ArgumentError("example_args must be a tuple with one entry for each argument")
        self.function = f if isinstance(f, Function) else Function(f)
        args = tuple(example_args)
        bound = self.function.bind(args, {}, range(len(args)))
        program = None if bound is None else self.function.program(bound)
        if program is not None and program.parameters is not None:
            # Compiled code cannot read what Python holds: captured arrays stay constants here.
            given = self.function
            self.function = Function(
                given.f, given.static_argnums, given.static_argnames, given.max_tapes
            )
            assert bound is not None
            program = self.function.program(bound)
        if bound is None or program is None:
            raise ArgumentError(
                "nt.lowlevel takes a function and arguments without recording values: there is no "
                "tape in compiled code that they could be recorded on"
            )
        self.bound, self.program = bound, program
        self.captures = self.function.captures
        self.size = bound.count
        self.lock = threading.RLock()  # of the slow path
        self.blocks: dict[Trace, Block] = {}
        self._error: BaseException | None = None
        self._thunk: Any = None
        # Weakly: an object that nobody can call any more goes at once, by its count.
        self._slow = SLOW(partial(_slow, weakref.ref(self)))
        words = np.zeros(len(_callbacks.STATE), np.uint64)
        self._words = words
        self.state = address_of(words)
        words[_callbacks.SIZE] = self.size
        words[_callbacks.SLOW] = ctypes.cast(self._slow, ctypes.c_void_p).value or 0
        words[_callbacks.ENTRY] = _callbacks.value_and_gradient.address
        numbers = input_values(bound.leaves, bound.count)
        self.evaluate(numbers)
        _registered(LowLevel)

    def __repr__(self) -> str:
        size, tapes = counted(self.size, "number"), counted(len(self.blocks), "tape")
        return f"<nt.lowlevel {self.function.name} of {size}, {tapes}>"

    # --- calls ------------------------------------------------------------------------------------

    def __call__(self, x: Any, gradient: np.ndarray | None = None) -> float:
        """The value at a vector of all arguments; the gradient is written into `gradient`."""
        x = np.ascontiguousarray(x, np.float64)
        for given in (x,) if gradient is None else (x, gradient):
            if given.shape != (self.size,):
                raise ShapeError(
                    f"{self.function.name} at low level takes vectors of shape ({self.size},), not "
                    f"{given.shape}"
                )
        if gradient is not None and not (gradient.dtype == np.float64 and gradient.flags.carray):
            raise ArgumentError("the gradient goes into a writable, contiguous array of float64")
        out = None if gradient is None else gradient.ctypes.data_as(POINTER)
        value = self._c_function()(self.size, x.ctypes.data_as(POINTER), out)
        self._raise()
        return float(value)

    def check(self) -> None:
        """Raise the first exception that a call from compiled code met since the last check, or
        `ArgumentError` where something that the function captures has changed."""
        self._raise()
        self._unchanged()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _unchanged(self) -> None:
        if self.captures is not None and self.captures.changed():
            raise ArgumentError(
                f"something that {self.function.name} captures has changed since nt.lowlevel "
                "fixed it: pass it as an argument, or call nt.lowlevel again"
            )

    # --- what it is called by ---------------------------------------------------------------------

    def _c_function(self) -> Any:
        from ._callbacks import Thunk

        if self._thunk is None:
            self._thunk = Thunk("c", self.state)
        return VALUE_AND_GRADIENT(self._thunk.address)

    @property
    def ctypes(self) -> Any:
        """The C function as ctypes calls it; it keeps this object alive."""
        function = self._c_function()
        function.owner = self
        return function

    @property
    def address(self) -> int:
        """Of the C function.  Whoever asks for a number may keep it: this object then lives on
        to the end of the process."""
        self._c_function()
        _pinned.add(self)
        return int(self._thunk.address)

    def pinned_state(self) -> int:
        """The state, for machine code that may outlive all else that is known here."""
        _pinned.add(self)
        return self.state

    def scipy(self, kind: str) -> Any:
        """The value as a `scipy.LowLevelCallable`.

        "quad": ``double (double x, void *)``, for a function of one number; "nquad":
        ``double (int n, double *x, void *)``, for `scipy.integrate.nquad`, and `quad` with `args`.
        """
        from scipy import LowLevelCallable

        from ._callbacks import thunk

        if kind not in ("quad", "nquad"):
            raise ArgumentError(f'kind is "quad" or "nquad", not {kind!r}')
        if kind == "quad" and self.size != 1:
            raise ArgumentError(
                f'"quad" is for a function of one number, and this one takes {self.size}: "nquad" '
                "passes several (to scipy.integrate.quad the others as args)"
            )
        data = ctypes.c_void_p(self.state)
        data.owner = self  # type: ignore[attr-defined]
        function: Any = NUMBER if kind == "quad" else VECTOR
        where = thunk("number" if kind == "quad" else "vector").address
        return LowLevelCallable(function(where), data)

    # --- the slow path ----------------------------------------------------------------------------

    def evaluate(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient by the program, which may record; compiled code then knows the way."""
        self._unchanged()
        with self.lock:
            here = self._current()
            if here is not None:
                self.program.last = here
            leaves, place = [], 0
            for x in self.bound.leaves:
                size = x.size if isinstance(x, np.ndarray) else 1
                part = numbers[place : place + size]
                leaves.append(part.reshape(x.shape) if isinstance(x, np.ndarray) else part.item())
                place += size
            bound = self.bound._replace(leaves=leaves)
            args = (None,) * len(bound.ranges)  # only their number is asked for
            record = partial(self.function.record, self.program, bound, args, {})
            trace, work = self.program.run(numbers, record)
            try:
                if self.program.inline:
                    raise ArgumentError(f"{self.function.name} uses recording values (nt.var)")
                root, value = root_of(trace)
                gradient = np.zeros(self.size)
                if root >= 0:
                    gradient[:] = work.gradient(root)[: self.size]
                    value = float(work.array("v")[root])
                self._adopt(trace, work)
            finally:
                trace.give_back(work)
            return value, gradient

    def _current(self) -> Trace | None:
        from ._callbacks import CURRENT

        here = int(self._words[CURRENT])
        return next((trace for trace, block in self.blocks.items() if block.address == here), None)

    def _adopt(self, trace: Trace, work: Workspace) -> None:
        """Let compiled code begin with this trace, and find it from its siblings."""
        from ._callbacks import CURRENT

        if trace not in self.blocks:
            self.blocks[trace] = Block(trace, work)
        for block in self.blocks.values():
            block.link(self.blocks)
        self._words[CURRENT] = self.blocks[trace].address


class Block:
    """The words of one trace for compiled code, with buffers of its own: the inputs that compiled
    code does not write are those of `given`, a workspace that has been swept."""

    def __init__(self, trace: Trace, given: Workspace) -> None:
        from . import _callbacks

        self.trace = trace
        tape = trace.tape
        root, value = root_of(trace)
        self.work = work = Workspace(tape)
        work.leading = trace.leading
        work._prepare(len(tape))
        inputs = trace.leading[1]
        work.array("v")[:inputs] = given.array("v")[:inputs]
        words = {
            "frame": work.frame_address, "forward": address("forward"),
            "reverse": address("reverse"), "known": trace.leading[0], "end": len(tape),
            "top": tape.index_of_slot(root) if root >= 0 else 0,
            "root": root if root >= 0 else _callbacks.NO_ROOT,
            "value": int(np.float64(value).view(np.uint64)), "slots": tape.slots, "siblings": 0,
            "count": 0,
        }  # fmt: skip
        self.words = np.array([words[name] for name in _callbacks.BLOCK], np.uint64)
        self.address = address_of(self.words)
        self.tables: list[np.ndarray] = []  # the last is in use, others may be being read

    def link(self, blocks: dict[Trace, Block]) -> None:
        """Tell where guards lead that flip."""
        from . import _callbacks

        slots = {guard.index: guard.slot for guard in self.trace.guards}
        rows = [
            [i, slots[i], int(np.float64(outcome[0]).view(np.uint64)), blocks[sibling].address,
             self.trace.tape.slot_of_index(i)]
            for (i, outcome), sibling in list(self.trace.siblings.items())
            if i in slots and sibling in blocks
        ]  # fmt: skip
        if len(rows) > int(self.words[_callbacks.COUNT]):
            # The table first, then its length: who reads meanwhile finds fewer rows, all right.
            self.tables.append(np.array(rows, np.uint64))
            self.words[_callbacks.SIBLINGS] = address_of(self.tables[-1])
            self.words[_callbacks.COUNT] = len(rows)


def root_of(trace: Trace) -> tuple[int, float]:
    """The slot of the result, or -1 and the number for a constant; raises for what is no scalar."""
    part = trace.output.single
    if isinstance(part, Slots) and part.shape in (None, ()):
        return part.start, 0.0
    if len(trace.output.parts) == 1 and part is not None and not isinstance(part, Slots):
        number = getattr(part, "value", part)
        if np.ndim(number) == 0 and np.asarray(number).dtype.kind in "fiub":
            return -1, float(number)
    raise ArgumentError("nt.lowlevel takes a function that returns a scalar")


def _slow(reference: Any, n: int, x: int, gradient: int | None) -> float:
    """What compiled code calls for a way that it does not know; no exception may leave it."""
    self = reference()
    if self is None:
        return NAN
    try:
        if n != self.size:
            raise ShapeError(
                f"{self.function.name} at low level takes {self.size} numbers, and got {n}"
            )
        value, slopes = self.evaluate(_vector(x, n).copy())
    except BaseException as error:  # KeyboardInterrupt too: C code cannot pass it on
        if self._error is None:
            self._error = error
        value, slopes = NAN, np.full(self.size, NAN)
    if gradient and n == self.size:
        _vector(gradient, n)[:] = slopes
    return value  # type: ignore[no-any-return]


def _vector(where: int, n: int) -> np.ndarray:
    """The numbers at an address."""
    return np.frombuffer((ctypes.c_double * n).from_address(where), np.float64)


def _registered(cls: type, done: list[type] = []) -> None:  # noqa: B006  once a process
    from ._callbacks import register

    if not done:
        done.append(cls)
        register(cls)
