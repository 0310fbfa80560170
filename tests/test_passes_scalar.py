"""The passes over scalar instructions: bits of values, order of adjoints, and what they find."""

import numpy as np
import pytest
from matrix import OPCODES_TESTED

import ndtape as nt
from ndtape import nest
from ndtape.nest import FIXED, PLAIN, PRODUCT, SCALED
from ndtape.ops import CODES, FIRST_WIDE, INPUT_CODE, OPCODES, ROWS, UNARY, WIDE_CODES
from ndtape.passes import Goal, OptimisedTape, code_of, seal, tables
from ndtape.passes.common import common
from ndtape.passes.dead import _needed as needed
from ndtape.passes.dead import _reached as reached
from ndtape.passes.dead import dead
from ndtape.passes.muladd import muladd
from ndtape.passes.simplify import simplify
from ndtape.passes.sums import sums_of
from ndtape.passes.terms import terms
from ndtape.run import Workspace
from ndtape.tape import Tape

LARGE = 1.7976931348623157e308
SPECIAL = np.array([
    0.0, 1.0, 2.0, 0.5, 3.0, 0.1, 5e-324, 1e-310, 2.0**-1022, 2.0**-1074, 2.0**1023, 1e300, LARGE,
    np.inf, np.pi, 1e-17, 7.25, 40.5,
])  # fmt: skip
SPECIAL = np.concatenate([SPECIAL, -SPECIAL, [np.nan]])
PASSES = {f.__name__: f for f in (simplify, common, dead, terms, muladd)}


class Writer:
    """Code written by hand; constants are inputs behind the leading ones, or of the pool."""

    def __init__(self, x):
        self.tape = Tape()
        self.x = np.asarray(x, float)
        self.slots = [self.tape.append_input(np.array([value])) for value in self.x]

    def constant(self, value):
        return self.tape.append_input(np.array([float(value)]))

    def __call__(self, name, *operands, form=""):
        """An instruction; operands are slots (int) or constants of the pool (float)."""
        form = "".join("k" if isinstance(x, float) else "v" for x in operands)
        places = [
            self.tape.extend_pool(np.array([x])) if isinstance(x, float) else x for x in operands
        ]
        return self.tape.append(CODES[name, form], *places)

    def code(self, *results):
        return code_of(self.tape, len(self.x), np.array(results))


def bits(x):
    """Bit patterns, one for every nan."""
    x = np.atleast_1d(np.asarray(x, np.float64))
    return np.where(np.isnan(x), np.nan, x).view(np.int64).tolist()


def swept(code, x, second=False):
    """Values of the results and the gradient of each; with `second`, also tangent and product."""
    work = Workspace(OptimisedTape(code))
    work.array("v")[: len(x)] = x
    work.forward(lo=code.inputs)
    found = [work.array("v")[code.results].copy()]
    for slot in code.results.tolist():
        found.append(work.reverse({slot: 1.0}, lo=code.inputs)[: len(x)].copy())
    if second:
        direction = {j: (-1.0) ** j for j in range(len(x))}
        found.append(work.tangent(direction)[code.results].copy())
        found += [part[: len(x)].copy() for part in work.second(int(code.results[-1]), direction)]
    return found


def names(code):
    """Operations behind the inputs."""
    found = [i.name for i in OptimisedTape(code)]
    return found[code.inputs :]


def after(code, *passes, level=2, reverse=True):
    for one in passes:
        code = one(code, Goal(level=level, reverse=reverse)) or code
    return code


# --- what the tables say --------------------------------------------------------------------------


def evaluated(code, *operands):
    """A scalar opcode with slots on many points."""
    count = len(operands[0])
    write = Writer(np.concatenate(operands))
    columns = [np.arange(count) + count * j for j in range(len(operands))]
    slots = [write.tape.append(code, *map(int, row)) for row in zip(*columns, strict=True)]
    return swept_values(write.code(*slots), write.x)


def swept_values(code, x):
    work = Workspace(OptimisedTape(code))
    work.array("v")[: len(x)] = x
    work.forward(lo=code.inputs)
    return work.array("v")[code.results].copy()


def test_rows_that_commute():
    x, y = (part.ravel() for part in np.meshgrid(SPECIAL, SPECIAL))
    known = [o for o in OPCODES if tables.COMMUTES[o.code]]
    assert {"add", "multiply", "hypot", "logaddexp", "equal"} <= {o.row.name for o in known}
    assert "maximum" not in {o.row.name for o in known}
    for opcode in known:
        assert bits(evaluated(opcode.code, x, y)) == bits(evaluated(opcode.code, y, x)), opcode


@pytest.mark.parametrize("name", tables.IDEMPOTENT)
def test_rows_that_change_nothing_twice(name):
    once = evaluated(CODES[name, "v"], SPECIAL)
    assert bits(evaluated(CODES[name, "v"], once)) == bits(once)


def test_rows_that_are_never_negative_zero():
    some = np.concatenate([SPECIAL, np.random.default_rng(0).standard_normal(50)])
    pairs = [part.ravel() for part in np.meshgrid(SPECIAL, SPECIAL)]
    for name in tables.POSITIVE_ZERO:
        operands = [some] if ROWS[name].kind == UNARY else pairs
        z = evaluated(CODES[name, "v" * len(operands)], *operands)
        assert not np.any((z == 0) & np.signbit(z)), name


# --- simplify -------------------------------------------------------------------------------------

IDENTITIES = {
    "x * 1": lambda w, x: w("multiply", x, 1.0),
    "x / 1": lambda w, x: w("divide", x, 1.0),
    "x - 0": lambda w, x: w("subtract", x, 0.0),
    "x + -0": lambda w, x: w("add", x, -0.0),
    "x ** 1": lambda w, x: w("power", x, 1.0),
    "--x": lambda w, x: w("negative", w("negative", x)),
    "+x": lambda w, x: w("copy", x),
    "square + 0": lambda w, x: w("add", w("square", x), 0.0),
    "product with itself + 0": lambda w, x: w("add", w("multiply", x, x), 0.0),
    "sum - -0": lambda w, x: w("subtract", w("add", x, 1.0), -0.0),
    "difference + 0": lambda w, x: w("add", w("subtract", x, -3.0), 0.0),
    "round32 twice": lambda w, x: w("round32", w("round32", x)),
    "relu twice": lambda w, x: w("relu", w("relu", x)),
    "where with one value": lambda w, x: w("where", w("sin", x), x, x),
    "where true": lambda w, x: w("where", 2.0, x, 1.0),
    "where false": lambda w, x: w("where", 0.0, 1.0, x),
}
KEPT = {
    "x + 0": lambda w, x: w("add", x, 0.0),
    "x - -0": lambda w, x: w("subtract", x, -0.0),
    "x * 0": lambda w, x: w("multiply", x, 0.0),
    "product + 0": lambda w, x: w("add", w("multiply", x, 0.5), 0.0),
    "0 - x + 0": lambda w, x: w("add", w("subtract", -0.0, x), 0.0),
    "x / 3": lambda w, x: w("divide", x, 3.0),
    "x / subnormal": lambda w, x: w("divide", x, 2.0**-1030),
    "x - x": lambda w, x: w("subtract", x, x),
    "x / x": lambda w, x: w("divide", x, x),
    "x ** 0.5": lambda w, x: w("power", x, 0.5),
    "log(exp(x))": lambda w, x: w("log", w("exp", x)),
    "maximum(x, -inf)": lambda w, x: w("maximum", x, -np.inf),
}


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_keep_bits(name, level):
    write = Writer(SPECIAL)
    ends = [write("sin", IDENTITIES[name](write, x)) for x in write.slots]
    root = ends[0]
    for end in ends[1:]:
        root = write("where", end, end, root)
    code = write.code(*ends, root)
    better = after(code, simplify, dead, level=level)
    expected = code.length - len(SPECIAL)
    assert better.length <= expected, names(better)
    for one, two in zip(swept(code, SPECIAL), swept(better, SPECIAL), strict=True):
        assert bits(one) == bits(two)


@pytest.mark.parametrize("name", KEPT)
def test_what_has_other_bits_stays(name):
    write = Writer([0.5])
    code = write.code(write("sin", KEPT[name](write, 0)))
    assert after(code, simplify, dead).length == code.length


@pytest.mark.parametrize("c", [2.0, -4.0, 0.5, 2.0**-1022, -(2.0**1022), 2.0**60, -1.0])
def test_division_by_powers_of_two(c):
    write = Writer(SPECIAL)
    code = write.code(*[write("divide", x, c) for x in write.slots])
    better = after(code, simplify, level=1)
    assert set(names(better)) == {"multiply"}
    for one, two in zip(swept(code, SPECIAL), swept(better, SPECIAL), strict=True):
        assert bits(one) == bits(two)


def test_level_1_keeps_the_order_of_adjoints():
    """x * 1 stays where others read both it and x: a third adjoint would be added earlier."""
    write = Writer([0.7])
    y = write("multiply", 0, 1.0)
    ends = [write("sin", y), write("cos", 0), write("exp", y), write("tanh", 0)]
    root = ends[0]
    for end in ends[1:]:
        root = write("add", root, end)
    code = write.code(root)
    assert after(code, simplify, level=1) is code
    assert after(code, simplify).length == code.length - 1
    assert after(code, simplify, level=1, reverse=False).length == code.length - 1


@pytest.mark.parametrize("opcode", OPCODES_TESTED, ids=lambda o: o.name + o.form)
def test_constants_are_folded(opcode):
    """Operands that are constants of the program: the same bits as from slots."""
    if opcode.form.strip("v") or opcode.row.name == "attach":
        return
    rng = np.random.default_rng(opcode.code)
    count = len(opcode.form)
    points = [[rng.uniform(*opcode.row.domain[j]) for j in range(count)] for _ in range(2)]
    points += rng.choice(SPECIAL, (6, count)).tolist()
    for point in points:
        for moving in range(2**count):
            write = Writer(point)
            slots = [
                write.slots[j] if moving >> j & 1 else write.constant(x)
                for j, x in enumerate(point)
            ]
            code = write.code(write.tape.append(opcode.code, *slots))
            better = after(code, simplify, dead, level=1)
            if moving == 0:
                assert names(better) == ["input"]
            for one, two in zip(swept(code, point), swept(better, point), strict=True):
                assert bits(one) == bits(two), (point, moving, names(better))


def test_a_chain_of_constants():
    write = Writer([2.0])
    c = write.constant(3.0)
    for _ in range(100):
        c = write("sin", write("add", c, 1.0))
    other = write("copy", c)
    root = write("multiply", 0, other)
    code = write.code(root, other, 0)
    better = after(code, simplify, dead)
    assert names(better) == ["input", "multiply"]
    assert bits(swept(code, [5.0])[0]) == bits(swept(better, [5.0])[0])


def test_level_3_is_algebra_of_real_numbers():
    for build, expected in (
        (lambda w: w("add", w("multiply", 0, 0.0), 1), []),
        (lambda w: w("multiply", w("subtract", 0, 0), 1), ["input"]),
        (lambda w: w("divide", w("multiply", w("multiply", 0, 3.0), 7.0), 5.0), ["multiply"]),
        (lambda w: w("subtract", w("add", 0, 3.0), 7.0), ["add"]),
        (lambda w: w("log", w("exp", w("log", 1))), ["log"]),
        (lambda w: w("sqrt", w("square", 0)), ["abs"]),
        (lambda w: w("power", 1, 0.5), ["sqrt"]),
    ):
        write = Writer([-2.0, 3.0])
        code = write.code(build(write))
        better = after(code, simplify, dead, level=3)
        assert names(better) == expected
        for one, two in zip(swept(code, write.x), swept(better, write.x), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-15)


def test_values_alone_need_no_stop():
    write = Writer([2.0, 3.0])
    code = write.code(write("sin", write("attach", 0, write("stop", 1), 5.0)))
    assert names(after(code, simplify, dead, reverse=False)) == ["sin"]
    assert names(after(code, simplify, dead)) == ["stop", "attach", "sin"]


# --- common ---------------------------------------------------------------------------------------


def test_whole_expressions_are_found():
    write = Writer([0.3, 0.8])
    one = write("sin", write("multiply", write("add", 0, 1), 2.5))
    two = write("sin", write("multiply", write("add", 1, 0), 2.5))
    three = write("sin", write("multiply", write("add", 1, 0), 2.25))
    code = write.code(write("subtract", write("power", one, two), three), two)
    better = common(code, Goal())
    assert names(better).count("sin") == 2 and better.length == code.length - 4
    (values, *mine), (known, *theirs) = swept(better, write.x), swept(code, write.x)
    assert bits(values) == bits(known)
    np.testing.assert_allclose(mine, theirs, rtol=1e-14)


def test_what_differs_by_a_sign_is_not_common():
    write = Writer([0.0, -0.0])
    ends = [write("add", 0, 0.0), write("add", 0, -0.0), write("maximum", 0, 1)]
    ends += [write("maximum", 1, 0), write("subtract", 0, 1), write("subtract", 1, 0)]
    assert common(write.code(*ends), Goal()) is None
    write("add", 0, np.nan)
    write("add", 0, np.nan)
    assert names(common(write.code(*ends), Goal())).count("add") == 3


def test_operations_on_arrays():
    @nt.function
    def f(x, i):
        y, z = np.exp(x[::2]), np.exp(x[::2])
        a, b = np.concatenate([y, x]), np.concatenate([z, x])
        return (a * b).sum() + (x @ x - x @ x) * x[i] + x[i]

    x = np.linspace(0.1, 1.0, 6)
    expected = nt.value_and_grad(f)(x, 2)
    tape = f.tapes[0]
    code = code_of(tape, 2 if tape.columns()["op"][1] == INPUT_CODE else 1, [tape.slots - 1])
    found = names(common(code, Goal()))
    assert (found.count("exp"), found.count("collect"), found.count("dot")) == (1, 1, 1)
    for level in (1, 2, 3):
        f.optimize(level)
        for one, two in zip(nt.value_and_grad(f)(x, 2), expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-13)


def test_neighbours_that_a_walk_reads_in_one_piece_stay():
    """As passes lay them: x + 0 in the middle of three numbers that a sum reads."""
    write = Writer([0.5, 0.6])
    write("sin", 1)
    write("copy", 1)
    write("sin", 1)
    words = nest.descriptor(1, [(3, 0, 1, 0, 0)])
    total = write.tape.append_wide(WIDE_CODES["sum"], 2, 0, words)
    again = write("sin", 1)
    code = write.code(total, again)
    for one, expected in ((simplify, code.length), (common, code.length - 1), (dead, code.length)):
        better = after(code, one)
        assert better.length == expected
        assert bits(swept(better, write.x)[0]) == bits(swept(code, write.x)[0])


# --- dead -----------------------------------------------------------------------------------------


def test_dead_code():
    write = Writer([1.0, 2.0])
    write("sin", write("exp", 1))
    y = write("cos", 0)
    write("guard", write("less", 1, 5.0), 1.0)
    code = write.code(y, 1)
    assert names(dead(code, Goal())) == ["cos", "less", "guard"]
    assert dead(dead(code, Goal()), Goal()) is None


def test_both_ways_find_the_same():
    with nt.Tape() as tape:
        x, at = nt.var(np.linspace(0.1, 1.0, 6)), nt.var(np.array([0.0, 2.0]))
        y = np.concatenate([np.sin(x), x @ np.ones((6, 2))])
        np.tanh(y)
        z = x[at.astype(int)] * 2.0
        y[1:3] @ y[2:4]
        total = y[3] + y.sum()
    sealed = seal(tape)
    for root in range(6, sealed.slots):
        code = code_of(sealed, 2, [root])
        kept = reached(code)
        assert kept.tolist() == needed(code).tolist()
    assert total.slot and z.size == 2
    assert "gather" in names(dead(code_of(sealed, 2, [0]), Goal()))


# --- sums -----------------------------------------------------------------------------------------


def dotted(write, pairs, total=None):
    for x, y in pairs:
        product = write("multiply", x, y)
        total = product if total is None else write("add", total, product)
    return total


def test_sums_of():
    write = Writer(np.arange(1.0, 7.0))
    one = write("subtract", dotted(write, [(0, 1), (2, 3)]), write("multiply", 4, 2.0))
    two = write("subtract", 5.0, dotted(write, [(3, 3)]))
    two = write("add", write("add", two, write("negative", 5)), one)
    three = write("subtract", 0, write("add", 1, 2))
    code = write.code(two, three)
    sums = sums_of(code)
    assert sums.counts.tolist() == [3, 4, 2, 2]
    assert sums.kinds.tolist() == [
        PRODUCT, PRODUCT, SCALED + 1, FIXED, PRODUCT + 1, PLAIN + 1, PLAIN,
        PLAIN, PLAIN, PLAIN, PLAIN + 1,
    ]  # fmt: skip
    assert sums.p.tolist()[:3] == [0, 2, 4]
    everything = sums_of(code, anywhere=True, near=False)
    assert everything.counts.tolist() == [6, 3]
    assert everything.kinds.tolist()[-3:] == [PLAIN + 1, PLAIN + 1, PLAIN]
    assert sums_of(code, fewest=7) is None
    few = sums.some(np.array([False, True, False, True]))
    assert (few.counts.tolist(), set(few.whose.tolist())) == ([4, 2], {0})


def test_terms_pay_from_eight_on():
    write = Writer(np.linspace(0.1, 2.0, 9))
    long = dotted(write, [(j, j + 1) for j in range(8)], total=8)
    short = dotted(write, [(j, j + 1) for j in range(7)])
    code = write.code(long, short)
    better = after(code, terms, muladd)
    assert names(better) == ["terms", "multiply", *["muladd"] * 6]
    assert terms(code, Goal(lanes=True)) is None
    (values, *mine), (known, *theirs) = swept(better, write.x, True), swept(code, write.x, True)
    assert bits(values) == bits(known)
    np.testing.assert_allclose(np.concatenate(mine), np.concatenate(theirs), rtol=1e-14)


def test_sums_of_things_far_apart_stay():
    """A running sum over a long program: as one instruction it would keep all of it waiting."""
    write = Writer([0.5])
    total = x = 0
    for _ in range(50):
        x = write("sin", write("exp", write("cos", x)))
        total = write("add", total, x)
    code = write.code(total)
    assert terms(code, Goal()) is None
    assert sums_of(code, near=False).counts.tolist() == [51]


# --- muladd ---------------------------------------------------------------------------------------


def test_forms_of_muladd():
    write = Writer(SPECIAL[:12])
    x, y, u = 3, 4, 5

    def product():
        return write("multiply", x, y)

    def scaled():
        return write("multiply", x, 2.5)

    ends = [
        write("add", product(), u), write("add", u, product()), write("add", product(), 1.5),
        write("subtract", product(), 1.5), write("add", scaled(), u), write("add", u, scaled()),
        write("subtract", u, scaled()), write("subtract", 1.5, scaled()),
        write("subtract", scaled(), 1.5), write("add", product(), scaled()),
    ]  # fmt: skip
    apart = [write("subtract", u, product()), write("subtract", product(), u)]
    code = write.code(*ends, *apart)
    better = muladd(code, Goal())
    assert names(better).count("muladd") == len(ends)
    assert names(better).count("multiply") == 3
    rng = np.random.default_rng(0)
    for _ in range(40):
        point = rng.choice(SPECIAL, 12)
        (values, *mine), (known, *theirs) = swept(better, point), swept(code, point)
        assert bits(values) == bits(known)
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)
    assert names(muladd(code, Goal(level=3))).count("fma") == len(ends)


def test_products_that_are_needed_stay():
    write = Writer([2.0, 3.0])
    one, two = write("multiply", 0, 1), write("multiply", 1, 0)
    code = write.code(write("add", one, 0), one, write("add", two, two))
    assert muladd(code, Goal()) is None


# --- together -------------------------------------------------------------------------------------

ONE = ("negative", "square", "sin", "exp", "relu", "abs", "copy", "sqrt", "log", "round32")
TWO = ("add", "subtract", "multiply", "divide", "add", "multiply", "maximum", "power")


def random_code(rng, numbers, count=60):
    write = Writer(rng.choice(numbers, 4))
    slots = [*write.slots, write.constant(rng.choice(numbers))]
    for _ in range(count):
        if rng.random() < 0.3:
            slots.append(write(rng.choice(ONE), int(rng.choice(slots[-8:]))))
            continue
        name = str(rng.choice(TWO))
        operands = [int(rng.choice(slots[-12:])) for _ in range(2)]
        if rng.random() < 0.35:
            side = 1 if ROWS[name].commutes else rng.integers(2)
            operands[side] = float(rng.choice(numbers))
        slots.append(write(name, *operands))
    return write.code(*slots[-3:]), write.x


@pytest.mark.parametrize("numbers", ["usual", "special"])
def test_random_programs(numbers):
    rng = np.random.default_rng(7)
    pool = SPECIAL if numbers == "special" else np.array([0.5, 1.0, -1.0, 2.0, 0.0, 0.3, -0.7, 1.9])
    changed = dict.fromkeys(PASSES, 0)
    for _ in range(40):
        code, x = random_code(rng, pool)
        known = swept(code, x, True)
        for level in (1, 2):
            better = code
            for name, one in PASSES.items():
                if level == 1 and name not in ("simplify", "dead"):
                    continue
                before, better = better, one(better, Goal(level=level)) or better
                changed[name] += better is not before
                found = swept(better, x, True)
                assert bits(found[0]) == bits(known[0]), name
                for mine, theirs in zip(found[1:], known[1:], strict=True):
                    if level == 1:
                        assert bits(mine) == bits(theirs), name
                    elif numbers == "usual":
                        scale = np.nanmax(np.abs(theirs), initial=1.0)
                        assert np.allclose(mine, theirs, 1e-9, 1e-11 * scale, equal_nan=True), name
    assert min(count for name, count in changed.items() if name != "terms") > 0


def test_columns_given_are_not_written():
    rng = np.random.default_rng(1)
    code, _ = random_code(rng, np.array([0.5, 1.0, 2.0]))
    before = {name: column.copy() for name, column in code.columns.items()}
    for level in (1, 2, 3):
        for one in PASSES.values():
            one(code, Goal(level=level))
    assert all(np.array_equal(code.columns[name], column) for name, column in before.items())
    assert WIDE_CODES["terms"] >= FIRST_WIDE and nest.TERM == 3
