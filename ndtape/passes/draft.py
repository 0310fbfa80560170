"""Code being rewritten: instructions that go, new ones, and where results are going to lie.

New results lie behind all slots there are.  Results of single numbers may be told to lie elsewhere,
so that what is read together lies side by side; everything else keeps its slots.  The order of
instructions is found at the end: the old one, but that what is needed comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..nest import BODY, SIZE, Loop, collapsed, descriptor
from ..ops import CODES, WIDE_CODES
from .code import NAMES, Code, sizes_of
from .operands import places_of_slots, ragged, reads

COLLECT = WIDE_CODES["collect"]
FAR = 1 << 40
INPUT, ARRAY = -1, -2  # of `node`: a leading input; an element of an array, counted downwards


class Draft:
    """Old instructions and new ones; slots are old numbers, places are those of the new code.

    `place` has an entry for each old slot: where it lies, or a negative number, different for each,
    if that is still free.  `node` is equal for slots of one span, and at least FAR for others.
    """

    def __init__(self, code: Code, edges: tuple[np.ndarray, np.ndarray]) -> None:
        self.code, self.edges = code, edges
        self.columns, self.count = code.columns, code.length
        sizes, out = sizes_of(self.columns), self.columns["out"].astype(np.int64)
        self.place = -2 * np.arange(code.slots) - 2
        self.node = np.arange(code.slots) + FAR
        wide = np.flatnonzero((sizes > 1) | (np.arange(self.count) < code.inputs))
        whose, slots = ragged(out[wide], sizes[wide], 1)
        self.place[slots] = slots
        leading = wide[whose] < code.inputs
        self.node[slots] = np.where(leading, INPUT, ARRAY - wide[whose])
        self.slots = code.slots
        self.spans = 0
        self.writers = code.writers()
        self.gone = np.zeros(self.count, bool)
        self.instead = np.arange(self.count)  # what to ask for where an instruction stood
        self.rows: list[np.ndarray] = []  # op, out, a, b, c, position
        self.added = 0
        self.reading: list[tuple[np.ndarray, np.ndarray]] = []  # new instructions and places
        self.words: list[np.ndarray] = []
        self.word_count = len(self.columns["m"])
        self.pool: list[np.ndarray] = []
        self.pool_count = len(self.columns["k"])
        self.known: dict[tuple[int, ...], int] = {}
        self.copies: dict[bytes, np.ndarray] = {}
        self.leading = int(sizes[: code.inputs].sum())  # slots of leading inputs

    # --- pools ------------------------------------------------------------------------------------

    def described(
        self, size: int, loops: Sequence[Loop], flags: int = 0, u: int = 0, kind: int = 0
    ) -> int:
        """The place of a descriptor; equal ones are one."""
        words = descriptor(size, collapsed(loops), flags, u, kind)
        if words not in self.known:
            self.known[words] = self.add_words(np.array(words, np.int64))
        return self.known[words]

    def add_words(self, words: np.ndarray) -> int:
        self.words.append(words)
        self.word_count += len(words)
        return self.word_count - len(words)

    def constants(self, values: np.ndarray) -> int:
        """Copy numbers into the pool of constants, side by side."""
        self.pool.append(values.ravel())
        self.pool_count += values.size
        return self.pool_count - values.size

    # --- slots ------------------------------------------------------------------------------------

    def is_free(self, slots: np.ndarray) -> np.ndarray:
        """Which slots may be laid somewhere: results of single numbers."""
        free: np.ndarray = self.place[slots] < 0
        return free

    def lay(self, slots: np.ndarray) -> None:
        """Free slots, each there once, side by side in the order given."""
        self.place[slots.ravel()] = self.slots + np.arange(slots.size)
        self.slots += slots.size

    def room(self, size: int, times: int = 1) -> np.ndarray:
        """The first slots of so many new spans."""
        first: np.ndarray = self.slots + size * np.arange(times)
        self.slots += size * times
        return first

    # --- instructions -----------------------------------------------------------------------------

    def add(
        self, op: int, out: np.ndarray, a: np.ndarray | int, b: np.ndarray | int,
        c: np.ndarray | int, position: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """New instructions, which are numbered behind the old ones."""
        rows = np.zeros((6, len(out)), np.int64)
        for row, column in zip(rows, (op, out, a, b, c, position), strict=True):
            row[:] = column
        self.rows.append(rows)
        fresh = self.count + self.added + np.arange(len(out))
        self.added += len(out)
        return fresh

    def read(self, readers: np.ndarray, places: np.ndarray) -> None:
        """Say which places new instructions read; shapes (readers,) and (readers, ...)."""
        flat = places.reshape(len(readers), -1) if places.size else places.reshape(0, 0)
        if flat.size:
            whose = np.repeat(readers, flat.shape[1])
            self.reading.append((whose, flat.ravel()))

    def reserve(self, slots: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """Spans for slots (T, ...), which lie there in the order that `grid` says, whoever writes
        them; the first places."""
        times, size = len(slots), grid.size
        start = self.room(size, times)
        self.place[slots] = start.reshape(-1, *(1 for _ in grid.shape)) + grid
        whose = self.spans + np.arange(times)
        self.node[slots] = whose.reshape(-1, *(1 for _ in grid.shape))
        self.spans += times
        return start

    def span(self, slots: np.ndarray) -> np.ndarray:
        """A span for each row of slots (T, n), where they lie already or a new one."""
        laid: np.ndarray = self.place[slots[:, 0]]
        if laid[0] < 0:
            return self.reserve(slots, np.arange(slots.shape[1]))
        self.node[slots] = self.spans + np.arange(len(slots))[:, None]
        self.spans += len(slots)
        return laid

    def replace(self, members: np.ndarray, fresh: np.ndarray) -> None:
        """New instructions (T,) stand for old ones (T, ...)."""
        if not len(fresh):
            return
        self.gone[members] = True
        self.instead[members] = -1
        self.instead[members.reshape(len(fresh), -1).max(axis=1)] = fresh

    def collected(self, slots: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Copies of slots (T, n), each row in a span of its own; their places."""
        key = slots.tobytes()
        if key not in self.copies:
            times, size = slots.shape
            words = np.zeros((times, BODY + size), np.int64)
            words[:, SIZE], words[:, BODY:] = size, self.now(slots)
            place = self.add_words(words.ravel()) + words.shape[1] * np.arange(times)
            out = self.room(size, times)
            self.read(self.add(COLLECT, out, 0, 0, place, position), words[:, BODY:])
            self.copies[key] = out[:, None] + np.arange(size)
        return self.copies[key]

    def now(self, slots: np.ndarray) -> np.ndarray:
        """Where slots lie, those that are still free for good where they are."""
        free = slots[self.is_free(slots)]
        self.place[free] = free
        places: np.ndarray = self.place[slots]
        return places

    # --- the end ----------------------------------------------------------------------------------

    def finished(self) -> Code | None:
        """The new code; None where instructions would need one another."""
        from ._ordering import ordered

        code = self.code
        moved = np.where(self.place >= 0, self.place, np.arange(code.slots))
        m = self.columns["m"].copy()
        old = {name: self.columns[name].copy() for name in NAMES}
        for name, at in places_of_slots(self.columns).items():
            column = m if name == "m" else old[name]
            column[at] = moved[column[at].astype(np.int64)]
        old["out"] = moved[old["out"].astype(np.int64)].astype(np.uint32)
        rows = np.concatenate([np.zeros((6, 0), np.int64), *self.rows], axis=1)
        columns = {name: np.append(old[name], row.astype(self.columns[name].dtype))
                   for name, row in zip(NAMES, rows, strict=False)}  # fmt: skip
        columns["m"] = np.concatenate([m, *self.words])
        columns["k"] = np.concatenate([self.columns["k"], *self.pool])
        whole = Code(columns, self.slots, code.inputs, moved[code.results],
                     np.append(code.positions, code.positions[rows[5]]), code.calls)  # fmt: skip
        edges = self._edges(whole)
        asked = self.instead[code.inputs :]
        order = ordered(self.count + self.added, edges, asked[asked >= 0], code.inputs)
        if order is None:
            return None
        return _close(whole.some(np.append(np.arange(code.inputs), order)))

    def _edges(self, whole: Code) -> tuple[np.ndarray, np.ndarray]:
        """Readers and writers of all instructions that are left."""
        sizes, out = sizes_of(whole.columns), whole.columns["out"].astype(np.int64)
        left = np.flatnonzero(np.append(~self.gone, np.ones(self.added, bool)))
        writer = np.full(self.slots, -1)
        whose, slots = ragged(out[left], sizes[left], 1)
        writer[slots] = left[whose]
        readers, written = self.edges
        kept = ~self.gone[readers]
        readers, written = readers[kept], written[kept]
        slots = self.columns["out"].astype(np.int64)[written]  # any slot of the result
        moved = np.where(self.place[slots] >= 0, self.place[slots], slots)
        pairs = [(readers, writer[moved])]
        pairs += [(whose, writer[places]) for whose, places in self.reading]
        found = [np.concatenate(part) for part in zip(*pairs, strict=True)]
        real = found[1] >= whole.inputs
        return found[0][real], found[1][real]


def _close(code: Code) -> Code:
    """The code on slots without gaps, so that what comes next need not go over them."""
    columns = dict(code.columns)
    sizes, out = sizes_of(columns), columns["out"].astype(np.int64)
    used = np.zeros(code.slots, bool)
    used[ragged(out, sizes, 1)[1]] = True
    moved = np.cumsum(used) - 1
    for name, at in places_of_slots(columns).items():
        columns[name] = columns[name].copy()
        columns[name][at] = moved[columns[name][at].astype(np.int64)]
    columns["out"] = moved[out].astype(np.uint32)
    return code._replace(columns=columns, slots=int(used.sum()), results=moved[code.results])


def edges_of(code: Code) -> tuple[np.ndarray, np.ndarray]:
    """Who reads whose result: pairs of instructions, without leading inputs."""
    found = reads(code.columns)
    written = code.writers()[found.low]
    real = written >= code.inputs
    return found.reader[real], written[real]


def stoppers(code: Code) -> np.ndarray:
    """Which instructions can stop a sweep."""
    kinds = [CODES["guard", "vk"], *(WIDE_CODES[x] for x in ("call", "gather", "scatter_add"))]
    stops: np.ndarray = np.isin(code.columns["op"], kinds)
    return stops
