"""Threads of large calls: how many, the same bits for every number, errors, Ctrl-C, pools."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ndtape as nt
from ndtape import threads
from ndtape.batch import forms, lanes
from ndtape.transforms import directions


@pytest.fixture(autouse=True)
def default_again():
    yield
    nt.set_num_threads(None)


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks, and threads, for calls that are too short for them."""
    monkeypatch.setattr(forms, "PARALLEL", 0)
    monkeypatch.setattr(forms, "LEAST_WORK", 1 << 8)
    monkeypatch.setattr(directions, "PARALLEL", 0)
    monkeypatch.setattr(directions, "RELEASE", 1)


# --- how many -------------------------------------------------------------------------------------


def test_the_number_of_threads(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert nt.get_num_threads() == threads.cores() >= 1
    nt.set_num_threads(3)
    assert nt.get_num_threads() == 3
    nt.set_num_threads(np.int64(2))
    assert nt.get_num_threads() == 2
    nt.set_num_threads(None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert nt.get_num_threads() == 5
    monkeypatch.setenv("NDTAPE_NUM_THREADS", "7")
    assert nt.get_num_threads() == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # of others, with a meaning of its own
    monkeypatch.delenv("NDTAPE_NUM_THREADS")
    assert nt.get_num_threads() == threads.cores()


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_numbers_that_are_none(n):
    with pytest.raises(nt.ArgumentError, match="positive whole number"):
        nt.set_num_threads(n)


def test_a_variable_that_is_no_number(monkeypatch):
    monkeypatch.setenv("NDTAPE_NUM_THREADS", "all")
    with pytest.raises(nt.ArgumentError, match="NDTAPE_NUM_THREADS must be"):
        nt.get_num_threads()


def test_containers_have_a_share(tmp_path, monkeypatch):
    share = threads._share.__wrapped__
    for text, expected in (("150000 100000", 2), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(threads, "CONTAINER", str(tmp_path / "cpu.max"))
        assert share() == expected
    (tmp_path / "cpu.max").write_text("max 100000")
    assert share() > 1000


def test_one_thread_inside_of_a_pool_unless_it_asks():
    nt.set_num_threads(4)

    def asked():
        nt.set_num_threads(3)
        return nt.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(nt.get_num_threads).result() == 1
        assert pool.submit(asked).result() == 3
    assert nt.get_num_threads() == 3


def child(connection):
    before = nt.get_num_threads()
    nt.set_num_threads(2)
    done = []
    threads.in_blocks(lambda worker, block: done.append(block), 8, 2)
    connection.send((before, nt.get_num_threads(), sorted(done)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_one_thread_and_a_pool_of_its_own():
    nt.set_num_threads(4)
    threads.in_blocks(lambda worker, block: time.sleep(0.001), 8, 4)  # starts the pool
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(there,), daemon=True)
    process.start()
    assert here.poll(30)
    assert here.recv() == (1, 2, list(range(8)))
    process.join()


# --- the same bits --------------------------------------------------------------------------------


def program(x, w):
    y = x
    for k in range(6):
        y = nt.sin(y * w[k % 3]) + (x if y > 0.3 else w[0] * 0.1)
    return y


X, W = np.linspace(-2, 3, 700), np.array([0.7, 1.1, 0.4])
CALLS = {
    "values": lambda f: nt.vmap(f, (0, None))(X, W),
    "gradients": lambda f: nt.vmap(nt.grad(f, (0, 1)), (0, None))(X, W),
    "mean": lambda f: nt.grad(lambda w: np.mean(nt.vmap(f, (0, None))(X, w)))(W),
    "second": lambda f: nt.hessian(lambda w: np.mean(nt.vmap(f, (0, None))(X, w)))(W),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("slopes", [0, 32])
def test_rows(monkeypatch, small_blocks, name, slopes):
    monkeypatch.setattr(sys.modules["ndtape.batch.vmap"], "MOST_SLOPES", slopes)
    f = nt.function(program)
    found = []
    for n in (1, 2, 3, 5):
        f.clear()  # else the second call has other code, after the passes
        nt.set_num_threads(n)
        found.append(CALLS[name](f))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_large_arrays_row_by_row(small_blocks):
    draw = np.random.default_rng(0)
    w, x = draw.normal(size=(80, 60)) / 8, draw.normal(size=(70, 60))
    f = nt.function(lambda w, x: np.sum(nt.tanh(w @ x) ** 2))
    call = nt.grad(lambda w: np.mean(nt.vmap(f, (None, 0))(w, x)))
    found = []
    for n in (1, 3):
        nt.set_num_threads(n)
        f.clear()
        found.append(call(w))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("arrays", [False, True])
def test_directions(small_blocks, arrays):
    a = np.random.default_rng(0).normal(size=(40, 40)) / 6

    def f(x):
        if arrays:
            return nt.tanh(a @ nt.tanh(a @ x))
        return nt.array([nt.sin(x[i]) * x[i - 1] for i in range(40)])

    x = np.linspace(-1, 1, 40)
    found = []
    for n in (1, 2, 4):
        nt.set_num_threads(n)
        found.append([nt.jacrev(f)(x), nt.jacfwd(f)(x), nt.hessian(lambda x: np.sum(f(x) ** 2))(x)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_callers_in_several_threads(small_blocks):
    f = nt.function(program)
    expected = nt.vmap(nt.grad(f), (0, None))(X, W)

    def caller(n):
        nt.set_num_threads(n)
        return [nt.vmap(nt.grad(f), (0, None))(X, W) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(caller, (1, 2, 3, 4)):
            for got in rows:
                np.testing.assert_allclose(got, expected, rtol=1e-12)


# --- blocks ---------------------------------------------------------------------------------------


def test_every_block_is_done_once_and_workers_do_not_meet():
    done, inside = [], [0] * 3

    def task(worker, block):
        inside[worker] += 1
        assert inside[worker] == 1
        time.sleep(0.0005)
        done.append(block)
        inside[worker] -= 1

    threads.in_blocks(task, 40, 3)
    assert sorted(done) == list(range(40))


def test_the_first_error_comes_out():
    barrier = threading.Barrier(2, timeout=10)

    def task(worker, block):
        if block in (2, 3):
            barrier.wait()  # both fail
            raise ValueError(block)

    with pytest.raises(ValueError, match="2"):
        threads.in_blocks(task, 40, 2)
    done = []
    threads.in_blocks(lambda worker, block: done.append(block), 10, 2)  # the pool has survived
    assert len(done) == 10


def test_an_index_outside_in_one_of_the_rows(small_blocks):
    nt.set_num_threads(2)
    x, i = np.random.default_rng(0).normal(size=(900, 5)), np.arange(900) % 5
    f = nt.function(lambda x, i: nt.array(x)[i] * 2)
    assert nt.vmap(f)(x, i).tolist() == (2 * x[np.arange(900), i]).tolist()
    i[700] = 9
    with pytest.raises(IndexError):
        nt.vmap(f)(x, i)
    i[700] = 0
    assert nt.vmap(f)(x, i)[700] == 2 * x[700, 0]


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="the system has no signals")
def test_ctrl_c(request):
    """It comes out when no worker is inside of a block any more."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in shells' jobs
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    inside = []

    def task(worker, block):
        inside.append(block)
        if worker == 0:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        inside.remove(block)

    with pytest.raises(KeyboardInterrupt):
        threads.in_blocks(task, 1000, 2)
    assert len(inside) == 1  # the caller's own, which was interrupted


def test_a_task_may_have_blocks_of_its_own():
    done = []

    def task(worker, block):
        threads.in_blocks(lambda w, b: done.append((block, b)), 3, 2)

    threads.in_blocks(task, 5, 2)
    assert len(set(done)) == 15


def test_buffers_are_kept_for_each_thread(small_blocks):
    nt.set_num_threads(3)
    f = nt.function(program)
    f.clear()
    nt.vmap(f, (0, None))(X, W)
    nt.vmap(f, (0, None))(X, W)
    kept = [lanes._forms[t] for p in f.all_programs() for t in p.traces if t in lanes._forms]
    assert max(len(form.idle) for one in kept for form in one.made.values()) <= 3
