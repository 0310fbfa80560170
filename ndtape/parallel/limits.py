"""How many threads one shard may use, in our sweeps and in the BLAS below them."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..threads import limited_to

MAPS = Path("/proc/self/maps")  # among others, the libraries that are loaded
OPENBLAS = [
    (f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
    for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64"))
]
NAMES = {"openblas": OPENBLAS, "mkl_rt": [("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")]}


@contextmanager
def inner_threads(n: int) -> Iterator[None]:
    """At most so many threads for what this thread calls.

    Sweeps have the same bits for any number of threads, but large matrix products of a BLAS have
    not: OpenBLAS and MKL are held to the same number.
    """
    with limited_to(n), _blas.limited_to(n):
        yield


class Library(NamedTuple):
    """A BLAS that is loaded."""

    get: Callable[[], int]
    set: Callable[[int], Any]


@cache
def libraries() -> list[Library]:
    """Those that are told how many threads to use: of SciPy, which sweeps call, and of NumPy.

    Rejected: threadpoolctl, which listens to the first thread alone that has called it.
    """
    import scipy.linalg.cython_blas  # noqa: F401  loaded now, and not in the first shard

    try:
        lines = MAPS.read_text().splitlines()
    except OSError:  # not Linux: the environment variables of the BLAS have to do
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
    return [
        Library(getattr(library, get), getattr(library, set_))
        for path in sorted(paths)
        for kind, names in NAMES.items()
        if kind in Path(path).name
        for library in [ctypes.CDLL(path)]
        for get, set_ in names
        if hasattr(library, set_)
    ]


class _Blas:
    """The limit of the process, set by the first that asks and lifted behind the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before: list[int] = []

    @contextmanager
    def limited_to(self, n: int) -> Iterator[None]:
        with self.lock:
            if not self.users:
                self.before = [library.get() for library in libraries()]
                for library in libraries():
                    library.set(n)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    for library, count in zip(libraries(), self.before, strict=True):
                        library.set(count)


_blas = _Blas()
