"""How many threads one shard may use, in our sweeps and in the BLAS below them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..threads import limited_to


@contextmanager
def inner_threads(n: int) -> Iterator[None]:
    """At most so many threads for what this thread calls.

    Sweeps have the same bits for any number of threads, but matrix products of a BLAS have not: it
    is held to the same number wherever `threadpoolctl` is installed.
    """
    with limited_to(n), _blas.limited_to(n):
        yield


class _Blas:
    """The limit of the process, set by the first that asks and lifted behind the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.controller: Any = None
        self.limit: Any = None

    @contextmanager
    def limited_to(self, n: int) -> Iterator[None]:
        with self.lock:
            if not self.users:
                self._begin(n)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users and self.limit is not None:
                    self.limit.restore_original_limits()

    def _begin(self, n: int) -> None:
        if self.controller is None:
            try:
                from threadpoolctl import ThreadpoolController
            except ImportError:
                return
            import scipy.linalg.cython_blas  # noqa: F401  the one that sweeps call: loaded now

            self.controller = ThreadpoolController()
        self.limit = self.controller.limit(limits=n, user_api="blas")


_blas = _Blas()
