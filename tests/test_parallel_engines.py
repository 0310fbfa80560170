"""`nt.parallel` over Dask, joblib and pools: the same bits, whoever is killed meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import sharded

import ndtape as nt
from ndtape.parallel import engines, work

distributed = pytest.importorskip("distributed")
joblib = pytest.importorskip("joblib")


@pytest.fixture(scope="module")
def client():
    quiet = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**quiet, silence_logs=60) as cluster:
        with distributed.Client(cluster) as client:
            yield client


@pytest.fixture(scope="module")
def forked():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        yield pool


@pytest.fixture(scope="module")
def parallel():
    return joblib.Parallel(n_jobs=2, return_as="generator")


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(3) as pool:
        yield pool


ENGINES = ["client", "forked", "parallel", "threads"]


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def shards():
    return nt.parallel.split(sharded.data(), 19)


@pytest.fixture(scope="module")
def expected(shards):
    """By one process."""
    return nt.parallel.value_and_grad(sharded.logistic)(sharded.parameters(), shards)


def same(found, expected):
    """Bit for bit."""
    leaves, others = (nt.ravel(tree)[0] for tree in (found, expected))
    return leaves.tobytes() == others.tobytes()


# --- the same bits --------------------------------------------------------------------------------


def test_sums_have_the_bits_of_one_process(engine, shards, expected):
    g = nt.parallel.value_and_grad(sharded.logistic, engine=engine)
    assert same(g(sharded.parameters(), shards), expected)
    makers = [partial(sharded.same, shard) for shard in shards]
    assert same(g(sharded.parameters(), makers), expected)
    for sources in (shards, makers):
        placed = nt.parallel.scatter(sources, engine)
        assert same(g(sharded.parameters(), placed), expected)
    moved = {"w": sharded.parameters()["w"] * 2, "b": -1.0}
    here = nt.parallel.value_and_grad(sharded.logistic)(moved, shards)
    assert same(g(moved, placed), here)


def test_workers_record_branches_that_the_caller_has_not_met(engine):
    shards = [np.array([a, b, c]) for a in (1.0, -1.0) for b in (2.0, -2.0) for c in (3.0, -3.0)]
    g = nt.parallel.value_and_grad(sharded.branching, engine=engine)
    assert same(g(0.3, shards), nt.parallel.value_and_grad(sharded.branching)(0.3, shards))
    assert len(g.work.f.tapes) == 1


def test_lambdas_aux_and_other_kinds(client):
    factor = np.arange(3.0)
    shards = [np.arange(3.0) + i for i in range(4)]

    def loss(w, x):
        return np.sum(w * factor * x**2), {"first": x[0]}

    for kind in (nt.parallel.value_and_grad, nt.parallel.grad):
        found, here = (kind(loss, has_aux=True, engine=e)(2.0, shards) for e in (client, None))
        assert found == here
    second = nt.parallel.hessian(lambda w, x: np.sum(w * w * x), engine=client)
    assert second(1.0, shards) == 2 * sum(x.sum() for x in shards)


def test_futures_of_dask(client, shards, expected):
    futures = client.map(sharded.same, shards)
    g = nt.parallel.value_and_grad(sharded.logistic, engine="dask")
    assert same(g(sharded.parameters(), futures), expected)
    assert same(g(sharded.parameters(), nt.parallel.scatter(futures, client)), expected)


# --- what is sent ---------------------------------------------------------------------------------


def test_the_tape_is_sent_once_a_worker(shards, forked, monkeypatch):
    sent = []
    dumps = work.Job.__reduce_ex__
    monkeypatch.setattr(
        work.Job, "__reduce_ex__", lambda job, n: (sent.append(job.data), dumps(job, n))[1]
    )
    g = nt.parallel.value_and_grad(sharded.logistic, engine=forked)
    for _ in range(5):
        g(sharded.parameters(), shards)
    full = [data for data in sent if data is not None]
    assert len(sent) >= 5 * 8 and 1 <= len(full) <= 4


def scaled_by(factor):
    return lambda w, x: np.sum(w * factor * x)


def test_what_the_loss_captures_is_followed(forked):
    """A number, then an array written in place: never an old one."""
    factor, shards = np.ones(2), [np.ones(2), np.ones(2)]
    g = nt.parallel.grad(scaled_by(factor), engine=forked)
    assert g(1.0, shards) == 4.0
    factor[:] = 3.0
    assert g(1.0, shards) == 12.0
    g = nt.parallel.grad(sharded.scaled, engine=forked)
    assert g(1.0, shards) == 4.0
    try:
        sharded.SCALE = 5.0
        assert g(1.0, shards) == 20.0  # the tape has it
        with pytest.raises(nt.ArgumentError, match=r"SCALE, which is 5\.0 .* and 1\.0 in"):
            g(1.0, [*shards, np.ones(3)])  # the workers' modules have not
    finally:
        sharded.SCALE = 1.0


# --- what goes wrong ------------------------------------------------------------------------------


def test_exceptions_in_shards(engine):
    g = nt.parallel.grad(sharded.failing, engine=engine)
    with pytest.raises(KeyError, match="negative") as caught:
        g(1.0, [1.0, 2.0, 3.0, -1.0])
    told = caught.value.__cause__
    assert isinstance(told, nt.ShardError) and told.shard == 3 and "in failing" in str(told)
    with pytest.raises(nt.ShardError, match="shard 1 of 2 failed: Odd: one and two"):
        g(1.0, [1.0, 0.0])
    assert g(1.0, [1.0, 2.0]) == 3.0


def test_a_worker_killed_in_a_shard_changes_nothing(client, parallel, shards, expected, tmp_path):
    """Nor for shards that were scattered before, some of them to that worker."""
    makers = [partial(sharded.same, shard) for shard in shards[:9]]
    for i, engine in enumerate((client, parallel)):
        placed = nt.parallel.scatter([*makers, *shards[9:]], engine)
        g = nt.parallel.value_and_grad(sharded.logistic, engine=engine)
        assert same(g(sharded.parameters(), placed), expected)
        some = list(shards)
        some[7] = sharded.Dying(shards[7], tmp_path / f"{i}")
        assert same(g(sharded.parameters(), some), expected)
        assert (tmp_path / f"{i}").exists()
        assert same(g(sharded.parameters(), placed), expected)


def test_a_shard_that_kills_each_worker_is_told(parallel, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "RETRIES", 1)
    g = nt.parallel.grad(lambda w, x: w * x, engine=parallel)
    deadly = sharded.Dying(1.0, tmp_path / "marker", always=True)
    with pytest.raises(nt.ShardError, match="were lost 1 times"):
        g(1.0, [1.0, deadly])


def test_a_pool_that_lost_a_worker_says_so(tmp_path):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        g = nt.parallel.grad(lambda w, x: w * x, engine=pool)
        with pytest.raises(nt.ShardError, match="make another one"):
            g(1.0, [1.0, sharded.Dying(1.0, tmp_path / "marker")])


@pytest.mark.parametrize("name", ["client", "forked", "joblib"])
def test_nothing_hangs(name, request):
    """A timeout, and Ctrl-C; the next call works."""
    if name == "joblib":  # whose processes would be ended by both, and have to start again
        engine = joblib.Parallel(n_jobs=2, backend="threading")
    else:
        engine = request.getfixturevalue(name)
    quick = nt.parallel.grad(lambda w, x: w * x, engine=engine)
    assert quick(1.0, [1.0, 2.0]) == 3.0  # workers are there
    late = nt.parallel.grad(lambda w, x: w * x, engine=engine, timeout=0.2)
    with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
        late(1.0, [1.0, partial(sharded.slow, 0.6)])
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in shells' jobs
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            quick(1.0, [1.0, partial(sharded.slow, 1.5)])
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert quick(1.0, [1.0, 2.0]) == 3.0


def test_dask_without_workers_is_not_waited_for_for_ever(monkeypatch):
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=":0", silence_logs=60
    ) as cluster:
        with distributed.Client(cluster) as client:
            g = nt.parallel.grad(lambda w, x: w * x, engine=client)
            monkeypatch.setattr(type(g.engine), "PATIENCE", 1.0)
            with pytest.raises(nt.ShardError, match="no worker for 1 seconds"):
                g(1.0, [1.0])
    with pytest.raises(nt.ArgumentError, match=r"through Client\(cluster\)"):
        nt.parallel.grad(lambda w, x: w * x, engine=cluster)
