"""How compiled code appends to a tape: through a *header*, a few words that Python fills in.

Of a linear tape: entries of 16 bytes (partial derivative, operand's slot, result's slot) lie in
chunks, and the header says where the next one goes.  Of a tape of instructions: the addresses of
the columns of the open chunk.  A full chunk calls back into Python, which opens another one, or
refuses: then an exception ends the compiled function, and Python raises its own in its place.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..ops import CODES

# Words of the header of a linear tape; RELEASE: whether to run without the GIL;
# INPUTS: how many slots, from 1 on, are those of inputs; RESULT: slot of a scalar result, or 0.
CURSOR, LIMIT, NEXT, GROW, RELEASE, INPUTS, RESULT = range(7)
ENTRY = 16  # bytes
MARGIN = 4  # entries that an operation may write after one test

# Words of the header of a tape of instructions: GROW as above; columns are biased like a frame's.
(N, END, ORIGIN, _GROW, OP, A, B, C, K, K_USED, K_SIZE, GUARDED) = range(12)
WORDS = 16
GUARD = CODES["guard", "vk"]


ERROR = 12  # three words of both: an exception of a signal, as CPython fetches it
GRANTED = 1  # what a callback answers if there is room


class Stopped(Exception):
    """Compiled code has stopped because Python, called back, said so; Python knows why."""


class Failure:
    """Why compiled code has been stopped: kept by what it called back, for who called it."""

    header: np.ndarray
    failure: BaseException | None = None

    def taken(self) -> BaseException:
        """The exception to raise, which is forgotten here: it may hold large tapes alive."""
        found, self.failure = self.failure, None
        kind, value, traceback = (int(x) for x in self.header[ERROR : ERROR + 3])
        self.header[ERROR : ERROR + 3] = 0
        objects = [ctypes.cast(x, ctypes.py_object).value if x else None
                   for x in (kind, value, traceback)]  # fmt: skip
        for x in (kind, value, traceback):
            if x:
                ctypes.pythonapi.Py_DecRef(ctypes.c_void_p(x))
        if isinstance(objects[1], BaseException):
            return objects[1]
        if isinstance(objects[0], type):
            made = objects[0]() if objects[1] is None else objects[0](objects[1])
            assert isinstance(made, BaseException)
            return made
        return KeyboardInterrupt() if found is None else found
