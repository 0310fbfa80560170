"""The tape as a data structure: how it grows, prints, compares, slices, counts, seals and replays.

Long tapes are made by tiling the columns of a short one, which is what a compiled recorder will do
and takes no time; the recorders are tested elsewhere.
"""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np
import pytest

import ndtape as nt
from ndtape import passes, run, tape
from ndtape.tape import FIRST_CHUNK, LARGEST_CHUNK


def line_of(marker: str) -> str:
    """``file:line`` of the line of the calling test that ends in ``# marker``."""
    frame = sys._getframe(1)
    source, first = inspect.getsourcelines(frame.f_code)
    (offset,) = [i for i, line in enumerate(source) if line.rstrip().endswith(f"# {marker}")]
    return f"{frame.f_code.co_filename}:{first + offset}"


def circle_map(x, omega, steps):
    for _ in range(steps):
        x = x + omega + 0.5 * nt.sin(x)
    return x


def circle_map_gradient(x, steps):
    """dy/dx of the same recurrence, by the recurrence of its derivative."""
    slope = 1.0
    for _ in range(steps):
        slope *= 1.0 + 0.5 * math.cos(x)
        x = x + 2.39996 + 0.5 * math.sin(x)
    return x, slope


def tiled_chain(steps):
    """A tape of `steps` passes of the circle map: the columns of the second pass, tiled."""
    with nt.Tape() as short:
        circle_map(nt.var(0.3), 2.39996, 2)
    assert [i.name for i in short] == ["input", *["add", "sin", "multiply", "add"] * 2]
    columns = dict(short.columns())
    shift = np.repeat(4 * np.arange(steps - 1), 4)
    for j, name in enumerate("abc"):
        moves = np.tile(tape.SLOT_MASK[columns["op"][5:], j], steps - 1)
        body = np.tile(columns[name][5:], steps - 1) + moves * shift
        columns[name] = np.concatenate([columns[name][:5], body]).astype(np.uint32)
    columns["op"] = np.concatenate([columns["op"][:5], np.tile(columns["op"][5:], steps - 1)])
    return nt.tape_of(columns)


# --- growth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [FIRST_CHUNK - 1, FIRST_CHUNK, FIRST_CHUNK + 1, 20_000])
def test_growth_keeps_every_instruction(count):
    x = nt.var(1.0)
    with nt.Tape() as recorded:
        y = x * 1.0
        for i in range(count):
            y = y + float(i)
    assert len(recorded) == count + 2
    assert y.value == 1.0 + count * (count - 1) / 2
    for i in (2, 3, FIRST_CHUNK, FIRST_CHUNK + 1, count + 1):
        if 1 < i < len(recorded):
            assert recorded.instruction(i).operands == (i - 1, float(i - 2))
    nt.verify(recorded)
    assert recorded.gradient(y, x) == 1.0


def test_chunks_grow_fourfold_and_never_move():
    grown = tape.Tape()
    addresses = []
    while len(grown.chunks) < 8:
        grown.append(0, grown.constant(1.0))
        addresses.append(grown.chunks[0].memory.ctypes.data)
    assert len(set(addresses)) == 1
    sizes = [chunk.size for chunk in grown.chunks]
    assert sizes == [min(FIRST_CHUNK * 4**i, LARGEST_CHUNK) for i in range(8)]
    assert [c.base for c in grown.chunks] == [sum(sizes[:i]) for i in range(8)]


def test_chunks_stop_growing(monkeypatch):
    monkeypatch.setattr(tape, "LARGEST_CHUNK", 2 * FIRST_CHUNK)
    grown = tape.Tape()
    for _ in range(6 * FIRST_CHUNK):
        grown.append(0, 0)
    assert {chunk.size for chunk in grown.chunks[1:]} == {2 * FIRST_CHUNK}
    assert LARGEST_CHUNK >= 2 * FIRST_CHUNK


def test_a_full_tape_says_so_and_stays_usable(monkeypatch):
    x = nt.var(1.5)
    with nt.Tape() as full:
        y = x * 1.0
        monkeypatch.setattr(tape, "MAX_SLOTS", FIRST_CHUNK + 10)
        with pytest.raises(nt.TapeFullError, match="at most 266 slots, this one has 256 and needs"):
            for _ in range(FIRST_CHUNK + 1):
                y = y * 1.0
    assert len(full) == FIRST_CHUNK
    nt.verify(full)
    assert full.gradient(y, x) == 1.0
    monkeypatch.undo()
    z = y * 2.0
    assert full.gradient(z, x) == 2.0


def test_no_memory_for_a_chunk_is_a_sentence(monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError

    x = nt.var(1.5)
    with nt.Tape() as full:
        y = x * 1.0
        monkeypatch.setattr(tape.np, "empty", refuse)
        with pytest.raises(nt.TapeFullError, match="sweep shorter pieces, or detach"):
            for _ in range(FIRST_CHUNK + 1):
                y = y * y
        monkeypatch.undo()
    assert len(full) == FIRST_CHUNK
    assert full.gradient(y, x) == pytest.approx(2.0 ** (FIRST_CHUNK - 2), abs=math.inf)
    assert (y + 1.0).value == y.value + 1.0


def test_no_memory_for_the_numbers_is_a_sentence(monkeypatch):
    x = nt.var(1.5)
    with nt.Tape():  # a fresh one, whatever other tests have left alive
        y = x * 2.0

    def refuse(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(run.np, "zeros", refuse)
        with pytest.raises(nt.TapeFullError, match="for the numbers of a sweep over 2 instr"):
            _ = y.value
    assert y.value == 3.0


# --- depth ---------------------------------------------------------------------------------------


def test_a_deep_chain_needs_no_recursion():
    x = nt.var(0.3)
    steps = 20_000
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        y = circle_map(x, 2.39996, steps)
        y.backward()
    finally:
        sys.setrecursionlimit(limit)
    value, slope = circle_map_gradient(0.3, steps)
    assert y.value == pytest.approx(value, rel=1e-11)
    assert x.grad == pytest.approx(slope, rel=1e-7)
    assert slope != 0.0


def test_a_million_operations_in_bounded_memory():
    steps = 250_000
    long = tiled_chain(steps)
    assert len(long) == 1 + 4 * steps
    work = run.Workspace(long)
    g = work.reverse({len(long) - 1: 1.0})
    value, slope = circle_map_gradient(0.3, steps)
    assert work.value(len(long) - 1) == pytest.approx(value, rel=1e-11)
    assert g[0] == pytest.approx(slope, rel=1e-6)
    assert np.count_nonzero(g[: len(long)]) == len(long)  # no adjoint died on the way
    assert (long.allocated() + work.allocated()) / len(long) <= 36


# --- printing ------------------------------------------------------------------------------------


def test_prints_as_a_program():
    x, w = nt.var(5.0, name="x"), nt.var(-0.5)
    with nt.Tape() as recorded:
        y = x * w + 2.0
        z = nt.where(y > 0.0, nt.fmax(y, 1.0), 2.0**y)
        _ = 1.0 - z
    assert str(recorded).splitlines() == [
        "   0  x = input(5)",
        "   1  r1 = input(-0.5)",
        "   2  r2 = x * r1",
        "   3  r3 = r2 + 2",
        "   4  r4 = r3 > 0",
        "   5  r5 = fmax(r3, 1)",
        "   6  r6 = 2 ** r3",
        "   7  r7 = where(r4, r5, r6)",
        "   8  r8 = 1 - r7",
    ]
    assert repr(recorded) == "<Tape of 9 instructions>"


def test_constants_print_so_that_they_can_be_read_back():
    numbers = [0.1, 1 / 3, 1e300, -0.0, 5e-324, math.inf, math.nan]
    x = nt.var(1.0)
    with nt.Tape() as recorded:
        for number in numbers:
            x * number
    printed = [float(line.split("* ")[1]) for line in str(recorded).splitlines()[1:]]
    assert np.array_equal(printed, numbers, equal_nan=True)
    assert math.copysign(1.0, printed[3]) == -1.0


def test_long_programs_are_cut_in_the_middle():
    x = nt.var(1.0)
    with nt.Tape() as recorded:
        y = x + 0.0
        for i in range(1, 500):
            y = y + float(i)
    lines = str(recorded).splitlines()
    assert len(lines) == 201
    assert lines[99] == "  99  r99 = r98 + 98"
    assert lines[100] == "..."
    assert lines[101] == " 401  r401 = r400 + 400"
    assert lines[-1] == " 500  r500 = r499 + 499"
    assert len(recorded.program(limit=501).splitlines()) == 501
    assert len(recorded.program(limit=10).splitlines()) == 11


def test_listing_shows_values_and_adjoints():
    x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    with nt.Tape() as recorded:
        c = nt.sin(x * x + y)
    recorded.gradient(c, [x, y])
    slope = math.cos(28.0)
    rows = [
        ("0  x = input(5)", 5.0, 10.0 * slope),
        ("1  r1 = x * x", 25.0, slope),
        ("2  y = input(3)", 3.0, slope),
        ("3  r3 = r1 + y", 28.0, slope),
        ("4  r4 = sin(r3)", math.sin(28.0), 1.0),
    ]
    shown = recorded.listing(values=True, adjoints=True).splitlines()
    for line, (text, value, adjoint) in zip(shown, rows, strict=True):
        assert line.split("  value ")[0].strip() == text
        numbers = line.split("  value ")[1].split("  adjoint ")
        assert [s.strip() for s in numbers] == [f"{value:.9g}", f"{adjoint:.9g}"]
    assert "adjoint" not in recorded.listing()
    assert "value" not in recorded.listing(values=False, adjoints=True)


def test_a_listing_before_any_sweep():
    with nt.Tape() as recorded:
        x = nt.var(5.0, name="x")
        x * 2.0
    shown = recorded.listing(adjoints=True).splitlines()
    assert [line.split("adjoint ")[1] for line in shown] == ["0", "0"]


def test_the_empty_tape():
    empty = nt.Tape()
    assert (len(empty), str(empty), list(empty)) == (0, "", [])
    assert empty.listing(adjoints=True) == ""
    empty.check_finite()
    nt.verify(empty)
    assert empty == nt.Tape() == empty[:] == passes.seal(empty)
    assert empty.stats().instructions == 0
    assert "0 instructions" in str(empty.stats())


# --- source lines --------------------------------------------------------------------------------


def test_every_kind_of_operation_knows_its_line():
    x = nt.var(2.0)
    with nt.Tape(lines=True) as recorded:
        a = x * 1.5  # leaf operator
        b = a + a  # operator
        b = 1.0 - b  # reflected
        b = -b  # unary
        b = abs(b)  # abs
        b = b**2  # power
        b = nt.sin(b)  # function
        b = nt.multiply(b, a)  # function of two
        b = np.cos(b)  # numpy
        b = np.multiply(b, 2.0)  # numpy of two
        b = nt.where(b > 0.0, b, 0.0)  # where
        b = round(b, 2)  # round
        b, _ = divmod(b, 2.0)  # divmod
        b = np.float64(2.0) * b  # numpy scalar
    markers = [
        "leaf operator", "leaf operator", "operator", "reflected", "unary", "abs", "power",
        "function", "function of two", "numpy", "numpy of two", "where", "where", "round", "round",
        "round", "divmod", "divmod", "numpy scalar",
    ]  # fmt: skip
    here = sys._getframe()
    source, first = inspect.getsourcelines(here.f_code)
    line = {
        marker: first + i
        for i, text in enumerate(source)
        for marker in markers
        if text.rstrip().endswith(f"  # {marker}")
    }
    expected = [f"{here.f_code.co_filename}:{line[marker]}" for marker in markers]
    assert [recorded.where(i) for i in range(len(recorded))] == expected
    assert str(recorded).splitlines()[2].endswith(f"# {expected[2]}")


def test_a_statement_over_several_lines():
    x = nt.var(2.0)
    with nt.Tape(lines=True) as recorded:
        y = (
            x * 3.0  # first half
            + nt.exp(
                x  # argument
            )
        )
    assert recorded.where(1) == line_of("first half")
    assert y.op == "add"
    assert all(recorded.where(i) for i in range(len(recorded)))


def test_lines_survive_growth_and_sealing():
    x = nt.var(1.0)
    with nt.Tape(lines=True) as recorded:
        y = x * 1.0
        for _ in range(3 * FIRST_CHUNK):
            y = y + 1.0  # here
        nt.var(3.0) * y  # there
    assert {recorded.where(i) for i in range(2, 3 * FIRST_CHUNK + 2)} == {line_of("here")}
    sealed = passes.seal(recorded)
    assert sealed.where(len(sealed) - 1) == sealed.where(1) == line_of("there")
    assert sealed.where(4) == line_of("here")


def test_record_lines_is_a_switch_for_tapes_to_come():
    with nt.Tape() as before:
        nt.var(1.0) * 2.0
    nt.record_lines()
    try:
        with nt.Tape() as during:
            nt.var(1.0) * 2.0  # while on
    finally:
        nt.record_lines(False)
    with nt.Tape() as after:
        nt.var(1.0) * 2.0
    assert (before.where(1), during.where(1), after.where(1)) == ("", line_of("while on"), "")


# --- the first number that is not finite ----------------------------------------------------------


def test_check_finite_names_instruction_and_line_of_a_value():
    x = nt.var(0.0, name="x")
    with nt.Tape(lines=True) as recorded:
        y = nt.exp(x)
        z = nt.log(y - 1.0)  # the culprit
        _ = z * 0.0 + y / x
    with pytest.raises(nt.NonFiniteError) as caught:
        recorded.check_finite()
    said = str(caught.value)
    assert "value that is not finite is -inf at instruction 3, r3 = log(r2) with r2 = 0" in said
    assert said.endswith(line_of("the culprit"))


def test_check_finite_names_the_first_adjoint():
    x = nt.var(0.0, name="x")
    with nt.Tape(lines=True) as recorded:
        y = x * x
        r = nt.sqrt(y)  # derivative inf at 0
        z = r + 1.0
    recorded.check_finite()
    recorded.gradient(z, x)
    with pytest.raises(nt.NonFiniteError, match=r"adjoint .* is inf at instruction 1, r1 = x \* x"):
        recorded.check_finite()


def test_check_finite_is_quiet_on_finite_tapes_and_works_in_pieces():
    x = nt.var(1.0)
    with nt.Tape() as recorded:
        y = x * 1.0
        for _ in range(2 * FIRST_CHUNK):
            y = y + 1.0
        recorded.check_finite()
        recorded.gradient(y, x)
        recorded.check_finite()
        y / 0.0
        with pytest.raises(nt.NonFiniteError, match=r"inf at instruction 514, r514 = r513 / 0"):
            recorded.check_finite()


def test_check_finite_without_lines_says_how_to_get_them():
    with nt.Tape() as recorded:
        nt.log(nt.var(-1.0))
    with pytest.raises(nt.NonFiniteError, match=r"record with nt.Tape\(lines=True\)"):
        recorded.check_finite()
    assert issubclass(nt.NonFiniteError, FloatingPointError)


# --- equality ------------------------------------------------------------------------------------


def program(x=2.0, scale=3.0, f=nt.sin):
    with nt.Tape() as recorded:
        v = nt.var(x)
        f(v * scale) + v
    return recorded


def test_equality_is_of_content():
    assert program() == program()
    assert program(x=math.nan) == program(x=math.nan)
    assert program() != program(x=2.5)
    assert program() != program(scale=4.0)
    assert program() != program(f=nt.cos)
    assert program() != program()[:3]
    assert program() != "a tape"
    with pytest.raises(TypeError, match="unhashable"):
        hash(program())


def test_equality_ignores_where_constants_lie_and_what_unused_columns_hold():
    one, other = program(), program()
    other.constant(99.0)
    chunk = other.chunks[0]
    chunk.b[0] = chunk.c[0] = chunk.c[1] = 12345
    assert one == other
    assert other.columns()["c"].tolist() == [0, 0, 0, 0]


def test_equality_sees_operands():
    def swapped(first):
        with nt.Tape() as recorded:
            x, y = nt.var(1.0), nt.var(1.0)
            a, b = x * 2.0, y * 2.0
            a - b if first else b - a
        return recorded

    assert swapped(True) != swapped(False)


# --- slices --------------------------------------------------------------------------------------


def test_a_slice_is_a_program_of_its_own():
    x = nt.var(2.0, name="x")
    with nt.Tape() as recorded:
        a = x * 3.0
        b = nt.sin(a)
        c = b + a
        _ = c * c
    part = recorded[2:4]
    assert str(part).splitlines() == [
        "   0  r0 = input(nan)",
        "   1  r1 = sin(r0)",
        "   2  r2 = r1 + r0",
    ]
    nt.verify(part)
    assert str(recorded[1:2]).splitlines()[0] == "   0  x = input(nan)"
    work = run.Workspace(passes.seal(part))
    work.set_inputs([6.0])
    assert work.value(2) == pytest.approx(math.sin(6.0) + 6.0, rel=1e-15)


def test_slices_follow_python():
    recorded = program()
    n = len(recorded)
    assert recorded[:] == recorded == recorded[0:n] == recorded[-n:] == recorded[:99]
    assert len(recorded[n:]) == len(recorded[3:1]) == 0
    assert recorded[-1:] == recorded[n - 1 :]
    for key in (0, slice(None, None, 2), slice(None, None, -1), (0, 1)):
        with pytest.raises(nt.ArgumentError, match="slice a tape as"):
            recorded[key]


def test_every_slice_of_a_program_verifies():
    x, w = nt.var(2.0), nt.var(0.5)
    with nt.Tape() as recorded:
        y = nt.polygamma(2, x) + nt.fma(x, w, 1.0)
        y = nt.where(y > 0.0, y**w, nt.hypot(y, x)) - 3.0
    for lo in range(len(recorded)):
        for hi in range(lo, len(recorded) + 1):
            part = recorded[lo:hi]
            nt.verify(part)
            assert len(part) >= hi - lo


# --- figures -------------------------------------------------------------------------------------


def test_stats():
    x, w = nt.var(2.0), nt.var(0.5)
    with nt.Tape() as recorded:
        y = nt.sin(x * w) * 2.0 + nt.sin(w)
        _ = x * 5.0  # nothing of y
    before = recorded.stats()
    assert before.walked == 0
    recorded.gradient(y, x)
    stats = recorded.stats()
    assert (stats.instructions, stats.inputs, stats.slots) == (8, 2, 8)
    assert stats.constants == 4
    assert stats.walked == 5
    assert stats.histogram == {"multiply": 3, "input": 2, "sin": 2, "add": 1}
    assert stats.bytes > before.bytes > 0  # the sweep's numbers count
    assert stats.bytes_per_instruction == stats.bytes / 8
    assert str(stats).startswith("8 instructions (2 inputs), 8 slots, 4 constants, ")


# --- read-only columns ---------------------------------------------------------------------------


def test_columns_are_copies_that_cannot_be_written():
    recorded = program()
    nt.verify(recorded)
    shown = recorded.columns()
    for name, column in shown.items():
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
        assert not any(np.shares_memory(column, chunk.memory) for chunk in recorded.chunks), name
    assert not np.shares_memory(shown["k"], recorded.constants)


def test_a_tape_of_columns_is_the_same_tape():
    recorded = program()
    copied = nt.tape_of(recorded.columns())
    assert copied == recorded
    assert type(copied) is tape.Tape
    mine = {name: column.copy() for name, column in recorded.columns().items()}
    copied = nt.tape_of(mine)
    for column in mine.values():
        column[:] = 0  # what was verified is what is swept
    assert copied == recorded
    nt.verify(copied)


def test_tape_of_takes_columns_in_any_memory_order():
    columns = program().columns()
    strided = {name: np.repeat(column, 3)[::3] for name, column in columns.items()}
    assert not strided["op"].flags.contiguous
    assert nt.tape_of(strided) == nt.tape_of(columns)


# --- sealing and replay --------------------------------------------------------------------------


def late_inputs():
    """A tape whose inputs are scattered, and its result slots."""
    x, y = nt.var(2.0, name="x"), nt.var(5.0, name="y")
    with nt.Tape() as recorded:
        a = nt.exp(x * 0.5)
        b = a / y
        c = b - nt.var(7.0, name="z") * x
    return recorded, (a, b, c)


def test_seal_moves_inputs_to_the_front():
    recorded, _ = late_inputs()
    sealed = passes.seal(recorded)
    assert [i.name for i in sealed][:3] == ["input"] * 3
    assert "input" not in [i.name for i in sealed][3:]
    assert [sealed.names[i] for i in range(3)] == ["x", "y", "z"]
    assert run.leading_inputs(sealed) == (3, 3)
    assert sorted(i.name for i in sealed) == sorted(i.name for i in recorded)
    nt.verify(sealed)
    assert passes.seal(sealed) == sealed


def test_replay_with_new_inputs():
    recorded, _ = late_inputs()
    work = run.Workspace(passes.seal(recorded))
    last = len(recorded) - 1
    for x, y, z in [(2.0, 5.0, 7.0), (0.1, -3.0, 2.0), (1.5, 4.0, 0.0)]:
        work.set_inputs([x, y, z])
        assert work.value(last) == pytest.approx(math.exp(x / 2) / y - z * x, rel=1e-15)
        work.set_inputs([x, y, z])
        g = work.reverse({last: 1.0})
        expected = [0.5 * math.exp(x / 2) / y - z, -math.exp(x / 2) / y**2, -x]
        assert g[:3].tolist() == pytest.approx(expected, rel=1e-14, abs=0)


def test_replay_of_sixteen_inputs_at_once():
    recorded, _ = late_inputs()
    work = run.Workspace(passes.seal(recorded), lanes=run.LANES)
    rng = np.random.default_rng(3)
    inputs = rng.uniform(0.5, 2.0, (3, run.LANES))
    work.set_inputs(inputs)
    last = len(recorded) - 1
    g = work.reverse({last: np.ones(run.LANES)})
    x, y, z = inputs
    np.testing.assert_allclose(g[0], 0.5 * np.exp(x / 2) / y - z, rtol=1e-13)
    np.testing.assert_allclose(g[2], -x, rtol=1e-15)
    np.testing.assert_allclose(work.array("v")[last], np.exp(x / 2) / y - z * x, rtol=1e-13)


def test_inputs_of_the_wrong_shape():
    sealed = passes.seal(late_inputs()[0])
    work = run.Workspace(sealed)
    for wrong in ([1.0, 2.0], [1.0] * 4, 1.0, [[1.0, 2.0, 3.0]]):
        with pytest.raises(nt.ArgumentError, match=r"takes values of shape \(3,\)"):
            work.set_inputs(wrong)
    with pytest.raises(nt.ArgumentError, match="1 or 16 lanes, not 4"):
        run.Workspace(sealed, lanes=4)


def test_a_tape_goes_on_after_being_swept_sliced_and_sealed():
    x = nt.var(2.0)
    with nt.Tape() as recorded:
        y = x * x
        for _ in range(3):
            recorded.gradient(y, x)
            passes.seal(recorded), recorded[1:], recorded.columns()
            y = y + x
    assert recorded.gradient(y, x) == 7.0
    assert y.value == 10.0
