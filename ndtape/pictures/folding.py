"""A long tape in a few groups: by source line where lines were recorded, else by runs.

Everything here works on whole columns: 10⁵ instructions take well under a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, INPUT_CODE, OPCODES, WIDE, WIDE_CODES
from ..tape import SLOT_MASK, Tape, line_number

INPUTS = (INPUT_CODE, WIDE_CODES["wide_input"])
HIDDEN = [opcode.code for opcode in OPCODES if opcode.row.name == "guard"]
HIDDEN.append(WIDE_CODES["skip"])  # instructions that compute nothing
LISTED = ("collect", "call", "terms", "affine")  # operands are listed among the words
OPERAND_COUNTS = {w.name: len(w.operands) for w in WIDE} | {"wide_input": 0, "skip": 0}
LONGEST_PERIOD = 64  # instructions of a loop's body that is recognised without lines
BLOCKS = 12  # that a program without repetition is cut into


@dataclass(frozen=True)
class Group:
    """Instructions that are drawn as one box.

    `counts` are the operations by name, `where` the file and line (0 for a whole function or file)
    with the function's name, `repeats` how often a run goes through its body.
    """

    kind: str  # "input", "lines" or "run"
    members: np.ndarray
    counts: Counter[str]
    numbers: int  # that the results hold
    where: tuple[str, int, str] = ("", 0, "")
    repeats: int = 1
    own: int = 0  # operands that are results of the group itself


@dataclass(frozen=True)
class Folded:
    """Groups, and how many operands each hands to another: (from, to) -> count."""

    groups: list[Group]
    links: dict[tuple[int, int], int]


class Program:
    """The columns of a tape, and which instruction each operand comes from."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.codes = tape.columns()["op"]
        self.count = len(self.codes)
        self.first = tape.result_slots(0, self.count)
        self.sizes = np.diff(np.append(self.first, tape.slots))
        self.users, self.producers = self._operands()

    def _operands(self) -> tuple[np.ndarray, np.ndarray]:
        """Instructions that read, and the ones that wrote what they read, pair by pair."""
        columns = self.tape.columns()
        users, slots = [], []
        for j, name in enumerate("abc"):
            reads = np.flatnonzero(SLOT_MASK[self.codes, j])
            users.append(reads)
            slots.append(columns[name][reads])
        for code in np.unique(self.codes[self.codes >= FIRST_WIDE]).tolist():
            members = np.flatnonzero(self.codes == code)
            for who, starts in _starts(self.tape.words, code, members, columns):
                users.append(who)
                slots.append(starts)
        read = np.concatenate(slots).astype(np.int64)
        producers = np.searchsorted(self.first, read, side="right") - 1
        return np.concatenate(users).astype(np.int64), producers

    def only_result(self) -> range | None:
        """The slots of the only result that nothing reads; None where there are several."""
        computed = np.flatnonzero(~np.isin(self.codes, (*INPUTS, *HIDDEN)))
        unread = np.setdiff1d(computed, self.producers)
        if len(unread) != 1:
            return None
        first, size = int(self.first[unread[0]]), int(self.sizes[unread[0]])
        return range(first, first + size)

    def reached(self, root: int) -> np.ndarray:
        """Which instructions an instruction depends on, itself included."""
        order = np.argsort(self.users, kind="stable")
        users, producers = self.users[order], self.producers[order].tolist()
        bounds = np.searchsorted(users, np.arange(self.count + 1)).tolist()
        marks = bytearray(self.count)
        marks[root] = 1
        for i in range(root, -1, -1):
            if marks[i]:
                for p in producers[bounds[i] : bounds[i + 1]]:
                    marks[p] = 1
        return np.frombuffer(marks, bool)


def _starts(
    words: np.ndarray, code: int, members: np.ndarray, columns: dict[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Instructions with this opcode, and a slot of each span that they read, pair by pair."""
    kind = WIDE[code - FIRST_WIDE].name
    a, b, c = (columns[name][members].astype(np.int64) for name in "abc")
    if kind in LISTED:
        for i, one in enumerate(members.tolist()):
            for walk in nest.walks(kind, words, int(a[i]), int(b[i]), int(c[i])):
                if not walk.constant:
                    slots = walk.places() if walk.entries is not None else np.array([walk.start])
                    yield np.full(len(slots), one), slots
        return
    for j, starts in enumerate((a, b, words[c + nest.U])[: OPERAND_COUNTS[kind]]):
        moving = words[c + nest.FLAGS] >> j & 1 == 0
        yield members[moving], starts[moving]


def name_of(code: int) -> str:
    """The name of an operation by its opcode."""
    return WIDE[code - FIRST_WIDE].name if code >= FIRST_WIDE else OPCODES[code].row.name


def fold(program: Program, chosen: np.ndarray, limit: int) -> Folded:
    """At most about `limit` groups of the chosen instructions (a mask)."""
    inputs = chosen & np.isin(program.codes, INPUTS)
    rest = np.flatnonzero(chosen & ~inputs)
    label = np.full(program.count, -1)
    groups: list[Group] = []

    def add(kind: str, members: np.ndarray, **more: Any) -> None:
        if len(members):
            label[members] = len(groups)
            names = Counter(map(name_of, program.codes[members].tolist()))
            numbers = int(program.sizes[members].sum())
            groups.append(Group(kind, members, names, numbers, **more))

    _inputs(program, np.flatnonzero(inputs), limit // 3, add)
    lines = program.tape.lines
    if lines is not None and any(lines[i] is not None for i in rest.tolist()):
        for where, members in _by_line(lines, rest, limit):
            add("lines", members, where=where)
    else:
        for members, repeats in _runs(program.codes[rest], rest, limit):
            add("run", members, repeats=repeats)
    return _linked(program, label, groups)


def _inputs(program: Program, inputs: np.ndarray, limit: int, add: Callable[..., None]) -> None:
    """Each input alone where they are few, else all together."""
    if len(inputs) <= limit:
        for i in inputs.tolist():
            add("input", np.array([i]))
    else:
        add("input", inputs)


def _linked(program: Program, label: np.ndarray, groups: list[Group]) -> Folded:
    """The links between groups: how many operands go from one to the other."""
    heads, tails = label[program.users], label[program.producers]
    inside = (heads >= 0) & (tails >= 0)
    pairs, counts = np.unique(
        np.stack([tails[inside], heads[inside]], axis=1), axis=0, return_counts=True
    )
    links = {(int(t), int(h)): int(n) for (t, h), n in zip(pairs, counts, strict=True)}
    kept = [replace(group, own=links.get((i, i), 0)) for i, group in enumerate(groups)]
    return Folded(kept, {link: n for link, n in links.items() if link[0] != link[1]})


# --- by source line -------------------------------------------------------------------------------


def _by_line(
    lines: Sequence[Any], rest: np.ndarray, limit: int
) -> list[tuple[tuple[str, int, str], np.ndarray]]:
    """Instructions by line; by function where these are too many, then by file."""
    known: dict[Any, tuple[str, int, str]] = {}

    def place(line: Any) -> tuple[str, int, str]:
        if line not in known:
            code, lasti = line or (None, 0)
            known[line] = (
                (code.co_filename, line_number(code, lasti), code.co_name) if code else ("", 0, "")
            )
        return known[line]

    places = [place(lines[i]) for i in rest.tolist()]
    levels: list[Callable[[tuple[str, int, str]], Hashable]] = [
        lambda p: p, lambda p: (p[0], p[2]), lambda p: p[0], lambda p: None,
    ]  # fmt: skip
    for level in levels:
        found: dict[Hashable, list[int]] = {}
        for i, p in enumerate(places):
            found.setdefault(level(p), []).append(i)
        if len(found) <= limit:
            break
    result = []
    for inside in found.values():
        met = {places[i] for i in inside}
        file, line, function = places[inside[0]]
        files, functions = {p[0] for p in met}, {p[2] for p in met}
        result.append(((file if len(files) == 1 else "", line if len(met) == 1 else 0,
                        function if len(functions) == 1 else ""), rest[inside]))  # fmt: skip
    return result


# --- by runs --------------------------------------------------------------------------------------


def _runs(codes: np.ndarray, rest: np.ndarray, limit: int) -> list[tuple[np.ndarray, int]]:
    """Stretches that repeat one body of operations, and what lies between them."""
    least = max(4, len(codes) // (4 * limit))  # a shorter stretch is not worth a box
    ends, periods = _stretches(codes, least)
    starts = np.flatnonzero(periods)
    parts: list[tuple[int, int, int]] = []  # from, to, repeats
    done = 0

    def plain(to: int) -> None:
        blocks = max(round(BLOCKS * (to - done) / len(codes)), 1)
        bounds = np.linspace(done, to, blocks + 1).astype(int).tolist()
        parts.extend((lo, hi, 1) for lo, hi in pairwise(bounds) if lo < hi)

    while (j := int(np.searchsorted(starts, done))) < len(starts):
        start = int(starts[j])
        repeats = int(ends[start] - start) // int(periods[start])
        plain(start)
        done = start + repeats * int(periods[start])
        parts.append((start, done, repeats))
    plain(len(codes))
    return [(rest[lo:hi], repeats) for lo, hi, repeats in _merged(parts, limit)]


def _stretches(codes: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """From each place on, where the longest repetition ends, and its period; 0 where none is."""
    n = len(codes)
    ends, periods = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for period in range(1, min(LONGEST_PERIOD, n // 2) + 1):
        starts = np.arange(n - period)
        stops = np.append(np.flatnonzero(codes[:-period] != codes[period:]), n - period)
        end = stops[np.searchsorted(stops, starts)] + period
        better = (end - starts >= max(2 * period, least)) & (end > ends[: n - period])
        ends[starts[better]] = end[better]
        periods[starts[better]] = period
    return ends, periods


def _merged(parts: list[tuple[int, int, int]], limit: int) -> list[tuple[int, int, int]]:
    """Neighbours joined until about `limit` are left, with equally many instructions each."""
    if len(parts) <= limit:
        return parts
    share = -(-parts[-1][1] // limit)
    result: list[tuple[int, int, int]] = []
    for lo, hi, repeats in parts:
        if result and hi - result[-1][0] <= share:
            result[-1] = result[-1][0], hi, 1
        else:
            result.append((lo, hi, repeats))
    return result
