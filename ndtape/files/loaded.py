"""A traced function that came out of a file: its tapes, without the Python they were recorded from.

It is called, differentiated and mapped like the function that was saved; fast calls and optimised
code are made anew.  Called with recording values it puts the instructions of its tape on theirs, as
the function would have recorded them.  Where it would have to be recorded (other arguments, a
branch that was never taken) it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import Any, NoReturn

import numpy as np

from .. import trees
from ..errors import ChangedShapeError, NotRecordedError, TapeError
from ..loops.body import inline
from ..record import core
from ..record.arrays import Array, as_array, moves, of_span, plain_value, storages
from ..record.core import Recorder
from ..record.lifetime import common_tape
from ..record.values import Boolean, Integer, Result, Var, result
from ..record.wide import in_order
from ..run import Flip, Workspace
from ..traced.captures import Captures
from ..traced.explain import _kind
from ..traced.function import Function
from ..traced.parameters import Parameters
from ..traced.program import Output, Program, Record, Slots, Trace, _plain, input_values, short
from ..traced.signature import Bound, Static, bind
from .loops import UnmetError

SHOWN = 8  # signatures in a message


class LoadedProgram(Program):
    """The tapes of one signature: no more are recorded."""

    def _turned(
        self, trace: Trace, work: Workspace, i: int, outcome: Any, record: Record,
        chosen: Sequence[int] | None,
    ) -> tuple[Trace, Workspace]:  # fmt: skip
        """The trace that goes on, or any other that goes the whole way with these inputs.

        Where loops differ in what they capture, a function would be recorded once more.
        """
        inputs = work.array("v")[: trace.leading[1]].copy()
        try:
            return super()._turned(trace, work, i, outcome, record, chosen)
        except NotRecordedError:
            for other in self.traces:
                if other is not trace and (known := _whole_way(other, inputs, chosen)):
                    return other, known
            raise

    def _recorded(
        self, record: Record, before: Trace | None, i: int, chosen: Sequence[int] | None
    ) -> NoReturn:
        unmet = None if before is None else _unmet(before, i)
        if unmet is not None:
            raise unmet
        guard = None if before is None else next((g for g in before.guards if g.index == i), None)
        if guard is not None:
            what = f"takes a branch at {short(guard.file)}:{guard.line} that"
        else:
            text = "" if before is None else f" at {before.tape.instruction(i).text()}"
            what = f"gives other shapes{text}, a way that"
        raise NotRecordedError(
            f"{self.name} {what} was not taken before it was saved, and a file has no Python to "
            "record it: call the original function so that it goes there, and save it again"
        )

    def refused(self) -> NoReturn:
        """What `run` is given to record with, and never calls."""
        raise AssertionError("a loaded function is not recorded")


def _whole_way(trace: Trace, inputs: np.ndarray, chosen: Sequence[int] | None) -> Workspace | None:
    """A workspace with the values of a trace, if it takes these inputs."""
    work = trace.borrow(chosen)
    work.set_inputs(inputs)
    try:
        work.forward()
    except (Flip, ChangedShapeError):
        return None
    return work


def _unmet(trace: Trace, i: int) -> UnmetError | None:
    """What a loop at an instruction has to say, if it is one."""
    if trace.tape.instruction(i).name != "call":
        return None
    loop = trace.tape.calls[trace.tape.kind_word(i)].loop
    return None if loop is None else loop.unmet


class Recorded:
    """What a loaded function has in the place of Python: tapes that go onto those of operands."""

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = "A function loaded from a file."
        self.function: Any = None

    def __captures__(self) -> tuple[()]:
        return ()

    def __repr__(self) -> str:
        return f"<the tapes of {self.__name__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results for recording arguments, recorded where these are."""
        leaves, structure = trees.flatten((args, kwargs))
        plain = trees.unflatten(structure, list(map(_plain_leaf, leaves)))
        if not core.recording() or not any(map(moves, leaves)):
            return self.function(*plain[0], **plain[1])
        program, bound = self.function.matching(*plain)
        trace, work = program.run(input_values(bound.leaves, bound.count), program.refused)
        trace.give_back(work)
        return _inlined(trace, self.function.operands(bound, args, kwargs))


def _plain_leaf(x: Any) -> Any:
    """The number of a recording value; a truth value leaves a guard where one is needed."""
    if isinstance(x, Boolean):
        return bool(x)
    return plain_value(x) if isinstance(x, (Array, Var)) else x


def _inlined(trace: Trace, operands: list[Any]) -> Any:
    """The results of a tape whose inputs are these operands, on the tape of the recorded ones."""
    moving = [x for x in operands if moves(x)]
    with core.growth:
        tape = common_tape(storages(moving))
        moved = np.full(max(trace.tape.slots, 1), -1, np.int64)
        slot = 0
        for x in operands:
            size = int(np.prod(np.shape(x) if not isinstance(x, Array) else x.shape))
            if size:
                moved[slot : slot + size] = _placed(tape, x) + np.arange(size)
                slot += size
        before = len(tape.calls)
        tape.disarm()
        inline(trace.tape, tape, moved, lambda slot, _: _guard(tape, slot))
        # Loops have numbers of their own wherever they stand.
        tape.calls[before:] = [copy(call) for call in tape.calls[before:]]
        tape.arm()
    return _results(trace.output, tape, moved)


def _placed(tape: Recorder, x: Any) -> int:
    """Where an operand lies on a tape, its elements in order."""
    if moves(x):
        start, constant = in_order(tape, as_array(x))
        if not constant:
            return start
    return tape.add_input(np.array(plain_value(x), np.float64).reshape(-1))


def _guard(tape: Recorder, slot: int) -> None:
    """What the tape was chosen by is decided again where this recording is replayed."""
    if tape.traced is not None:
        tape.traced.whole(result(tape, slot, Integer))


def _results(output: Output, tape: Recorder, moved: np.ndarray) -> Any:
    leaves = []
    for part, leaf in zip(output.parts, output.leaves, strict=True):
        if not isinstance(part, Slots):
            leaves.append(_plain(leaf))
            continue
        start = int(moved[part.start])
        if part.shape is None:
            kind = {bool: Boolean, int: Integer}.get(part.dtype, Result)
            leaves.append(result(tape, start, kind))
        else:
            leaves.append(of_span(tape, start, part.shape, part.dtype))
    return trees.unflatten(output.structure, leaves)


class LoadedFunction(Function):
    """A function that `nt.load` has read: called, differentiated and mapped like the saved one.

    `captured` has the captured arrays that were inputs of its tapes, by name; write into them to
    change them.  A call with other kinds of arguments, or through a branch, that had not been
    recorded raises `NotRecordedError`, which names the line.

    >>> import io, ndtape as nt
    >>> f, file = nt.function(lambda x: nt.sin(x) * x), io.BytesIO()
    >>> f(1.0) == nt.sin(1.0)
    True
    >>> f.save(file)
    >>> loaded = nt.load(file)
    >>> loaded(2.0) == f(2.0), nt.grad(loaded)(2.0) == nt.grad(f)(2.0)
    (True, True)
    """

    def __init__(
        self, name: str, programs: Mapping[Any, Program], options: tuple[Any, ...]
    ) -> None:
        self._programs = dict(programs)
        tapes = Recorded(name)
        super().__init__(tapes, *options)
        tapes.function = self

    def __repr__(self) -> str:
        return f"<loaded nt.function {self.name}: {len(self.tapes)} tapes>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """No method: what `self` was is on the tapes."""
        return self

    def __reduce__(self) -> Any:
        from . import loads, saved_bytes

        return loads, (saved_bytes(self, True),)

    def __copy__(self) -> LoadedFunction:
        return LoadedFunction(self.name, self._programs, self.options)

    def __deepcopy__(self, memo: Any) -> Any:
        make, given = self.__reduce__()
        return make(*given)

    @property
    def captured(self) -> dict[str, np.ndarray]:
        """Captured arrays that are inputs of the tapes, by name: read at each call."""
        fed: list[Any] = [p.parameters for p in self._programs.values() if p.parameters is not None]
        return {name: x for parameters in fed for name, x in parameters.captured.items()}

    def clear(self) -> None:
        """Forget what calls have made of the tapes; the tapes themselves stay."""
        super().clear()
        self.captures = Captures(())
        self.captures.programs = self.programs = self._programs
        self.states[self.captures.token] = self.captures, self._programs

    # --- calls ------------------------------------------------------------------------------------

    def program(self, bound: Bound) -> Program:
        """The tapes for a signature; raises `NotRecordedError` for one that was not saved."""
        found: Program | None = self._programs.get(bound.signature)
        if found is None:
            raise NotRecordedError(
                f"{self.name} was saved for the arguments {self._known()}, not for "
                f"{_signature(bound.signature)}: a file has no Python to record it with others; "
                "call the original function so, and save it again"
            )
        return found

    def _known(self) -> str:
        texts = [_signature(s) for s in self._programs]
        return ", ".join(texts[:SHOWN]) + " ..." * (len(texts) > SHOWN)

    def matching(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Program, Bound]:
        """The program for arguments of which nobody says which are differentiated.

        Raises `NotRecordedError` where there is none.
        """
        bound = self.bind(args, kwargs, ())
        assert bound is not None
        if bound.signature not in self._programs:
            kinds = [bind((x,), {}, (), (0,) if self._is_static(i, args) else ())
                     for i, x in enumerate(args)]  # fmt: skip
            for signature in self._programs:
                smooth, at = [], 0
                for i, found in enumerate(kinds):
                    assert found is not None
                    end = at + len(found.signature[1])
                    smooth += [i] * (signature[1][at:end] != found.signature[1])
                    at = end
                with suppress(TapeError):
                    other = self.bind(args, kwargs, smooth)
                    if other is not None and other.signature == signature:
                        bound = other
                        break
        program, bound = self.found(bound)
        assert program is not None
        return program, bound

    def _is_static(self, i: int, args: tuple[Any, ...]) -> bool:
        return i in self.static_argnums or i - len(args) in self.static_argnums

    def operands(self, bound: Bound, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The inputs of a tape, recording ones among them, in order."""
        found: list[Any] = []
        kinds = iter(bound.signature[1])
        for i, tree in enumerate((*args, kwargs) if kwargs else args):
            if i < len(args) and self._is_static(i, args):
                leaves = [tree]
            else:
                leaves = trees.flatten(tree)[0]
            found += [
                x for x, kind in zip(leaves, kinds, strict=False) if not isinstance(kind, Static)
            ]
        program = self._programs[bound.signature]
        return found + ([] if program.parameters is None else program.parameters.arrays() or [])

    def without(self, parameters: Parameters, again: Callable[[], Any]) -> Any:
        """There is no other way."""
        raise

    def record(self, *_: Any) -> NoReturn:
        """Nobody comes here: see `LoadedProgram`."""
        raise AssertionError("a loaded function is not recorded")


def _signature(signature: Any) -> str:
    return f"({', '.join(map(_kind, signature[1]))})"
