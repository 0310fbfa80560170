"""The pipeline of passes: code and its rules, optimised tapes, reports, and when traces go in."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import ndtape as nt
from ndtape import run
from ndtape.nest import descriptor
from ndtape.ops import CODES, WIDE_CODES
from ndtape.passes import PASSES, Code, Goal, OptimisedTape, code_of, optimised, pipeline, seal
from ndtape.passes.settling import settle
from ndtape.run import Workspace
from ndtape.traced import choosing, lean
from ndtape.traced import hot as fast
from ndtape.verify import verify_code

W, X, B = (np.random.default_rng(7).normal(size=shape) for shape in ((4, 4), (4,), (4,)))


def cell(w, x, b):
    return np.sum(np.tanh(w @ np.tanh(w @ x + b) + b))


def traced_cell(**options):
    """A traced function that no other test has."""
    return nt.function(lambda w, x, b: cell(w, x, b), **options)


def small():
    """Code of two inputs, their sum, a product and a sine, in slots 0 to 4."""
    with nt.Tape() as tape:
        x, y = nt.var(2.0), nt.var(3.0)
        z = x + y
        nt.sin(z * y)
    made = seal(tape)
    return code_of(made, 2, [made.slots - 1])


# --- the registry ---------------------------------------------------------------------------------


def test_names_are_final():
    order = ["common", "matrices", "simplify", "dead", "terms", "muladd", "affine", "weights",
             "slots", "settle"]  # fmt: skip
    names = [one.name for one in PASSES]
    assert sorted(names, key=order.index) == names
    levels = {one.name: one.level for one in PASSES}
    ones = {"simplify", "dead", "slots", "settle"}
    assert all(level == (1 if name in ones else 2) for name, level in levels.items())
    assert all(one.doc and one.doc[0].islower() for one in PASSES)


def test_level_0_does_nothing():
    code = small()
    assert optimised(code, Goal(level=0)) is code


@pytest.mark.parametrize("level", [-1, 4, 1.5, "2", None, True])
def test_levels_that_there_are_not(level):
    with pytest.raises(nt.ArgumentError, match="levels of optimisation are 0, 1, 2 and 3"):
        nt.function(cell, optimize=level)
    with pytest.raises(nt.ArgumentError, match="levels of optimisation"):
        nt.function(cell).optimize(level)


def test_steps_are_those_of_the_passes():
    steps = []
    code = optimised(small(), Goal(level=1), steps)
    assert [s.name for s in steps] == ["recorded", *[p.name for p in PASSES if p.level <= 1]]
    assert (steps[0].instructions, steps[-1].instructions) == (small().length, code.length)
    assert all(step.seconds > 0 for step in steps[1:])


def test_the_pace_is_learnt(monkeypatch):
    pace = pipeline.Pace()
    monkeypatch.setattr(pipeline, "_pace", pace)
    tape = nt.sin(nt.var(1.0)).tape
    # A new tape begins with the words of plans that others have used.
    words = tape.mn * pipeline.EACH_WORD
    usual = pipeline.FIXED + 2 * (pipeline.EACH + pipeline.EACH_SLOT) + words
    assert pipeline.expected_seconds(tape) == pytest.approx(usual)
    assert pipeline.loading_seconds() > 0
    pace.learn(usual, 10.0)  # which loads what is compiled
    assert pipeline.expected_seconds(tape) == pytest.approx(usual)
    assert pipeline.loading_seconds() == 0
    pace.learn(usual, 3 * usual)
    assert pipeline.expected_seconds(tape, tape) == pytest.approx(4 * usual)
    pace.learn(usual, 100 * usual)  # something else held it up
    assert pipeline.expected_seconds(tape) == pytest.approx((2 + pipeline.SLOWEST) / 2 * usual)


def test_patience_depends_on_what_passes_promise():
    def dots(x):
        total = 0.0
        for i in range(50):
            total = total + x[i] * x[i + 1]
        return total

    def sines(x):
        y = x[0]
        for _ in range(50):
            y = nt.sin(y)
        return y

    xs = np.linspace(0.1, 1.0, 51)
    found = {}
    for f in (dots, sines):
        traced = nt.function(f)
        traced(xs)
        (found[f],) = [lean.patience(t) for p in traced.all_programs() for t in p.traces]
    assert lean.SOONEST <= found[dots] < found[sines] == lean.LATEST


# --- rules of code --------------------------------------------------------------------------------


def changed(code, **columns):
    return code._replace(columns={**code.columns, **columns})


def with_entry(code, name, i, value):
    column = code.columns[name].copy()
    column[i] = value
    return changed(code, **{name: column})


def test_code_in_any_order_of_slots():
    """Slots from the last to the first: nothing but the numbers differs."""
    code = small()
    verify_code(code, once=True)
    out, a = code.columns["out"].copy(), code.columns["a"].copy()
    out[[2, 3]] = 3, 2
    with pytest.raises(nt.BadTapeError, match="is not written before it"):
        verify_code(changed(code, out=out))
    a[[3, 4]] = 3, 2
    turned = changed(code, out=out, a=a)
    verify_code(turned, once=True)
    one, two = (Workspace(OptimisedTape(c)) for c in (code, turned))
    assert np.array_equal(one.gradient(4)[:2], two.gradient(4)[:2])


def collected(code, entries):
    """The code with an instruction `collect` behind it."""
    words = np.array([*descriptor(len(entries), ()), *entries])
    fresh = {"op": WIDE_CODES["collect"], "out": code.slots, "a": 0, "b": 0,
             "c": len(code.columns["m"])}  # fmt: skip
    columns = {
        name: np.append(code.columns[name], np.array([value], code.columns[name].dtype))
        for name, value in fresh.items()
    }
    columns["m"] = np.append(code.columns["m"], words)
    return code._replace(
        columns={**code.columns, **columns}, slots=code.slots + len(entries),
        positions=np.append(code.positions, 0),
    )  # fmt: skip


BROKEN = {
    "a slot twice": (lambda c: with_entry(c, "out", 3, 2), "slot 2 is written 2 times"),
    "beyond the slots": (lambda c: with_entry(c, "out", 3, c.slots), "instruction 3 writes from"),
    "an operand beyond": (lambda c: with_entry(c, "a", 2, c.slots), "the tape has"),
    "an operand that is later": (lambda c: with_entry(c, "a", 2, 3), "not written before it"),
    "its own result": (lambda c: with_entry(c, "a", 2, 2), "not written before it"),
    "a constant beyond": (lambda c: with_entry(c, "a", 0, 99), "the pool has"),
    "an opcode": (lambda c: with_entry(c, "op", 2, 60000), "has opcode 60000"),
    "inputs that are none": (lambda c: c._replace(inputs=3), "are not inputs on the first slots"),
    "inputs elsewhere": (
        lambda c: with_entry(with_entry(c, "out", 0, 1), "out", 1, 0),
        "are not inputs on the first slots|not written",
    ),
    "more inputs than instructions": (lambda c: c._replace(inputs=99), "are not inputs"),
    "a result that is nowhere": (
        lambda c: c._replace(results=np.array([c.slots])), "is a result and never written"
    ),
    "a result that nobody writes": (
        lambda c: c._replace(slots=c.slots + 1, results=np.array([c.slots])), "never written"
    ),
    "results of floats": (lambda c: c._replace(results=np.array([1.0])), "results must be"),
    "positions": (lambda c: c._replace(positions=c.positions[1:]), "positions for"),
    "no column out": (
        lambda c: c._replace(columns={k: x for k, x in c.columns.items() if k != "out"}),
        "column out must be",
    ),
    "a short column": (lambda c: changed(c, out=c.columns["out"][:-1]), "entries for"),
    "too many slots": (lambda c: c._replace(slots=1 << 33), "slots; a tape has"),
    "an entry beyond": (lambda c: collected(c, [99]), "takes slot 99"),
    "a constant of an entry": (lambda c: collected(c, [-99]), "takes constant 98"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_verify_code_refuses(name):
    change, sentence = BROKEN[name]
    with pytest.raises(nt.BadTapeError, match=sentence):
        verify_code(change(small()), once=True)


def test_shared_slots_are_allowed_when_asked_for():
    code = collected(small(), [2, 3])
    shared = with_entry(code, "out", code.length - 1, 2)._replace(slots=small().slots)
    verify_code(shared)
    with pytest.raises(nt.BadTapeError, match="written 2 times"):
        verify_code(shared, once=True)


def test_a_walk_over_neighbours():
    """Code may read several results that lie side by side as one operand."""
    code = small()
    row = (WIDE_CODES["negative"], code.slots, 2, 0, len(code.columns["m"]))
    words = descriptor(2, [(2, 1, 1, 0, 0)])
    columns = {
        name: np.append(code.columns[name], np.array([value], code.columns[name].dtype))
        for name, value in zip(("op", "out", "a", "b", "c"), row, strict=True)
    }
    made = Code(
        {**code.columns, **columns, "m": np.append(code.columns["m"], words)}, code.slots + 2, 2,
        code.slots + np.arange(2), np.append(code.positions, 4),
    )  # fmt: skip
    verify_code(made, once=True)
    work = Workspace(OptimisedTape(made))
    g = work.reverse({code.slots: 1.0, code.slots + 1: 2.0})
    assert work.arrays["v"][made.results].tolist() == [-5.0, -15.0]
    assert g[:2].tolist() == [-7.0, -17.0]
    far = made._replace(columns={**made.columns, "a": made.columns["a"].copy()})
    far.columns["a"][-1] = code.slots - 1
    with pytest.raises(nt.BadTapeError, match="not all written before it"):
        verify_code(far)


# --- settled results ------------------------------------------------------------------------------


def test_results_are_settled_in_one_piece_or_in_parts():
    code = small()
    verify_code(settle(code._replace(results=np.array([3, 2, 3])), Goal()), once=True)
    assert settle(code._replace(results=np.array([2, 3])), Goal()) is None
    assert settle(code._replace(results=np.array([3, 2])), Goal(parts=(1, 1))) is None
    assert settle(code._replace(results=np.array([3, 2])), Goal(lanes=True)) is None
    made = settle(code._replace(results=np.array([0, 1, 3, 2, 3, 1])), Goal(parts=(2, 2, 2)))
    assert made.length == code.length + 2
    assert made.results[:2].tolist() == [0, 1]
    work = Workspace(OptimisedTape(made))
    work.forward()
    assert work.arrays["v"][made.results].tolist() == [2.0, 3.0, 15.0, 5.0, 15.0, 3.0]


# --- optimised tapes ------------------------------------------------------------------------------


def recorded(lines=False):
    with nt.Tape(lines=lines) as tape:
        w, x, b = nt.var(W, name="w"), nt.var(X, name="x"), nt.var(B, name="b")
        y = cell(w, x, b)
    return tape, y, (w, x, b)


def test_an_optimised_tape_is_a_tape():
    tape, y, _ = recorded(lines=True)
    made = nt.optimize(tape, y)
    nt.verify(made)
    assert [i.name for i in made].count("affine") == 2
    assert "affine(w, x, b)" in str(made)
    assert all("test_passes.py" in made.where(i) for i in range(3, len(made)))
    stats = made.stats()
    assert (stats.instructions, stats.inputs) == (len(made), 3)
    assert stats.slots == made.slots < tape.stats().slots
    assert stats.gradient > stats.values > 0
    assert made == OptimisedTape(made.code) != tape


def test_all_sweeps_go_over_an_optimised_tape():
    tape, y, variables = recorded()
    made = nt.optimize(tape, y)
    (root,) = made.results.tolist()
    assert Workspace(made).gradient(root)[:24] == pytest.approx(
        np.concatenate([np.ravel(g) for g in tape.gradient(y, variables)]), abs=1e-15
    )
    sealed = seal(tape)
    seeds = dict(enumerate(np.random.default_rng(1).normal(size=24).tolist()))
    for one, two in zip(
        Workspace(sealed).second(sealed.slots - 1, seeds), Workspace(made).second(root, seeds),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(one[:24], two[:24], rtol=0, atol=1e-14)


def test_what_cannot_be_done_with_an_optimised_tape():
    tape, y, _ = recorded()
    made = nt.optimize(tape, y)
    for wrong in (lambda: made[1:3], lambda: made.append(CODES["sin", "v"], 0),
                  lambda: made.extend({}), lambda: made.append_input(np.ones(2))):  # fmt: skip
        with pytest.raises(nt.ArgumentError, match="optimised tape"):
            wrong()
    with pytest.raises(nt.ArgumentError, match="optimised already"):
        nt.optimize(made)


def test_results_of_nt_optimize():
    tape, y, variables = recorded()
    last = nt.optimize(tape)
    assert last == nt.optimize(tape, y) == nt.optimize(tape, [y.slot])
    several = nt.optimize(tape, (variables[1], y), reverse=False)
    work = Workspace(several)
    work.forward()
    numbers = work.arrays["v"][several.results].tolist()
    assert numbers == pytest.approx([*X, y.value], abs=1e-15)
    for wrong in (99999, -1, 1.5, nt.var(1.0), "y"):
        with pytest.raises(nt.ArgumentError, match="neither a result on this tape"):
            nt.optimize(tape, wrong)
    with pytest.raises(nt.ArgumentError, match="empty tape"):
        nt.optimize(nt.Tape())


def test_diff():
    tape, y, _ = recorded()
    made = nt.optimize(tape, y)
    shown = str(tape.diff(made))
    assert f"{len(tape)} -> {len(made)} instructions" in shown
    assert any(line[0] == "-" and "dot(w, x)" in line for line in shown.splitlines())
    assert any(line[0] == "+" and "affine(w, x, b)" in line for line in shown.splitlines())
    same, gone, new = tape.diff(made).counts
    assert (same + gone, same + new) == (len(tape), len(made))
    assert not tape.diff(tape) and not made.diff(made) and tape.diff(made)
    back = made.diff(tape).counts
    assert (back[0], back[2]) == (same, gone)


def test_diff_where_slots_are_used_again():
    with nt.Tape() as tape:
        x = nt.var(0.5, name="x")
        y = x
        for _ in range(6):
            y = nt.sin(y)
    made = nt.optimize(tape, y, reverse=False)
    assert made.slots < tape.slots
    assert not tape.diff(made)  # the same program, elsewhere


def test_diff_of_two_recordings():
    with nt.Tape() as one:
        nt.sin(nt.var(1.0, name="x") * 2.0)
    with nt.Tape() as two:
        nt.cos(nt.var(1.0, name="x") * 2.0)
    shown = str(one.diff(two))
    assert "-    2  r2 = sin(r1)" in shown and "+    2  r2 = cos(r1)" in shown


def test_a_long_diff_is_cut():
    with nt.Tape() as one:
        x = nt.var(1.0)
        for _ in range(400):
            x = nt.sin(x)
    with nt.Tape() as two:
        x = nt.var(1.0)
        for _ in range(400):
            x = nt.cos(x)
    assert str(one.diff(two)).splitlines()[-1].endswith("lines more")


# --- traced functions -----------------------------------------------------------------------------


def final(f):
    """The workspaces of optimised fast calls."""
    return [h for p in f.all_programs() for t in p.traces for h in t.hot.values() if h.final]


def test_optimize_now():
    f = traced_cell()
    assert "no tape yet" in str(f.optimize())
    gradient = nt.value_and_grad(f, argnums=(0, 1, 2))
    value, first = gradient(W, X, B)
    report = f.optimize()
    assert [part.title for part in report] == [
        "traced_cell.<locals>.<lambda>, " + x for x in ("values", "gradient")
    ]
    assert report[1].after.instructions < report[1].before.instructions
    assert report[1].seconds > 0 and "affine" in str(report)
    for _ in range(3):
        again, second = gradient(W, X, B)
        assert again == pytest.approx(value, abs=1e-14)
        for one, two in zip(first, second, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)
    assert f(W, X, B) == pytest.approx(value, abs=1e-14)
    assert f(W, X, B) == pytest.approx(value, abs=1e-14)
    assert [h.lean is not None for h in final(f)] == [True, True]
    assert "(optimised: " in str(f.explain())
    assert f.counters.recordings == 1
    f.optimize(0)
    assert gradient(W, X, B)[0] == gradient(W, X, B)[0] == value
    assert not final(f) and f.level == 0


def test_the_level_belongs_to_the_function():
    f = nt.function(cell, optimize=1)
    assert f.level == 1 and nt.function(cell, optimize=1) is f and nt.function(cell) is not f
    assert copy.copy(f).level == 1
    assert nt.function(optimize=3)(cell).level == 3

    class Model:
        @nt.function(optimize=0)
        def value(self, x):
            return x * x

    assert Model().value.level == 0


def test_pickled_with_its_level():
    made = nt.Function(np.sum, optimize=1)
    assert pickle.loads(pickle.dumps(made)).level == 1


@pytest.mark.parametrize("mode", ["values", "gradient", "second"])
def test_a_guard_that_flips_afterwards(mode):
    """The replay goes on as the recorded one does, also with what the passes have dropped."""

    def f(w, x):
        h = w @ x
        y = np.tanh(h + x)
        if y[0] > 0:
            return np.sum(y) + h[1]  # which only the affine has computed
        return np.sum(y * y)

    traced = nt.function(f)
    call, plain = {
        "values": (traced, f),
        "gradient": (nt.grad(traced), nt.grad(f)),
        "second": (lambda w, x: nt.hvp(traced, (w, x), (w, x)),
                   lambda w, x: nt.hvp(f, (w, x), (w, x))),
    }[mode]  # fmt: skip
    call(W, X)
    traced.optimize()
    rng = np.random.default_rng(0)
    for _ in range(12):
        w, x = rng.normal(size=(4, 4)), rng.normal(size=4)
        one, two = (nt.ravel(g(w, x))[0] for g in (call, plain))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)
    assert traced.counters.flips > 2


def test_results_apart_come_in_one_piece():
    def f(w, x, k):
        y = [w @ x]
        for _ in range(60):  # so that the first and the last result are far apart
            y.append(np.tanh(y[-1] * k))
        return {"first": y[0], "n": k * 2.0, "last": y[-1][::-1], "x": x, "one": 1.0}

    traced = nt.function(f)
    traced(W, X, 0.5)
    traced.optimize()
    traced(W, X, 0.5)
    (hot,) = [h for h in final(traced) if h.plans]
    for k in (0.5, 0.25):
        one, two = traced(W, X, k), f(W, X, k)
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-15)
    assert hot.runs >= 2


def test_loops_go_through_the_passes():
    def f(w, x, xs):
        step = lambda h, x: (np.tanh(w @ h + x), h[0])  # noqa: E731
        h, ys = nt.scan(step, x, xs)
        return np.sum(h) + np.sum(ys)

    xs = np.random.default_rng(3).normal(size=(5, 4))
    traced = nt.function(f)
    gradient = nt.value_and_grad(traced, argnums=(0, 1, 2))
    value, first = gradient(W, X, xs)
    report = traced.optimize()
    assert "body of" in report[-1].title and report[-1].after.name == "settle"
    for _ in range(3):
        again, second = gradient(W, X, xs)
    assert again == pytest.approx(value, abs=1e-14)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)
    (call,) = [c for tape in traced.tapes for c in tape.calls]
    ((swept, _),) = [body.swept for body in call.loop.bodies]
    assert [i.name for i in swept].count("affine") == 1
    traced.optimize(0)
    assert gradient(W, X, xs)[0] == value == gradient(W, X, xs)[0]


# --- when it pays ---------------------------------------------------------------------------------


def at_once(monkeypatch):
    """No patience."""
    monkeypatch.setattr(lean, "SOONEST", 0.0)
    monkeypatch.setattr(lean, "LATEST", 0.0)


def test_it_pays_after_a_while(monkeypatch):
    at_once(monkeypatch)
    monkeypatch.setattr(choosing, "SLOWER", 1e9)
    f = traced_cell()
    gradient = nt.grad(f)
    for _ in range(lean.FEWEST):
        gradient(W, X, B)
        assert not final(f)
    for _ in range(lean.FEWEST):
        gradient(W, X, B)
    (hot,) = final(f)
    assert hot.lean is not None and f.counters.recordings == 1
    assert f.counters.replays == 2 * lean.FEWEST - 1


def test_short_lives_are_not_optimised():
    f = traced_cell()
    gradient = nt.grad(f)
    for _ in range(40):
        gradient(W, X, B)
    assert not final(f)


def test_what_is_slower_is_dropped(monkeypatch):
    at_once(monkeypatch)
    monkeypatch.setattr(choosing, "SLOWER", 0.0)
    f = traced_cell()
    gradient = nt.grad(f)
    for _ in range(3 * lean.FEWEST):
        gradient(W, X, B)
    (hot,) = final(f)
    assert hot.lean is None and "optimised" not in str(f.explain())
    np.testing.assert_array_equal(gradient(W, X, B), nt.grad(cell)(W, X, B))


def test_level_0_is_never_asked():
    f = traced_cell(optimize=0)
    gradient = nt.grad(f)
    for _ in range(4):
        gradient(W, X, B)
    ((words,),) = [list(h.plans.values()) for p in f.all_programs() for t in p.traces
                   for h in t.hot.values()]  # fmt: skip
    assert int(words[-1]) == fast.NEVER


def test_a_refused_call_changes_nothing():
    f = traced_cell()
    gradient = nt.grad(f)
    for _ in range(3):
        gradient(W, X, B)
    (hot,) = [h for p in f.all_programs() for t in p.traces for h in t.hot.values()]
    (words,) = hot.plans.values()
    words[-1] = words[fast.RUNS]
    runs, calls = int(words[fast.RUNS]), int(hot.calls[0])
    out = np.empty(int(words[fast.COUNT]))
    status, _ = run.entry("replay_flat")(run.address_of(words), np.zeros(24), out)
    assert status == -1 and (int(words[fast.RUNS]), int(hot.calls[0])) == (runs, calls)
    np.testing.assert_array_equal(gradient(W, X, B), nt.grad(cell)(W, X, B))
    assert int(words[-1]) > runs
