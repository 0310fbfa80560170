"""`nt.function`: record a function once for each kind of arguments, then replay it."""

from __future__ import annotations

import inspect
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..named import called, counted
from ..passes import DEFAULT_LEVEL, Report, checked_level
from ..run import Workspace
from ..tape import Tape
from .captures import Captures
from .choosing import optimised_now
from .explain import Explanation
from .packing import Plan
from .parameters import Choice, Parameters
from .program import Program, Trace, input_values
from .recording import record
from .replay import fast_gradient, fast_value, second_order
from .signature import Bound, Static, bind

if TYPE_CHECKING:
    from ..profile import Profile

METHODS = "_ndtape_methods"
TRACED = "_ndtape_traced"
STATES_KEPT = 16  # states of what a function captures, each with its programs


class Counters(NamedTuple):
    """What a traced function has done so far; `instructions` counts those of forward sweeps."""

    recordings: int
    replays: int
    flips: int
    instructions: int


class Replay:
    """The values of a traced function at new arguments, for a transform to take sweeps over.

    `variables` are the differentiated arguments, one a leaf, and `y` the results, all on `tape`;
    `work` holds the numbers and is this caller's alone until `release`.
    """

    def __init__(self, trace: Trace, work: Workspace, chosen: list[int]) -> None:
        self.trace = trace
        self.work = work
        self.tape = trace.tape
        self.variables = [trace.variables[j] for j in chosen]
        self.y = trace.output.tree

    def numbers(self) -> Any:
        """The results as plain numbers."""
        return self.trace.output.read(self.work.arrays["v"])

    def release(self) -> None:
        """Give the workspace back: its numbers are not valid any more."""
        if self.work is not None:
            self.trace.give_back(self.work)
            self.work = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<replay of {self.tape}>" if self.work is not None else "<replay, given back>"


class Function:
    """A function that is recorded once and replayed; made by `nt.function`."""

    def __init__(
        self,
        f: Callable[..., Any],
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        max_tapes: int = 64,
        optimize: int = DEFAULT_LEVEL,
    ) -> None:
        if not callable(f):
            raise ArgumentError(f"nt.function takes a function, not {f!r:.60}")
        if any(test(f) for test in (inspect.isgeneratorfunction, inspect.iscoroutinefunction,
                                    inspect.isasyncgenfunction)):  # fmt: skip
            raise UnsupportedError(
                f"{getattr(f, '__name__', f)} is a generator or a coroutine, which returns before "
                "it has run: trace a function that returns its results"
            )
        self.f = f
        self.static_argnums = (
            (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
        )
        self.static_argnames = (
            (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
        )
        self._complete_statics()
        self.max_tapes = max_tapes
        self.level = checked_level(optimize)
        update_wrapper(self, f, updated=())
        self.name = getattr(f, "__qualname__", None) or type(f).__name__
        self.clear()

    def __repr__(self) -> str:
        return f"<nt.function {called(self.f)}: {counted(len(self.tapes), 'tape')}>"

    def __captures__(self) -> Any:
        return self.f

    @property
    def options(self) -> tuple[Any, ...]:
        """What was asked for besides the function."""
        return self.static_argnums, self.static_argnames, self.max_tapes, self.level

    def _complete_statics(self) -> None:
        """An argument named by position is also static when it comes by name, and vice versa."""
        if not (self.static_argnums or self.static_argnames):
            return
        try:
            names = list(inspect.signature(self.f).parameters)
        except (TypeError, ValueError):
            return
        by_number = [names[i] for i in self.static_argnums if -len(names) <= i < len(names)]
        by_name = [names.index(name) for name in self.static_argnames if name in names]
        numbers = [i % len(names) if -len(names) <= i < 0 else i for i in self.static_argnums]
        self.static_argnums = tuple(dict.fromkeys([*numbers, *by_name]))
        self.static_argnames = tuple(dict.fromkeys([*self.static_argnames, *by_number]))

    def clear(self) -> None:
        """Forget all tapes."""
        self.lock = threading.RLock()
        self.captures: Captures | None = None
        self.choice = Choice()  # of captured arrays that are fed, see parameters.py
        self.states: OrderedDict[Any, tuple[Captures, dict[Any, Program]]] = OrderedDict()
        self.programs: dict[Any, Program] = {}
        self.stopped: dict[int, tuple[Trace, Workspace]] = {}  # by thread, see replay.py
        self.second_plan: Plan | None = None
        self._call = fast_value(self, self._general_call)

    # --- methods ----------------------------------------------------------------------------------

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The traced method of an object: each object has tapes of its own, while it lives."""
        if instance is None:
            return self
        own = getattr(instance, "__dict__", None)
        if own is None:  # an object with slots: recorded afresh whenever its method is asked for
            return self._like(self.f.__get__(instance))
        known = own.get(METHODS)
        if known is None or known.of is not instance:  # a copied object has those of the other
            known = Methods()
            known.of = instance
            if isinstance(instance, type):  # a class method
                type.__setattr__(instance, METHODS, known)
            else:
                own[METHODS] = known
        made = known.get(self)
        if made is None:
            made = known[self] = self._like(self.f.__get__(instance))
        return made

    def _like(self, f: Callable[..., Any]) -> Function:
        """Another function with the options of this one."""
        bound = isinstance(f, types.MethodType)
        nums = (
            [i - 1 if i > 0 else i for i in self.static_argnums] if bound else self.static_argnums
        )
        return Function(f, tuple(nums), self.static_argnames, self.max_tapes, self.level)

    def __reduce__(self) -> Any:
        """Without tapes: by name where it can be imported, else by value; see files/travel.py."""
        from ..files.travel import reduced

        return reduced(self)

    def __deepcopy__(self, memo: Any) -> Function:
        return Function(deepcopy(self.f, memo), *self.options)

    def __copy__(self) -> Function:
        return Function(self.f, *self.options)

    # --- calls ------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def _general_call(self, *args: Any, **kwargs: Any) -> Any:
        found = self.evaluate(args, kwargs, ())
        if found is None:
            return self.f(*args, **kwargs)
        numbers = found.numbers()
        found.release()
        return numbers

    def gradient_function(
        self, argnums: int | Sequence[int], with_value: bool, general: Callable[..., Any]
    ) -> Callable[..., Any]:
        """`general`, a gradient of this function, with a shorter way for flat arguments."""
        return fast_gradient(self, general, argnums, with_value)

    def second_order(self, primals: tuple[Any, ...], tangents: Any) -> Any:
        """(value, gradient, Hessian times tangents) by a short way; None where there is none."""
        return second_order(self, primals, tangents)

    def evaluate(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], positions: Sequence[int]
    ) -> Replay | None:
        """Values at plain arguments, or None where the function must be recorded afresh: among
        the arguments, or among what it captures, is a recording value."""
        bound = self.bind(args, kwargs, positions)
        if bound is None:
            return None
        program, bound = self.found(bound)
        if program is None:
            return None
        numbers = input_values(bound.leaves, bound.count)
        chosen = [j for i in positions for j in range(*bound.ranges[i])]
        recorded = partial(self.record, program, bound, args, kwargs)
        begun = self._begun(program, numbers)
        try:
            trace, work = program.run(numbers, recorded, chosen or None, begun)
        except Exception:
            if program.parameters is None:
                raise
            again = partial(self.evaluate, args, kwargs, positions)
            return self.without(program.parameters, again)  # type: ignore[no-any-return]
        if program.inline:
            trace.give_back(work)
            return None
        return Replay(trace, work, chosen)

    def _begun(self, program: Program, numbers: np.ndarray) -> tuple[Trace, Workspace] | None:
        """What a fast call of this thread has left when it stopped at a guard."""
        if not self.stopped:
            return None
        begun = self.stopped.pop(threading.get_ident(), None)
        if begun is None or begun[0] not in program.traces:
            return None
        known = begun[1].array("v")[: len(numbers)]
        return begun if np.array_equal(known, numbers) else None

    def found(self, bound: Bound) -> tuple[Program | None, Bound]:
        """The program for a call, and the arguments with the captured arrays that it is fed."""
        while True:
            program = self.program(bound)
            if program is None or program.parameters is None:
                return program, bound
            arrays = program.parameters.arrays()
            if arrays is not None:  # else another thread has changed their shapes
                return program, bound.followed_by(arrays)

    def without(self, parameters: Parameters, again: Callable[[], Any]) -> Any:
        """`again()` with captured arrays compared that have been fed: it has failed with them.

        For good, unless it fails again: then they were not the reason.
        """
        with self.lock:
            before = self.choice.copy()
            self.choice.refuse(parameters)
            self._look_again(None)
        try:
            return again()
        except Exception:
            with self.lock:
                self.choice = before
                self._look_again(None)
            raise

    def program(self, bound: Bound) -> Program | None:
        """The tapes for a signature and for what the function captures now."""
        captures = self.captures
        if captures is None or captures.changed():
            with self.lock:
                captures = self._look_again(captures)
        if captures.recording:
            return None
        programs = captures.programs
        program = programs.get(bound.signature)
        if program is None or (program.watched is not None and program.watched.changed()):
            program = Program(self.name, self.max_tapes)
            program.captures, program.parameters = captures, captures.parameters
            programs[bound.signature] = program
            objects = [k.value for k in bound.signature[1] if isinstance(k, Static) and k.watched]
            if objects:
                program.watched = Captures(objects, captures.names)
                program.inline = program.watched.recording
        return None if program.inline else program

    def _look_again(self, old: Captures | None) -> Captures:
        """What is captured has changed (or was not known): the programs for its state."""
        captures = Captures(self.f)
        self.choice.apply(old, captures)
        known = self.states.get(captures.token)
        if known is None:
            known = self.states[captures.token] = captures, {}
            while len(self.states) > STATES_KEPT:
                self.states.popitem(last=False)
        else:
            self.states.move_to_end(captures.token)
            self.states[captures.token] = known = captures, known[1]
        captures.programs = self.programs = known[1]
        self.captures = captures
        return captures

    # --- arguments --------------------------------------------------------------------------------

    def bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], positions: Sequence[int]
    ) -> Bound | None:
        """Arguments taken apart; None where one of them is a recording value."""
        return bind(args, kwargs, positions, self.static_argnums, self.static_argnames)

    def record(
        self, program: Program, bound: Bound, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace:
        """A new recording for these arguments."""
        return record(self.f, program, self.captures, bound, args, kwargs)

    # --- what users ask ---------------------------------------------------------------------------

    def all_programs(self) -> list[Program]:
        """For all signatures and states of what is captured."""
        return [p for _, programs in list(self.states.values()) for p in list(programs.values())]

    @property
    def tapes(self) -> list[Tape]:
        """The tapes recorded so far, for all signatures."""
        return [trace.tape for program in self.all_programs() for trace in program.traces]

    @property
    def counters(self) -> Counters:
        """Recordings, replays, flips of guards, and forward instructions executed."""
        programs = self.all_programs()
        hot = [h for p in programs for t in p.traces for h in list(t.hot.values())]
        return Counters(
            sum(p.recordings for p in programs),
            sum(p.replays + sum(t.fast_runs for t in p.traces) for p in programs)
            + sum(h.runs for h in hot),
            sum(p.turns for p in programs),
            sum(p.instructions + sum(t.fast_instructions for t in p.traces) for p in programs)
            + sum(h.instructions for h in hot),
        )

    def optimize(self, level: int = DEFAULT_LEVEL) -> Report:
        """Send all tapes through the passes of a level now, and those to come when it pays.

        Level 0 replays what was recorded; 1 keeps every bit of values and gradients; 2, the
        default, also adds up products and adjoints in another order; 3 takes numbers for real
        ones (``x * 0`` is 0, ``x / 3`` is ``x * (1 / 3)``).  Returns a report to print: for values
        and for the gradient of each tape, what each pass has left and how long it took.  Loops
        (`nt.scan`) go through the passes with the tape that they are on.  Raises `ArgumentError`
        for another level.

        >>> import ndtape as nt
        >>> @nt.function
        ... def f(x):
        ...     return nt.sin(x * 2.0 * 0.5) + 0.0 * 1.0
        >>> f(1.0) == nt.sin(1.0)
        True
        >>> report = f.optimize()
        >>> report[0].before.instructions, f(1.0) == nt.sin(1.0)
        (5, True)
        """
        self.level = checked_level(level)
        traces = [trace for program in self.all_programs() for trace in program.traces]
        return Report([part for trace in traces for part in optimised_now(trace, level, self.name)])

    def save(self, path: Any) -> None:
        """Write what has been recorded to a file, from which `nt.load` makes a function again.

        `path` is a file's name or a binary file.  The file has the tapes of all signatures and of
        all branches that calls have gone, with what the function captures now, and no code: the
        loaded function needs no Python of the user's, and goes those ways only.  Raises
        `TapeFileError` where nothing has been recorded, and for what another process cannot know:
        arguments known by identity, primitives without a name, Python's own functions.

        >>> import io, ndtape as nt
        >>> f, file = nt.function(lambda x: x * x if x > 0 else -x), io.BytesIO()
        >>> f(3.0), f(-3.0)
        (9.0, 3.0)
        >>> f.save(file)
        >>> g = nt.load(file)
        >>> g(4.0), nt.grad(g)(-2.0)
        (16.0, -1.0)
        """
        from .. import files

        files.save(self, path)

    def profile(self, *args: Any, argnums: int | Sequence[int] = 0, **kwargs: Any) -> Profile:
        """Where the time of value and gradient at these arguments goes, and the memory.

        The function is recorded once more, with its source lines, and goes through the passes of
        its level; what steady replays sweep is profiled, see `Tape.profile`.  The result also has
        `call`, the seconds of a whole call, and `outside`, the share of it that is spent outside
        the sweeps.  `argnums` are those of `nt.grad`.  Raises `ArgumentError` for a function that
        returns no number, or that captures recording values.

        >>> import ndtape as nt
        >>> @nt.function
        ... def f(x):
        ...     return nt.sin(x) * x
        >>> profile = f.profile(2.0)
        >>> 0 < profile.outside < 1, sorted(row.op for row in profile.rows if row.count)
        (True, ['input', 'multiply', 'sin'])
        """
        from ..profile import profile_function

        return profile_function(self, args, kwargs, argnums)

    def explain(self) -> Explanation:
        """Why there are as many tapes as there are: print it."""
        return Explanation(self.name, self.states.values(), self.captures)


class Methods(dict[Any, Function]):
    """The traced methods of an object, in its `__dict__`: they live as long as it does.

    A copy of the object has none yet, and a pickle holds none.
    """

    of: Any = None  # the object; of a copy that was pickled or copied, nobody

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Methods, ()

    def __deepcopy__(self, memo: Any) -> Methods:
        return Methods()


def function(
    f: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    max_tapes: int = 64,
    optimize: int = DEFAULT_LEVEL,
) -> Any:
    """Decorator: record `f` once for each kind of arguments, then replay it without Python.

    The result is called like `f`, and transforms take it: ``nt.grad(nt.function(f))`` replays
    value and gradient.  A tape is recorded for each *signature*: structure, shapes and dtypes of
    the arguments, values of the static ones (`static_argnums`, `static_argnames`, and whatever is
    no number), and what `f` reads from outside: closures, globals, defaults, attributes.  When one
    of these changes, `f` is recorded again; an old number is never used.  Captured arrays that have
    changed once become inputs, whose numbers are read at each call, where `f` allows it.

    Where Python looks at a number (`if`, `while`, an index), the recording depends on it: it is a
    *guard*, and a replay that would go another way changes to the tape of that way, or records
    it.  `max_tapes` limits the tapes of a signature: `TooManyTapesError` names the comparison.

    A tape that is replayed for long goes through passes that make it faster; `optimize` is their
    level, 0 to 3, see `Function.optimize` and docs/passes.md.

    Arguments are floats, integers, booleans and arrays in containers; results are fresh
    numbers and arrays.  `f` should not have side effects: they happen when it is recorded, not
    when it is replayed, and writes into array arguments are not seen by the caller.  Called with
    recording values (inside a transform, or with `nt.var`), `f` runs as it is.

    Raises `GradientLostError` where a value is turned into a plain number (`float(x)`, `x.value`),
    `EscapedError` where one is used after `f` has returned, `UnstableProgramError` where `f`
    draws random numbers.

    >>> import ndtape as nt
    >>> @nt.function
    ... def f(x, n):
    ...     y = 1.0
    ...     for _ in range(n):
    ...         y = y * x if y < 10.0 else y + x
    ...     return y
    >>> f(2.0, 6)
    20.0
    >>> nt.grad(f)(2.0, 6)
    34.0
    >>> f(3.0, 6), len(f.tapes)
    (36.0, 2)
    """
    if f is None:
        return partial(
            Function,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            max_tapes=max_tapes,
            optimize=optimize,
        )
    made = Function(f, static_argnums, static_argnames, max_tapes, optimize)
    if not isinstance(f, types.FunctionType):
        return made
    # `nt.grad(nt.function(f))` in a loop finds its tapes again: they belong to f.  Kept by f, so
    # that both die together; a decorator that copies attributes must not make them another's.
    known = f.__dict__.setdefault(TRACED, {})
    found = known.get(made.options)
    if found is None or found.f is not f:
        known = f.__dict__[TRACED] = dict(known) if found is None else {}
        found = known[made.options] = made
    return found
