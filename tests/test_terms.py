"""The instruction `terms`: the bits of the additions it stands for, and the rules of its words."""

import numpy as np
import pytest

import ndtape as nt
from ndtape import nest, passes
from ndtape.errors import BadTapeError
from ndtape.nest import BODY, FIXED, KIND_WORD, PLAIN, PRODUCT, SCALED, SIZE, TERM
from ndtape.ops import CODES, WIDE_CODES
from ndtape.run import Workspace
from ndtape.tape import Tape

TERMS = WIDE_CODES["terms"]
SPECIAL = [0.0, -0.0, 1.0, -1.5, 5e-324, -1e-310, 1e308, -1e308, np.inf, -np.inf, np.nan]


def inputs(tape, values):
    return [tape.append_input(np.array([x])) for x in values]


def as_words(tape, terms):
    words = list(nest.descriptor(1, (), kind_word=len(terms)))
    for kind, p, q in terms:
        words += [kind, p, tape.extend_pool(np.array([q])) if kind >= SCALED else q]
    return tuple(words)


def with_terms(values, terms):
    """A tape with one `terms`; a term is (kind, slot, slot or number)."""
    tape = Tape()
    inputs(tape, values)
    return tape, tape.append_wide(TERMS, 0, 0, as_words(tape, terms))


def one_by_one(values, terms):
    """The same sum of scalar instructions."""
    tape = Tape()
    inputs(tape, values)
    total = None
    for kind, p, q in terms:
        sign, kind = kind & 1, kind & ~1
        if kind == FIXED and total is not None:
            constant = tape.extend_pool(np.array([-q if sign else q]))
            total = tape.append(CODES["add", "vk"], total, constant)
            continue
        term = p
        if kind == PRODUCT:
            term = tape.append(CODES["multiply", "vv"], p, q)
        elif kind == SCALED:
            term = tape.append(CODES["multiply", "vk"], p, tape.extend_pool(np.array([q])))
        elif kind == FIXED:
            term = tape.append_input(np.array([q]))
        if total is None:
            total = tape.append(CODES["negative", "v"], term) if sign else term
        else:
            code = CODES["subtract" if sign else "add", "vv"]
            total = tape.append(code, total, term)
    return tape, total


def random_terms(rng, n, numbers):
    count = int(rng.integers(1, 9))
    terms = []
    for j in range(count):
        kind = int(rng.integers(0, 8 if j else 6))
        p = 0 if kind >= FIXED else int(rng.integers(n))
        q = int(rng.integers(n)) if kind & ~1 == PRODUCT else 0
        terms.append((kind, p, float(rng.choice(numbers)) if kind >= SCALED else q))
    return terms


def bits(x):
    """Bit patterns, one for every nan."""
    x = np.atleast_1d(np.asarray(x, np.float64))
    return np.where(np.isnan(x), np.nan, x).view(np.int64).tolist()


def ready(tape, values):
    work = Workspace(tape)
    work.forward()
    work.array("v")[: len(values)] = values
    work.swept = len(values)
    work.forward()
    return work


@pytest.mark.parametrize("kind", ["plain", "special"])
def test_agrees_with_scalar_instructions(kind):
    rng = np.random.default_rng(3)
    numbers = SPECIAL if kind == "special" else rng.standard_normal(20).tolist()
    for _ in range(150):
        values = rng.choice(numbers, 5)
        terms = random_terms(rng, len(values), numbers)
        one, top = with_terms(values, terms)
        two, root = one_by_one(values, terms)
        nt.verify(one)
        mine, theirs = ready(one, values), ready(two, values)
        assert bits(mine.value(top)) == bits(theirs.value(root)), (values, terms)
        direction = rng.choice([0.0, 1.0, -0.5], 5)
        seeds = dict(enumerate(direction.tolist()))
        assert bits(mine.tangent(seeds)[top] + 0.0) == bits(theirs.tangent(seeds)[root] + 0.0)
        pairs = [(mine.gradient(top)[:5].copy(), theirs.gradient(root)[:5].copy())]
        pairs += zip(mine.second(top, seeds), theirs.second(root, seeds), strict=True)
        for one_, two_ in pairs:
            np.testing.assert_allclose(one_[:5], two_[:5], rtol=1e-13, atol=1e-13)


def test_zero_adjoints_contribute_nothing():
    values = [np.inf, 0.0]
    tape, top = with_terms(values, [(PRODUCT, 0, 1), (PLAIN, 1, 0)])
    zero = tape.append(CODES["multiply", "vk"], top, tape.extend_pool(np.zeros(1)))
    root = tape.append(CODES["add", "vv"], zero, 1)
    work = ready(tape, values)
    assert work.reverse({root: 1.0})[:2].tolist() == [0.0, 1.0]
    g, h = work.second(root, {0: 1.0})
    assert (g[:2].tolist(), h[:2].tolist()) == ([0.0, 1.0], [0.0, 0.0])


def test_reach_goes_to_its_operands():
    values = np.arange(6.0)
    tape, top = with_terms(values, [(SCALED, 1, 2.0), (PRODUCT + 1, 4, 3), (FIXED, 0, 1.0)])
    mark = ready(tape, values).reach([top]) & 1
    assert np.flatnonzero(mark).tolist() == [1, 3, 4, top]


def test_printing_moving_and_comparing():
    terms = [(PRODUCT, 0, 1), (SCALED + 1, 1, 2.5), (PLAIN, 2, 0), (FIXED + 1, 0, 3.0)]
    tape, top = with_terms([1.0, 2.0, 3.0], terms)
    tape.append(CODES["sin", "v"], top)
    assert str(tape).splitlines()[3].endswith("r3 = terms(r0*r1 - k3*r1 + r2 - k4)")
    sealed = passes.seal(tape)
    nt.verify(sealed)
    assert sealed == tape
    part = tape[3:]
    nt.verify(part)
    assert list(part)[-2].slots == (0, 1, 2)
    other, _ = with_terms([1.0, 2.0, 3.0], [(PRODUCT + 1, 0, 1), *terms[1:]])
    other.append(CODES["sin", "v"], top)
    assert other != tape
    many, _ = with_terms([1.0], [(PLAIN, 0, 0)] * 9)
    assert str(many).endswith("r1 = terms(r0 + r0 + r0 + r0 + r0 + r0 + 3 more)")


def word(j, place):
    return BODY + TERM * j + place


BROKEN = {
    "size": ({SIZE: 2}, r"\(terms, wide\) has a result of 2 slots, not 1"),
    "no term": ({KIND_WORD: 0}, r"has 0 terms; \d+ have room"),
    "terms outside": ({KIND_WORD: 100}, r"has 100 terms; \d+ have room"),
    "flags": ({nest.FLAGS: 1}, r"has flags 1"),
    "U": ({nest.U: 1}, r"but its operation has no such operand"),
    "loops": ({nest.LOOPS: 1}, r"has 1 loops and takes none"),
    "kind": ({word(1, 0): 8}, r"has a term of kind 8, not 0 to 7"),
    "kind below": ({word(1, 0): -1}, r"has a term of kind -1"),
    "first slot": ({word(0, 1): 3}, r"takes slot 3, which is not written before it"),
    "second slot": ({word(0, 2): 3}, r"takes slot 3, which is not written before it"),
    "slot below": ({word(0, 2): -1}, r"takes slot -1"),
    "constant": ({word(1, 2): 99}, r"takes constant 99, the pool has"),
    "second operand of one": ({word(2, 2): 1}, r"has an operand that its kind has not"),
    "first operand of none": ({word(3, 1): 1}, r"has an operand that its kind has not"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_verify_refuses(name):
    terms = [(PRODUCT, 0, 1), (SCALED + 1, 1, 2.5), (PLAIN, 2, 0), (FIXED + 1, 0, 3.0)]
    tape, _ = with_terms([1.0, 2.0, 3.0], terms)
    changes, text = BROKEN[name]
    for place, value in changes.items():
        tape.words[place] = value
    with pytest.raises(BadTapeError, match=text):
        nt.verify(tape)
