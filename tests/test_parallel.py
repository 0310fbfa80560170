"""`nt.parallel` in one process: sums over shards, and what is said to those who ask wrongly."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import sharded
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape.bars import Progress
from ndtape.parallel.limits import inner_threads, libraries
from ndtape.parallel.reduction import Sum, level_of, partial_of
from ndtape.parallel.shards import blocks_of

# --- adding up ------------------------------------------------------------------------------------


def pairwise(numbers):
    """The same tree, written as a recursion over halves that are powers of two."""
    if len(numbers) == 1:
        return numbers[0]
    half = 1 << (len(numbers) - 1).bit_length() - 1
    return pairwise(numbers[:half]) + pairwise(numbers[half:])


@given(st.integers(1, 70), st.integers(1, 40), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_sums_do_not_depend_on_blocks_or_order(count, workers, random):
    numbers = [random.choice([-1, 1]) * 10.0 ** random.randint(-8, 8) for _ in range(count)]
    blocks = blocks_of(numbers, level_of(count, workers))
    assert len(blocks) >= min(count, 4 * workers)
    random.shuffle(blocks)
    whole = Sum(count)
    for block in blocks:
        part = Sum(block.size)
        for i, number in enumerate(block.shards):
            part.add(i, partial_of({"x": number}, [block.first + i]))
        whole.add(block.first, part.total(), (block.size - 1).bit_length())
    total = whole.total()
    assert total.tree == {"x": pairwise(numbers)} and total.aux == list(range(count))


def test_all_kinds_are_those_of_the_whole():
    data, p = sharded.data(rows=103), sharded.parameters()
    shards = nt.parallel.split(data, 7)
    assert [len(s["y"]) for s in shards] == [15] * 5 + [14] * 2
    value, gradient = nt.value_and_grad(sharded.logistic)(p, data)
    found = nt.parallel.value_and_grad(sharded.logistic)(p, shards)
    assert found[0] == pytest.approx(value, rel=1e-13)
    for name in p:
        np.testing.assert_allclose(found[1][name], gradient[name], rtol=1e-11)
    assert nt.parallel.value(sharded.logistic)(p, shards) == found[0]
    alone = nt.parallel.grad(sharded.logistic)(p, shards)
    assert all(np.array_equal(alone[name], found[1][name]) for name in p)
    second = nt.parallel.hessian(sharded.logistic)(p, shards)
    whole = nt.hessian(sharded.logistic)(p, data)
    np.testing.assert_allclose(second["w"]["w"], whole["w"]["w"], rtol=1e-11)
    mean = nt.parallel.value_and_grad(sharded.logistic, reduce="mean")(p, shards)
    assert mean[0] == found[0] / 7 and mean[1]["b"] == found[1]["b"] / 7


@dataclass
class Line:
    slope: float
    offset: np.ndarray


def test_trees_arguments_and_aux():
    def loss(line, weight, x):
        y = line.slope * x + line.offset
        return weight * np.sum(y * y), {"rows": len(x), "last": y[-1]}

    line, shards = Line(2.0, np.array([1.0], np.float32)), [np.ones(3), np.arange(4.0)]
    both = nt.parallel.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, aux), (slopes, by_weight) = both(line, 0.5, shards)
    assert value == 0.5 * (27 + 84) and by_weight == 27 + 84
    assert [a["rows"] for a in aux] == [3, 4] and [a["last"] for a in aux] == [3.0, 7.0]
    assert isinstance(slopes, Line) and slopes.slope == 9 + 34 and slopes.offset.dtype == np.float32
    gradient, aux = nt.parallel.grad(loss, has_aux=True)(line, 0.5, shards)
    assert gradient.slope == 43.0 and len(aux) == 2
    total, aux = nt.parallel.value(loss, has_aux=True)(line, 0.5, shards)
    assert total == value and len(aux) == 2


def test_one_recording_serves_all_shards_and_steps():
    g = nt.parallel.value_and_grad(sharded.logistic)
    shards = nt.parallel.split(sharded.data(), 17)[:10]  # the others are shorter
    for _ in range(3):
        g(sharded.parameters(), shards)
    counters = g.work.f.counters
    assert counters.recordings == 1 and counters.replays >= 29


def test_traced_losses_have_a_tape_apart_and_compiled_ones_need_none():
    assert nt.parallel.value(sharded.branching)(0.5, [np.ones(2), -np.ones(2)]) == pytest.approx(
        2 * np.sin(0.5) - 0.5
    )
    assert not sharded.branching.tapes

    @nt.jit
    def compiled(w, x):
        total = 0.0
        for number in x:
            total += w * number
        return total

    assert nt.parallel.grad(compiled)(2.0, [np.ones(2), np.arange(3.0)]) == 5.0


def test_progress_counts_shards(monkeypatch):
    seen = []
    monkeypatch.setattr(Progress, "advance", lambda bar, n: seen.append((bar.total, n)))
    g = nt.parallel.grad(lambda w, x: w * x, progress="summing")
    assert g(2.0, [1.0, 2.0, 3.0]) == 6.0 and seen == [(3, 1)] * 3


# --- threads --------------------------------------------------------------------------------------


def test_a_shard_uses_one_thread_unless_asked():
    inside = nt.parallel.value(lambda x: nt.get_num_threads() + 0.0 * x)
    assert inside([1.0, 1.0]) == 2
    assert nt.parallel.value(lambda x: nt.get_num_threads() + 0.0 * x, threads=3)([1.0]) == 3
    nt.set_num_threads(5)
    try:
        assert inside([1.0]) == 1 and nt.get_num_threads() == 5
    finally:
        nt.set_num_threads(None)


def test_limits_of_the_blas_end_behind_the_last_user():
    if not libraries():
        pytest.skip("no BLAS that can be told")

    def counts():
        return {library.get() for library in libraries()}

    before, entered, leave = counts(), threading.Event(), threading.Event()

    def user():
        with inner_threads(1):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=user)
    other.start()
    entered.wait(10)
    with inner_threads(1):
        pass
    inside = counts()
    leave.set()
    other.join()
    assert inside == {1} and counts() == before
    info = pytest.importorskip("threadpoolctl").threadpool_info()
    assert len(libraries()) == sum(library["user_api"] == "blas" for library in info)


def test_matrix_products_have_the_bits_of_one_thread():
    """Of a size for which OpenBLAS gives other bits with two threads."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2000, 50)), rng.normal(size=(50, 700))
    g = nt.parallel.grad(lambda b, a: np.sum(np.tanh(a @ b)))
    with inner_threads(1):
        expected = nt.grad(lambda b: np.sum(np.tanh(a @ b)))(b)
    assert np.array_equal(g(b, [a]), expected)


# --- what goes wrong ------------------------------------------------------------------------------


def failing(w, x):
    if x < 0:
        raise KeyError("negative")
    return w * x


def test_exceptions_keep_their_class_and_say_the_shard():
    with pytest.raises(KeyError, match="negative") as caught:
        nt.parallel.grad(failing)(1.0, [1.0, 2.0, -1.0, -2.0])
    told = caught.value.__cause__
    assert isinstance(told, nt.ShardError) and told.shard == 2
    assert "shard 2 of 4 failed: KeyError" in str(told) and "in failing" in str(told)


def test_exceptions_that_cannot_be_sent_are_told():
    def odd(x):
        raise sharded.Odd("one", "two")

    with pytest.raises(nt.ShardError, match="shard 0 of 1 failed: Odd: one and two") as caught:
        nt.parallel.value(odd)([1.0])
    assert caught.value.shard == 0


def bad(words, call, error=nt.ArgumentError):
    return pytest.param(call, error, words, id=words)


X = np.ones(4)
SUM = nt.parallel.value_and_grad(lambda w, x: np.sum(w * x))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        bad("takes a function", lambda: nt.parallel.grad(3)),
        bad("reduce must be", lambda: nt.parallel.grad(failing, reduce="max")),
        bad("engine must be", lambda: nt.parallel.grad(failing, engine="spark")),
        bad("engine must be", lambda: nt.parallel.grad(failing, engine=2)),
        bad("unexpected keyword", lambda: nt.parallel.grad(failing, engines=2), TypeError),
        bad("threads must be", lambda: nt.parallel.grad(failing, threads=0)),
        bad("list of shards", lambda: SUM(1.0)),
        bad("split", lambda: SUM(1.0, X)),
        bad("split", lambda: SUM(1.0, {"x": X})),
        bad("no shards", lambda: SUM(1.0, [])),
        bad("no derivative", lambda: nt.parallel.grad(failing, argnums=1)(1.0, [X])),
        bad("does not fit", lambda: nt.parallel.grad(failing, argnums=2)(1.0, [X])),
        bad("recording values", lambda: nt.grad(SUM)(1.0, [X]), nt.UnsupportedError),
        bad("captures recording", lambda: captured_leaf(), nt.UnsupportedError),
        bad("shapes", lambda: nt.parallel.value(lambda x: x)([X, np.ones(3)])),
        bad("two structures", lambda: nt.parallel.value(lambda x: [x] * len(x))([X, X[:2]])),
        bad("whole number", lambda: nt.parallel.split(X, 2.5)),
        bad("4 rows cannot be cut", lambda: nt.parallel.split(X, 5)),
        bad("cannot be cut", lambda: nt.parallel.split(X, 0)),
        bad("no arrays", lambda: nt.parallel.split({}, 1)),
        bad("numbers of rows", lambda: nt.parallel.split([X, X[:2]], 1)),
        bad("is no array with rows", lambda: nt.parallel.split({"a": X, "b": 2.0}, 1)),
        bad("not where", lambda: elsewhere()),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def captured_leaf():
    leaf = nt.var(2.0)
    return nt.parallel.grad(lambda w, x: w * leaf * x)(1.0, [1.0])


def elsewhere():
    shards = nt.parallel.scatter([X])
    with ThreadPoolExecutor(1) as pool:
        return nt.parallel.grad(lambda w, x: np.sum(w * x), engine=pool)(1.0, shards)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "joblib", None)
    with pytest.raises(ImportError, match=r'pip install "ndtape\[parallel\]"'):
        nt.parallel.grad(failing, engine="joblib")


# --- shards ---------------------------------------------------------------------------------------


def test_scattered_shards_are_a_sequence_and_made_once():
    made = []

    def make(i):
        made.append(i)
        return np.full(3, float(i))

    shards = nt.parallel.scatter([lambda i=i: make(i) for i in range(6)])
    g = nt.parallel.grad(lambda w, x: np.sum(w * x))
    assert [g(2.0, shards) for _ in range(2)] == [45.0, 45.0]
    assert made == list(range(6)) and len(shards) == 6 and callable(shards[0])
    assert nt.parallel.scatter(shards).engine is not shards.engine


def test_shards_of_files_are_mapped_and_go_with_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        sources = [{"x": n * X, "n": n, "none": np.ones(0)} for n in (2, 3)]
        shards = nt.parallel.scatter(sources, pool)
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) == 2
        g = nt.parallel.grad(lambda w, s: np.sum(w * s["x"]) * s["n"], engine=pool)
        assert g(1.0, shards) == 8 * 2 + 12 * 3
        del shards
    assert not list(tmp_path.iterdir())
