"""Captured arrays that change between calls: inputs of a tape, in place of constants.

What a function captures is compared at each call (captures.py), and an array that has changed
means another recording.  That is right, but slow where a buffer is refilled before each call.  So
arrays get a second chance: a function is first recorded with the numbers of its arrays as
constants; when later nothing but arrays has changed, those that have are *fed* from then on, like
arguments that are not differentiated.  Their numbers are read at each call through the place where
the function reads them (a cell, a global, a list), so that a new array there counts as well.

To be recorded with inputs in their place, the function is given a *twin* (twins.py): the same code
with other cells, another dict of globals, other defaults, other containers, wherever an array that
is fed can be reached; so are the user's functions that it calls, and the objects whose attributes
they read.  Nothing that others see is touched, hence threads may record at the same time.  What
cannot be twinned (a class, a module, a set, a library's object) leads to arrays that are compared
for ever, and so are all arrays that can be reached in both ways.  What is fed stays so until
`Function.clear`.

Feeding is never allowed to change a result.  Where the recording with inputs fails or does what
only plain arrays can (`float(W[0])`, SciPy, text), where the function has written into a twin, or
where plain Python gives other numbers (`isinstance(W, np.ndarray)`), it is recorded plainly, and
its arrays are compared from then on.

Rejected: to feed all arrays from the beginning, which saves the second recording but makes data
that never change (a design matrix, a Butcher tableau) inputs: nothing computed from them is
constant, every element gets an adjoint, and each comparison of them leaves a guard.  Rejected: to
put recording arrays in the place of the user's for the time of a recording, which other threads
would see.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..record.arrays import LARGEST_WHOLE
from .captures import (
    GETTERS,
    MOST,
    Captures,
    Entry,
    library_class,
    library_function,
    place_of,
    same,
)

Place = tuple[str, int, Any]
DTYPES = tuple(np.dtype(name) for name in ("float64", "float32", "int64", "bool"))
# In the code of a function: it may read what nobody knows of, past its twin.
HIDDEN = {"globals", "eval", "exec", "__globals__", "__closure__", "cell_contents", "modules"}
CONTAINERS = (dict, OrderedDict, list, tuple)


def kind(x: Any) -> Any:
    """Shape and dtype of an array that can be fed; None for anything else."""
    if x.__class__ is not np.ndarray or not x.size:
        return None
    if x.dtype.kind == "i" and not -LARGEST_WHOLE < x.min() <= x.max() < LARGEST_WHOLE:
        return None
    return x.shape, x.dtype


class Parameters:
    """The arrays of one state of captures that are fed: where they are, and how they are read."""

    def __init__(self, captures: Captures, entries: dict[Place, Entry]) -> None:
        self.captures = captures
        self.places = entries
        self.kind = kind
        self.names = [name_of(captures, place) for place in entries]
        self.kinds = [kind(entry.value) for entry in entries.values()]
        self.count = sum(entry.value.size for entry in entries.values())
        self.affected = _leading_to(captures, entries)
        self.globals = _globals_of(captures, self.affected)
        self.read = _reader(list(entries.values()))

    def arrays(self) -> list[np.ndarray] | None:
        """The present numbers, copied; None where something else is there now."""
        now = [GETTERS[e.get](e.holder, e.key) for e in self.places.values()]
        if list(map(kind, now)) != self.kinds:
            return None
        return [x.copy() for x in now]

    def texts(self) -> list[str]:
        """Name, dtype and shape of each, for explanations."""
        return [f"{name} {dtype.str.lstrip('<|')}[{','.join(map(str, shape))}]"
                for name, (shape, dtype) in zip(self.names, self.kinds, strict=True)]  # fmt: skip


def _reader(entries: list[Entry]) -> Callable[[np.ndarray, int], bool]:
    """A function that writes all numbers into a vector from a place on; False where it cannot."""
    space: dict[str, Any] = {"kind": kind}
    lines = []
    place = 0
    for j, (get, holder, key, value) in enumerate(entries):
        space.update({f"h{j}": holder, f"k{j}": key, f"get{j}": GETTERS[get], f"s{j}": kind(value)})
        flat = "x" if value.ndim == 1 else "x.ravel()"
        lines += [f"    x = get{j}(h{j}, k{j})", f"    if kind(x) != s{j}: return False",
                  f"    out[start + {place}:start + {place + value.size}] = {flat}"]  # fmt: skip
        place += value.size
    names = ", ".join(f"{name}={name}" for name in space)
    exec("\n".join([f"def read(out, start, {names}):", *lines, "    return True"]), space)
    return space["read"]  # type: ignore[no-any-return]


# --- which arrays ---------------------------------------------------------------------------------


class Choice:
    """Which captured arrays of a function are fed; changes as they change, and when it fails."""

    def __init__(self) -> None:
        self.fed: set[Place] = set()
        self.fresh: set[Place] = set()  # chosen last: to blame if a recording fails
        self.refused: set[Place] = set()

    def apply(self, old: Captures | None, new: Captures) -> None:
        """Let `new` feed what has been fed before, and what has changed since `old`."""
        moving = moved(old, new) if old is not None else set()
        wanted = (self.fed | moving) - self.refused
        if not (wanted or self.fed or self.refused):
            return
        entries = {entry.place: entry for entry in new.entries}
        self.refused &= entries.keys()  # the ids in others may soon be those of something else
        possible = feedable(new, wanted) if wanted else {}
        fresh = possible.keys() - self.fed
        self.fresh = fresh or self.fresh
        self.fed = set(possible)
        if possible:
            new.feed(Parameters(new, possible))

    def refuse(self, parameters: Parameters) -> None:
        """Feed these no more, or only the last of them where that may be enough."""
        blamed = (self.fresh & parameters.places.keys()) or set(parameters.places)
        self.refused |= blamed
        self.fed -= blamed
        self.fresh = set()

    def copy(self) -> Choice:
        twin = Choice()
        twin.fed, twin.fresh = set(self.fed), set(self.fresh)
        twin.refused = set(self.refused)
        return twin


def moved(old: Captures, new: Captures) -> set[Place]:
    """The places where arrays have changed; none where anything else has changed as well.

    So a function that writes what it reads is not recorded with inputs, only to see that it does.
    """
    before = {entry.place: entry for entry in old.entries}
    contents = {id(x): content for x, content in old.arrays}
    numbers = {id(x): content for x, content in new.arrays}
    found = set()
    seen = set()
    for entry in new.entries:
        place, value = entry.place, entry.value
        seen.add(place)
        if place not in before:
            return set()
        was = before[place].value
        if value.__class__ is np.ndarray and was.__class__ is np.ndarray:
            if value is not was or numbers.get(id(value)) != contents.get(id(was)):
                found.add(place)
        elif entry.get == "equal":
            if repr(value) != repr(was):
                return set()
        elif not same(value, was):
            return set()
    return found if len(seen) == len(before) else set()


def feedable(captures: Captures, wanted: Iterable[Place]) -> dict[Place, Entry]:
    """Those of the wanted places that a twin can hold something else in."""
    if captures.opaque or captures.recording or len(captures.entries) >= MOST:
        return {}
    if not captures.names.isdisjoint(HIDDEN):
        return {}
    fixed = _fixed(captures)
    found = {
        entry.place: entry
        for entry in captures.entries
        if entry.place in wanted and kind(entry.value) is not None
    }
    free = {p: e for p, e in found.items() if p not in fixed and kind(e.value)[1] in DTYPES}
    # An array that is also compared would be recorded again at each change all the same.
    compared = {
        child
        for node, children in captures.children.items()
        if node not in free
        for child in children
    }
    return {p: e for p, e in free.items() if id(e.value) not in compared}


def _fixed(captures: Captures) -> set[Any]:
    """What can be reached by a way that leads through something that has no twin."""
    objects = captures.objects()
    found: set[Any] = set()
    queue: list[Any] = []
    for x in objects.values():
        children = captures.children.get(id(x), ())
        if is_plain_object(x):  # its own attributes can be others in a twin
            own = {place_of("attribute", x, name) for name in x.__dict__}
            queue += [child for child in children if child not in own]
        elif not has_twin(x):
            queue += children
    if not has_twin(objects.get(captures.root)):
        queue.append(captures.root)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue += captures.children.get(node, ())
    return found


def has_twin(x: Any) -> bool:
    cls = type(x)
    if cls is types.FunctionType:
        return not library_function(x)
    if hasattr(cls, "__captures__"):  # a traced function, which runs inline in a recording
        return True
    if cls in CONTAINERS or cls is functools.partial or cls is types.MethodType:
        return True
    return (issubclass(cls, tuple) and hasattr(cls, "_make")) or is_plain_object(x)


def is_plain_object(x: Any) -> bool:
    """Whether a copy of its attributes makes an object as good as x."""
    cls = type(x)
    if type(getattr(x, "__dict__", None)) is not dict or isinstance(x, (type, types.ModuleType)):
        return False
    own = cls.__mro__[:-1]
    special = {"__new__", "__del__", "__getattribute__"}
    return not any(
        special & vars(c).keys() or vars(c).get("__slots__") or library_class(c) for c in own
    )


def _leading_to(captures: Captures, places: Iterable[Place]) -> set[Any]:
    """Objects and places from which one of `places` can be reached."""
    parents: dict[Any, list[Any]] = {}
    for node, children in captures.children.items():
        for child in children:
            parents.setdefault(child, []).append(node)
    found: set[Any] = set()
    queue: list[Any] = list(places)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue += parents.get(node, ())
    return found


def _globals_of(captures: Captures, affected: set[Any]) -> dict[int, set[Any]]:
    """For each dict of globals the names that lead to what is fed."""
    found: dict[int, set[Any]] = {}
    for x in captures.objects().values():
        if type(x) is types.FunctionType:
            where = id(x.__globals__)
            names = {
                p[2]
                for p in captures.children.get(id(x), ())
                if isinstance(p, tuple) and p[:2] == ("item", where) and p in affected
            }
            if names:
                found.setdefault(where, set()).update(names)
    return found


def name_of(captures: Captures, place: Place) -> str:
    """How the user writes a place, as far as it is known."""
    objects = captures.objects()
    parents = [node for node, children in captures.children.items() if place in children]
    owner = next((objects[node] for node in parents if node in objects), None)
    get, _, key = place
    if get == "cell" and type(owner) is types.FunctionType:
        cells = [id(cell) for cell in owner.__closure__ or ()]
        return owner.__code__.co_freevars[cells.index(place[1])]
    if type(owner) is types.FunctionType:
        return str(key) if get == "item" else f"a default of {owner.__name__}"
    above = next((p for p, children in captures.children.items()
                  if isinstance(p, tuple) and id(owner) in children), None)  # fmt: skip
    prefix = "..." if above is None or above == place else name_of(captures, above)
    return f"{prefix}[{key!r}]" if get == "item" else f"{prefix}.{key}"
