"""What every kernel starts from: the columns of a frame, a descriptor's words, and walks over both.

All sizes, slots and addresses are int64 here: Numba turns a sum of signed and unsigned integers
into a float.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core.compiler import Compiler

from .. import nest
from .._jit import FLAGS as JIT_FLAGS
from .._jit import Sweep, f8_at, i8_at, u4_at, u8, u8_at
from .._version import __version__
from ..nest import BODY, LOOP, LOOPS
from ..ops import BAD_INDEX, FRAME, PAUSE
from ..vmath import FINGERPRINT as VMATH

i64 = types.int64
OUT, A, B, C, K, V, G, T, H, M, SCRATCH, BLAS = map(
    FRAME.index, ("out", "a", "b", "c", "k", "v", "g", "t", "h", "m", "scratch", "blas")
)
WORD = 8  # bytes


def _fingerprint() -> str:
    """Changes with all that the machine code of a kernel is made from."""
    digest = hashlib.sha256(f"{__version__} {VMATH} {FRAME} {PAUSE} {BAD_INDEX}".encode())
    here = Path(__file__).parent
    sources = [here.parent / "_jit.py", Path(nest.__file__), *sorted(here.glob("*.py"))]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


kernel: Callable[[Callable[..., Any]], Sweep] = partial(Sweep, fingerprint=_fingerprint())


class _Part(Compiler):
    """Compiles what only other functions call: without machine code of its own, which saves a third
    of a kernel's compile time.

    Rejected: to leave out LLVM's passes over it, too, for another sixth; what is not optimised is
    not inlined either, and running sums took six times as long.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        flags = self.state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        result = super().compile_extra(func)
        key: Any = [].append  # Numba files functions under a builtin of their own; nothing calls it
        result.target_context.insert_user_function(key, result.fndesc, [result.library])
        return result._replace(entry_point=key)


part = numba.njit(pipeline_class=_Part, **JIT_FLAGS)


@part
def word(frame, position):
    """A word of the frame, as int64."""
    return i64(u8_at(frame)[position])


@part
def at(frame, column, slot):
    """The address of a slot in a column of float64."""
    return word(frame, column) + WORD * slot


@part
def operand(frame, position, i):
    """What the column out, a, b or c says of instruction i."""
    return i64(u4_at(u8_at(frame)[position])[i])


@part
def words_at(frame, c):
    """The words of the descriptor at place c of the pool `m`, as a column."""
    return i8_at(u8(word(frame, M) + WORD * c))


@part
def descriptor(frame, i):
    """The words of instruction i in the pool `m`, as a column."""
    return words_at(frame, operand(frame, C, i))


@part
def floats(address):
    """The float64 that lie at an address."""
    return f8_at(u8(address))


@part
def source(frame, column, constant, start):
    """The address of an operand's numbers: constants lie in the pool k."""
    return at(frame, K if constant else column, start)


@part
def fill(address, count, value):
    """Write `count` equal numbers."""
    z = floats(address)
    for j in range(count):
        z[j] = value


@part
def copy(target, origin, count):
    """Copy `count` numbers."""
    z, x = floats(target), floats(origin)
    for j in range(count):
        z[j] = x[j]


@part
def add(target, origin, count):
    """Add `count` numbers to others."""
    z, x = floats(target), floats(origin)
    for j in range(count):
        z[j] += x[j]


EXPONENT, MAGNITUDE = 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF


# In integers, which LLVM may reorder and so take eight at a time.


@part
def all_finite(address, count):
    """Whether no number of a span is infinite or nan: none has the largest exponent."""
    x = i8_at(u8(address))
    largest = i64(0)
    for j in range(count):
        largest = max(largest, x[j] & EXPONENT)
    return largest < EXPONENT


@part
def all_zero(address, count):
    """Whether every number of a span is 0 or -0."""
    x = i8_at(u8(address))
    met = i64(0)
    for j in range(count):
        met |= x[j]
    return met & MAGNITUDE == 0


# --- odometers ---------------------------------------------------------------------------------


@part
def start_odometer(frame, words):
    """The counters of a nest's loops, which lie in the frame's scratch words, set to 0."""
    count = i8_at(u8_at(frame)[SCRATCH])
    for j in range(words[LOOPS]):
        count[j] = 0
    return count


@part
def advance(words, count, members, x, y, z, sx, sy, sz):
    """One step of some loops of a nest: of loop j if bit j of `members` is set.

    Returns whether there is a next place, and there the addresses x, y, z, moved by the strides
    that stand at the places sx, sy, sz of a loop's words.  After the last place they are back at
    the first.
    """
    j = words[LOOPS] - 1
    while members:
        if members >> j & 1:
            loop = BODY + LOOP * j
            back = words[loop] - 1
            if count[j] < back:
                count[j] += 1
                return (
                    True,
                    x + WORD * words[loop + sx],
                    y + WORD * words[loop + sy],
                    z + WORD * words[loop + sz],
                )
            count[j] = 0
            x -= back * WORD * words[loop + sx]
            y -= back * WORD * words[loop + sy]
            z -= back * WORD * words[loop + sz]
            members ^= 1 << j
        j -= 1
    return False, x, y, z
