"""Names of nodes: the user's where there are some, else letters, or numbers on long tapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import ascii_lowercase
from typing import Any

from ..errors import ArgumentError
from ..record import core
from ..record.arrays import Array
from ..record.values import Leaf, Var
from ..tape import Tape

LETTERS = [x for x in ascii_lowercase if x not in "lo"]  # which look like digits


def users_names(tape: Tape, given: Mapping[str, Any] | None) -> dict[int, str]:
    """Names by first slots: those of the tape, and of values that `given` (``locals()``) holds.

    What is no recording value of this tape is passed over.  Raises `ArgumentError` where `given`
    is no mapping.
    """
    names = {slot: name for name, (slot, _, _) in kept_results(tape).items()} | tape.names
    if given is None:
        return names
    if not isinstance(given, Mapping):
        raise ArgumentError(
            "names maps names to recording values, names={'a': a} or names=locals(), "
            f"not {type(given).__name__}"
        )
    for name, x in given.items():
        for slot in slots_of(tape, x):
            names.setdefault(slot, str(name))
    return names


def kept_results(tape: Tape) -> dict[str, Any]:
    """Slot, shape and type of the results that a file gave names."""
    known: Any = getattr(tape, "results", None)
    return known if isinstance(known, dict) else {}


def slots_of(tape: Tape, x: Any) -> list[int]:
    """The first slots of the nodes that a value stands for; none for views and foreign values."""
    if isinstance(x, Array):
        if not x.is_whole() or x.storage.map is not None:
            return []
        where: Any = x.storage
    elif isinstance(x, Var):
        where = x
    else:
        return []
    leaves = [slot for slot, leaf in getattr(tape, "inputs", ()) if leaf is where]
    if leaves or isinstance(where, Leaf) or where.tape is None:
        return leaves
    core.resolve(where)
    if where.tape is not tape or tape.span_of(where.slot)[0] != where.slot:
        return []
    return [where.slot]


def invented(names: dict[int, str], unnamed: Iterable[tuple[int, int]]) -> None:
    """Name what has no name, by slots and instructions: letters where they suffice.

    Otherwise ``v`` with the number of the instruction, as it stands in the printed tape.
    """
    taken, wanted = set(names.values()), list(unnamed)
    free = [x for x in LETTERS if x not in taken]
    if len(wanted) <= len(free):
        names.update({slot: name for (slot, _), name in zip(wanted, free, strict=False)})
        return
    for slot, instruction in wanted:
        name = f"v{instruction}"
        while name in taken:
            name += "′"
        names[slot] = name
