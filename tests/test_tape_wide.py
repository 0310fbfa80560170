"""The tape with array operations: how it prints, compares, slices, counts, seals and replays.

What holds of scalar tapes is in test_tape.py; here results are spans of slots, operands are walks
over them, and programs are drawn at random.
"""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

import ndtape as nt
from ndtape import nest, passes, run, tape
from ndtape.ops import FIRST_WIDE

CUBE = nt.primitive(lambda a: a**3, lambda w, z, a: (3.0 * w * a**2,), name="cube")


def small():
    """A program with a name or two, every way an operand can look, and a call."""
    w, s = nt.var([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="w"), nt.var(0.5, name="s")
    with nt.Tape(lines=True) as recorded:
        y = w * s  # product
        z = y[:, 1:].T + np.array([10.0, 20.0])  # sum with constants
        c = CUBE(w)  # call
        t = nt.array([y[0, 0], y[1, 1], c[1, 1]])  # collected
        p = w @ t  # product of matrices
        f = p.sum() - z[1, 0] * 2.0  # end
    return recorded, f, (w, s)


def test_printing():
    recorded, _, _ = small()
    assert [line.split("  #")[0].rstrip() for line in str(recorded).splitlines()] == [
        "   0  w = wide_input(k0:6)",
        "   1  s = input(0.5)",
        "   2  r7:13 = w * s",
        "   3  r13:17 = r8:13 + k7:9",
        "   4  r17:23 = call(w)",
        "   5  r23:26 = collect(3 elements)",
        "   6  r26:28 = dot(w, r23:26)",
        "   7  r28 = sum(r26:28)",
        "   8  r29 = r15 * 2",
        "   9  r30 = r28 - r29",
    ]


def test_lines():
    recorded, _, _ = small()
    source, first = inspect.getsourcelines(small)
    lines = {text.rsplit("# ")[-1].strip(): first + i for i, text in enumerate(source)}
    markers = ["product", "product", "product", "sum with constants", "call", "collected",
               "product of matrices", "end", "end", "end"]  # fmt: skip
    expected = [f"{small.__code__.co_filename}:{lines[m]}" for m in markers]
    assert [recorded.where(i) for i in range(len(recorded))] == expected
    sealed = passes.seal(recorded)
    assert [sealed.where(i) for i in range(len(sealed))] == expected
    assert str(recorded).splitlines()[4].endswith(f"# {expected[4]}")


def test_listing_shows_spans():
    recorded, f, (w, s) = small()
    recorded.gradient(f, [w, s])
    shown = recorded.listing(values=True, adjoints=True).splitlines()
    assert "value [0.5 1 1.5 2 ...]" in shown[2] and "value 0.5" in shown[1]
    assert "value [11 22.5 11.5 23]" in shown[3]
    assert shown[5].split("value ")[1].startswith("[0.5 2.5 125]")
    assert "adjoint [5 7 9]" in shown[5] and "adjoint 1 " in shown[9]


def test_instructions():
    recorded, _, _ = small()
    product = recorded.instruction(2)
    assert (product.name, product.wide, product.out, product.size) == ("multiply", True, 7, 6)
    assert product.slots == (0, 1, 2, 3, 4, 5, 6)
    x, y = product.operands
    assert (x.start, x.extents, x.strides, x.constant) == (0, (6,), (1,), False)
    assert (y.start, y.strides) == (6, (0,))
    part = recorded.instruction(3)
    assert part.operands[0].places().tolist() == [8, 11, 9, 12]
    assert recorded.instruction(5).operands[0].entries.tolist() == [7, 11, 21]
    assert recorded.instruction(4).operands[0].places().tolist() == [0, 1, 2, 3, 4, 5]
    assert [i.name for i in recorded][-3:] == ["sum", "multiply", "subtract"]


def test_slots_and_indices_are_each_others_inverse():
    recorded, _, _ = small()
    starts = [i.out for i in recorded]
    assert [recorded.slot_of_index(i) for i in range(len(recorded))] == starts
    assert recorded.columns()["out"].tolist() == starts
    for i, instruction in enumerate(recorded):
        for slot in range(instruction.out, instruction.out + instruction.size):
            assert recorded.index_of_slot(slot) == i
            assert recorded.span_of(slot) == (instruction.out, instruction.size)
    assert recorded.slots == 31


def test_stats():
    recorded, f, (w, _) = small()
    assert recorded.stats().walked == 0
    recorded.gradient(f, w)
    stats = recorded.stats()
    assert (stats.instructions, stats.inputs, stats.slots, stats.walked) == (10, 2, 31, 8)
    assert stats.histogram["multiply"] == 2 and stats.histogram["wide_input"] == 1
    assert stats.histogram["call"] == stats.histogram["dot"] == stats.histogram["collect"] == 1
    assert "10 instructions (2 inputs), 31 slots" in str(stats)
    assert stats.bytes >= 8 * 31


def test_columns_are_copies_without_rubbish():
    recorded, _, _ = small()
    columns = recorded.columns()
    for name, column in columns.items():
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
        assert not np.shares_memory(
            column, getattr(recorded, "words" if name == "m" else "constants")
        )
    chunk = recorded.chunks[0]
    chunk.b[7] = 12345  # the operand y of a sum
    chunk.a[5] = chunk.b[5] = 12345  # the operands of collect
    again = recorded.columns()
    assert all(np.array_equal(again[name], columns[name]) for name in columns)
    nt.verify(recorded)


# --- equality -------------------------------------------------------------------------------------


def program(values=(1.0, 2.0, 3.0), factor=(1.0, 2.0, 3.0), shift=1, f=np.sin):
    with nt.Tape() as recorded:
        x = nt.var(np.array(values))
        y = f(x) * np.array(factor)
        np.cumsum(np.roll(y, shift))
    return recorded


def test_equality():
    assert program() == program()
    assert program() != program(values=(1.0, 2.0, 4.0))
    assert program() != program(factor=(1.0, 2.0, 4.0))
    assert program(factor=(1.0, np.nan, 3.0)) == program(factor=(1.0, np.nan, 3.0))
    assert program() != program(shift=2)
    assert program() != program(f=np.cos)
    assert program() != program(values=(1.0, 2.0, 3.0, 4.0), factor=(1.0, 2.0, 3.0, 4.0))
    assert program() != program()[:2]


def test_equality_ignores_where_constants_and_words_lie():
    one, other = program(), nt.Tape()
    other.extend_pool(np.arange(10.0))
    other.descriptor((9, 9, 9))
    x = nt.var(np.array([1.0, 2.0, 3.0]))
    with other:
        y = np.sin(x) * np.array([1.0, 2.0, 3.0])
        np.cumsum(np.roll(y, 1))
    assert one == other
    assert passes.seal(one) == passes.seal(other)


def test_equality_sees_layout_functions_and_entries():
    def recorded(f):
        x = nt.var([[1.0, 2.0], [3.0, 4.0]])
        with nt.Tape() as made:
            f(x)
        return made

    programs = [
        lambda x: x * 1.0, lambda x: x.T * 1.0, lambda x: x[::-1] * 1.0, lambda x: x[0] * 1.0,
        lambda x: x.sum(axis=0), lambda x: x.sum(axis=1), lambda x: x.sum(), lambda x: x.max(),
        lambda x: np.cumsum(x, 0), lambda x: np.cumsum(x, 1), lambda x: x @ x, lambda x: x @ x.T,
        lambda x: x[[0, 1]], lambda x: x[[1, 0]], lambda x: CUBE(x), lambda x: OTHER(x),
        lambda x: with_constant(x, 0, 1.0), lambda x: with_constant(x, 1, 1.0),
        lambda x: with_constant(x, 1, 2.0), lambda x: with_constant(x, 1, np.nan),
    ]  # fmt: skip
    for i, f in enumerate(programs):
        made = recorded(f)
        assert made == made[:]
        assert made.calls or made == recorded(f), i
        for g in programs[:i]:
            assert recorded(f) != recorded(g), i


def with_constant(x, row, number):
    y = x * 1.0
    y[row] = number
    return y.sum()


OTHER = nt.primitive(lambda a: a**2, lambda w, z, a: (2.0 * w * a,), name="square")

# --- random programs ------------------------------------------------------------------------------

ONE = ["sin", "tanh", "exp", "square", "negative", "cos"]
TWO = ["add", "multiply", "subtract", "maximum", "arctan2", "hypot"]


def random_program(seed):
    """A function of a matrix (3, 4), a vector (4,) and a number, to a number; always the same."""

    def f(a, b, s):
        rng = np.random.default_rng(seed)
        alive = [a * 1.0, b * 1.0, s * 1.0]
        for _ in range(12):
            x, y = (alive[rng.integers(len(alive))] for _ in range(2))
            n = getattr(x, "ndim", 0)
            choice = rng.integers(14)
            if choice < 2:
                z = getattr(np, ONE[rng.integers(len(ONE))])(x * 0.5)
            elif choice < 5:
                z = getattr(np, TWO[rng.integers(len(TWO))])(x, y)
            elif choice == 5 and n:
                z = np.sum(x, axis=0) * 0.25 if n == 2 else np.max(x)
            elif choice == 6 and n == 2:
                z = (x @ (x.T * 0.1)) @ a * 0.1
            elif choice == 7 and n:
                z = np.cumsum(x[..., ::-1], axis=-1) * 0.25
            elif choice == 8 and n:
                z = x * 1.0
                z[..., 1] = s * 0.5
                z[..., 2] = 0.25
            elif choice == 9 and n == 1:
                z = x[np.clip(np.floor(np.abs(x) * 2), 0, 3).astype(int)]
            elif choice == 10 and n:
                z = CUBE(x * 0.5)
            elif choice == 11 and n == 1:
                z = x * 1.0
                np.add.at(z, np.clip(np.floor(np.abs(x)), 0, 3).astype(int), x * 0.5)
            elif choice == 12 and n == 2:
                z = np.where(x > 0.1, x.T.reshape(3, 4), x[0])
            else:
                z = np.clip(x, -1.5, 1.5) if n else s * s
            alive.append(np.clip(z, -2.0, 2.0) if getattr(z, "ndim", 0) else z * 0.5)
        total = s * 0.0
        for z in alive:
            total = total + (z.sum() if getattr(z, "ndim", 0) else z)
        return total

    return f


def point(rng):
    return rng.uniform(-1.0, 1.0, (3, 4)), rng.uniform(-1.0, 1.0, 4), float(rng.uniform(0.2, 1.0))


def recorded_at(f, numbers):
    leaves = [nt.var(x, name=name) for x, name in zip(numbers, "abs", strict=True)]
    with nt.Tape() as made:
        y = f(*leaves)
    return made, y, leaves


SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_replay_is_a_fresh_recording(seed):
    """A sealed tape with new numbers: the values to the bit, gradients to rounding."""
    f, rng = random_program(seed), np.random.default_rng(seed + 1000)
    made, y, _ = recorded_at(f, point(rng))
    nt.verify(made)
    sealed = passes.seal(made)
    nt.verify(sealed)
    order = [sealed.names[s] for s in sorted(sealed.names)]
    assert sorted(order) == ["a", "b", "s"]
    inputs, slots = run.leading_inputs(sealed)
    assert (inputs, slots) == (3, 17)
    work = run.Workspace(sealed)
    root = sealed.slots - 1
    assert made.index_of_slot(y.slot) == len(made) - 1
    assert work.value(root) == y.value
    for _ in range(3):
        numbers = point(rng)
        flat = {"a": numbers[0].ravel(), "b": numbers[1], "s": np.array([numbers[2]])}
        work.set_inputs(np.concatenate([flat[name] for name in order]))
        _, fresh, leaves = recorded_at(f, numbers)
        assert work.value(root) == fresh.value
        work.set_inputs(np.concatenate([flat[name] for name in order]))
        g = work.gradient(root)[:17].copy()
        again = work.reverse({root: 1.0})[:17]
        np.testing.assert_array_equal(g, again)
        expected = dict(zip("abs", fresh.tape.gradient(fresh, leaves), strict=True))
        expected = np.concatenate([np.ravel(expected[name]) for name in order])
        np.testing.assert_allclose(g, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_slices_compute_the_same_numbers(seed):
    f, rng = random_program(seed), np.random.default_rng(seed + 2000)
    made, y, _ = recorded_at(f, point(rng))
    values = made.work.array("v")[: made.slots].copy() if y.value is not None else None
    starts = [*(i.out for i in made), made.slots]
    assert made[:] == made
    for _ in range(6):
        lo, hi = sorted(rng.integers(0, len(made) + 1, 2).tolist())
        part = made[lo:hi]
        nt.verify(part)
        # What the slice reads from before it is an input, in the order of slots.
        read = {made.span_of(s) for i in made.instructions(lo, hi) for s in i.slots
                if s < starts[lo]}  # fmt: skip
        before = sorted(read)
        numbers = [values[first : first + size] for first, size in before]
        assert len(part) == hi - lo + len(before)
        work = run.Workspace(part)
        work.array("v")[: sum(map(len, numbers))] = np.concatenate([*numbers, []])
        work.swept = len(before)
        work.forward()
        own = slice(sum(map(len, numbers)), part.slots)
        np.testing.assert_array_equal(work.array("v")[own], values[starts[lo] : starts[hi]])


@pytest.mark.parametrize("seed", SEEDS)
def test_columns_come_back_as_the_same_tape(seed):
    f, rng = random_program(seed), np.random.default_rng(seed + 3000)
    made, y, _ = recorded_at(f, point(rng))
    if made.calls:
        with pytest.raises(nt.BadTapeError, match="calls function"):
            nt.tape_of(made.columns())
        return
    again = nt.tape_of(made.columns())
    assert again == made
    assert run.Workspace(again).value(y.slot) == y.value
    assert again.slots == made.slots and again.codes == made.codes and again.wide == made.wide


def test_growing_over_chunks():
    """Wide instructions on both sides of the ends of chunks, among scalars."""
    x, s = nt.var([1.0, 2.0, 3.0]), nt.var(0.5)
    with nt.Tape() as made:
        y, t = x * 1.0, s * 1.0
        for i in range(3 * tape.FIRST_CHUNK):
            if i % 3:
                y = y + t
            else:
                t = t + y[1] * 1e-3
        f = y.sum() * t
    nt.verify(made)
    assert len(made.chunks) > 1 and sum(1 for i in made if i.wide) > 500
    sealed = passes.seal(made)
    assert run.Workspace(sealed).value(sealed.slots - 1) == f.value
    assert made.gradient(f, x) == pytest.approx(nt.grad(lambda v: grown(v, 0.5))(x.value), rel=1e-9)
    assert made[:] == made


def grown(x, s):
    y, t = x * 1.0, s
    for i in range(3 * tape.FIRST_CHUNK):
        if i % 3:
            y = y + t
        else:
            t = t + y[1] * 1e-3
    return y.sum() * t


def test_a_full_tape_says_so_and_stays_usable(monkeypatch):
    x = nt.var(np.ones(100))
    with nt.Tape() as full:
        y = x * 2.0
        before = full.slots
        monkeypatch.setattr(tape, "MAX_SLOTS", 250)
        with pytest.raises(
            nt.TapeFullError, match=r"at most 250 slots, this one has 200 and needs 100"
        ):
            np.cumsum(y)
    assert full.slots == before and np.array_equal(y.value, 2.0 * np.ones(100))
    nt.verify(full)


def test_lanes_do_not_take_arrays():
    recorded, _, _ = small()
    work = run.Workspace(passes.seal(recorded), lanes=run.LANES)
    with pytest.raises(nt.TapeError, match="lanes do not work with array operations"):
        work.forward()


def test_check_finite_names_the_element():
    x = nt.var([1.0, 0.0, 2.0], name="x")
    with nt.Tape(lines=True) as recorded:
        y = np.log(x)  # here
        y.sum()
    here = inspect.getsourcelines(sys._getframe())
    line = here[1] + next(i for i, text in enumerate(here[0]) if text.rstrip().endswith("# here"))
    with pytest.raises(nt.NonFiniteError) as caught:
        recorded.check_finite()
    assert "is -inf at instruction 1, r3:6 = log(x)" in str(caught.value)
    assert str(caught.value).endswith(f":{line}")


def test_words_of_equal_operations_are_shared():
    def words(count):
        x = nt.var(np.ones(50))
        with nt.Tape() as made:
            before = made.mn  # a new tape knows the words of earlier ones
            for _ in range(count):
                _ = np.sin(x) * x
        assert len(made) == 2 * count + 1
        assert np.count_nonzero(made.columns()["op"] >= FIRST_WIDE) == 2 * count + 1
        return made.mn - before

    # Where a chunk ends an operation goes another way, which may write its words once more.
    once_more = nest.BODY + nest.LOOP
    assert words(500) <= words(100) + once_more <= 30 * once_more
