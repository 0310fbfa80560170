"""Threads: how many there are for large calls, and blocks of work handed to them.

Sweeps release the GIL, so that blocks of rows run side by side.  What a block computes does not
depend on who computes it, nor on how many do: results are the same bits for every number of
threads.  The caller is one of the workers; the others wait in a pool that lasts as long as the
process.
"""

from __future__ import annotations

import math
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue

from .errors import ArgumentError

VARIABLES = ("NDTAPE_NUM_THREADS", "OMP_NUM_THREADS")  # the second: what limits other libraries

CONTAINER = "/sys/fs/cgroup/cpu.max"  # quota and period of its processors

Task = Callable[[int, int], None]


class _Settings(threading.local):
    asked = False  # this thread has called `set_num_threads`
    limit = 0  # of this thread, inside `limited_to`; 0: none


_settings = _Settings()
_chosen: int | None = None
_is_child = False  # made by fork


def set_num_threads(n: int | None) -> None:
    """How many threads calls with many rows or directions may use; None: the default again.

    The default is the environment variable NDTAPE_NUM_THREADS, else OMP_NUM_THREADS, else the
    number of cores that this process may use.  In a thread that is not the main one, and in a
    process of a pool, calls use one thread, because others are at work beside them: there, call
    this function in the thread, or the process, itself.  Results do not depend on it.

    Raises `ArgumentError` unless `n` is a positive whole number.

    >>> import ndtape as nt
    >>> nt.set_num_threads(1)
    >>> nt.get_num_threads()
    1
    >>> nt.set_num_threads(None)
    """
    global _chosen
    if n is not None:
        try:
            number = operator.index(n)
        except TypeError:
            number = 0
        if number < 1 or isinstance(n, bool):
            raise ArgumentError(f"the number of threads must be a positive whole number, not {n!r}")
        n = number
    _chosen = n
    _settings.asked = n is not None


def get_num_threads() -> int:
    """How many threads a call from this thread may use; see `set_num_threads`."""
    if _settings.limit:
        return _settings.limit
    if _settings.asked and _chosen is not None:
        return _chosen
    if _is_inside_a_pool():
        return 1
    return _default() if _chosen is None else _chosen


@contextmanager
def limited_to(n: int) -> Iterator[None]:
    """So many threads for calls from this thread, whatever has been asked for otherwise."""
    before, _settings.limit = _settings.limit, n
    try:
        yield
    finally:
        _settings.limit = before


def _is_inside_a_pool() -> bool:
    """Whether somebody else has split up work already: this is one of its threads or processes."""
    if _is_child or threading.current_thread() is not threading.main_thread():
        return True
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _default() -> int:
    for name in VARIABLES:
        text = os.environ.get(name, "").strip()
        if text:
            if text.isdigit() and int(text) > 0:
                return int(text)
            if name == VARIABLES[0]:
                raise ArgumentError(f"{name} must be a positive whole number, not {text!r}")
    return cores()


def cores() -> int:
    """Cores that this process may use: of the machine, its own affinity, its container's share."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, _share()))


@cache
def _share() -> int:
    """What the container allows, in whole cores."""
    try:
        with open(CONTAINER) as file:
            quota, period = file.read().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return sys.maxsize


# --- blocks ---------------------------------------------------------------------------------------


class _Job:
    """Blocks 0 .. count-1, drawn in order: by the caller, who is worker 0, and by helpers."""

    def __init__(self, task: Task, count: int, workers: int) -> None:
        self.task, self.count, self.workers = task, count, workers
        self.next, self.arrived, self.active = 0, 1, 0  # of helpers, how many are at work
        self.failed: tuple[int, BaseException] | None = None
        self.change = threading.Condition()

    def work(self, worker: int) -> None:
        """Do blocks until there are none."""
        while (block := self._drawn()) >= 0:
            try:
                self.task(worker, block)
            except Exception as error:
                self._fail(block, error)

    def help(self) -> None:
        """The same in a thread of the pool, if it does not come too late."""
        with self.change:
            worker = self.arrived
            if worker >= self.workers or self.next >= self.count:
                return
            self.arrived += 1
            self.active += 1
        try:
            self.work(worker)
        finally:
            with self.change:
                self.active -= 1
                self.change.notify_all()

    def _drawn(self) -> int:
        with self.change:
            block, self.next = self.next, self.next + 1
        return block if block < self.count else -1

    def _fail(self, block: int, error: Exception) -> None:
        """No further blocks; of several errors that of the first block comes out."""
        with self.change:
            self.next = self.count
            if self.failed is None or block < self.failed[0]:
                self.failed = block, error

    def close(self) -> None:
        """No further blocks; waits until no helper is at work: buffers are in use till then.

        Ctrl-C, which reaches the caller alone, does not come out before.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                with self.change:
                    self.next = self.count
                    while self.active:
                        self.change.wait()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


class _Crew:
    """Threads that wait for jobs."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.size = 0
        self.lock = threading.Lock()

    def call(self, job: _Job, helpers: int) -> None:
        """Let so many threads help, or as many as the system gives."""
        with self.lock:
            try:
                while self.size < helpers:
                    threading.Thread(target=self._wait, name="ndtape", daemon=True).start()
                    self.size += 1
            except RuntimeError:
                pass
            present = min(helpers, self.size)
        for _ in range(present):
            self.jobs.put(job)

    def _wait(self) -> None:
        while True:
            self.jobs.get().help()


_crew = _Crew()


def _after_fork() -> None:
    """A child process has none of the threads of its parent."""
    global _crew, _is_child
    _crew = _Crew()
    _is_child = True
    _settings.asked = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def in_blocks(task: Task, count: int, workers: int) -> None:
    """`task(worker, block)` for all blocks, by at most so many workers at once.

    A worker's number is used by one thread at a time, so that it may stand for buffers.  Tasks
    release the GIL most of the time, and record nothing.  Where one raises, no further blocks are
    begun, and the error of the first block that failed comes out when nobody is at work any more;
    so does Ctrl-C.
    """
    workers = min(workers, count)
    if workers <= 1:
        for block in range(count):
            task(0, block)
        return
    job = _Job(task, count, workers)
    try:
        _crew.call(job, workers - 1)
        job.work(0)
    finally:
        job.close()
    if job.failed is not None:
        raise job.failed[1]
