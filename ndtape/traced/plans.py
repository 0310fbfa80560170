"""Plans: what a fast call of a traced function needs to know, prepared once.

A plan is a vector of words (ops.PLAN: addresses of sweeps and frame, where inputs and results lie)
for the compiled calls of _jit, and the knowledge of how arguments become a vector and a vector
becomes a gradient: for one array, for floats, for trees of both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import is_
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import nest
from ..ops import FLIPPED, PLAN, PLAN_LIMIT, WIDE_CODES
from ..passes import Goal, Optimisation, OptimisedTape, Step
from ..record.arrays import FLOAT64, LARGEST_WHOLE, Array, normal
from ..run import COLUMNS, Workspace, address, entry
from ..tape import Tape, address_of
from ..trees import flatten, order_of, unflatten
from . import lean as policy
from .lean import lean, optimise_loops, output_slots, output_span
from .pieces import Pieces
from .program import Slots, Trace

if TYPE_CHECKING:
    from .function import Function
    from .parameters import Parameters
    from .signature import Bound

ndarray, empty, concatenate = np.ndarray, np.empty, np.concatenate
FLOATS = {float, np.float64}  # the second is a subclass of the first
RUNS, COUNT, FIRST, INPUTS = (PLAN.index(name) for name in ("runs", "count", "first", "inputs"))
NEVER = (1 << 64) - 1
DOT = WIDE_CODES["dot"]
NO_LIMIT = 1 << 40  # steps of a loop in a fast call, which is short: see `fits`
LONGEST_CALL = 0.01  # seconds
PRODUCT = 0.03  # of the time of another operation: one of a sum of products
KERNEL = 20.0  # operations that a kernel's call costs
TIMED_CALLS, TIMED_SECONDS = 16, 1e-4
SLOWER = 1.01  # of the time before: what has been optimised and takes longer is not used
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


class Plan:
    """What a fast call looks at; `pack` and `unpack` know how the arguments lie."""

    shape: Any = ()  # of a single array: the shortest way, which needs neither
    reader: Any = None  # of values: from the numbers to the results

    def __init__(self, function: Function, hot: Hot, words: np.ndarray, bound: Bound) -> None:
        self.hot = hot
        self.words = words  # alive as long as its address is used
        self.address = address_of(words)
        self.run = hot.replay(words)
        self.captures: Any = None  # as `plan_for` has found them
        self.changed: Any = None
        self.count = int(words[COUNT])
        self.bound = bound

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        """The inputs as a vector; None where the arguments are not those of the plan."""
        raise NotImplementedError

    def direction(self, tangents: tuple[Any, ...]) -> np.ndarray | None:
        """Tangents of the inputs as a vector."""
        return self.pack(tangents, {})

    def unpack(self, numbers: np.ndarray) -> Any:
        """Adjoints of the differentiated arguments, one entry an argument."""
        raise NotImplementedError


class OneArray(Plan):
    def __init__(self, function: Function, hot: Hot, words: np.ndarray, bound: Bound) -> None:
        super().__init__(function, hot, words, bound)
        self.shape = bound.leaves[0].shape

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        x = args[0] if len(args) == 1 and not kwargs else None
        if x.__class__ is not ndarray or x.dtype is not FLOAT64 or x.shape != self.shape:
            return None
        return x if x.ndim == 1 else x.ravel()

    def unpack(self, numbers: np.ndarray) -> Any:
        return (numbers.reshape(self.shape),)


class Floats(Plan):
    def __init__(
        self, function: Function, hot: Hot, words: np.ndarray, bound: Bound, positions: Any
    ) -> None:
        super().__init__(function, hot, words, bound)
        self.inputs = len(bound.leaves)
        first = min(positions, default=0)
        self.positions = [i - first for i in positions]

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        if len(args) != self.inputs or kwargs:
            return None
        for x in args:
            if x.__class__ is not float:
                return None
        return np.array(args)

    def unpack(self, numbers: np.ndarray) -> Any:
        partials = numbers.tolist()
        return [partials[i] for i in self.positions]


class Group(NamedTuple):
    """One argument of a plan: its structure, and where the numbers of its leaves lie."""

    structure: Any  # None for a number or an array
    leaves: list[tuple[type, Any, Any, int, int]]  # class, shape, dtype, first and end
    start: int
    stop: int
    floats: bool  # all leaves are floats
    order: Any  # of the keys of dicts
    flat: type | None  # tuple or list, where its elements are the leaves

    def parts(self, tree: Any) -> Any:
        """The leaves of a tree; None where it has another structure."""
        if self.structure is None:
            return [tree]
        if self.flat is not None:  # the classes of leaves, which are looked at anyway, say the rest
            same = tree.__class__ is self.flat and len(tree) == len(self.leaves)  # type: ignore
            return tree if same else None
        parts, found = flatten(tree)
        if found != self.structure or (self.order is not None and order_of(tree) != self.order):
            return None
        return parts


class Trees(Plan):
    def __init__(
        self, function: Function, hot: Hot, words: np.ndarray, bound: Bound, positions: Any,
        args: tuple[Any, ...], kwargs: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(function, hot, words, bound)
        self.first = int(words[FIRST])
        self.positions = positions
        self.groups: list[Group] = []
        place = 0
        ordered = iter(bound.signature[2])
        trees = zip(bound.structures, bound.ranges, [*args, kwargs], strict=False)
        for structure, (lo, hi), tree in trees:
            leaves, start = [], place
            for x in bound.leaves[lo:hi]:
                size = getattr(x, "size", 1)
                shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
                leaves.append((x.__class__, shape, dtype, place, place + size))
                place += size
            order = None if structure is None else next(ordered)
            floats = all(leaf[0] in FLOATS for leaf in leaves)
            flat = tree.__class__ if _is_flat(tree, bound.leaves[lo:hi]) else None
            self.groups.append(Group(structure, leaves, start, place, floats, order, flat))
        self.inputs = place
        leaves = [leaf for group in self.groups for leaf in group.leaves]
        self.arrays = all(cls is ndarray and dtype is FLOAT64 for cls, _, dtype, *_ in leaves)
        self.pieces = [
            [(leaf[1], leaf[3] - self.first, leaf[4] - self.first) for leaf in group.leaves]
            for group in self.groups
        ]
        self.shapes = [[leaf[1] for leaf in group.leaves] for group in self.groups]

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        given = (*args, kwargs) if kwargs else args
        if len(given) != len(self.groups):
            return None
        if self.arrays:
            return self._joined(given)
        numbers = empty(self.inputs)
        for tree, group in zip(given, self.groups, strict=True):
            parts = group.parts(tree)
            if parts is None:
                return None
            if group.floats:
                if not FLOATS.issuperset(map(type, parts)):
                    return None
                numbers[group.start : group.stop] = parts
            elif not _packed(numbers, parts, group.leaves):
                return None
        return numbers

    def _joined(self, given: tuple[Any, ...]) -> np.ndarray | None:
        """`pack` where all leaves are arrays of float64: one call instead of one a leaf."""
        flat = []
        for tree, group, shapes in zip(given, self.groups, self.shapes, strict=True):
            parts = (tree,) if group.structure is None else group.parts(tree)
            if parts is None:
                return None
            for x, shape in zip(parts, shapes, strict=True):
                if x.__class__ is not ndarray or x.dtype is not FLOAT64 or x.shape != shape:
                    return None
                flat.append(x.ravel())
        return concatenate(flat)

    def unpack(self, numbers: np.ndarray) -> Any:
        answer = []
        for i in self.positions:
            group = self.groups[i]
            if self.arrays:
                parts = [numbers[i:j].reshape(shape) for shape, i, j in self.pieces[i]]
            elif group.floats:
                parts = numbers[group.start - self.first : group.stop - self.first].tolist()
            else:
                parts = [self._part(numbers, leaf) for leaf in group.leaves]
            if group.flat is not None:
                answer.append(group.flat(parts))
            else:
                structure = group.structure
                answer.append(parts[0] if structure is None else unflatten(structure, parts))
        return answer

    def _part(self, numbers: np.ndarray, leaf: tuple[type, Any, Any, int, int]) -> Any:
        _, shape, dtype, start, stop = leaf
        part = numbers[start - self.first : stop - self.first]
        if shape is None:
            return part.item()
        part.shape = shape
        return part if dtype is FLOAT64 or dtype.kind != "f" else part.astype(dtype, copy=False)


class Fed(Plan):
    """A plan whose inputs go on with captured arrays behind the arguments, see parameters.py."""

    def __init__(self, inner: Plan, parameters: Parameters) -> None:
        self.__dict__.update(inner.__dict__)
        self.shape = ()
        self.inner = inner
        self.read = parameters.read
        self.arguments = int(inner.words[INPUTS]) - parameters.count
        self.inputs = int(inner.words[INPUTS])

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        known = self.inner.pack(args, kwargs)
        if known is None:
            return None
        numbers = empty(self.inputs)
        numbers[: self.arguments] = known
        return numbers if self.read(numbers, self.arguments) else None

    def direction(self, tangents: tuple[Any, ...]) -> np.ndarray | None:
        known = self.inner.pack(tangents, {})
        if known is None:
            return None
        numbers = np.zeros(self.inputs)
        numbers[: self.arguments] = known
        return numbers

    def unpack(self, numbers: np.ndarray) -> Any:
        return self.inner.unpack(numbers)


def _is_flat(tree: Any, leaves: list[Any]) -> bool:
    """Whether a tuple or list has the leaves as its elements."""
    if tree.__class__ not in (tuple, list) or len(tree) != len(leaves):
        return False
    return all(map(is_, tree, leaves))


def _packed(numbers: np.ndarray, parts: list[Any], leaves: list[Any]) -> bool:
    """Write the leaves of a tree; False where they are not those of the plan."""
    for x, (cls, shape, dtype, start, stop) in zip(parts, leaves, strict=True):
        if x.__class__ is not cls:
            return False
        if shape is None:
            if cls is not float and abs(x) > LARGEST_WHOLE:
                return False
            numbers[start] = x
        elif x.shape != shape or x.dtype is not dtype:
            return False
        else:
            if dtype is not FLOAT64 and dtype.kind != "f":
                x = normal(x)
            numbers[start:stop] = x.ravel()
    return True


# --- plans ----------------------------------------------------------------------------------------


def plan_for(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: Any,
    mode: int = GRADIENT,
) -> Plan | None:
    """A plan for calls like the one that has just been made; `argnums` is None for values."""
    positions = () if argnums is None else positions_of(argnums, len(args))
    bound = function.bind(args, kwargs, positions)
    program = None if bound is None else function.program(bound)
    trace = None if program is None else program.last
    if trace is None or bound is None or bound.statics or not bound.leaves:
        return None
    if not fits(trace, mode):
        return None
    captures = function.captures
    if captures is None or captures.programs.get(bound.signature) is not program:
        return None  # another thread has seen other captures meanwhile
    if argnums is None:
        span = output_span(trace)
        if span is None and not _collected(trace, function.level):
            return None
        first, end = span or (0, 0)
        key = VALUES, first, first, end - first
        hot, words = hot_words(trace, None, key, function.level)
    else:
        result = trace.output.single
        if not isinstance(result, Slots) or result.shape is not None or result.dtype is not float:
            return None
        chosen = [j for i in positions for j in range(*bound.ranges[i])]
        spans = [slots_of(trace.variables[j]) for j in chosen]
        if not spans:
            return None
        first, end = min(s[0] for s in spans), max(s[1] for s in spans)
        key = mode, result.start, first, end - first
        hot, words = hot_words(trace, chosen, key, function.level)
    made = _laid_out(function, hot, words, bound, args, kwargs, positions)
    made.captures, made.changed = captures, captures.changed
    if program is not None and program.parameters is not None:
        made = Fed(made, program.parameters)
    if argnums is None:
        made.reader = reader(trace, first if hot.lean is None else None)
    return made


def _laid_out(
    function: Function, hot: Hot, words: np.ndarray, bound: Bound, args: tuple[Any, ...],
    kwargs: dict[str, Any], positions: tuple[int, ...],
) -> Plan:  # fmt: skip
    """The kind of plan that suits the arguments."""
    only = bound.leaves[0]
    if len(args) == 1 and not kwargs and args[0] is only and only.__class__ is ndarray:
        if only.dtype is FLOAT64 and only.shape:
            return OneArray(function, hot, words, bound)
    if not kwargs and len(args) == len(bound.leaves) and all(x.__class__ is float for x in args):
        return Floats(function, hot, words, bound, positions)
    return Trees(function, hot, words, bound, positions, args, kwargs)


def hot_words(
    trace: Trace, chosen: list[int] | None, key: Key, level: int
) -> tuple[Hot, np.ndarray]:
    """The workspace of fast calls, one for all that want adjoints of the same arguments, and the
    words of a plan for it."""
    quiet = None if chosen is None else trace.quiet_words(tuple(chosen))
    group = None if quiet is None else tuple(chosen or ())
    with trace.lock:
        cold = trace.hot.get((False, group))
        final = final_place(group, key)
        if final not in trace.hot and level and (trace.forced or _pays(trace, cold, key)):
            _final(trace, group, quiet, key, level)
            if not trace.forced:
                _keep_the_faster(trace, cold, trace.hot[final], key)
            _let_go(trace, cold, group)
        hot: Hot | None = trace.hot.get(final, cold)
        if hot is None:
            hot = trace.hot[False, group] = Hot(trace, quiet)
        words = hot.plan(key)
        words[PLAN_LIMIT] = _limit(trace, hot, int(words[RUNS]), key, level)
        return hot, words


def _collected(trace: Trace, level: int) -> bool:
    """Whether results that lie far apart have been collected, so that one copy takes them out."""
    place = final_place(None, (VALUES, 0, 0, 0))
    with trace.lock:
        if level and place not in trace.hot:
            if trace.forced or trace.all_runs >= policy.calls_before(trace, None):
                _final(trace, None, None, (VALUES, 0, 0, 0), level)
        return place in trace.hot and trace.hot[place].lean is not None


def _let_go(trace: Trace, cold: Hot | None, group: Any) -> None:
    """Free a workspace that all plans have left."""
    if cold is not None and all(final_place(group, key) in trace.hot for key in cold.plans):
        cold.refuse()
        trace.retire(cold)


def final_place(group: Any, key: Key) -> Any:
    """Where the final workspace is kept: for all values, or for what starts from one root."""
    mode, root, *_ = key
    return (True, group, -1 if mode == VALUES else root)


def _final(
    trace: Trace, group: Any, quiet: np.ndarray | None, key: Key, level: int,
    steps: list[Step] | None = None,
) -> Hot:  # fmt: skip
    """Enter the workspace of fast calls over what the passes make of a trace."""
    reverse = key[0] != VALUES
    results = np.array([key[1]]) if reverse else output_slots(trace)
    made = lean(trace, results, Goal(level, reverse), quiet, steps)
    hot = trace.hot[final_place(group, key)] = Hot(trace, quiet, True, made)
    return hot


def optimised_now(trace: Trace, level: int, name: str) -> list[Optimisation]:
    """Let all fast calls of a trace, those that there are and others, go through the passes."""
    trace.renew()
    trace.forced, trace.lean_length = True, 0
    found: list[Optimisation] = []
    trace.free.clear()  # what loops keep there is of bodies at another level
    optimise_loops(trace, level)
    if not level or not fits(trace, GRADIENT):
        return found
    single = trace.output.single
    modes = [("values", VALUES, -1)] if len(output_slots(trace)) else []
    if isinstance(single, Slots) and single.shape is None and single.dtype is float:
        modes.append(("gradient", GRADIENT, single.start))
    for title, mode, root in modes:
        steps: list[Step] = []
        with trace.lock:
            _final(trace, None, None, (mode, root, 0, 0), level, steps)
        goal = Goal(level, reverse=mode != VALUES)
        found.append(Optimisation(f"{name}, {title}", goal, steps))
    for loop in policy.loops_of(trace):
        title = f"{name}, body of {loop.name}"
        found += [Optimisation(title, Goal(level), body.steps) for body in loop.bodies]
    return found


def _pays(trace: Trace, cold: Hot | None, key: Key) -> bool:
    """Whether calls have taken so long that passes do not count."""
    mode = key[0]
    if cold is None or trace.all_runs < policy.calls_before(trace, trace.seconds.get(mode)):
        return False
    if mode not in trace.seconds:
        seconds = cold.time(key)
        if seconds is None:
            return False
        trace.seconds[mode] = seconds
    return trace.all_runs >= policy.calls_before(trace, trace.seconds[mode])


def _limit(trace: Trace, hot: Hot, runs: int, key: Key, level: int) -> int:
    """How many calls may have been made by a plan before the question is asked again."""
    if hot.final or not level:
        return NEVER
    left = policy.calls_before(trace, trace.seconds.get(key[0])) - trace.all_runs
    return runs + max(left, policy.FEWEST)


def _keep_the_faster(trace: Trace, cold: Hot | None, fresh: Hot, key: Key) -> None:
    """Go on with the recorded tape where the passes have made nothing better of it."""
    if cold is None or fresh.lean is None:
        return
    numbers = cold.work.arrays["v"][: trace.leading[1]].copy()
    best = [float("inf")] * 2
    for _ in range(3):
        for j, hot in enumerate((cold, fresh)):
            seconds = hot.time(key, numbers)
            if seconds is None:
                return  # a guard flips: what is optimised stays
            best[j] = min(best[j], seconds)
    if best[1] > SLOWER * best[0]:
        place = next(place for place, hot in trace.hot.items() if hot is fresh)
        trace.hot[place] = Hot(trace, fresh.words, True)
        trace.lean_length = 0


def reader(trace: Trace, first: int | None) -> Callable[[np.ndarray], Any] | None:
    """What makes the results from the slots from `first` on; None for a float, the root.

    Without a `first`, of all results one behind the other.
    """
    single = trace.output.single
    if isinstance(single, Slots) and single.shape is None and single.dtype is float:
        return None
    return (trace.output.laid_out() if first is None else trace.output.shifted(first)).read


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


def slots_of(x: Any) -> tuple[int, int]:
    """First slot and end of a variable."""
    if isinstance(x, Array):
        return (x.storage.slot, x.storage.slot + x.size) if x.size else (0, 0)
    return x.slot, x.slot + 1


def positions_of(argnums: Any, count: int) -> tuple[int, ...]:
    several = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    return tuple(i + count if i < 0 else i for i in several)
