"""Where results lie: nothing is written over while somebody still reads it, and no slot is idle."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape.ops import CODES, FIRST_WIDE, ROWS, WIDE_CODES
from ndtape.passes import Goal, OptimisedTape, code_of, seal, sizes_of
from ndtape.passes import slots as slots_module
from ndtape.passes.operands import reads
from ndtape.passes.sharing import partial_reads
from ndtape.passes.slots import renumbered
from ndtape.passes.weights import gather_weights
from ndtape.run import Workspace, leading_inputs

VALUES, GRADIENT = Goal(reverse=False), Goal()


def recorded(f, *arguments):
    """Code of f(*arguments) as a trace has it: inputs in front; f gives what is wanted of it."""
    leaves = [nt.var(x) for x in arguments]
    with nt.Tape() as tape:
        wanted = f(*leaves)
    wanted = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    whole = tape.whole()
    columns = whole.columns()
    is_input = np.isin(columns["op"], [CODES["input", "k"], WIDE_CODES["wide_input"]])
    order = np.concatenate([np.flatnonzero(is_input), np.flatnonzero(~is_input)])
    new_slot = np.full(whole.slots, -1)
    at = 0
    for i in order.tolist():
        first, size = whole.span_of(whole.slot_of_index(i))
        new_slot[first : first + size] = at + np.arange(size)
        at += size
    slots = [np.array([x.slot]) if isinstance(x, nt.Var) else span(x) for x in wanted]
    sealed = seal(whole)
    return code_of(sealed, leading_inputs(sealed)[0], new_slot[np.concatenate(slots)])


def span(x):
    return x.storage.slot + np.arange(x.size)


def swept(code, seeds=None):
    """Values of the results; with seeds for them the adjoints of the inputs, too."""
    tape = OptimisedTape(code)
    work = Workspace(tape)
    work.forward()
    values = work.arrays["v"][code.results].copy()
    if seeds is None:
        return values
    given = {}
    for slot, seed in zip(code.results.tolist(), seeds, strict=True):
        given[slot] = given.get(slot, 0.0) + seed
    return values, work.reverse(given)[: leading_inputs(tape)[1]].copy()


def check(code, better):
    """Every operand is still there: the same instruction wrote it last, and not a later one."""
    sizes = sizes_of(code.columns)
    assert np.array_equal(sizes, sizes_of(better.columns))
    assert np.array_equal(code.columns["op"], better.columns["op"])
    before, after = reads(code.columns), reads(better.columns)
    assert np.array_equal(before.reader, after.reader)
    assert np.array_equal(before.high - before.low, after.high - after.low)
    by_reader = {}
    for j, reader in enumerate(before.reader.tolist()):
        by_reader.setdefault(reader, []).append(j)
    holds = np.full(better.slots, -1)  # the old slot whose number each new one has
    out, fresh = code.columns["out"].astype(int), better.columns["out"].astype(int)
    for i in range(code.length):
        written = fresh[i] + np.arange(sizes[i])
        for j in by_reader.get(i, ()):
            new = np.arange(after.low[j], after.high[j] + 1)
            old = np.arange(before.low[j], before.high[j] + 1)
            known = np.isin(old, slots_written(out[:i], sizes[:i]))  # a walk may have gaps
            assert np.array_equal(holds[new][known], old[known])
            if code.columns["op"][i] >= FIRST_WIDE:
                assert not np.isin(new, written).any()
        if code.columns["op"][i] != CODES["guard", "vk"]:
            holds[written] = out[i] + np.arange(sizes[i])
    assert np.array_equal(holds[better.results], code.results)


def slots_written(out, sizes):
    return np.concatenate(
        [np.arange(0), *[s + np.arange(n) for s, n in zip(out, sizes, strict=True)]]
    )


def same(code, goal=VALUES):
    """The renumbered code, which computes the same to the last bit."""
    better = renumbered(code, goal) or code
    check(code, better)
    if goal.reverse:
        seeds = np.linspace(1.0, 2.0, len(code.results))
        one, two = swept(code, seeds), swept(better, seeds)
    else:
        one, two = swept(code), swept(better)
    np.testing.assert_equal(two, one)
    return better


# --- sizes ----------------------------------------------------------------------------------------


def test_a_chain_needs_three_slots():
    def chain(x):
        for _ in range(500):
            x = nt.sin(x) * 1.5
        return x

    code = recorded(chain, 1.0)
    better = same(code)
    assert (code.slots, better.slots) == (1001, 3)
    assert renumbered(code, GRADIENT) is None  # every number is read again, backwards
    assert renumbered(better, VALUES) is None  # once is enough


def test_arrays_take_turns():
    def chain(x):
        for _ in range(20):
            x = np.tanh(x) + 0.5
        return np.sum(x)

    code = recorded(chain, np.linspace(0, 1, 10))
    better = same(code)
    assert code.slots == 10 + 400 + 1
    assert better.slots <= 10 + 2 * 10 + 1


def test_gaps_of_different_sizes_are_used():
    def f(x, y):
        total = np.sum(x)
        for n in (3, 7, 2, 5, 7, 1, 6):
            a = np.exp(x[:n]) + y[:n]
            total = total + np.sum(a * a) + a[0]
        return total

    better = same(recorded(f, np.linspace(0, 1, 7), np.linspace(1, 2, 7)))
    assert better.slots < 14 + 5 * 7 + 5


def test_dropped_instructions_leave_no_gap():
    def f(x):
        dead = x * x + x
        return nt.sin(x * 3.0) if dead is not None else dead

    code = recorded(f, np.linspace(0, 1, 5))
    op = code.columns["op"]
    kept = np.array([k for k in range(code.length) if op[k] != WIDE_CODES["add"]])
    short = code.some(kept)
    better = same(short, GRADIENT)
    assert better.slots == short.slots - 5


def test_what_nobody_reads_takes_no_lasting_place():
    code = recorded(lambda x: (nt.sin(x), [nt.exp(x * j) for j in range(50)])[0], 0.5)
    assert same(code).slots == 3


# --- results and inputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [VALUES, GRADIENT])
def test_results_lie_in_a_row(goal):
    def f(x, y):
        a = x * y
        b = nt.sin(a)
        c = nt.exp(b) * x
        return c, a, b

    better = same(recorded(f, 0.3, 0.4), goal)
    assert (np.diff(better.results) == 1).all()


@pytest.mark.parametrize("goal", [VALUES, GRADIENT])
def test_parts_lie_in_rows(goal):
    def f(x):
        a, b, c = x * 2.0, np.sin(x), np.exp(x)
        return np.sum(a * b * c), c, a

    code = recorded(f, np.linspace(0, 1, 3))
    code = code._replace(results=np.append(code.results, [0, 1, 2]))
    better = same(code, goal._replace(parts=(1, 6, 3)))
    assert (np.diff(better.results[1:7]) == 1).all()
    assert np.array_equal(better.results[7:], [0, 1, 2])  # an input stays where it is


def test_a_result_that_is_asked_for_twice():
    code = recorded(lambda x: (nt.sin(x), nt.cos(x), nt.sin(x)), 0.3)
    code = code._replace(results=code.results[[0, 1, 0]])
    better = same(code)
    assert better.results[0] == better.results[2] != better.results[1]


def test_a_part_of_an_array():
    code = recorded(lambda x: np.exp(x * x), np.linspace(0, 1, 6))
    part = code._replace(results=code.results[[4, 1]])
    assert len(same(part).results) == 2


# --- what moves as one ----------------------------------------------------------------------------


def test_a_walk_over_neighbours_keeps_them_together():
    """Two scalars and a span that one sum reads, as the pass `matrices` lays them."""

    def f(x):
        a, b, c = nt.sin(x), nt.cos(x), nt.exp(x)
        return np.sum(np.stack([a, b, c]))

    code = recorded(f, 0.5)
    op = code.columns["op"]
    at = int(np.flatnonzero(op == WIDE_CODES["sum"])[0])
    first = int(code.columns["out"][op == CODES["sin", "v"]][0])
    columns = {**code.columns, "a": code.columns["a"].copy()}
    columns["a"][at] = first
    kept = np.flatnonzero(op != WIDE_CODES["collect"])
    walked = code._replace(columns=columns).some(kept)
    for goal in (VALUES, GRADIENT):
        assert swept(same(walked, goal))[0] == swept(code)[0]


def test_guards_have_slots_behind_all_others():
    """Lanes that go another way take over the numbers of all slots in front of the guard."""

    def f(x):
        y = nt.sin(x)
        return nt.exp(y) * y

    code = recorded(f, 0.5)
    one = {name: code.columns[name] for name in ("op", "out", "a", "b", "c")}
    row = {
        "op": CODES["guard", "vk"],
        "out": code.slots,
        "a": 1,
        "b": len(code.columns["k"]),
        "c": 0,
    }
    columns = {n: np.insert(x, 2, row[n]).astype(x.dtype) for n, x in one.items()}
    value = swept(code._replace(results=np.array([1])))
    columns |= {"k": np.append(code.columns["k"], value), "m": code.columns["m"]}
    guarded = code._replace(
        columns=columns, slots=code.slots + 1, positions=np.arange(code.length + 1)
    )
    better = same(guarded)
    assert better.columns["out"][2] == better.slots - 1
    assert better.columns["out"][2] > np.delete(better.columns["out"], 2).max()


# --- slots that are shared in code for gradients --------------------------------------------------


@pytest.fixture
def crowded(monkeypatch):
    """As if the caches were full, and short spans worth an instruction."""
    monkeypatch.setattr(slots_module, "CACHE", 0)
    monkeypatch.setattr(slots_module, "SPAN", 2)


def all_sweeps(code, seed=0):
    """Value, gradient, tangent and Hessian times a direction, of the first result."""
    tape = OptimisedTape(code)
    work, root = Workspace(tape), int(code.results[0])
    inputs = leading_inputs(tape)[1]
    direction = np.random.default_rng(seed).normal(size=inputs)
    gradient = work.reverse({root: 1.0})[:inputs].copy()
    g, h = work.second(root, dict(enumerate(direction.tolist())))
    assert np.array_equal(g[:inputs], gradient, equal_nan=True)
    arrays = work.arrays
    return arrays["v"][code.results].copy(), gradient, arrays["t"][root], h[:inputs].copy()


def same_sweeps(code):
    better = renumbered(code, GRADIENT) or code
    np.testing.assert_equal(all_sweeps(better), all_sweeps(code))
    return better


def test_a_linear_scheme_takes_turns(crowded):
    """Workload 10 in small: no derivative of it needs a value."""

    def f(q):
        for _ in range(30):
            flux = 0.125 * (q[1:] + q[:-1] - 0.5 * (q[1:] - q[:-1]))
            q = np.concatenate([q[:1], q[1:-1] + (flux[:-1] - flux[1:]), q[-1:]])
        return np.sum(q)

    code = recorded(f, np.linspace(0, 1, 12))
    better = same_sweeps(code)
    assert code.slots > 30 * 60 and better.slots < 12 * 10
    forgets = np.count_nonzero(better.columns["op"] == WIDE_CODES["skip"])
    assert better.length == code.length + forgets
    assert np.array_equal(better.positions[better.columns["op"] != WIDE_CODES["skip"]],
                          code.positions)  # fmt: skip


def test_values_that_derivatives_need_stay(crowded):
    def f(x):
        for _ in range(5):
            x = np.sin(x) * x + 1.0
        return np.sum(x)

    code = recorded(f, np.linspace(0, 1, 8))
    better = same_sweeps(code)
    assert better.slots == code.slots - 8 * 4  # products alone, and the last sum is none


def test_blocks_of_weight_gradients_keep_their_adjoints(crowded):
    """An instruction `weights` reads adjoints of many steps, long after their own."""

    def f(w, h):
        for _ in range(16):
            h = np.tanh(w @ h + 0.5) * 0.5 + h
        return np.sum(h)

    w = np.sin(np.arange(256.0)).reshape(16, 16)
    code = gather_weights(recorded(f, w, np.cos(np.arange(16.0))), GRADIENT)
    assert same_sweeps(code).slots < code.slots


def test_small_tapes_stay_as_they_are():
    code = recorded(lambda x: np.sum(((x + 1.0) + 2.0) + 3.0), np.zeros(1000))
    assert renumbered(code, GRADIENT) is None


def test_what_partial_derivatives_read():
    """Bits of x, y, u and the result, for each operand."""
    wanted = {"add": (0, 0), "multiply": (2, 1), "exp": (8,), "sin": (1,), "divide": (2, 10),
              "fma": (2, 1, 0), "tanh": (8,), "where": (0, 1, 1), "maximum": (11, 11)}  # fmt: skip
    assert {name: partial_reads(ROWS[name]) for name in wanted} == wanted


# --- any program ----------------------------------------------------------------------------------

SCALARS = [
    lambda x, y: x * y,
    lambda x, y: x - y,
    lambda x, y: nt.sin(x),
    lambda x, y: nt.maximum(x, y),
    lambda x, y: nt.where(x > 0, y, 2.0 * x),
]
ARRAYS = [
    lambda x, y: np.tanh(x) + y,
    lambda x, y: x[::-1] * y,
    lambda x, y: np.cumsum(x),
    lambda x, y: np.outer(x, y) @ x,
    lambda x, y: x[np.array([2, 0, 2, 1])],
    lambda x, y: np.concatenate([x[2:], y[:2]]),
    lambda x, y: np.where(x > y, x, y * y),
    lambda x, y: np.maximum(x, np.max(y)) - y,
    lambda x, y: np.add.outer(x, y)[1] + np.exp(y),
    lambda x, y: nt.sigmoid(x + y) / (1.0 + y * y),
]


@st.composite
def programs(draw):
    """Operations by number on what there is so far, and what is wanted at the end."""
    steps = draw(st.lists(st.tuples(*[st.integers(0, 99)] * 3), min_size=1, max_size=25))
    return steps, draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))


def run(program, numbers, arrays):
    steps, wanted = program
    numbers, arrays = list(numbers), list(arrays)
    for kind, i, j in steps:
        if kind < 45:
            pair = numbers[-1 - i % len(numbers)], numbers[-1 - j % len(numbers)]
            numbers.append(SCALARS[kind % len(SCALARS)](*pair))
        elif kind < 90:
            pair = arrays[-1 - i % len(arrays)], arrays[-1 - j % len(arrays)]
            arrays.append(ARRAYS[kind % len(ARRAYS)](*pair))
        elif kind < 95:
            numbers.append(arrays[-1 - i % len(arrays)][j % 4])
        else:
            arrays.append(arrays[-1 - i % len(arrays)] * numbers[-1 - j % len(numbers)])
    every = [*numbers, *arrays]
    return [every[-1 - i % len(every)] * 1.5 for i in wanted]


@settings(max_examples=25, deadline=None)
@given(programs())
def test_any_program(program):
    def f(a, b, x, y):
        return run(program, [a, b], [x, y])

    code = recorded(f, 0.3, -0.7, np.linspace(-1, 1, 4), np.linspace(0.5, -0.5, 4))
    better = same(code, VALUES)
    assert better.slots <= code.slots
    same(code, GRADIENT)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(programs())
def test_any_program_with_shared_slots(crowded, program):
    def f(a, b, x, y):
        found = run(program, [a, b], [x, y])
        return [np.sum(found[0]) * 1.0, *found[1:]]

    same_sweeps(recorded(f, 0.3, -0.7, np.linspace(-1, 1, 4), np.linspace(0.5, -0.5, 4)))
