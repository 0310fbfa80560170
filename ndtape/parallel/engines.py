"""Engines: who evaluates blocks of shards.  All of them exist already; here they are spoken to.

An engine makes calls side by side and gives their results as they come.  Where a worker dies with
calls of his (killed, out of memory, its machine gone) Dask sends these to others by itself, and
joblib starts new workers; what is still missing then is called again (`results`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, ShardError
from ..threads import cores
from .carrying import dumps, loads
from .reduction import level_of
from .shards import Block, Folder, made, stored
from .work import KEPT, Job

if TYPE_CHECKING:
    from concurrent.futures import Executor

RETRIES = 3  # rounds in which workers are lost and nothing is done
Calls = dict[int, tuple[Any, ...]]  # arguments of calls by number


class WorkersLost(Exception):
    """Some calls had no result because their workers are gone."""


class Engine:
    """This process: one call after the other."""

    where = "in this process"
    workers = 1
    local = True  # what is captured and recorded here is seen by the workers
    timeout: float | None = None

    def level(self, shards: list[Any]) -> int:
        """Of the blocks that shards are sent in."""
        return level_of(len(shards), self.workers)

    def calls(
        self, function: Callable[..., Any], common: tuple[Any, ...], own: Calls
    ) -> Iterator[tuple[int, Any]]:
        """`function(*common, *arguments)` for each call, in any order; `common` is sent once."""
        for i, arguments in own.items():
            yield i, function(*common, *arguments)

    def placed(self, blocks: list[Block], _: Folder | None) -> list[Block]:
        """The blocks where the workers find their data fast."""
        return [block._replace(shards=made(block.shards)) for block in blocks]

    def folder(self) -> Folder | None:
        """Where placed blocks are, if it is in files."""
        return None


class Remote(Engine):
    """Other processes, which get a job in full at first and by its key from then on."""

    local = False

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.told: set[str] = set()  # keys of jobs that workers have got

    def sent(self, common: tuple[Any, ...], turn: int) -> tuple[Any, ...]:
        """What all calls have in common, for one of them."""
        jobs = {x.key for x in common if isinstance(x, Job)}
        if turn >= self.workers:
            self.told |= jobs
        return tuple([
            x.light() if isinstance(x, Job) and x.key in self.told else x for x in common
        ])  # fmt: skip

    def folder(self) -> Folder | None:
        return Folder()

    def placed(self, blocks: list[Block], folder: Folder | None) -> list[Block]:
        assert folder is not None
        own = {b.first: (b.shards, folder.path, b.first) for b in blocks}
        found = dict(results(self, stored, (), own))
        return [block._replace(shards=found[block.first]) for block in blocks]


class Pool(Remote):
    """A pool of `concurrent.futures`: of processes, of threads, or of MPI ranks (mpi4py)."""

    where = "in a pool"

    def __init__(self, pool: Executor, timeout: float | None) -> None:
        super().__init__(timeout)
        self.pool = pool
        self.workers = getattr(pool, "_max_workers", None) or cores()

    def calls(
        self, function: Callable[..., Any], common: tuple[Any, ...], own: Calls
    ) -> Iterator[tuple[int, Any]]:
        from concurrent.futures import BrokenExecutor

        # By cloudpickle, as the other engines do it: plain pickle takes no lambdas.
        futures = {
            self.pool.submit(_call, dumps((function, *self.sent(common, turn), *arguments))): i
            for turn, (i, arguments) in enumerate(own.items())
        }
        try:
            for done in completed(futures, self.timeout):
                for future in done:
                    yield futures[future], future.result()
        except BrokenExecutor as error:
            raise ShardError(
                "a worker of the pool was lost, and the pool takes no more calls: make another "
                'one. Dask and engine="joblib" replace workers and go on'
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _call(data: bytes) -> Any:
    function, *arguments = loads(data)
    return function(*arguments)


def completed(
    futures: Any, timeout: float | None, look: Callable[[], None] | None = None
) -> Iterator[list[Any]]:
    """Futures as they are done, those together that are; raises `TimeoutError` where none is for
    `timeout` seconds.

    `look` is called about every second while nothing comes, and may raise.
    """
    done: SimpleQueue[Any] = SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    left, waited = len(futures), 0.0
    while left:
        step = 1.0 if timeout is None else min(1.0, timeout - waited)
        try:
            found = [done.get(timeout=step)]
        except Empty:
            waited += step
            if timeout is not None and waited >= timeout:
                raise late(timeout, left) from None
            if look is not None:
                look()
            continue
        with suppress(Empty):
            while True:
                found.append(done.get_nowait())
        left, waited = left - len(found), 0.0
        yield found


def late(timeout: float | None, missing: Any) -> TimeoutError:
    """What to raise when nothing comes."""
    return TimeoutError(f"no block of shards was done for {timeout} seconds; {missing} are missing")


class Joblib(Remote):
    """`joblib.Parallel`, whatever its backend is."""

    where = "with joblib"

    def __init__(self, parallel: Any, timeout: float | None) -> None:
        super().__init__(timeout if timeout is not None else parallel.timeout)
        import joblib

        self.parallel = parallel
        self.workers = max(1, joblib.effective_n_jobs(parallel.n_jobs))

    def calls(
        self, function: Callable[..., Any], common: tuple[Any, ...], own: Calls
    ) -> Iterator[tuple[int, Any]]:
        import multiprocessing
        from concurrent.futures import TimeoutError as FuturesTimeout

        from joblib import delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        call = delayed(_numbered)
        self.parallel.timeout = self.timeout
        try:
            yield from self.parallel(
                call(i, function, *self.sent(common, turn), *arguments)
                for turn, (i, arguments) in enumerate(own.items())
            )
        except TerminatedWorkerError as error:
            raise WorkersLost from error
        except (TimeoutError, FuturesTimeout, multiprocessing.TimeoutError) as error:
            raise late(self.timeout, "some") from error


def _numbered(i: int, function: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    return i, function(*arguments)


class Cluster(Remote):
    """A Dask cluster through its client."""

    where = "on a Dask cluster"
    SMALL = 1 << 16  # bytes that go with every call
    PATIENCE = 60.0  # seconds without any worker

    def __init__(self, client: Any, timeout: float | None) -> None:
        super().__init__(timeout)
        if client.asynchronous:
            raise ArgumentError("nt.parallel takes a Dask client that is not asynchronous")
        self.client = client
        self.jobs: dict[str, Any] = {}  # those that were sent, by key

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Calls that run at once, now: clusters grow and shrink."""
        threads: dict[str, int] = self.client.nthreads()
        return max(1, sum(threads.values()))

    def level(self, shards: list[Any]) -> int:
        return 0 if any(map(is_future, shards)) else super().level(shards)

    def kept(self, x: Any) -> Any:
        """What all calls are given: small things as they are, others as futures of Dask, which
        every worker fetches once."""
        if isinstance(x, Job):
            known = self.jobs.get(x.key)
            if known is None or known.status in LOST:
                known = self.jobs[x.key] = self._future(_itself, x)
                if len(self.jobs) > KEPT:  # of a loss that captures other numbers at each call
                    self.jobs.pop(next(iter(self.jobs)))
            return known
        return x if len(dumps(x)) <= self.SMALL else self._future(_itself, x)

    def _future(self, function: Callable[..., Any], x: Any) -> Any:
        """The result of a call, which Dask makes again where the worker that has it is lost.

        Rejected: `client.scatter`; what it has sent is lost with its worker, and it fails, or waits
        for ever, where a worker dies just then.
        """
        import dask

        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
            return self.client.submit(function, x, pure=False)

    def calls(
        self, function: Callable[..., Any], common: tuple[Any, ...], own: Calls
    ) -> Iterator[tuple[int, Any]]:
        kept = [self.kept(x) for x in common]
        futures = {
            self.client.submit(function, *kept, *arguments, pure=False): i
            for i, arguments in own.items()
        }
        lost = False
        try:
            for done in completed(futures, self.timeout, self._look()):
                there = [future for future in done if future.status not in LOST]
                results = self._results(there, futures)
                lost = lost or len(results) < len(done)  # with it, others that need the same data
                for future, result in zip(there, results, strict=False):
                    yield futures[future], result
        finally:
            if left := [future for future in futures if not future.done()]:
                self.client.cancel(left)
        if lost:
            raise WorkersLost

    def _results(self, futures: list[Any], numbers: dict[Any, int]) -> list[Any]:
        """What futures gave, fetched together; nothing where that is lost meanwhile."""
        import asyncio
        from concurrent.futures import CancelledError

        for future in futures:
            if future.status == "error":  # in a future among the shards, or in Dask itself
                error, first = future.exception(), numbers[future]
                told = ShardError(f"the block from shard {first} on failed: {error}", first)
                if type(error).__module__.partition(".")[0] == "distributed":
                    raise told from error
                raise error from told
        # Not waited for inside of Dask, where neither timeouts nor Ctrl-C would be noticed.
        gathering = asyncio.run_coroutine_threadsafe(
            self.client.gather(futures, asynchronous=True), self.client.loop.asyncio_loop
        )
        try:
            list(completed([gathering], self.timeout, self._look()))
            found: list[Any] = gathering.result()
        except CancelledError:
            return []
        finally:
            gathering.cancel()
        return found

    def _look(self) -> Callable[[], None]:
        waited = 0.0

        def look() -> None:
            nonlocal waited
            if self.client.status not in ("running", "connecting"):
                raise ShardError("the Dask client is closed, or has lost its scheduler")
            waited = 0.0 if self.client.nthreads() else waited + 1.0
            if waited >= self.PATIENCE:
                raise ShardError(f"the Dask cluster had no worker for {self.PATIENCE:g} seconds")

        return look

    def folder(self) -> Folder | None:
        return None

    def placed(self, blocks: list[Block], _: Folder | None) -> list[Block]:
        return [b._replace(shards=self._placed(b.shards)) for b in blocks]

    def _placed(self, shards: list[Any]) -> Any:
        if len(shards) == 1 and is_future(shards[0]):
            return shards
        return self._future(made, shards)


LOST = ("lost", "cancelled")


def _itself(x: Any) -> Any:
    return x


def is_future(x: Any) -> bool:
    """Whether a shard is a future of Dask."""
    return type(x).__module__.partition(".")[0] == "distributed" and hasattr(x, "key")


def results(
    engine: Engine, function: Callable[..., Any], common: tuple[Any, ...], own: Calls
) -> Generator[tuple[int, Any], None, None]:
    """All results of calls, by their numbers, as they come.

    Calls whose workers are lost are made again, and so are those that answer None, because their
    worker has not got the job.  Raises `ShardError` where that does not help.
    """
    left, fruitless = dict(own), 0
    while left:
        before = len(left)
        try:
            for i, result in engine.calls(function, common, dict(left)):
                if result is not None:
                    del left[i]
                    yield i, result
        except WorkersLost as lost:
            fruitless = fruitless + 1 if len(left) == before else 0
            if fruitless >= RETRIES:
                raise ShardError(
                    f"workers, or data that were scattered to them, were lost {RETRIES} times over "
                    f"the shards from {min(left)} on, with nothing done: a shard may need more "
                    "memory than there is",
                    min(left),
                ) from lost.__cause__
        if isinstance(engine, Remote):
            keys = {x.key for x in common if isinstance(x, Job)}
            engine.told = engine.told - keys if left else engine.told | keys


def engine_of(engine: Any, timeout: float | None = None) -> Engine:
    """The engine that users name in so many ways; raises `ArgumentError` for another one."""
    if isinstance(engine, Engine):
        return engine
    if engine is None:
        return Engine()
    if isinstance(engine, str) and engine in ("dask", "joblib"):
        return _named(engine, timeout)
    futures = sys.modules.get("concurrent.futures")
    if futures is not None and isinstance(engine, futures.Executor):
        return Pool(engine, timeout)
    package = type(engine).__module__.partition(".")[0]
    if package == "distributed" and hasattr(engine, "scatter"):
        return Cluster(engine, timeout)
    joblib = sys.modules.get("joblib")
    if joblib is not None and isinstance(engine, joblib.Parallel):
        return Joblib(engine, timeout)
    hint = "; a Dask cluster is reached through Client(cluster)" if package == "distributed" else ""
    raise ArgumentError(
        'engine must be a Dask client, "dask", "joblib", a joblib.Parallel, an executor of '
        f"concurrent.futures, or None for this process, not {engine!r:.60}{hint}"
    )


def _named(name: str, timeout: float | None) -> Engine:
    try:
        if name == "dask":
            from distributed import get_client

            return Cluster(get_client(), timeout)
        import joblib
    except ImportError:
        raise ImportError(f'engine="{name}" needs {name}: pip install "ndtape[parallel]"') from None
    except ValueError:
        raise ArgumentError('engine="dask" needs a client: make one by Client(...) first') from None
    count = joblib.effective_n_jobs(None)  # what a `with joblib.parallel_config` around asks for
    # As a generator: what was done before a worker is lost need not be done again.
    parallel = joblib.Parallel(n_jobs=count if count > 1 else cores(), return_as="generator")
    return Joblib(parallel, timeout)
