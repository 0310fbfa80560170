"""Compiled: sums of scalars, and of products of two, among the instructions of a program."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, i8_at, jit, u1_at, u2_at, u4_at, u8, u8_at
from ..nest import FIXED, PLAIN, PRODUCT, SCALED
from ..ops import CODES, table_hash

STATE = (
    "op", "out", "a", "b",  # of the program
    "readers",  # by slot
    "writer",  # by slot: the instruction + 1
    # By instruction, of sums: which operands are sums of their own that belong to it (bit 0: a,
    # bit 1: b); terms so far; the first instruction that belongs to it, and how many do; 1 where it
    # belongs to another.
    "within", "length", "first", "members", "taken",
    "anywhere",  # whether sums of both operands may belong to one: in another order of additions
    "fewest", "near",
    "products",  # by sum: how many of its terms are products, where sums of them stay apart; or 0
    # The answer: instructions; terms; instructions besides the roots, and whose they are.
    "roots", "counts", "kind", "p", "q", "inner", "whose",
    "stack",
    "found", "terms", "others",  # how many
)  # fmt: skip
(OP, OUT, A, B, READERS, WRITER, WITHIN, LENGTH, FIRST, MEMBERS, TAKEN, ANYWHERE, FEWEST, NEARNESS,
 PRODUCTS, ROOTS, COUNTS, KIND, P, Q, INNER, WHOSE, STACK, FOUND, TERMS,
 OTHERS) = range(len(STATE))  # fmt: skip
i64 = types.int64

ADD, ADD_K = CODES["add", "vv"], CODES["add", "vk"]
SUB, SUB_K, K_SUB = (CODES["subtract", form] for form in ("vv", "vk", "kv"))
MUL, MUL_K, NEG = CODES["multiply", "vv"], CODES["multiply", "vk"], CODES["negative", "v"]
A_BIT, B_BIT = 1, 2


@jit
def _is_sum(code):  # type: ignore[no-untyped-def]
    return code == ADD or code == ADD_K or code == SUB or code == SUB_K or code == K_SUB


@jit
def _slots_of_sum(code):  # type: ignore[no-untyped-def]
    """Which operands of a sum are slots."""
    if code == ADD or code == SUB:
        return A_BIT | B_BIT
    return B_BIT if code == K_SUB else A_BIT


@jit
def _inner_sum(s, slot):  # type: ignore[no-untyped-def]
    """The sum that makes a slot which nobody else reads, or -1."""
    i = i8_at(s[WRITER])[slot] - 1
    if i < 0 or i8_at(s[READERS])[slot] != 1 or i8_at(s[LENGTH])[i] == 0:
        return i64(-1)
    return i


@jit
def _factor(s, slot):  # type: ignore[no-untyped-def]
    """The product or change of sign that makes a slot which nobody else reads, or -1."""
    i = i8_at(s[WRITER])[slot] - 1
    if i < 0 or i8_at(s[READERS])[slot] != 1:
        return i64(-1)
    code = u2_at(s[OP])[i]
    return i if code == MUL or code == MUL_K or code == NEG else i64(-1)


@jit
def _near(s, j, i):  # type: ignore[no-untyped-def]
    """Whether half of the instructions since the first of a sum belong to it, if that matters.

    Otherwise operands would wait long for the sum that reads them.
    """
    return i64(s[NEARNESS]) == 0 or 2 * i8_at(s[MEMBERS])[j] >= i64(i) - i8_at(s[FIRST])[j]


def _find(state, lo, hi):  # type: ignore[no-untyped-def]
    """Which of the instructions lo..hi belong to one sum, in their order; how many sums."""
    s = u8_at(state)
    op, out, operands = u2_at(s[OP]), u4_at(s[OUT]), (u4_at(s[A]), u4_at(s[B]))
    writer, within, taken = i8_at(s[WRITER]), u1_at(s[WITHIN]), u1_at(s[TAKEN])
    length, first, members = i8_at(s[LENGTH]), i8_at(s[FIRST]), i8_at(s[MEMBERS])
    sums = 0
    for i in range(lo, hi):
        code = op[i]
        is_sum = _is_sum(code)
        if not (is_sum or code == MUL or code == MUL_K or code == NEG):
            continue
        writer[out[i]] = i64(i) + 1
        if not is_sum:
            continue
        slots = _slots_of_sum(code)
        left = right = i64(-1)
        if slots & A_BIT:
            left = _inner_sum(s, i64(operands[0][i]))
        if slots & B_BIT and (code == ADD or i64(s[ANYWHERE]) == 1):
            right = _inner_sum(s, i64(operands[1][i]))
        if left >= 0 and not _near(s, left, i):
            left = i64(-1)
        if right >= 0 and not _near(s, right, i):
            right = i64(-1)
        if s[PRODUCTS] != 0:
            products = i8_at(s[PRODUCTS])
            if right >= 0 and products[right] > 0 and code != ADD:
                right = i64(-1)
            if left >= 0 and right >= 0 and products[right] > 0:
                right = i64(-1)
                if products[left] > 0:
                    left = i64(-1)
        if left >= 0 and right >= 0 and i64(s[ANYWHERE]) == 0:
            if first[left] < first[right]:  # the other one is nearer
                left = i64(-1)
            else:
                right = i64(-1)
        count, begin, own, bits, factors = 0, i64(i), 1, 0, 0
        for side in range(2):
            bit = A_BIT if side == 0 else B_BIT
            j = left if side == 0 else right
            if j >= 0:
                bits |= bit
                taken[j] = u8(1)
                count += length[j]
                begin = min(begin, first[j])
                own += members[j]
                if s[PRODUCTS] != 0:
                    factors += i8_at(s[PRODUCTS])[j]
            else:
                count += 1
                if slots & bit:
                    j = _factor(s, i64(operands[0][i] if side == 0 else operands[1][i]))
                    if j >= 0:
                        begin = min(begin, j)
                        own += 1
                        factors += 1
        within[i], length[i], first[i], members[i] = u8(bits), count, begin, own
        if s[PRODUCTS] != 0:
            i8_at(s[PRODUCTS])[i] = factors
        sums += 1
    return sums


@jit
def _term(s, root, i, side, sign, at):  # type: ignore[no-untyped-def]
    """Write operand `side` of sum i as the term at place `at`; members besides the sums."""
    op, a, b = u2_at(s[OP]), u4_at(s[A]), u4_at(s[B])
    kind, p, q = i8_at(s[KIND]), i8_at(s[P]), i8_at(s[Q])
    x = i64(a[i]) if side == 0 else i64(b[i])
    if not _slots_of_sum(op[i]) >> side & 1:
        kind[at], p[at], q[at] = FIXED + sign, 0, x
        return
    j = _factor(s, x)
    if j < 0:
        kind[at], p[at], q[at] = PLAIN + sign, x, 0
        return
    other = i64(s[OTHERS])
    i8_at(s[INNER])[other], i8_at(s[WHOSE])[other] = j, root
    s[OTHERS] = u8(other + 1)
    code = op[j]
    if code == NEG:
        kind[at], p[at], q[at] = PLAIN + (1 - sign), i64(a[j]), 0
    else:
        kind[at] = (PRODUCT if code == MUL else SCALED) + sign
        p[at], q[at] = i64(a[j]), i64(b[j])


def _list(state, lo, hi):  # type: ignore[no-untyped-def]
    """List the sums among the instructions lo..hi that are long enough; how many."""
    s = u8_at(state)
    op, within, taken, length = u2_at(s[OP]), u1_at(s[WITHIN]), u1_at(s[TAKEN]), i8_at(s[LENGTH])
    operands, writer = (u4_at(s[A]), u4_at(s[B])), i8_at(s[WRITER])
    roots, counts, stack = i8_at(s[ROOTS]), i8_at(s[COUNTS]), i8_at(s[STACK])
    found, terms, fewest = 0, 0, i64(s[FEWEST])
    for i in range(lo, hi):
        if length[i] < fewest or i64(taken[i]) == 1 or length[i] == 0:
            continue
        roots[found], counts[found] = i64(i), length[i]
        terms += length[i]
        at = terms  # terms are written from the last one to the first
        stack[0] = 2 * i64(i)
        depth = 1
        while depth:
            depth -= 1
            j, sign = stack[depth] >> 1, stack[depth] & 1
            if j < 0:  # an operand of a sum that is one term
                j = -1 - j
                at -= 1
                _term(s, found, j >> 1, j & 1, sign, at)
                continue
            if j != i:
                other = i64(s[OTHERS])
                i8_at(s[INNER])[other], i8_at(s[WHOSE])[other] = j, found
                s[OTHERS] = u8(other + 1)
            # Below what belongs here lies what is written later: the sums come first in the order.
            bits, minus = i64(within[j]), op[j] == SUB or op[j] == SUB_K or op[j] == K_SUB
            swapped = bits == B_BIT  # u + (x + y) is x + y + u
            for turn in range(2):
                side = 1 - turn if swapped else turn
                its = sign ^ 1 if side == 1 and minus else sign
                if bits >> side & 1:
                    inner = writer[operands[0][j] if side == 0 else operands[1][j]] - 1
                    stack[depth] = 2 * inner + its
                else:
                    stack[depth] = 2 * (-1 - (2 * j + side)) + its
                depth += 1
        found += 1
    s[FOUND], s[TERMS] = u8(found), u8(terms)
    return found


find, listed = (Sweep(f, table_hash()) for f in (_find, _list))
