"""Shards of data: cut from arrays, and kept where the workers are."""

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ArgumentError
from ..trees import flatten, path_text, unflatten

if TYPE_CHECKING:
    from .engines import Engine

MAPPED = 400  # files that a worker keeps mapped; each holds a descriptor, of which there are 1024


class Block(NamedTuple):
    """Consecutive shards that one worker does together, or what stands for them."""

    first: int
    size: int
    shards: Any


# --- cutting --------------------------------------------------------------------------------------


def split(data: Any, n: int) -> list[Any]:
    """The rows of a tree of arrays, cut into `n` shards of consecutive rows: a list of trees.

    Every array has the same number of rows, its first axis; the first shards have a row more where
    the number is no multiple of `n`.  Shards are views: nothing is copied.  The sums over shards
    depend, in their last bits, on `n`, so do not make it depend on the number of workers.

    Raises `ArgumentError` where `n` is not between 1 and the number of rows, where a leaf is no
    array with rows, or where arrays have different numbers of them.

    >>> import numpy as np, ndtape as nt
    >>> shards = nt.parallel.split({"x": np.arange(5.0), "y": np.ones((5, 2))}, 2)
    >>> [shard["x"].tolist() for shard in shards], shards[1]["y"].shape
    ([[0.0, 1.0, 2.0], [3.0, 4.0]], (2, 2))
    """
    leaves, structure = flatten(data)
    rows = _rows(leaves, structure)
    try:
        n = operator.index(n)
    except TypeError:
        raise ArgumentError(f"the number of shards must be a whole number, not {n!r}") from None
    if not 1 <= n <= rows:
        raise ArgumentError(f"{rows} rows cannot be cut into {n} shards with a row or more each")
    whole, more = divmod(rows, n)
    ends = list(itertools.accumulate(whole + (i < more) for i in range(n)))
    cuts = zip([0, *ends], ends, strict=False)
    return [unflatten(structure, [x[start:stop] for x in leaves]) for start, stop in cuts]


def _rows(leaves: list[Any], structure: Any) -> int:
    """How many rows all arrays have."""
    if not leaves:
        raise ArgumentError("there are no arrays to cut into shards")
    counts = []
    for x, path in zip(leaves, structure.paths(), strict=True):
        if not isinstance(x, np.ndarray) or not x.ndim:
            name = path_text(path) or "the data"
            raise ArgumentError(f"{name} is no array with rows, but {x!r:.60}")
        counts.append(len(x))
    if len(set(counts)) > 1:
        raise ArgumentError(f"arrays have different numbers of rows: {counts}")
    return counts[0]


# --- keeping --------------------------------------------------------------------------------------


class Shards(Sequence[Any]):
    """Shards that are where the workers of an engine are; made by `scatter`.

    As a sequence it is what was scattered.
    """

    def __init__(self, sources: list[Any], engine: Engine) -> None:
        self.sources, self.engine = sources, engine
        self._folder = engine.folder()
        self.blocks = engine.placed(blocks_of(sources, engine.level(sources)), self._folder)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: Any) -> Any:
        return self.sources[i]

    def __repr__(self) -> str:
        return f"<{len(self)} shards in {len(self.blocks)} blocks, {self.engine.where}>"


def scatter(shards: Sequence[Any], engine: Any = None) -> Shards:
    """Send shards to the workers of an engine once, for all calls that take them.

    `shards` and `engine` are what functions of `nt.parallel` take.  Callables are called, each by
    the worker that keeps what it returns.  With Dask the data are in the memory of its workers, and
    are made again where one is lost (of arrays, the scheduler has a copy for that); with joblib and
    pools of processes they are in files in a temporary folder, mapped into memory by whoever reads
    them and removed with the answer.  The data must not be changed afterwards.

    >>> import numpy as np, ndtape as nt
    >>> shards = nt.parallel.scatter([lambda i=i: np.arange(4.0) + i for i in range(3)])
    >>> shards
    <3 shards in 3 blocks, in this process>
    >>> nt.parallel.value(lambda w, x: np.sum(w * x))(2.0, shards)
    60.0
    """
    from .engines import engine_of

    return Shards(listed(shards), engine_of(engine))


def listed(shards: Any) -> list[Any]:
    """The shards one by one; raises `ArgumentError` where there are none."""
    if isinstance(shards, (np.ndarray, dict, str)) or not hasattr(shards, "__iter__"):
        raise ArgumentError(
            "shards must be a list, one entry a shard; nt.parallel.split(data, n) cuts the rows of "
            f"a tree of arrays, {type(shards).__name__} is given"
        )
    found = list(shards)
    if not found:
        raise ArgumentError("there are no shards: a sum over nothing has no structure")
    return found


def blocks_of(shards: list[Any], level: int) -> list[Block]:
    """Blocks of `2**level` shards each, but for the last."""
    size = 1 << level
    return [Block(i, len(shards[i : i + size]), shards[i : i + size])
            for i in range(0, len(shards), size)]  # fmt: skip


def made(shards: list[Any]) -> list[Any]:
    """Shards with the callables among them called."""
    return [shard() if callable(shard) else shard for shard in shards]


# --- in files -------------------------------------------------------------------------------------


class Folder:
    """A temporary folder for shards, removed when nobody holds it any more."""

    def __init__(self) -> None:
        import shutil
        import tempfile

        self.path = Path(tempfile.mkdtemp(prefix="ndtape-shards-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def stored(shards: list[Any], folder: Path, first: int) -> list[Any]:
    """Shards whose arrays are written to files; callables are called."""
    return [_stored(shard, folder / str(first + i)) for i, shard in enumerate(made(shards))]


def _stored(shard: Any, place: Path) -> Any:
    leaves, structure = flatten(shard)
    for j, x in enumerate(leaves):
        if isinstance(x, np.ndarray) and x.nbytes and x.dtype != object:
            path = f"{place}-{j}.npy"
            np.save(path, x, allow_pickle=False)
            leaves[j] = _File(path)
    return unflatten(structure, leaves)


class _File:
    """A leaf that stands for an array in a file."""

    def __init__(self, path: str) -> None:
        self.path = path


def resolved(tree: Any) -> Any:
    """A tree with the arrays of files in their places, and plain arrays for mapped ones."""
    leaves, structure = flatten(tree)
    return unflatten(structure, [_resolved(x) for x in leaves])


def _resolved(x: Any) -> Any:
    if isinstance(x, _File):
        return _mapped(x.path)
    return x.view(np.ndarray) if isinstance(x, np.memmap) else x


@lru_cache(MAPPED)
def _mapped(path: str) -> np.ndarray:
    """The array in a file, whose pages stay mapped: the next call needs them again.

    To open and map a file takes 0.2 ms, as long as the gradient of 10 000 numbers.
    """
    found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return found
