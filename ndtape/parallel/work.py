"""What is sent to workers and done there: the derivative of a loss, shard by shard.

A `Job` is what the caller holds and sends: bytes, under a key that names them.  A process that gets
it unpacks it once and keeps it under the key.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import files
from ..compiled.decorator import Jit
from ..errors import ArgumentError, NotRecordedError, TapeFileError, UnsupportedError
from ..record.arrays import moves
from ..traced.captures import Captures
from ..traced.function import Function
from ..transforms.gradients import grad, value_and_grad
from ..transforms.jacobians import hessian
from .carrying import Failure, dumps, loads
from .limits import inner_threads
from .reduction import Partial, Sum, partial_of
from .shards import resolved

KEPT = 16  # works a process keeps
SCALARS = (float, int, bool, str, np.generic)


class Options(NamedTuple):
    """What is done with a loss."""

    kind: str  # "value", "grad", "value_and_grad" or "hessian"
    argnums: int | tuple[int, ...]
    has_aux: bool
    threads: int
    level: int  # of the passes


class Work:
    """What is asked of a loss for each shard."""

    def __init__(self, f: Callable[..., Any], options: Options) -> None:
        self.f, self.options = f, options
        kind, argnums, has_aux = options.kind, options.argnums, options.has_aux
        transforms = {"grad": grad, "value_and_grad": value_and_grad, "hessian": hessian}
        self.call = f if kind == "value" else transforms[kind](f, argnums, has_aux)

    def work(self) -> Work:
        """As a job has it: in this process there is nothing to send."""
        return self

    def __call__(self, arguments: tuple[Any, ...], shard: Any) -> Partial:
        """The result for one shard."""
        part = self._part(self.call(*arguments, shard))
        if any(map(moves, part.leaves)):
            raise UnsupportedError(
                "the loss of nt.parallel captures recording values (nt.var): pass them as arguments"
            )
        return part

    def _part(self, result: Any) -> Partial:
        if not self.options.has_aux:
            return partial_of(result, [])
        if self.options.kind == "value_and_grad":
            (value, aux), gradient = result
            return partial_of((value, gradient), [aux])
        tree, aux = result
        return partial_of(tree, [aux])


def traced(loss: Callable[..., Any], level: int) -> Callable[..., Any]:
    """The loss as it is replayed: with tapes of its own, or compiled."""
    if isinstance(loss, Jit):
        return loss
    if not isinstance(loss, Function):
        return Function(loss, optimize=level)
    statics, names, most, _ = loss.options
    return Function(loss.f, statics, names, most, level)


def run_block(
    job: Job | Work, arguments: Any, first: int, shards: list[Any]
) -> Partial | Failure | None:
    """The sum over a block of shards, of which `first` is the number of the first.

    None where this process has not got the job: it must be sent in full.
    """
    number = first
    try:
        work = job.work()
        if work is None:
            return None
        arguments = resolved(arguments)
        total = Sum(len(shards))
        with inner_threads(work.options.threads):
            for i, shard in enumerate(shards):
                number = first + i
                total.add(i, work(arguments, resolved(shard() if callable(shard) else shard)))
        return total.total()
    except Exception as error:
        return Failure.of(number, error)


# --- on the way -----------------------------------------------------------------------------------


class Job:
    """A work on its way; `light()` is only its key, for processes that have got it."""

    def __init__(self, key: str, data: bytes | None) -> None:
        self.key, self.data = key, data

    def light(self) -> Job:
        return Job(self.key, None)

    def work(self) -> Received | None:
        """The work in this process; None where it has not got it."""
        with _lock:
            if self.key in _known:
                _known.move_to_end(self.key)
            elif self.data is None:
                return None
            else:
                _known[self.key] = Received(*loads(self.data))
                while len(_known) > KEPT:
                    _known.popitem(last=False)
            return _known[self.key]


_known: OrderedDict[str, Received] = OrderedDict()
_lock = threading.Lock()


def packed(loss: Callable[..., Any], work: Work) -> Job:
    """A loss with the tapes that it has, as it is sent; raises `UnsupportedError` for one that
    can be sent neither as a tape nor as Python."""
    tapes, code, numbers = None, None, {}
    if isinstance(work.f, Function):
        try:
            tapes = files.saved_bytes(work.f)
        except TapeFileError:  # it calls what only its own Python knows
            pass
    try:
        code, numbers = dumps(loss), captured_numbers(loss)
    except Exception as error:
        if tapes is None:
            raise UnsupportedError(f"the loss cannot be sent to workers: {error}") from error
    data = dumps((work.options, tapes, code, numbers))
    return Job(hashlib.sha256(data).hexdigest(), data)


class Received:
    """A work as a worker has it: tapes, and Python for what they do not know.

    From the first shard on for which there is no tape, because its shapes or its branches are
    others, this process records for itself.  To the same bits: so it would be done by the caller.
    """

    def __init__(
        self, options: Options, tapes: bytes | None, code: bytes | None, numbers: dict[str, str]
    ) -> None:
        self.options, self.code, self.numbers = options, code, numbers
        self.lock = threading.Lock()
        self.recorded: Work | None = None
        self.python: Work | None = None
        if tapes is not None:
            try:
                self.recorded = Work(files.loads(tapes), options)
            except TapeFileError:  # a primitive of a module that is not imported here
                if code is None:
                    raise

    def __call__(self, arguments: tuple[Any, ...], shard: Any) -> Partial:
        """The result for one shard."""
        recorded = self.recorded
        if recorded is not None:
            try:
                return recorded(arguments, shard)
            except NotRecordedError:
                if self.code is None:
                    raise
        with self.lock:
            self.recorded = None
            python = self.python = self.python or self._from_python()
        return python(arguments, shard)

    def _from_python(self) -> Work:
        assert self.code is not None
        loss = loads(self.code)
        here = captured_numbers(loss)
        for name, text in self.numbers.items():
            if here.get(name, text) != text:
                raise ArgumentError(
                    f"the loss reads {name}, which is {text} for the caller and {here[name]} in "
                    "this worker, which has imported its module anew: pass it as an argument"
                )
        return Work(traced(loss, self.options.level), self.options)


def captured_numbers(loss: Any) -> dict[str, str]:
    """The numbers that a loss reads from modules, by name: a worker might have others."""
    found: dict[str, str] = {}
    for get, holder, key, value in Captures(getattr(loss, "py_func", loss)).entries:
        if get == "item" and type(holder) is dict and isinstance(key, str) and "__name__" in holder:
            name = f"{holder['__name__']}.{key}"
            if isinstance(value, SCALARS):
                found[name] = repr(value)
            elif isinstance(value, np.ndarray) and value.dtype != object:
                digest = hashlib.sha256(value.tobytes()).hexdigest()[:8]
                found[name] = f"an array {value.dtype}{list(value.shape)} of digest {digest}"
    return found
