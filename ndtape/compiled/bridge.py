"""Compiled code appends to the tape of eager or traced values.

The tape's columns are lent to compiled code through a header, and taken back when it returns, or
calls back because a chunk is full.  Under a traced function the instructions hold guards: each
comparison that the compiled code has made.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..record import core
from ..record.core import Recorder
from ..record.tracing import Guard
from ..tape import Tape, address_of
from .memory import (
    END,
    GRANTED,
    GROW,
    GUARD,
    GUARDED,
    K_SIZE,
    K_USED,
    OP,
    ORIGIN,
    WORDS,
    A,
    B,
    C,
    Failure,
    K,
    N,
)

_bridges: dict[int, Bridge] = {}


@ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)
def _grow(header: int, wanted: int) -> int:
    """Called by compiled code when a chunk or the constant pool is full."""
    bridge = _bridges[header]
    try:
        bridge.grow()
    except BaseException as error:  # KeyboardInterrupt too: compiled code must end first
        bridge.failure = error
        return 0
    return GRANTED


GROW_ADDRESS = ctypes.cast(_grow, ctypes.c_void_p).value or 0


class Bridge(Failure):
    """A tape lent to compiled code: a context, inside `core.growth`."""

    def __init__(self, tape: Recorder, code: Any) -> None:
        self.tape = tape
        self.code = code  # of the user's function: where its guards are
        self.header = np.zeros(WORDS, np.uint64)
        self.address = address_of(self.header)

    def __enter__(self) -> Bridge:
        self.tape.disarm()
        self.begin = Tape.__len__(self.tape)
        _bridges[self.address] = self
        self.lend()
        return self

    def lend(self) -> None:
        """Write the header."""
        tape, chunk = self.tape, self.tape.chunks[-1]
        words: dict[int, int] = {
            N: tape.base + tape.n, END: chunk.base + chunk.size,
            ORIGIN: (tape.origin - tape.base) % (1 << 64), GROW: GROW_ADDRESS,
            OP: chunk.addresses["op"], A: chunk.addresses["a"], B: chunk.addresses["b"],
            C: chunk.addresses["c"], K: address_of(tape.constants), K_USED: tape.kn,
            K_SIZE: len(tape.constants), GUARDED: int(tape.traced is not None),
        }  # fmt: skip
        for word, value in words.items():
            self.header[word] = value

    def take_back(self) -> None:
        """What compiled code has appended now belongs to the tape."""
        self.tape.kn = int(self.header[K_USED])
        self.tape.n = int(self.header[N]) - self.tape.base

    def grow(self) -> None:
        """Room for more."""
        self.take_back()
        tape = self.tape
        if tape.n == tape.chunks[-1].size:
            tape.open_chunk()
        if tape.kn == len(tape.constants):
            tape._grow_pool()
        self.lend()

    def __exit__(self, *exc: object) -> None:
        self.take_back()
        del _bridges[self.address]
        tape = self.tape
        end = Tape.__len__(tape)
        if tape.lines is not None and end > self.begin:
            frame = core.user_frame()
            tape.lines[self.begin : end] = [(frame.f_code, frame.f_lasti)] * (end - self.begin)
        if tape.traced is not None:
            self._note_guards(end)
        if not core._pauses:
            tape.arm()

    def _note_guards(self, end: int) -> None:
        """Tell the traced function which guards there are."""
        tape, frame = self.tape, core.user_frame()
        for chunk in tape.chunks:
            first, last = max(self.begin, chunk.base), min(end, chunk.base + chunk.size)
            if first >= last:
                continue
            codes = chunk.array("op", last - chunk.base)[first - chunk.base :]
            for i in (np.flatnonzero(codes == GUARD) + first - chunk.base).tolist():
                outcome = float(tape.constants[chunk.b[i]])
                index, slot, line = i + chunk.base, chunk.a[i], chunk.c[i]
                place = (self.code, 0, line) if line else (frame.f_code, frame.f_lasti)
                tape.traced.guards.append(Guard(index, slot, outcome, *place))
