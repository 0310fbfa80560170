"""What a header says in JSON: plain values, arrays by number, and the structure of trees.

Text, numbers, tuples and the like are written with their types and every bit.  Anything else has
no place in a file: it would need code to be made again.  Classes in trees (named tuples,
dataclasses, registered ones) are written by name, and found among what is imported already: a file
imports nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from .. import trees
from ..errors import TapeError, TapeFileError
from .container import DTYPES

DEEPEST = 100  # containers inside one another
DTYPE = re.compile(r"[<>|=]?[biufcSU]\d{1,6}")
TYPES: dict[str, type] = {t.__name__: t for t in (
    bool, int, float, complex, str, bytes, list, tuple, dict, np.float64, np.float32, np.float16,
    np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8, np.bool_,
)}  # fmt: skip
FACTORIES = {None: None, "float": float, "int": int, "list": list, "dict": dict, "tuple": tuple}
LEAF = 0
Told = TypeVar("Told")


def refuse(what: str) -> NoReturn:
    """Raise `TapeFileError`."""
    raise TapeFileError(what)


def told(f: Callable[[], Told], name: str) -> Told:
    """`f()`, an exception of Python's as one of ndtape's."""
    try:
        return f()
    except TapeError:
        raise
    except Exception as error:
        raise TapeFileError(
            f"{name}, which a loaded tape asks for, failed ({type(error).__name__}: {error})"
        ) from error


class Vectors:
    """The arrays that a header names by number: members x0, x1, ... of the file."""

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        self.arrays: dict[str, np.ndarray] = dict(arrays or {})
        self._known: dict[Any, int] = {}

    def add(self, array: np.ndarray) -> int:
        """The number of a vector; equal ones are written once."""
        flat = np.ascontiguousarray(array)
        key = flat.dtype.str, len(flat), hashlib.sha256(flat.data).digest()
        if key not in self._known:
            self._known[key] = len(self._known)
            self.arrays[f"x{self._known[key]}"] = flat
        return self._known[key]

    def get(self, number: Any, dtype: str) -> np.ndarray:
        """The vector of that number, if it has the dtype."""
        array = self.arrays.get(f"x{whole(number, 'the number of an array')}")
        if array is None or array.dtype.str != dtype:
            refuse(f"it has no array {number} of dtype {dtype}")
        return array


# --- fields of the header -------------------------------------------------------------------------


def whole(x: Any, what: str, least: int = 0, most: int = 1 << 62) -> int:
    """A whole number within bounds; raises `TapeFileError` for anything else."""
    if x.__class__ is not int or not least <= x <= most:
        refuse(f"{what} must be a whole number from {least} on, not {x!r:.40}")
    return int(x)


def text(x: Any, what: str) -> str:
    """Text; raises `TapeFileError` for anything else."""
    return x if x.__class__ is str else refuse(f"{what} must be text, not {x!r:.40}")


def rows(x: Any, what: str, width: int = 0) -> list[Any]:
    """A list; of lists with so many entries, where there is a width."""
    if x.__class__ is not list or (width and any(len(rows(r, what)) != width for r in x)):
        refuse(f"{what} must be a list{f' of rows of {width}' * bool(width)}, not {x!r:.40}")
    return x


def fields(x: Any, names: str, what: str) -> list[Any]:
    """What an object of the header says under some names, all of which it must have."""
    if x.__class__ is not dict or not x.keys() >= set(names.split()):
        refuse(f"{what} must have the fields {names}, not {x!r:.60}")
    return [x[name] for name in names.split()]


def shape_from(x: Any, what: str) -> tuple[int, ...] | None:
    """A shape, None for a number without one; with at most 2**32 elements."""
    if x is None:
        return None
    shape = tuple([whole(n, what, 0, 1 << 32) for n in rows(x, what)])
    if len(shape) > 32 or np.prod(shape, dtype=float) > 1 << 32:
        refuse(f"{what} is no shape of a result: {shape}")
    return shape


def dtype_from(x: Any, kinds: str = "biufcSU") -> np.dtype[Any]:
    """A dtype of numbers or text, without objects."""
    if DTYPE.fullmatch(text(x, "a dtype")) is None or np.dtype(x).kind not in kinds:
        refuse(f"{x!r:.40} is no dtype of numbers")
    found: np.dtype[Any] = np.dtype(x)
    return found


# --- plain values ---------------------------------------------------------------------------------


def encoded(x: Any, vectors: Vectors, what: str, depth: int = 0) -> Any:
    """A value in JSON; raises `TapeFileError` where `what` is none that a file can hold."""
    if depth > DEEPEST:
        refuse(f"{what} has more than {DEEPEST} containers inside one another")

    def inner(parts: Sequence[Any]) -> list[Any]:
        return [encoded(part, vectors, what, depth + 1) for part in parts]

    cls = x.__class__
    if x is None or cls in (bool, int, str):
        return x
    if cls is float:
        return {"float": x.hex()}
    if cls is complex:
        return {"complex": [x.real.hex(), x.imag.hex()]}
    if cls is bytes:
        return {"bytes": x.hex()}
    if cls is list:
        return inner(x)
    if cls in (tuple, frozenset):
        parts = inner(tuple(x))
        return {cls.__name__: parts if cls is tuple else sorted(parts, key=repr)}
    if cls is dict:
        return {"dict": [inner(pair) for pair in x.items()]}
    if cls in (slice, range):
        return {cls.__name__: inner((x.start, x.stop, x.step))}
    if x is Ellipsis:
        return {"ellipsis": 0}
    if isinstance(x, type) and TYPES.get(x.__name__) is x:
        return {"type": x.__name__}
    if isinstance(x, np.dtype) and x.fields is None and x.kind in "biufcSU":
        return {"dtype": x.str}
    if cls is np.ndarray or isinstance(x, np.generic):
        return {"array": _array(x, vectors, what), "scalar": cls is not np.ndarray}
    return refuse(f"{what} is {x!r:.60}, which a file cannot hold: it is no number, text, or array")


def _array(x: Any, vectors: Vectors, what: str) -> list[Any]:
    """Number, shape and dtype of an array; the numbers of rare dtypes as bytes."""
    array = np.asarray(x)
    if array.dtype.kind not in "biufcSU" or array.dtype.fields is not None:
        refuse(f"{what} is an array of {array.dtype}, which a file cannot hold")
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.str not in DTYPES:
        flat = np.frombuffer(flat.tobytes(), np.uint8)
    return [vectors.add(flat), list(array.shape), array.dtype.str]


def decoded(x: Any, vectors: Vectors, depth: int = 0) -> Any:
    """The value that `encoded` has written."""
    if depth > DEEPEST:
        refuse(f"a value has more than {DEEPEST} containers inside one another")

    def inner(parts: Any) -> list[Any]:
        return [decoded(part, vectors, depth + 1) for part in rows(parts, "a value")]

    if x is None or x.__class__ in (bool, int, str):
        return x
    if x.__class__ is list:
        return inner(x)
    if x.__class__ is not dict or not x:
        refuse(f"{x!r:.40} is no value")
    kind = next(iter(x))
    given = x[kind]
    make: Mapping[str, Callable[[], Any]] = {
        "float": lambda: float.fromhex(text(given, "a float")),
        "complex": lambda: complex(*[float.fromhex(text(p, "a float"))
                                     for p in rows([given], "a complex number", 2)[0]]),
        "bytes": lambda: bytes.fromhex(text(given, "bytes")),
        "tuple": lambda: tuple(inner(given)),
        "frozenset": lambda: frozenset(inner(given)),
        "dict": lambda: dict([inner(pair) for pair in rows(given, "a dict", 2)]),
        "slice": lambda: slice(*inner(rows([given], "a slice", 3)[0])),
        "range": lambda: range(*inner(rows([given], "a range", 3)[0])),
        "ellipsis": lambda: Ellipsis,
        "type": lambda: TYPES[given],
        "dtype": lambda: dtype_from(given),
        "array": lambda: array_from(given, vectors)[() if x["scalar"] else ...],
    }  # fmt: skip
    return make[kind]()


def array_from(x: Any, vectors: Vectors) -> np.ndarray:
    """An array, which is the caller's own."""
    number, shape, name = rows([x], "an array", 3)[0]
    dtype, sizes = dtype_from(name), shape_from(shape, "the shape of an array")
    flat = vectors.get(number, dtype.str if dtype.str in DTYPES else "|u1")
    array = flat.view(dtype) if flat.dtype != dtype else flat
    return array.reshape(sizes or ()).copy()


# --- trees ----------------------------------------------------------------------------------------


def tree_encoded(structure: Any, vectors: Vectors, what: str) -> Any:
    """The structure of a tree in JSON: 0 for a leaf."""
    holes = [_Hole()] * structure.num_leaves
    return _level(trees.unflatten(structure, holes), vectors, what, 0)


class _Hole:
    """Stands where a tree has a leaf."""


def _level(x: Any, vectors: Vectors, what: str, depth: int) -> Any:
    if depth > DEEPEST:
        refuse(f"{what} has more than {DEEPEST} containers inside one another")

    def inner(parts: Any) -> list[Any]:
        return [_level(part, vectors, what, depth + 1) for part in parts]

    def items(pairs: Any) -> list[Any]:
        return [[encoded(k, vectors, f"a key in {what}"), *inner([v])] for k, v in pairs]

    cls = x.__class__
    if cls is _Hole:
        return LEAF
    if x is None:
        return None
    if cls in (list, tuple):
        return {cls.__name__: inner(x)}
    if cls in (dict, OrderedDict):
        return {cls.__name__: items(x.items())}
    if cls is defaultdict:
        names = [name for name, factory in FACTORIES.items() if factory is x.default_factory]
        if not names:
            refuse(f"{what} has a defaultdict of {x.default_factory!r}, which a file cannot hold")
        return {"defaultdict": items(x.items()), "factory": names[0]}
    if cls is deque:
        return {"deque": inner(x), "maxlen": x.maxlen}
    name = {"class": f"{cls.__module__}:{cls.__qualname__}"}
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        return {"namedtuple": inner(x), **name}
    if hasattr(cls, trees.FIELDS):
        children, (present, static) = trees.parts_of(x)
        held = [[key, encoded(v, vectors, f"{key} in {what}")] for key, v in static]
        return {"dataclass": list(zip(map(str, present), inner(children), strict=True)),
                "static": held, **name}  # fmt: skip
    children, aux = trees.parts_of(x)
    return {"registered": inner(children), "aux": encoded(aux, vectors, what), **name}


def tree_decoded(x: Any, vectors: Vectors) -> Any:
    """A tree of that structure, with None-like leaves, and its structure."""
    return _tree(x, vectors, 0)


def _tree(x: Any, vectors: Vectors, depth: int) -> Any:
    if depth > DEEPEST:
        refuse(f"a tree has more than {DEEPEST} containers inside one another")

    def inner(parts: Any) -> list[Any]:
        return [_tree(part, vectors, depth + 1) for part in rows(parts, "a tree")]

    def items(pairs: Any) -> list[tuple[Any, Any]]:
        return [(decoded(k, vectors), *inner([v])) for k, v in rows(pairs, "a tree", 2)]

    if x is None:
        return None
    if x.__class__ is int:
        return _Hole()
    if x.__class__ is not dict or not x:
        refuse(f"{x!r:.40} is no tree")
    kind = next(iter(x))
    given = x[kind]
    make: Mapping[str, Callable[[], Any]] = {
        "list": lambda: inner(given),
        "tuple": lambda: tuple(inner(given)),
        "dict": lambda: dict(items(given)),
        "OrderedDict": lambda: OrderedDict(items(given)),
        "defaultdict": lambda: defaultdict(FACTORIES[x["factory"]], items(given)),
        "deque": lambda: deque(inner(given), x["maxlen"]),
        "namedtuple": lambda: _named(_class(x), inner(given)),
        "dataclass": lambda: _data(_class(x), items_of(given, inner), [
            (text(k, "a name"), decoded(v, vectors)) for k, v in rows(x["static"], "a tree", 2)]),
        "registered": lambda: trees.built(_class(x), decoded(x["aux"], vectors), inner(given)),
    }  # fmt: skip
    return make[kind]()


def items_of(pairs: Any, inner: Callable[[Any], list[Any]]) -> list[tuple[str, Any]]:
    return [(text(k, "a name"), *inner([v])) for k, v in rows(pairs, "a tree", 2)]


def _class(x: Any) -> type:
    """A class by its name, if its module is imported already; no code runs to find it."""
    module, _, path = text(x.get("class"), "the name of a class").partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type):
        refuse(f"it holds arguments of the class {path} of {module}: import that before loading")
    return found


def _named(cls: type, children: list[Any]) -> Any:
    if not issubclass(cls, tuple) or len(getattr(cls, "_fields", ())) != len(children):
        refuse(f"{cls.__qualname__} is no named tuple of {len(children)} fields")
    return tuple.__new__(cls, children)


def _data(cls: type, children: list[tuple[str, Any]], static: list[tuple[str, Any]]) -> Any:
    if not dataclasses.is_dataclass(cls):
        refuse(f"{cls.__qualname__} is no dataclass")
    names = {f.name for f in dataclasses.fields(cls)}
    x: Any = object.__new__(cls)
    for name, value in [*children, *static]:
        if name not in names:
            refuse(f"{cls.__qualname__} has no field {name!r:.40}")
        object.__setattr__(x, name, value)
    return x
