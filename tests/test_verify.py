"""`verify` keeps everything malformed away from the sweeps, which test no bounds.

A written list of broken tapes, each with the sentence that refuses it; then random damage to good
columns: whatever `verify` lets through is swept in every mode, in a process of its own, so that a
read out of bounds shows as a crash and not as a lucky pass.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape import passes, run
from ndtape.ops import CODES, FIRST_WIDE, OPCODES, WIDE
from ndtape.tape import CONSTANT_MASK, SLOT_MASK, Tape

NAMES = ("op", "a", "b", "c", "k")


def good_columns():
    """Eight instructions with every kind of operand."""
    x, y = nt.var(0.5), nt.var(2.0)
    with nt.Tape() as recorded:
        s = nt.sin(x)
        p = x * y
        f = nt.fma(s, p, y)
        g = nt.polygamma(2, y)
        d = f - 1.5
        nt.where(x, d, g)
    assert [i.name for i in recorded] == [
        "input", "sin", "input", "multiply", "fma", "polygamma", "subtract", "where",
    ]  # fmt: skip
    return {name: column.copy() for name, column in recorded.columns().items() if name in NAMES}


def test_good_columns_are_good():
    columns = good_columns()
    assert nt.tape_of(columns) == nt.tape_of(good_columns())
    nt.verify(nt.tape_of(columns))


# --- the list ------------------------------------------------------------------------------------


def entry(name, i, value):
    """A breakage: one entry of one column."""

    def broken(columns):
        columns[name][i] = value

    return broken


def whole(name, change):
    """A breakage: a column as a whole."""

    def broken(columns):
        columns[name] = change(columns[name])

    return broken


def without(name):
    def broken(columns):
        del columns[name]

    return broken


def order(value):
    """A breakage of the pool: the order of polygamma, instruction 5."""

    def broken(columns):
        columns["k"][columns["a"][5]] = value

    return broken


LAST = len(OPCODES) - 1
WIDE_LAST = FIRST_WIDE + len(WIDE) - 1
HUGE = 2**32 - 1
BROKEN = {
    "bad opcode": (entry("op", 3, LAST + 1), rf"3 has opcode {LAST + 1}; .* 0 to {LAST} and"),
    "opcode before arrays": (entry("op", 3, FIRST_WIDE - 1), r"3 has opcode 511; .* arrays, 512"),
    "opcode behind arrays": (entry("op", 3, WIDE_LAST + 1), rf"3 has opcode .* to {WIDE_LAST}$"),
    "worst opcode": (entry("op", 0, 65535), rf"0 has opcode 65535; .* to {WIDE_LAST}$"),
    "forward reference": (entry("a", 1, 6), r"instruction 1 \(sin\) has operand a = 6, which is "),
    "reference to itself": (entry("b", 3, 3), r"instruction 3 \(multiply\) has operand b = 3, whi"),
    "slot past the end": (entry("c", 4, 8), r"4 \(fma\) has operand c = 8, the tape has 8 slots"),
    "slot far past the end": (entry("a", 1, HUGE), rf"1 \(sin\) has operand a = {HUGE}, the tape"),
    "third operand of three": (entry("c", 7, 7), r"7 \(where\) has operand c = 7, which is not"),
    "operand b of sin": (entry("b", 1, 1), r"1 \(sin\) has operand b = 1, but its operation has"),
    "operand c of a product": (entry("c", 3, 1), r"3 \(multiply\) has operand c = 1, but its oper"),
    "operand b of an input": (entry("b", 2, 1), r"2 \(input_k\) has operand b = 1, but its oper"),
    "pool index past the end": (entry("a", 2, 4), r"2 \(input_k\) has operand a = 4, the pool has"),
    "constant operand past it": (entry("b", 6, HUGE), r"6 \(subtract_vk\) has operand b = 4294967"),
    "pool too short": (whole("k", lambda k: k[:2]), r"5 \(polygamma_kv\) has operand a = 2, the p"),
    "no pool": (whole("k", lambda k: k[:0]), r"instruction 0 \(input_k\) has operand a = 0, the p"),
    "order nan": (order(np.nan), r"instruction 5 \(polygamma\) has order nan, not 0, 1, 2"),
    "order inf": (order(np.inf), r"instruction 5 \(polygamma\) has order inf"),
    "order negative": (order(-1.0), r"instruction 5 \(polygamma\) has order -1"),
    "order half": (order(0.5), r"instruction 5 \(polygamma\) has order 0.5"),
    "order of years": (order(1e18), r"instruction 5 \(polygamma\) has order 1e\+18"),
    "a slot as order": (entry("op", 3, CODES["polygamma", "kv"]), r"\(polygamma|pool"),
    "no op": (without("op"), r"a tape needs the columns op, a, b, c, k; missing: \['op'\]"),
    "no c": (without("c"), r"missing: \['c'\]"),
    "no k": (without("k"), r"missing: \['k'\]"),
    "short op": (whole("op", lambda x: x[:-1]), r"differ in length: .*'op': 7, 'a': 8"),
    "long b": (whole("b", lambda x: np.append(x, x[:1])), r"differ in length: .*'b': 9"),
    "signed a": (whole("a", lambda x: x.astype(np.int32)), r"column a .* uint32, not int32"),
    "wide a": (whole("a", lambda x: x.astype(np.uint64)), r"column a .* uint32, not uint64"),
    "wide op": (whole("op", lambda x: x.astype(np.uint32)), r"column op .* uint16, not uint32"),
    "narrow k": (whole("k", lambda x: x.astype(np.float32)), r"column k .* float64, not float32"),
    "complex k": (whole("k", lambda x: x.astype(complex)), r"column k .* float64, not complex128"),
    "swapped bytes": (whole("a", lambda x: x.astype(">u4")), r"column a .* uint32, not >u4"),
    "objects": (whole("k", lambda x: x.astype(object)), r"column k .* float64, not object"),
    "a matrix": (whole("a", lambda x: x.reshape(2, 4)), r"column a must be a vector of uint32"),
    "a list": (whole("b", lambda x: x.tolist()), r"column b must be a vector of uint32, not list"),
    "None": (whole("k", lambda x: None), r"column k must be a vector of float64, not NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_malformed(name):
    breakage, sentence = BROKEN[name]
    columns = good_columns()
    breakage(columns)
    with pytest.raises(nt.BadTapeError, match=sentence):
        nt.tape_of(columns)


# Tapes fill unused operands with zeros when they are read, and hold no columns of another kind.
IN_A_TAPE = [name for name in BROKEN if "order" in name or "past" in name]
IN_A_TAPE += ["bad opcode", "opcode before arrays"]
IN_A_TAPE += ["forward reference", "reference to itself", "no pool"]


@pytest.mark.parametrize("name", IN_A_TAPE)
def test_malformed_in_the_tape_itself(name):
    breakage, sentence = BROKEN[name]
    columns = good_columns()
    breakage(columns)
    made = Tape()
    made.extend(columns)
    made.extend_pool(columns["k"])
    with pytest.raises(nt.BadTapeError, match=sentence):
        nt.verify(made)


def test_the_error_is_a_value_error_and_ours():
    assert issubclass(nt.BadTapeError, ValueError)
    assert issubclass(nt.BadTapeError, nt.TapeError)


def test_the_first_broken_instruction_is_named():
    columns = good_columns()
    columns["a"][[4, 6, 7]] = 99
    with pytest.raises(nt.BadTapeError, match="instruction 4 "):
        nt.tape_of(columns)


def test_the_empty_tape_is_good():
    columns = {name: column[:0] for name, column in good_columns().items()}
    assert len(nt.tape_of(columns)) == 0


def test_any_number_may_stand_in_the_pool():
    columns = good_columns()
    order = columns["a"][5]
    for number in (np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.8e308):
        columns["k"][np.arange(len(columns["k"])) != order] = number
        nt.tape_of(columns)


def test_every_opcode_verifies_and_every_column_of_it_is_checked():
    for opcode in OPCODES:
        n = 4
        columns = {
            "op": np.array([0, 0, 0, opcode.code], np.uint16),
            **{name: np.zeros(n, np.uint32) for name in "abc"},
            "k": np.ones(3),
        }
        nt.tape_of(columns)
        for j, name in enumerate("abc"):
            limit = 3 if (SLOT_MASK | CONSTANT_MASK)[opcode.code, j] else 1
            columns[name][3] = limit - 1
            nt.tape_of(columns)
            columns[name][3] = limit
            with pytest.raises(nt.BadTapeError, match=f"instruction 3 .*operand {name} = {limit}"):
                nt.tape_of(columns)
            columns[name][3] = 0


# --- random damage -------------------------------------------------------------------------------


def damaged(data):
    """Good columns with some bytes overwritten."""
    columns = good_columns()
    for name, position, byte in data:
        raw = columns[name].view(np.uint8)
        raw[position % len(raw)] = byte
    return columns


def oracle(columns):
    """Whether every operand of every instruction is in range: one element at a time."""
    op, pool = columns["op"].tolist(), len(columns["k"])
    for i, code in enumerate(op):
        if code >= len(OPCODES):
            return False
        form = OPCODES[code].form.ljust(3)
        for name, kind in zip("abc", form, strict=True):
            operand = int(columns[name][i])
            if operand >= {"v": i, "k": pool, " ": 1}[kind]:
                return False
        if OPCODES[code].row.name == "polygamma":
            order = columns["k"][columns["a"][i]]
            if order not in range(10_001):
                return False
    return True


small = st.integers(0, 12) | st.integers(0, 255)
damage = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 1 << 16), small), min_size=1, max_size=6
)


@given(damage)
@settings(max_examples=300, deadline=None)
def test_damage_is_refused_or_harmless(data):
    columns = damaged(data)
    if oracle(columns):
        nt.tape_of(columns)
    else:
        with pytest.raises(nt.BadTapeError, match=r"^instruction \d+ "):
            nt.tape_of(columns)


def random_programs(seed, count):
    """Columns with small random numbers everywhere: about one in three is a tape."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(1, 7))
        yield {
            "op": rng.integers(0, len(OPCODES) + 1, n).astype(np.uint16) * (np.arange(n) > 1),
            **{
                name: (rng.integers(0, 3, n) * (rng.random(n) < share)).astype(np.uint32)
                for name, share in zip("abc", (0.9, 0.5, 0.2), strict=True)
            },
            "k": rng.choice([0.0, 1.0, 2.0, -1.5, np.nan, np.inf, -np.inf, 1e300, 5e-324], 4),
        }


def sweep_everything(columns):
    """Verified columns through every sweep, as recorded and sealed, for one lane and sixteen."""
    made = nt.tape_of(columns)
    nt.verify(passes.seal(made))
    for swept in (made, passes.seal(made)):
        n = len(swept)
        for lanes in (1, run.LANES):
            work = run.Workspace(swept, lanes)
            one = 1.0 if lanes == 1 else np.ones(lanes)
            work.reverse({n - 1: one})
            work.second(n - 1, {0: one})
            for name in "vgth":
                assert len(work.array(name)) >= n


def sweep_many(seeds):
    """For the process of its own: counts of tapes swept and refused."""
    swept = refused = 0
    for seed in seeds:
        for columns in random_programs(seed, 150):
            try:
                nt.tape_of(columns)
            except nt.BadTapeError:
                refused += 1
                assert not oracle(columns)
                continue
            with np.errstate(all="ignore"):
                sweep_everything(columns)
            swept += 1
    return swept, refused


def test_what_verifies_can_be_swept():
    script = "import json, test_verify; print(json.dumps(test_verify.sweep_many(range(8))))"
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        capture_output=True, text=True, check=False, cwd=__file__.rpartition("/")[0], timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    swept, refused = json.loads(ran.stdout)
    assert swept > 100 and refused > 100
