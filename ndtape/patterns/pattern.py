"""The pattern of a matrix of derivatives with its colouring: what `nt.sparsity` gives."""

from __future__ import annotations

import os
import zipfile
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import PatternError
from ..named import counted
from .colouring import Colours, of_hessian, of_jacobian
from .detect import Found
from .recovery import Sums, mirror_images, substituted, sums_of

FORMAT = 1
KINDS = ("jacobian", "hessian")
# How entries are read: see colouring.py.
COLOURINGS = {"jacobian": ("columns", "rows"), "hessian": ("star", "acyclic")}
ARRAYS = ("ends", "columns", "row_colours", "column_colours")
DRAWN = 40  # rows and columns up to which a pattern prints as a picture


class Group(NamedTuple):
    """One sweep of the compressed evaluation."""

    seeds: np.ndarray  # columns, or rows, that have the number 1
    entries: np.ndarray  # which entries it gives
    sources: np.ndarray  # and where each is read: rows, or columns


class Sparsity:
    """Which entries of a Jacobian or Hessian can be other than zero, and a colouring of them.

    `ends` and `columns` are the compressed rows, as `indptr` and `indices` of scipy.sparse;
    `row_colours` and `column_colours` say which rows (columns) one reverse (tangent) sweep computes
    together, 0 for none.  `detection_sweeps` is what finding it took, `evaluation_sweeps` what a
    matrix takes.  Made by `nt.sparsity`; prints as a sentence, small ones with a picture.

    >>> import ndtape as nt, numpy as np
    >>> pattern = nt.sparsity(lambda x: x[1:] * x[:-1])(np.ones(4))
    >>> print(pattern)
    Jacobian 3 x 4, 6 entries (50%), evaluation: 2 sweeps (2 tangent), detection: 1 sweep
    ##..
    .##.
    ..##
    """

    def __init__(
        self,
        kind: str,
        shape: tuple[int, int],
        ends: np.ndarray,
        columns: np.ndarray,
        colours: Colours,
        colouring: str,
        detection_sweeps: int,
    ) -> None:
        self.kind, self.shape, self.colouring = kind, shape, colouring
        self.ends, self.columns = ends, columns
        self.row_colours, self.column_colours = colours
        self.detection_sweeps = detection_sweeps

    @classmethod
    def made(
        cls, kind: str, shape: tuple[int, int], found: Found, colouring: str | None = None
    ) -> Sparsity:
        """A pattern that was found, coloured."""
        entries = found.ends, found.columns
        if kind == "jacobian":
            colours, colouring = of_jacobian(entries, shape[1], colouring)
        else:
            colouring = colouring or COLOURINGS[kind][0]
            colours = Colours(np.zeros(shape[0], np.int64), of_hessian(entries, colouring))
        return cls(kind, shape, *entries, colours, colouring, found.sweeps)

    # --- figures ---------------------------------------------------------------------------------

    @property
    def nnz(self) -> int:
        """How many entries there are."""
        return len(self.columns)

    @property
    def tangent_sweeps(self) -> int:
        """Colours of columns: sweeps forward (of a Hessian, each with one backwards)."""
        return int(self.column_colours.max(initial=0))

    @property
    def reverse_sweeps(self) -> int:
        """Colours of rows."""
        return int(self.row_colours.max(initial=0))

    @property
    def evaluation_sweeps(self) -> int:
        """How many sweeps one matrix takes; that of a Hessian is one there and back."""
        return self.tangent_sweeps + self.reverse_sweeps

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.ends))

    # --- evaluation ------------------------------------------------------------------------------

    @cached_property
    def by_columns(self) -> list[Group]:
        """The sweeps along columns."""
        if self.kind == "hessian":
            return self._symmetric()
        here = np.flatnonzero(~self._by_row)
        keys = self.column_colours[self.columns[here]]
        return _groups(self.column_colours, keys, here, self.rows[here])

    @cached_property
    def by_rows(self) -> list[Group]:
        """The reverse sweeps."""
        here = np.flatnonzero(self._by_row)
        keys = self.row_colours[self.rows[here]]
        return _groups(self.row_colours, keys, here, self.columns[here])

    @cached_property
    def _by_row(self) -> np.ndarray:
        """Which entries of a Jacobian come from reverse sweeps."""
        found: np.ndarray
        if self.colouring == "columns":
            found = self.row_colours[self.rows] > 0
        else:
            found = self.column_colours[self.columns] == 0
        return found

    def _symmetric(self) -> list[Group]:
        colours = self.column_colours
        if self.colouring == "acyclic":
            sums = self.sums
            return _groups(colours, sums.colours, np.arange(len(sums.rows)), sums.rows)
        rows, columns = self.rows, self.columns
        alone = self._alone()
        keys = np.where(alone, colours[columns], colours[rows])
        return _groups(colours, keys, np.arange(self.nnz), np.where(alone, rows, columns))

    @cached_property
    def sums(self) -> Sums:
        """Of a Hessian, what its sweeps give."""
        return sums_of(self.rows, self.columns, self.column_colours)

    @cached_property
    def mirror(self) -> np.ndarray | None:
        """Of a Hessian, the mirror image of each entry."""
        return mirror_images(self.ends, self.columns)

    def _alone(self) -> np.ndarray:
        """The entries that no other of the same row has the colour of."""
        found: np.ndarray = self.sums.counts[self.sums.number] == 1
        return found

    @property
    def numbers(self) -> int:
        """How many numbers the sweeps give."""
        return len(self.sums.rows) if self.colouring == "acyclic" else self.nnz

    def entries(self, numbers: np.ndarray) -> np.ndarray:
        """The entries, from the numbers that `Group.entries` counts."""
        if self.colouring != "acyclic":
            return numbers
        found = None if self.mirror is None else substituted(self.sums, self.mirror, numbers)
        if found is None:
            raise PatternError("the colours of a pattern do not determine all of its entries")
        return found

    def matrix(self, data: np.ndarray) -> Any:
        """The sparse array with these entries, a `scipy.sparse.csr_array`."""
        from scipy.sparse import csr_array

        index = np.int32 if max(*self.shape, self.nnz) < 1 << 31 else np.int64
        parts = data, self.columns.astype(index), self.ends.astype(index)
        made = csr_array(parts, shape=self.shape)
        made.has_sorted_indices = made.has_canonical_format = True
        return made

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pattern and its colouring to a file (.npz, without pickle)."""
        head = [FORMAT, KINDS.index(self.kind), *self.shape, self.detection_sweeps,
                COLOURINGS[self.kind].index(self.colouring)]  # fmt: skip
        with open(path, "wb") as file:
            np.savez_compressed(
                file, head=np.array(head), **{name: getattr(self, name) for name in ARRAYS}
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sparsity:
        """A pattern that `save` has written; raises `PatternError` for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                head, arrays = file["head"], [file[name] for name in ARRAYS]
        except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise PatternError(f"{os.fspath(path)} holds no sparsity pattern ({error})") from None
        if head.shape != (6,) or head.dtype.kind != "i" or head[0] != FORMAT:
            raise PatternError(f"{os.fspath(path)} holds a pattern of another format, not {FORMAT}")
        _, kind, height, width, sweeps, colouring = head.tolist()
        if kind not in (0, 1) or not 0 <= colouring < len(COLOURINGS[KINDS[kind]]):
            raise PatternError(f"{os.fspath(path)} holds a pattern of an unknown kind")
        ends, columns, *colours = arrays
        name = KINDS[kind]
        made = cls(name, (height, width), ends, columns, Colours(*colours),
                   COLOURINGS[name][colouring], sweeps)  # fmt: skip
        made.verify()
        return made

    def verify(self) -> None:
        """Raise `PatternError` unless the arrays are a pattern, and the colours colour it."""
        height, width = self.shape
        sizes = {"ends": height + 1, "columns": self.nnz, "row_colours": height,
                 "column_colours": width}  # fmt: skip
        for name, size in sizes.items():
            array = getattr(self, name)
            if array.dtype != np.int64 or array.shape != (size,):
                raise PatternError(f"{name} of a pattern must be a vector of {size} int64")
        ends, columns = self.ends, self.columns
        if ends[0] != 0 or ends[-1] != self.nnz or (np.diff(ends) < 0).any():
            raise PatternError(f"the rows of a pattern must end in order, the last at {self.nnz}")
        if self.nnz and (columns.min() < 0 or columns.max() >= width):
            raise PatternError(f"a pattern of {width} columns names column {columns.max()}")
        same_row = np.diff(self.rows) == 0
        if (np.diff(columns)[same_row] <= 0).any():
            raise PatternError("the columns in each row of a pattern must be in order, each once")
        if min(self.row_colours.min(initial=0), self.column_colours.min(initial=0)) < 0:
            raise PatternError("a pattern has a colour below 0")
        self._verify_colours()

    def _verify_colours(self) -> None:
        rows, columns = self.rows, self.columns
        if self.kind == "jacobian":
            by_row = self._by_row
            one = self.row_colours[rows] * self.shape[1] + columns
            two = self.column_colours[columns] * self.shape[0] + rows
            good = all(len(np.unique(x)) == len(x) for x in (one[by_row], two[~by_row]))
            good &= bool((self.row_colours[rows[by_row]] > 0).all())
            good &= bool((self.column_colours[columns[~by_row]] > 0).all())
        else:
            good = self.shape[0] == self.shape[1] and self.mirror is not None
            good = good and bool((self.column_colours[columns] > 0).all()) and self._recoverable()
        if not good:
            raise PatternError("the colours of a pattern do not determine all of its entries")

    def _recoverable(self) -> bool:
        """Whether each entry of a Hessian follows from the compressed matrix."""
        assert self.mirror is not None
        proper = self.rows != self.columns
        proper &= self.column_colours[self.rows] == self.column_colours[self.columns]
        if proper.any():
            return False
        if self.colouring == "acyclic":
            return substituted(self.sums, self.mirror, np.zeros(self.numbers)) is not None
        alone = self._alone()
        return bool((alone | alone[self.mirror]).all())

    # --- printing --------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        """The same entries of the same kind of matrix, whatever the colours are."""
        return (
            isinstance(other, Sparsity)
            and (self.kind, self.shape) == (other.kind, other.shape)
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.columns, other.columns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        height, width = self.shape
        entries = counted(self.nnz, "entry")
        return f"<Sparsity of a {height} x {width} {self.kind.title()}, {entries}>"

    def __str__(self) -> str:
        height, width = self.shape
        share = 100 * self.nnz / max(height * width, 1)
        if self.kind == "hessian":
            what = self.colouring
        else:
            counts = {"tangent": self.tangent_sweeps, "reverse": self.reverse_sweeps}
            what = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none"
        line = (
            f"{self.kind.capitalize()} {height} x {width}, {self.nnz} entries ({share:.3g}%), "
            f"evaluation: {_counted(self.evaluation_sweeps, 'sweep')} ({what}), "
            f"detection: {_counted(self.detection_sweeps, 'sweep')}"
        )
        if max(self.shape) > DRAWN or not self.nnz:
            return line
        picture = np.full(self.shape, ".")
        picture[self.rows, self.columns] = "#"
        return "\n".join([line, *["".join(row) for row in picture]])


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _groups(
    colours: np.ndarray, keys: np.ndarray, entries: np.ndarray, sources: np.ndarray
) -> list[Group]:
    """For each colour what has it, and the entries with that key."""
    count = int(colours.max(initial=0))
    seeds = _parts(np.argsort(colours, kind="stable"), colours, count)
    order = np.argsort(keys, kind="stable")
    found = zip(seeds, _parts(entries[order], keys, count), _parts(sources[order], keys, count),
                strict=True)  # fmt: skip
    return [Group(*parts) for parts in found]


def _parts(ordered: np.ndarray, keys: np.ndarray, count: int) -> list[np.ndarray]:
    """What has key 1, 2 … of an array in the order of keys."""
    ends = np.cumsum(np.bincount(keys, minlength=count + 1))
    return [ordered[lo:hi] for lo, hi in pairwise(ends.tolist())]
