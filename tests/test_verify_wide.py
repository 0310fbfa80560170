"""`verify` on tapes with array operations: a sentence for each rule, and damage at random.

Damaged tapes that `verify` lets through are swept in every mode, in a process of its own, with the
memory behind the last slot watched: what a sweep must not touch is still 0 afterwards.  Another
reading of the format, an element at a time, says which damage must be refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

import ndtape as nt
from ndtape import nest, passes, run
from ndtape.nest import BODY, FLAGS, KIND_WORD, LOOP, LOOPS, SIZE, U
from ndtape.ops import FIRST_WIDE, WIDE, WIDE_CODES
from ndtape.tape import MAX_SLOTS, Tape
from ndtape.verify import verify_columns

NAMES = ("op", "a", "b", "c", "k", "m")


def matrix_times_cube(a, b):
    return a @ b**3


def its_adjoints(w, z, a, b):
    return np.outer(w, b**3), 3.0 * b**2 * (a.T @ w)


def recorded():
    """A tape with every kind of wide instruction, and the scalar that it ends with."""
    w = nt.var(np.arange(6.0).reshape(2, 3) / 7 + 0.1, name="w")
    x, s = nt.var([1.0, 2.0, 3.0], name="x"), nt.var(0.3, name="s")
    user_operation = nt.primitive(matrix_times_cube, its_adjoints, name="user_operation")
    with nt.Tape() as tape:
        y = w @ x
        z = np.sin(w) * x + s
        r = z.sum(axis=0) + z.max(axis=1)[0]
        c = np.cumsum(w, axis=0)[::-1]
        q = np.where(c > 0.5, c, w.T.reshape(2, 3))
        e = np.zeros_like(x)
        e[0], e[2] = s * 2, x[1]
        at = np.floor(x * 0.9).astype(int)
        g = x[at]
        np.add.at(e, at, x)
        called = user_operation(w[:, :2], y)
        p = nt.polygamma(1, x * x)
        a = np.einsum("ij,kj->ik", w, w)
        f = (r + e + g + p).sum() + q.sum() + called.sum() + a.sum() + x.min() * w[0, 1]
        f = f + np.clip(w, 0.2, x).sum() + y[1]
    return tape, f


def recorded_nests():
    """A tape with walks of all kinds: batches, diagonals, windows, backwards, broadcast."""
    a, b = nt.var(np.arange(24.0).reshape(2, 3, 4) / 9), nt.var(np.arange(12.0).reshape(4, 3) / 5)
    with nt.Tape() as tape:
        c = a @ b
        diagonal = np.einsum("ii->i", c[0])[:2, None]
        d = np.einsum("ijk,ik->ij", a[:, ::-1], c[:, 0, [0, 1, 2, 0]]) + diagonal
        e = np.einsum("ij,kl->il", b[::2], b.T[:, 1:])
        f = np.lib.stride_tricks.sliding_window_view(b[:, 0], 2) @ np.array([1.0, -1.0])
        g = np.cumsum(a[..., ::-1], axis=1).sum(axis=(0, 2)) * f
        h = np.maximum(a.transpose(2, 0, 1), b[:, None, :]).min(axis=(0, 2))
        i = np.broadcast_to(b[0], (5, 3)).sum(axis=0) - np.float32(2.0) * b[1].astype(np.float32)
        total = c.sum() + d.sum() + e.max() + g.sum() + h.sum() + i.sum() + (a[1] ** 2 * b.T).sum()
    return tape, total


def columns_of(tape):
    return {name: column.copy() for name, column in tape.columns().items() if name in NAMES}


def tape_with(columns, calls):
    """A tape of columns that were not verified."""
    made = Tape()
    made.extend_pools(columns)
    made.extend(columns)
    made.calls = list(calls)
    return made


TAPE, ROOT = recorded()
NESTS, NESTS_ROOT = recorded_nests()
KINDS = {WIDE[code - FIRST_WIDE].name for code in TAPE.columns()["op"] if code >= FIRST_WIDE}


def test_the_tape_under_test_has_every_kind():
    fused = {"skip", "affine", "weights", "terms"}  # see test_fusion.py, test_terms.py
    assert {w.name for w in WIDE if w.row is None} - fused <= KINDS
    nt.verify(TAPE)
    nt.verify(passes.seal(TAPE))
    nt.verify(NESTS)
    assert NESTS.columns()["op"].tolist().count(WIDE_CODES["dot"]) >= 4
    for lo in range(0, len(TAPE), 5):
        nt.verify(TAPE[lo : lo + 7])


# --- a sentence for each rule ---------------------------------------------------------------------


def first(kind):
    """The first instruction of a kind."""
    return int(np.flatnonzero(TAPE.columns()["op"] == WIDE_CODES[kind])[0])


def broken(kind, **changes):
    """Columns in which one instruction is changed: columns by name, words by `w<number>`.

    The words are those of a descriptor of its own, at the end of the pool.
    """
    columns = columns_of(TAPE)
    i = first(kind)
    c = int(columns["c"][i])
    words = columns["m"][c : c + nest.length(kind, columns["m"], c)].copy()
    columns["c"][i] = len(columns["m"])
    for name, value in changes.items():
        if name in NAMES:
            columns[name][i] = value
        else:
            words[int(name[1:])] = value
    columns["m"] = np.concatenate([columns["m"], words])
    return columns


def word(position):
    return f"w{position}"


def loop(j, place):
    """The name of a word of loop j: 0 its extent, then the strides of z, x, y, u."""
    return word(BODY + LOOP * j + place)


HUGE = 2**63 - 1
FIRST_CALL = BODY + 1
BROKEN = {
    "descriptor outside": ("sin", {"c": 100_000}, r"\(sin, wide\) has its descriptor at 100000;"),
    "size 0": ("sin", {word(SIZE): 0}, r"has a result of 0 slots, not 1 to 4294967294"),
    "size negative": ("dot", {word(SIZE): -1}, r"has a result of -1 slots"),
    "size beyond numbering": ("sin", {word(SIZE): MAX_SLOTS + 1}, r"of 4294967295 slots"),
    "largest size": ("wide_input", {word(SIZE): MAX_SLOTS}, r"more than the 4294967294 slots"),
    "size unlike the loops": ("sin", {word(SIZE): 5}, r"loops over 6 results and a size of 5"),
    "sum of another size": ("sum", {word(SIZE): 2}, r"loops over 3 results and a size of 2"),
    "too many loops": ("sin", {word(LOOPS): 49}, r"has 49 loops; 0 to 48 are allowed"),
    "negative loops": ("sin", {word(LOOPS): -1}, r"has -1 loops"),
    "loops outside the pool": ("clip", {word(LOOPS): 48}, r"has words up to \d+; there are"),
    "loops of a gather": ("gather", {word(LOOPS): 1}, r"has 1 loops and takes none"),
    "extent 0": ("sin", {loop(0, 0): 0}, r"has extents \[0.*\], not all 1 to"),
    "extent negative": ("dot", {loop(0, 0): -3}, r"has extents \[-3"),
    "extent beyond": ("max", {loop(0, 0): 2**40}, r"has extents \[1099511627776"),
    "product beyond": ("max", {loop(0, 0): 2**31, loop(1, 0): 2**31}, r"more steps than"),
    "stride beyond": ("dot", {loop(0, 3): HUGE}, r"has a stride beyond"),
    "stride below": ("dot", {loop(0, 2): -HUGE - 1}, r"has a stride beyond"),
    "stride of an absent operand": ("sin", {loop(0, 3): 1}, r"has strides of an operand y, which"),
    "stride u of a product": ("multiply", {loop(0, 4): 1}, r"has strides of an operand u"),
    "result with gaps": ("sin", {loop(0, 1): 2}, r"has strides \[2\] of its result, which leave"),
    "result that overlaps": ("multiply", {loop(0, 1): 1}, r"has strides \[1, 1\] of its result"),
    "result backwards": ("multiply", {loop(1, 1): -1}, r"has strides \[3, -1\] of its result"),
    "contraction over itself": ("dot", {loop(0, 1): 2}, r"has strides \[2, 0\] of its result"),
    "flags of nothing": ("sin", {word(FLAGS): 2}, r"has flags 2, which name an operand that it"),
    "flags negative": ("sin", {word(FLAGS): -1}, r"has flags -1, which name an operand"),
    "flags of collect": ("collect", {word(FLAGS): 1}, r"has flags 1, which name an operand"),
    "an input of slots": ("wide_input", {word(FLAGS): 0}, r"has flags 0; it reads constants"),
    "kind word of a row": ("sin", {word(KIND_WORD): 1}, r"has kind word 1, not 0"),
    "axis past the loops": ("cumsum", {word(KIND_WORD): 2}, r"runs along loop 2, it has 2"),
    "axis negative": ("cumsum", {word(KIND_WORD): -1}, r"runs along loop -1"),
    "gather from nothing": ("gather", {word(KIND_WORD): 0}, r"an operand of 0 elements"),
    "gather from all": ("gather", {word(KIND_WORD): HUGE}, r"an operand of 9223372036854775807"),
    "gather from two spans": ("gather", {word(KIND_WORD): 4}, r"reads x .*, which are not all of"),
    "scatter of too many": ("scatter_add", {word(KIND_WORD): 4}, r"reads [yu] from .*, which are"),
    "column b of sin": ("sin", {"b": 1}, r"has operand b = 1, but its operation has no such"),
    "column a of collect": ("collect", {"a": 1}, r"has operand a = 1, but its operation has no"),
    "column b of a call": ("call", {"b": 1}, r"has operand b = 1, but its operation has no such"),
    "word U of a product": ("multiply", {word(U): 1}, r"has operand U = 1, but its operation has"),
    "U negative": ("clip", {word(U): -1}, r"has operand U = -1"),
    "U beyond": ("clip", {word(U): HUGE}, r"has operand U = 9223372036854775807"),
    "start outside": ("sin", {"a": 100_000}, r"reads x from 100000 to 100005, the tape has \d+ s"),
    "its own result": ("sin", {"a": 11}, r"reads x from 11 to 16, which are not all written bef"),
    "two results": ("sin", {"a": 1}, r"reads x from 1 to 6, which are not all of one result"),
    "before the tape": ("sin", {loop(0, 2): -1}, r"reads x from -5 to 0, the tape has \d+ slots"),
    "constants outside": ("wide_input", {"a": 100_000}, r"reads x from 100000 .*, the pool has"),
    "constants before": ("wide_input", {"a": 2**32 - 1}, r"reads x from 4294967295 to"),
    "entry not written": ("collect", {word(BODY): 10**6}, r"takes slot 1000000, which is not wri"),
    "entry outside the pool": ("collect", {word(BODY): -(10**6)}, r"takes constant 999999, the po"),
    "worst entry": ("collect", {word(BODY): -HUGE - 1}, r"takes constant 9223372036854775807"),
    "entries outside": ("collect", {word(SIZE): 10**6}, r"has entries up to word \d+; there are"),
    "no such function": ("call", {word(KIND_WORD): 1}, r"calls function 1, the tape has 1"),
    "function negative": ("call", {word(KIND_WORD): -1}, r"calls function -1"),
    "operands outside": ("call", {word(BODY): 99}, r"has 99 operands; there are \d+ words"),
    "operands negative": ("call", {word(BODY): -1}, r"has -1 operands"),
    "operands beyond": ("call", {word(BODY): HUGE}, r"has 9223372036854775807 operands"),
    "call of later slots": ("call", {word(FIRST_CALL): 10**6}, r"reads 4 slots from 1000000 on"),
    "call of negative slots": ("call", {word(FIRST_CALL): -1}, r"reads 4 slots from -1 on"),
    "call of nothing": ("call", {word(FIRST_CALL + 1): 0}, r"reads 0 slots from \d+ on, which"),
    "call of too many": ("call", {word(FIRST_CALL + 1): HUGE}, r"reads 9223372036854775807 slots"),
    "call of two results": ("call", {word(FIRST_CALL + 1): 5}, r"reads 5 slots from \d+ on, whi"),
    "order from slots": ("polygamma", {word(FLAGS): 0}, r"has an order that is not a constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    kind, changes, sentence = BROKEN[name]
    columns = broken(kind, **changes)
    with pytest.raises(nt.BadTapeError, match=sentence):
        verify_columns(columns, len(TAPE.calls))


def test_orders_of_polygamma():
    columns = columns_of(TAPE)
    order = columns["a"][first("polygamma")]
    for number in (-1.0, 0.5, np.nan, np.inf, 1e18):
        columns["k"][order] = number
        with pytest.raises(nt.BadTapeError, match=r"\(polygamma, wide\) has order .*, not 0, 1"):
            verify_columns(columns, 1)


def test_columns_bring_no_functions():
    columns = columns_of(TAPE)
    with pytest.raises(nt.BadTapeError, match="calls function 0, the tape has 0"):
        nt.tape_of(columns)


def test_columns_need_words_where_operations_are_wide():
    columns = columns_of(TAPE)
    del columns["m"]
    with pytest.raises(nt.BadTapeError, match="there are 0 words"):
        nt.tape_of(columns)
    columns["m"] = np.zeros(4, np.int32)
    with pytest.raises(nt.BadTapeError, match="column m must be a vector of int64, not int32"):
        nt.tape_of(columns)


def test_a_scalar_operand_may_be_any_element_of_an_earlier_result():
    columns = columns_of(TAPE)
    last = len(columns["op"]) - 1
    assert columns["op"][last] < FIRST_WIDE
    out = TAPE.columns()["out"]
    for slot in (0, 5, 13, int(out[last]) - 1):
        columns["a"][last] = slot
        verify_columns(columns, 1)
    columns["a"][last] = out[last]
    with pytest.raises(nt.BadTapeError, match="which is not written before it"):
        verify_columns(columns, 1)


def test_results_lie_where_the_sizes_say():
    made = tape_with(columns_of(TAPE), TAPE.calls)
    nt.verify(made)
    index, slot, size = made.wide[3]
    made.wide[3] = (index, slot, size + 1)
    with pytest.raises(nt.BadTapeError, match=rf"instruction {index + 1} writes from slot"):
        nt.verify(made)


def test_array_tapes_without_calls_come_back_from_their_columns():
    x = nt.var([1.0, 2.0, 3.0])
    with nt.Tape() as tape:
        _ = (np.sin(x)[1:] * np.cumsum(x)[:2]).sum()
    again = nt.tape_of(tape.columns())
    assert again == tape
    assert str(again).replace("r0:3", "x") == str(tape).replace("r0:3", "x")


def test_scratch_memory_is_enough_for_all_loops():
    """48 loops that an odometer counts: the odd ones go the other way."""
    x = nt.var(np.arange(4.0))
    with nt.Tape() as tape:
        x.sum()
    columns = columns_of(tape)
    ones = [(1, 0, j % 3 - 1, 0, 0) for j in range(46)]
    columns["c"][1] = len(columns["m"])
    words = nest.descriptor(1, [*ones, (2, 0, 1, 0, 0), (2, 0, 2, 0, 0)])
    columns["m"] = np.concatenate([columns["m"], words])
    made = nt.tape_of(columns)
    work = run.Workspace(made)
    assert work.value(4) == 6.0
    assert work.gradient(4)[:4].tolist() == [1.0] * 4
    columns["m"][columns["c"][1] + LOOPS] = 49
    with pytest.raises(nt.BadTapeError, match="49 loops"):
        nt.tape_of(columns)


# --- damage at random -----------------------------------------------------------------------------


def oracle(columns, calls):
    """Whether every operand of every instruction is in range: one element at a time.

    Of what `verify` asks besides (canonical strides, unused words) it knows nothing.
    """
    out, pool = 0, len(columns["k"])
    ends = []
    for i, code in enumerate(columns["op"].tolist()):
        size = 1
        if code >= FIRST_WIDE:
            kind, c = WIDE[code - FIRST_WIDE].name, int(columns["c"][i])
            size = int(columns["m"][c + SIZE])
            if kind == "call" and not 0 <= columns["m"][c + KIND_WORD] < calls:
                return False
            at = int(columns["a"][i]), int(columns["b"][i]), c
            for walk in nest.walks(kind, columns["m"], *at):
                if walk.entries is not None:
                    good = (walk.entries < out) & (walk.entries >= -pool)
                    if len(walk.entries) != size or not good.all():
                        return False
                    continue
                for place in product(*map(range, walk.extents)):
                    slot = walk.start + sum(np.multiply(place, walk.strides).tolist())
                    if slot < 0 or slot >= (pool if walk.constant else out):
                        return False
                low, high = walk.bounds()
                if not walk.constant and not any(lo <= low and high < end for lo, end in ends):
                    return False
        ends.append((out, out + size))
        out += size
    return True


def damaged(columns, rng):
    """Columns with one to three numbers changed."""
    columns = {name: column.copy() for name, column in columns.items()}
    for _ in range(rng.integers(1, 4)):
        name = rng.choice(["m", "m", "m", "m", "a", "b", "c", "op", "k"])
        column = columns[name]
        i = int(rng.integers(len(column)))
        if name == "k":
            column[i] = rng.choice([0.0, 1.0, -1.0, 2.0, 1e300, np.nan, np.inf])
        elif name == "op":
            column[i] = rng.choice(column)
        else:
            near = int(column[i]) + int(rng.integers(-3, 4))
            other = int(rng.choice(column))
            far = int(rng.choice([0, 1, -1, 2**31, 2**32 - 1, 2**62, -(2**62)]))
            number = [near, near, other, other, int(rng.integers(0, 8)), far][rng.integers(6)]
            low, high = (-HUGE, HUGE) if name == "m" else (0, 2**32 - 1)
            column[i] = min(max(number, low), high)
    return columns


def steps(columns):
    """How much work a sweep has, at most: sizes and loops."""
    wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    total = 0.0
    for c in columns["c"][wide].tolist():
        words = columns["m"][c : c + BODY].tolist()
        extents = columns["m"][c + BODY :][: LOOP * words[LOOPS] : LOOP]
        total += words[SIZE] + abs(words[KIND_WORD]) + float(np.prod(extents.astype(float)))
    return total


def sweep_everything(made):
    """Every sweep over a verified tape; the number of errors that a sweep may report."""
    errors = 0
    for tape in (made, passes.seal(made)):
        nt.verify(tape)
        work = run.Workspace(tape)
        n = tape.slots
        root = n - 1
        for sweep in (
            lambda w=work, r=root: w.reverse({r: 1.0}),
            lambda w=work, r=root: w.gradient(r),
            lambda w=work, r=root: w.second(r, {0: 1.0}),
            lambda w=work, r=root: w.reach([r]),
        ):
            try:
                sweep()
            except (nt.ShapeError, ValueError, np.linalg.LinAlgError):
                errors += 1  # an index outside its array; a function that finds other shapes
        for name, array in work.arrays.items():
            assert not array[n:].any(), f"{name} is written behind its end"
    return errors


def sweep_many(seeds, count):
    """For the process of its own: tapes swept, refused, too long to sweep, errors."""
    swept = refused = long = errors = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        good = columns_of((TAPE, NESTS)[seed % 2])
        for _ in range(count):
            columns = damaged(good, rng)
            try:
                out = verify_columns(columns, len(TAPE.calls))
            except nt.BadTapeError:
                refused += 1
                continue
            if steps(columns) > 1e5 or out[-1] > 1e5:
                long += 1
                continue
            assert oracle(columns, len(TAPE.calls))
            with np.errstate(all="ignore"):
                made = tape_with(columns, TAPE.calls)
                errors += sweep_everything(made)
                str(made), made.stats(), made[len(made) // 2 :], made == made[:]
            swept += 1
    return swept, refused, long, errors


def test_what_verifies_can_be_swept():
    script = "import json, test_verify_wide as t; print(json.dumps(t.sweep_many(range(4), 700)))"
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        capture_output=True, text=True, check=False, cwd=__file__.rpartition("/")[0], timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    swept, refused, long, errors = json.loads(ran.stdout)
    assert swept > 200 and refused > 1000 and long < 200 and errors < swept * 4
