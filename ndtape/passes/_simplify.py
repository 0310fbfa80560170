"""Compiled: the walk of the pass `simplify`."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, call_at, f8_at, i8_at, jit, u1_at, u2_at, u4_at, u8, u8_at
from ..ops import CODES, FIRST_WIDE, FRAME, INPUT_CODE, table_hash
from .tables import NONE

STATE = (
    "op", "out", "a", "b", "c", "k",  # of the program; all but `out` are written
    "slot_bits", "constant_bits", "folds", "commutes", "repeats", "nonnegative", "fixed",  # tables
    # By slot: the slot that stands for it + 1, or 0; the instruction that writes it + 1; whether
    # it is a known constant; whether it is never -0; where its constant stands in the pool + 1;
    # how often it is read.
    "alias", "writer", "known", "never", "place", "readers",
    "kept",  # by instruction
    "laid",  # by instruction: whether others count on the place of its result
    "level", "values",  # whether derivatives do not matter
    "frame", "forward",  # for sweeps over the program as it was
    "used",  # entries of k
)  # fmt: skip
(OP, OUT, A, B, C, K, SLOT_BITS, CONSTANT_BITS, FOLDS, COMMUTES, REPEATS, NONNEGATIVE, FIXED, ALIAS,
 WRITER, KNOWN, NEVER, PLACE, READERS, KEPT, LAID, LEVEL, VALUES, SWEPT, FORWARD,
 USED) = range(len(STATE))  # fmt: skip
V = FRAME.index("v")
i64 = types.int64

ADD, ADD_K = CODES["add", "vv"], CODES["add", "vk"]
SUB, SUB_K, K_SUB = (CODES["subtract", form] for form in ("vv", "vk", "kv"))
MUL, MUL_K = CODES["multiply", "vv"], CODES["multiply", "vk"]
DIV, DIV_K, POW_K = CODES["divide", "vv"], CODES["divide", "vk"], CODES["power", "vk"]
NEG, COPY, STOP = (CODES[name, "v"] for name in ("negative", "copy", "stop"))
SQUARE, CUBE, RECIPROCAL, SQRT, EXP, LOG, ABS = (
    CODES[name, "v"] for name in ("square", "cube", "reciprocal", "sqrt", "exp", "log", "abs")
)
ATTACH, ATTACH_K = CODES["attach", "vvv"], CODES["attach", "vvk"]
WHERE, K_VV, K_VK, K_KV = (CODES["where", form] for form in ("vvv", "kvv", "kvk", "kkv"))
SMALLEST, LARGEST = 2.0**-1022, 2.0**1022  # between them, powers of 2 have exact reciprocals

# What an instruction turned out to be: itself, another one, a constant, another slot.
SAME, CHANGED, CONSTANT, SLOT = range(4)


@jit
def _is_zero(x, negative):  # type: ignore[no-untyped-def]
    """Whether x is 0 with that sign."""
    return x == 0.0 and (1.0 / x < 0.0) == negative


@jit
def _power_of_two(x):  # type: ignore[no-untyped-def]
    """Whether the reciprocal of x is exact."""
    size = abs(x)
    if not (SMALLEST <= size and size <= LARGEST):
        return False
    while size >= 4294967296.0:
        size *= 1.0 / 4294967296.0
    while size < 1.0:
        size *= 4294967296.0
    whole = i64(size)
    return float(whole) == size and whole & (whole - 1) == 0


@jit
def _operand(s, j, i):  # type: ignore[no-untyped-def]
    """Operand j of instruction i."""
    return i64(u4_at(s[A + j])[i])


@jit
def _put(s, j, i, value):  # type: ignore[no-untyped-def]
    u4_at(s[A + j])[i] = u8(value)


@jit
def _pooled(s, value):  # type: ignore[no-untyped-def]
    """A place in the pool for a number."""
    place = i64(s[USED])
    f8_at(s[K])[place] = value
    s[USED] = u8(place + 1)
    return place


@jit
def _made_by(s, slot, code):  # type: ignore[no-untyped-def]
    """The instruction with this code that writes a slot, or -1."""
    i = i8_at(s[WRITER])[slot] - 1
    if i >= 0 and u2_at(s[OP])[i] != code:
        return i64(-1)
    return i


@jit
def _resolved(s, i, code):  # type: ignore[no-untyped-def]
    """Let instruction i read what stands for its operands: (how many changed, whether all are
    constants, whether one is)."""
    bits, alias, known = u1_at(s[SLOT_BITS])[code], i8_at(s[ALIAS]), u1_at(s[KNOWN])
    changes, every, some = 0, True, False
    for j in range(3):
        if i64(bits) >> j & 1:
            slot = _operand(s, j, i)
            if alias[slot] != 0:
                slot = alias[slot] - 1
                _put(s, j, i, slot)
                changes += 1
            constant = i64(known[slot]) == 1
            every, some = every and constant, some or constant
    return changes, every, some


@jit
def _with_constants(s, i, code):  # type: ignore[no-untyped-def]
    """Operands that are constants as constants of the pool; the code of that form."""
    known, fixed, place = u1_at(s[KNOWN]), u2_at(s[FIXED]), i8_at(s[PLACE])
    for j in range(3):
        slots = i64(u1_at(s[SLOT_BITS])[code])
        fresh = fixed[3 * code + j]
        if slots >> j & 1 and fresh != NONE:
            slot = _operand(s, j, i)
            if i64(known[slot]) == 1:
                if place[slot] == 0:
                    place[slot] = _pooled(s, f8_at(u8_at(s[SWEPT])[V])[slot]) + 1
                if j == 0 and i64(u1_at(s[COMMUTES])[code]) == 1:
                    _put(s, 0, i, _operand(s, 1, i))
                    _put(s, 1, i, place[slot] - 1)
                else:
                    _put(s, j, i, place[slot] - 1)
                code = fresh
    u2_at(s[OP])[i] = code
    return code


@jit
def _with_number(s, i, code, level):  # type: ignore[no-untyped-def]
    """(What instruction i with a constant y is, the slot that stands for it, its constant)."""
    p, never = _operand(s, 0, i), u1_at(s[NEVER])
    y = f8_at(s[K])[_operand(s, 1, i)]
    if code == ADD_K or code == SUB_K:
        if _is_zero(y, code == ADD_K) or (y == 0.0 and (i64(never[p]) == 1 or level >= 3)):
            return SLOT, p, 0.0
    elif code == MUL_K:
        if y == 1.0:
            return SLOT, p, 0.0
        if level >= 3 and y == 0.0:
            return CONSTANT, p, 0.0
    elif code == DIV_K:
        if y == 1.0:
            return SLOT, p, 0.0
        if _power_of_two(y) or (level >= 3 and y != 0.0 and abs(1.0 / y) > 0.0):
            _put(s, 1, i, _pooled(s, 1.0 / y))
            u2_at(s[OP])[i] = MUL_K
            return CHANGED, p, 0.0
    else:  # a power
        if y == 1.0:
            return SLOT, p, 0.0
        if y == 0.0:
            return CONSTANT, p, 1.0
        if level >= 3 and (y == 2.0 or y == 3.0 or y == -1.0 or y == 0.5):
            code = SQUARE if y == 2.0 else CUBE if y == 3.0 else SQRT if y == 0.5 else RECIPROCAL
            _put(s, 1, i, 0)
            u2_at(s[OP])[i] = code
            return CHANGED, p, 0.0
    return SAME, p, 0.0


@jit
def _with_known_condition(s, i, code):  # type: ignore[no-untyped-def]
    """The same for `where` with a constant condition."""
    k, q, u = f8_at(s[K]), _operand(s, 1, i), _operand(s, 2, i)
    if k[_operand(s, 0, i)] != 0.0:
        return (CONSTANT, q, k[q]) if code == K_KV else (SLOT, q, 0.0)
    return (CONSTANT, u, k[u]) if code == K_VK else (SLOT, u, 0.0)


@jit
def _with_negative(s, i, code):  # type: ignore[no-untyped-def]
    """x + -y is x - y, and x - -y is x + y."""
    p, q = _operand(s, 0, i), _operand(s, 1, i)
    j = _made_by(s, q, NEG)
    if j < 0 and code == ADD:
        j = _made_by(s, p, NEG)
        if j >= 0:
            _put(s, 0, i, q)
    if j < 0:
        return SAME, p, 0.0
    _put(s, 1, i, _operand(s, 0, j))
    u2_at(s[OP])[i] = SUB if code == ADD else ADD
    return CHANGED, p, 0.0


@jit
def _with_inverse(s, i, code):  # type: ignore[no-untyped-def]
    """What holds of real numbers: exp(log(x)) and the like, x - x, x / x."""
    p = _operand(s, 0, i)
    if (code == SUB or code == DIV) and p == _operand(s, 1, i):
        return CONSTANT, p, 1.0 if code == DIV else 0.0
    inverse = LOG if code == EXP else EXP if code == LOG else SQRT if code == SQUARE else SQUARE
    if code == EXP or code == LOG or code == SQUARE or code == SQRT:
        j = _made_by(s, p, inverse)
        if j >= 0 and code == SQRT:
            _put(s, 0, i, _operand(s, 0, j))
            u2_at(s[OP])[i] = ABS
            return CHANGED, p, 0.0
        if j >= 0:
            return SLOT, _operand(s, 0, j), 0.0
    return SAME, p, 0.0


@jit
def _combined(s, i, code):  # type: ignore[no-untyped-def]
    """(x * 2) * 3 is x * 6, and (x + 2) - 3 is x + -1, of real numbers."""
    k = f8_at(s[K])
    y = k[_operand(s, 1, i)]
    if code == SUB_K:
        y, code = -y, ADD_K
    j = _made_by(s, _operand(s, 0, i), code)
    if j < 0:
        return 0
    x = k[_operand(s, 1, j)]
    _put(s, 1, i, _pooled(s, x * y if code == MUL_K else x + y))
    _put(s, 0, i, _operand(s, 0, j))
    u2_at(s[OP])[i] = code
    return 1


@jit
def _meaning(s, i, code, level):  # type: ignore[no-untyped-def]
    """(What instruction i is, the slot that stands for it, its constant)."""
    p, q, values = _operand(s, 0, i), _operand(s, 1, i), i64(s[VALUES]) == 1
    if code == COPY or (values and code == STOP):
        return SLOT, p, 0.0
    if code == NEG:
        j = _made_by(s, p, NEG)
        if j >= 0:
            return SLOT, _operand(s, 0, j), 0.0
    elif code == ADD_K or code == SUB_K or code == MUL_K or code == DIV_K or code == POW_K:
        return _with_number(s, i, code, level)
    elif i64(u1_at(s[REPEATS])[code]) == 1:
        if _made_by(s, p, code) >= 0:
            return SLOT, p, 0.0
    elif code == WHERE:
        if q == _operand(s, 2, i):
            return SLOT, q, 0.0
    elif code == K_VV or code == K_VK or code == K_KV:
        return _with_known_condition(s, i, code)
    elif values and (code == ATTACH or code == ATTACH_K):
        return SLOT, q, 0.0
    if level >= 2 and (code == ADD or code == SUB):
        kind, slot, constant = _with_negative(s, i, code)
        if kind != SAME:
            return kind, slot, constant
    if level >= 3:
        return _with_inverse(s, i, code)
    return SAME, p, 0.0


@jit
def _replaceable(s, i, code, slot):  # type: ignore[no-untyped-def]
    """Whether adjoints are added up in the same order where a slot stands for the result of i.

    They are where nobody else reads the slot, or one instruction each.
    """
    readers, mine = i8_at(s[READERS]), 0
    for j in range(3):
        if i64(u1_at(s[SLOT_BITS])[code]) >> j & 1 and _operand(s, j, i) == slot:
            mine += 1
    if mine == 0:  # a change of sign lies between
        mine = 1
        if readers[_operand(s, 0, i)] != 1:
            return False
    others = readers[slot] - mine
    return others == 0 or (others == 1 and readers[i64(u4_at(s[OUT])[i])] == 1)


@jit
def _never_negative_zero(s, i):  # type: ignore[no-untyped-def]
    """Whether the value of instruction i is never -0."""
    k, never, code = f8_at(s[K]), u1_at(s[NEVER]), u2_at(s[OP])[i]
    p, q = _operand(s, 0, i), _operand(s, 1, i)
    if code == ADD:
        return i64(never[p]) == 1 or i64(never[q]) == 1
    if code == ADD_K:
        return i64(never[p]) == 1 or not _is_zero(k[q], True)
    if code == SUB:
        return i64(never[p]) == 1
    if code == SUB_K:
        return i64(never[p]) == 1 or not _is_zero(k[q], False)
    if code == K_SUB:
        return not _is_zero(k[p], True)
    return i64(u1_at(s[NONNEGATIVE])[code]) == 1 or (code == MUL and p == q)


def _simplify(state, lo, hi):  # type: ignore[no-untyped-def]
    """Simplify the scalar instructions lo..hi in their order; how many have changed."""
    s = u8_at(state)
    op, out, v = u2_at(s[OP]), u4_at(s[OUT]), f8_at(u8_at(s[SWEPT])[V])
    known, never, kept = u1_at(s[KNOWN]), u1_at(s[NEVER]), u1_at(s[KEPT])
    place, level, values = i8_at(s[PLACE]), i64(s[LEVEL]), i64(s[VALUES]) == 1
    changes = 0
    for i in range(lo, hi):
        code, r = op[i], out[i]
        if code >= FIRST_WIDE:
            continue
        kind, slot, constant = SAME, i64(0), 0.0
        if code == INPUT_CODE:
            slot = _operand(s, 0, i)
            place[r] = slot + 1
            known[r], v[r] = u8(1), f8_at(s[K])[slot]
            never[r] = u8(not _is_zero(v[r], True))
            continue
        resolved, every, some = _resolved(s, i, code)
        changes += resolved
        if i64(u1_at(s[FOLDS])[code]) == 1:
            if every:
                # The sweep reads the program as it was, whose slots have the same constants.
                call_at(s[FORWARD], s[SWEPT], u8(i), u8(i + 1))  # type: ignore[call-arg]
                kind, constant = CONSTANT, v[r]
            else:
                if some:
                    code = _with_constants(s, i, code)
                    changes += 1
                kind, slot, constant = _meaning(s, i, code, level)
        if kind == SLOT and level < 2 and not values and not _replaceable(s, i, code, slot):
            kind = SAME
        if kind == SLOT and i64(u1_at(s[LAID])[i]) == 1:
            kind = SAME
        code = op[i]
        if level >= 3 and kind < CONSTANT and (code == MUL_K or code == ADD_K or code == SUB_K):
            changes += _combined(s, i, code)
        changes += i64(kind != SAME)
        if kind == CONSTANT:
            place[r] = _pooled(s, constant) + 1
            known[r], v[r] = u8(1), constant
            never[r] = u8(not _is_zero(constant, True))
            op[i] = INPUT_CODE
            _put(s, 0, i, place[r] - 1)
            _put(s, 1, i, 0)
            _put(s, 2, i, 0)
        elif kind == SLOT:
            i8_at(s[ALIAS])[r] = slot + 1
            kept[i] = u8(0)
            if i64(known[slot]) == 1:
                known[r], v[r] = u8(1), v[slot]
        else:
            i8_at(s[WRITER])[r] = i64(i) + 1
            never[r] = u8(_never_negative_zero(s, i))
    return changes


simplify = Sweep(_simplify, table_hash())
