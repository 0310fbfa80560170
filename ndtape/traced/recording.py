"""A recording of a traced function: the user's code runs once, on recording values."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np

from ..errors import UnstableProgramError
from ..record.core import recording_on
from ..record.tracing import abandon, begin, end
from .captures import Captures
from .program import Output, Program, Trace, variables_on
from .signature import Bound, rebuilt
from .twins import Strict, Twins, compare

ATTEMPTS = 5  # at a recording in which nobody else draws random numbers


def record(
    f: Callable[..., Any],
    program: Program,
    captures: Captures | None,
    bound: Bound,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Trace:
    """Run `f` on recording values and keep what it did.

    Where random numbers were drawn meanwhile, perhaps another thread has drawn them (Dask's workers
    do at every heartbeat): then it is recorded again.
    """
    looked_at = [c for c in (captures, program.watched) if c is not None]
    generators = [g for known in looked_at for g in known.generators]
    for _ in range(ATTEMPTS if threading.active_count() > 1 else 1):
        before = random_states(generators)
        trace = _recorded(f, program, bound, args, kwargs)
        if random_states(generators) == before:
            return trace
    raise UnstableProgramError(
        f"{program.name} draws random numbers, which a replay would repeat for ever: draw "
        "them outside and pass them as an argument"
    )


def _recorded(
    f: Callable[..., Any],
    program: Program,
    bound: Bound,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Trace:
    tape = begin(f"the traced function {program.name}")
    variables = variables_on(tape, bound.leaves, bound.floats)
    count, twins = len(variables), None
    if program.parameters is not None:
        tape.traced = Strict(tape, tape.traced.name)
        count -= len(program.parameters.places)
        twins = Twins(program.parameters, variables[count:])

    def run() -> Output:
        with recording_on(tape):
            arguments, keywords = rebuilt(bound, variables[:count], len(args))
            y = (f if twins is None else twins.of(f))(*arguments, **keywords)
            if twins is not None:
                twins.check(y)
            return Output(tape, y)

    try:
        # In a context of its own, which is left whenever an exception comes, also Ctrl-C.
        output = copy_context().run(run)
    except BaseException:
        abandon(tape)
        raise
    work = end(tape)
    if twins is not None:
        compare(f, args, kwargs, output.read(work.arrays["v"]))
    return Trace(tape, variables, output, work)


def random_states(generators: Sequence[Any]) -> tuple[Any, ...]:
    """Of the generators that everybody shares, and of those that a function captures."""
    state = np.random.get_state(legacy=False)
    legacy: Any = state["state"]
    shared = random.getstate(), legacy.get("pos"), bytes(memoryview(legacy["key"]))
    return *shared, *[repr(_state(g)) for g in generators]


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.RandomState):
        return [x.tobytes() if isinstance(x, np.ndarray) else x for x in generator.get_state()]
    if isinstance(generator, random.Random):
        return generator.getstate()
    return getattr(generator, "bit_generator", generator).state
