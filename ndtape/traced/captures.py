"""What a Python function reads besides its arguments, and whether that is still what it was.

A traced function is replayed without Python, so everything that its recording took from outside
must be the same at each call: closure cells, globals, defaults, attributes of objects, contents of
lists and dicts, numbers in arrays; also of the functions that it calls, as far as they are the
user's.  `Captures` finds all of that in code objects, and `changed` compares it at each call, by a
function that is compiled for the purpose (30 ns a name; arrays by memcmp).

Rejected: to watch for changes through dict versions (gone in CPython 3.12), or to run the function
on wrapped globals, which cannot see into helpers and C code.  What this does not see: files,
clocks, and the inside of objects of libraries (a DataFrame that is captured and changed in place).

Arrays that change between calls need not be compared: see parameters.py.
"""

from __future__ import annotations

import builtins
import dis
import functools
import operator
import random
import sys
import sysconfig
import types
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..record.arrays import Array, escaped
from ..record.values import Leaf, Var

DATA = {"types", "argparse", "collections", "configparser", "string"}  # whose objects hold data
DRAWS = {"default_rng", "RandomState", "SystemRandom", "urandom"}
LOOKUPS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"}
ANY_ATTRIBUTE = {"getattr", "vars", "__dict__"}  # in the code: attributes that have no name there
GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
CACHED = type(functools.lru_cache(maxsize=1)(len))  # a function of C code
BUILTIN = (types.BuiltinFunctionType, types.MethodWrapperType)
NAMING = (operator.attrgetter, operator.methodcaller)
PLAIN = {float, int, str, bool, type(None), list, tuple}
SCALARS = (int, float, complex, str, bytes, type(None), np.generic)
MOST = 100_000  # entries; a function that captures more than that is recorded at each call
ROOTS = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib",
                                                         "platlib")})  # fmt: skip
PACKAGE = __name__.partition(".traced")[0] + "."
HERE = str(Path(__file__).parent.parent)
OURS = "_ndtape_"  # attributes that traced functions and methods keep in what is the user's
MISSING = object()


class Entry(NamedTuple):
    """One thing that was read: `get(*key)` gave `value`."""

    get: str  # "item", "cell", "attribute", "keys", "equal", "elements" or "absent"
    holder: Any
    key: Any
    value: Any

    @property
    def place(self) -> tuple[str, int, Any]:
        """Names what was read, as long as the holder lives, whatever its value is."""
        return place_of(self.get, self.holder, self.key)


def place_of(get: str, holder: Any, key: Any) -> tuple[str, int, Any]:
    return get, id(holder), key if type(key) in (str, int, type(None)) else id(key)


class Captures:
    """Everything that `f` reads besides its arguments, as it is now."""

    def __init__(self, f: Any, names: Iterable[str] = ()) -> None:
        self.entries: list[Entry] = []
        self.arrays: list[tuple[np.ndarray, bytes]] = []
        self.generators: list[Any] = []  # of random numbers
        self.recording = False  # values with a gradient are captured: no replay would keep it
        self.programs: dict[Any, Any] = {}  # what was recorded in this state, by signature
        self.parameters: Any = None  # arrays that are fed, not compared; see parameters.py
        # What leads where: from the id of an object to places, from a place to the id of a value.
        self.children: dict[Any, list[Any]] = {}
        self.root = id(f)
        self.opaque = False  # something may call what cannot be seen from here
        self._from: Any = None
        self._seen: set[int] = set()
        self.names: set[str] = set(names)  # of globals and attributes, in all code seen
        self._alive: list[Any] = []  # whose ids are in `_seen`
        self._objects: list[Any] = []  # whose attributes are looked at when all names are known
        self._visit(f)
        done: dict[int, int] = {}
        while any(done.get(id(x), -1) < len(self.names) for x in self._objects):
            for x in list(self._objects):
                if done.get(id(x), -1) < len(self.names):
                    done[id(x)] = len(self.names)
                    self._attributes(x)
        self.changed = _compiled(self)
        self.token = _token(self)

    def feed(self, parameters: Any) -> None:
        """From now on only shape and dtype of these entries are compared, not the numbers."""
        self.parameters = parameters
        fed = parameters.places
        compared = {
            child
            for node, children in self.children.items()
            if node not in fed
            for child in children
        }
        self.arrays = [(x, content) for x, content in self.arrays if id(x) in compared]
        self.changed = _compiled(self)
        self.token = _token(self)

    def objects(self) -> dict[int, Any]:
        """Everything that was seen, by its id."""
        return {id(x): x for x in self._alive}

    # --- finding ---

    def _visit(self, x: Any) -> None:
        if isinstance(x, SCALARS):
            return
        self.children.setdefault(self._from, []).append(id(x))
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._alive.append(x)
        outer, self._from = self._from, id(x)
        self._parts(x)
        self._from = outer

    def _parts(self, x: Any) -> None:
        if isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, types.MethodType):
            self._visit(x.__func__)
            self._visit(x.__self__)
        elif isinstance(x, functools.partial):
            for part in (x.func, x.args, x.keywords):
                self._visit(part)
        elif isinstance(x, (staticmethod, classmethod)):
            self._visit(x.__func__)
        elif isinstance(x, property):
            self._visit(x.fget)
        elif isinstance(x, (np.ndarray, array, bytearray, memoryview)):
            self._array(np.asarray(x))
        elif isinstance(x, GENERATORS):
            self.generators.append(x)
        elif isinstance(x, Iterator):  # each replay would have to take the next element
            self.recording = True
        elif isinstance(x, weakref.ref):
            self._visit(x())
        elif isinstance(x, NAMING):  # attrgetter("a.b")
            self.names.update(part for name in x.__reduce__()[1] for part in str(name).split("."))
        elif isinstance(x, CACHED):
            self._visit(x.__wrapped__)
        elif isinstance(x, (Var, Array)):
            self._value(x)
        elif isinstance(x, (list, tuple, set, frozenset, dict, deque, types.MappingProxyType)):
            self._container(x)
        elif isinstance(x, types.ModuleType):
            if not _library_module(x):
                self._objects.append(x)
        elif hasattr(type(x), "__captures__"):
            self._visit(x.__captures__())
        elif isinstance(x, BUILTIN) or type(x).__name__ == "cython_function_or_method":
            owner = getattr(x, "__self__", None)  # table.get, W.dot, rng.random
            if not isinstance(owner, (type, types.ModuleType)):
                self._visit(owner)
        elif not isinstance(x, (types.CodeType, np.dtype)):
            self.opaque = self.opaque or _may_call(x)
            self._objects.append(x)

    def _function(self, f: types.FunctionType) -> None:
        library = _library(f.__code__.co_filename)
        ours = library and f.__globals__.get("__name__", "").startswith(PACKAGE)
        written = _rebound(f.__code__) if ours else ()  # plans and counts: no part of the result
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            if name not in written:
                self._note("cell", cell, None, _contents(cell, None))
        if library:
            return
        self.names.update(_names(f.__code__))
        if not DRAWS.isdisjoint(self.names):  # a generator made inside: other numbers at each call
            self.recording = True
        for name in _imports(f):
            if name in sys.modules:
                self._visit(sys.modules[name])
            else:  # imported when it is recorded: then looked at again
                self._note("absent", sys.modules, name, True)
        for name in _globals(f.__code__):
            if name in f.__globals__:
                self._note("item", f.__globals__, name, f.__globals__[name])
            elif hasattr(builtins, name):  # which a global may hide one day
                self._note("absent", f.__globals__, name, True)
        self._note("attribute", f, "__code__", f.__code__)
        self._note("attribute", f, "__defaults__", f.__defaults__)
        self._note("attribute", f, "__kwdefaults__", f.__kwdefaults__)
        if f.__dict__:
            self._objects.append(f)

    def _attributes(self, x: Any) -> None:
        """What the functions may read of an object: by the names in their code."""
        self._from = id(x)
        everything = type(x).__module__ in DATA or not self.names.isdisjoint(ANY_ATTRIBUTE)
        own = getattr(x, "__dict__", {})
        for name in sorted(set(own) if everything else self.names & set(own)):
            if not name.startswith(OURS):
                self._note("attribute", x, name, own[name])
        users = [c for c in _classes(x) if not _library(_file_of(c))]
        if users and isinstance(own, dict):
            self._note("keys", own, None, tuple(own))  # an attribute more may hide a method
        for cls in users:
            for name in sorted(self.names & set(vars(cls))):
                value = vars(cls)[name]
                if isinstance(value, types.MemberDescriptorType):  # a slot
                    self._note("attribute", x, name, getattr(x, name, MISSING))
                elif hasattr(type(value), "__get__"):  # a method, a property
                    self._note("attribute", cls, name, value)
                elif name not in own:  # an attribute of the object may hide it one day
                    self._note("attribute", x, name, getattr(x, name, MISSING))
            for name, value in vars(cls).items():  # m * x, iter(m): their names are in no code
                if name[:2] == "__" and _is_method(value):
                    self._visit(value)

    def _container(self, x: Any) -> None:
        if isinstance(x, (list, tuple)) and _is_plain(x):  # data: compared at the speed of C
            self.entries.append(Entry("equal", x, None, deepcopy(x)))
            return
        if isinstance(x, (set, frozenset)):
            self.entries.append(Entry("elements", x, None, frozenset(x)))
            for member in x:
                self._visit(member)
            return
        if not isinstance(x, tuple):
            self._note("keys", x, None, _keys(x, None))
        for key, value in x.items() if isinstance(x, Mapping) else enumerate(x):
            self._note("item", x, key, value)

    def _array(self, x: np.ndarray) -> None:
        if x.dtype == object:
            for place in np.ndindex(x.shape):
                self._note("item", x, place, x[place])
        else:
            self.arrays.append((x, x.tobytes()))

    def _value(self, x: Any) -> None:
        if escaped(x):
            return  # left in a list by an earlier recording: whoever uses it is told
        if x.needs_grad:
            self.recording = True
        elif isinstance(x, Leaf):
            self._note("attribute", x, "number", x.number)
        elif isinstance(x, Array) and x.storage.data is not None:
            self._note("attribute", x.storage, "tape", None)
            self._visit(x.storage.data)

    def _note(self, get: str, holder: Any, key: Any, value: Any) -> None:
        if isinstance(value, types.ModuleType) and _library_module(value):
            return  # np, math: nobody gives these names to something else
        if len(self.entries) < MOST:
            known = _method(value)
            entry = Entry(get, holder, key, value)
            self.entries.append(entry)
            if isinstance(value, SCALARS) or (get == "keys" and _is_plain(value)):
                return
            outer, self._from = self._from, entry.place
            self.children.setdefault(outer, []).append(self._from)
            self._visit(value if known is None else known)
            self._from = outer


def _is_method(value: Any) -> bool:
    kinds = (types.FunctionType, staticmethod, classmethod, property)
    return isinstance(value, kinds) or hasattr(type(value), "__captures__")


def _method(value: Any) -> Any:
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else None


def _may_call(x: Any) -> bool:
    """Whether an object of a library is callable, such as `functools.lru_cache` makes: it may
    call a function that nobody sees here."""
    if isinstance(x, (type, np.ufunc, type(np.sum))) or not callable(x):
        return False
    return _library(_file_of(type(x))) or type(x).__module__ in sys.stdlib_module_names


def _names(code: types.CodeType) -> Iterator[str]:
    """Names of globals and attributes in a function and in those inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _imports(f: types.FunctionType) -> Iterator[str]:
    """Modules that a function imports itself, by their full names."""
    for instruction in dis.get_instructions(f.__code__):
        if instruction.opname == "IMPORT_NAME":
            yield from (
                instruction.argval,
                f"{f.__globals__.get('__package__')}.{instruction.argval}",
            )


def _globals(code: types.CodeType) -> Iterator[str]:
    """Names that are looked up as globals, and not only as attributes."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in LOOKUPS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


@functools.lru_cache(1000)
def _rebound(code: types.CodeType) -> frozenset[str]:
    """Names of enclosing functions that a function assigns (nonlocal)."""
    found = (i.argval for i in dis.get_instructions(code) if i.opname == "STORE_DEREF")
    return frozenset(found) & frozenset(code.co_freevars)


def _contents(cell: Any, _: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def _library(file: str) -> bool:
    """Whether code is of the standard library, of an installed package, or frozen."""
    return not file or file.startswith(("<frozen", HERE, *ROOTS)) or "site-packages" in file


def library_function(f: types.FunctionType) -> bool:
    return _library(f.__code__.co_filename)


def library_class(cls: type) -> bool:
    return _library(_file_of(cls))


def _library_module(module: types.ModuleType) -> bool:
    """Whether nobody changes what a module holds: one of the standard library or installed."""
    root = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None)
    return root in sys.stdlib_module_names or (file is not None and _library(file))


def _classes(x: Any) -> tuple[type, ...]:
    kinds: tuple[type, ...] = type(x).__mro__
    return x.__mro__ + kinds if isinstance(x, type) else kinds


def _file_of(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__":
        return "__main__"
    return getattr(module, "__file__", None) or ""


# --- comparing ------------------------------------------------------------------------------------


def _item(holder: Any, key: Any) -> Any:
    try:
        return holder[key]
    except (KeyError, IndexError):
        return MISSING


def _attribute(holder: Any, key: Any) -> Any:
    own = getattr(holder, "__dict__", None)
    if own is not None and key in own:
        return own[key]
    return getattr(holder, key, MISSING)


def _keys(holder: Any, key: Any) -> Any:
    """The keys of a dict in their order, or how long a list is."""
    return tuple(holder) if isinstance(holder, Mapping) else len(holder)


LARGE, PIECE = 1 << 17, 1 << 15  # bytes of an array; words of it that are compared at once


def _is_plain(x: Any, depth: int = 0) -> bool:
    """Whether lists and tuples hold nothing but numbers and text, and not themselves."""
    return (
        depth < 20
        and PLAIN.issuperset(map(type, x))
        and all(_is_plain(y, depth + 1) for y in x if type(y) in (list, tuple))
    )


def _has_zero(x: Any) -> bool:
    return any(_has_zero(y) if type(y) in (list, tuple) else y == 0.0 for y in x)


def _bits(x: Any) -> Any:
    """Plain data in a form that tells 0.0 from -0.0."""
    if {float}.issuperset(map(type, x)):
        return array("d", x).tobytes()
    return [_bits(y) if type(y) in (list, tuple) else repr(y) for y in x]


def _differs(x: Any, y: Any, bits: Any) -> bool:
    """Whether plain data have changed; `bits`, if there are zeros, tell their signs."""
    return x != y or (bits is not None and _bits(x) != bits)


def _elements(holder: Any, key: Any) -> Any:
    return frozenset(holder)


GETTERS: dict[str, Callable[[Any, Any], Any]] = {
    "item": _item, "cell": _contents, "attribute": _attribute, "keys": _keys, "elements": _elements
}  # fmt: skip


def same(x: Any, y: Any) -> bool:
    """Whether a value is what it was: identical, or an equal number, string or set."""
    if x is y:
        return True
    if type(x) is not type(y) or not isinstance(x, (*SCALARS, frozenset, tuple)):
        return False
    if isinstance(x, tuple):
        return len(x) == len(y) and all(map(same, x, y))
    return bool(x == y) and (bool(x) or repr(x) == repr(y))  # 0.0 is not -0.0


def _compiled(captures: Captures) -> Callable[[], bool]:
    """A function that says whether anything has changed."""
    space: dict[str, Any] = {"same": same, "item": _item, "cell": _contents, "arrays": _arrays}
    tests = []
    fed = captures.parameters.places if captures.parameters is not None else {}
    if fed:
        space["kind"] = captures.parameters.kind
    for j, (get, holder, key, value) in enumerate(captures.entries):
        space[f"h{j}"], space[f"v{j}"] = holder, value
        if fed and captures.entries[j].place in fed:
            space[f"v{j}"] = captures.parameters.kind(value)
            space[f"k{j}"], space[f"get_{get}"] = key, GETTERS[get]
            tests.append(f"kind(get_{get}(h{j}, k{j})) != v{j}")
        elif get == "equal":
            bits = _bits(value) if _has_zero(value) else None
            space[f"t{j}"], space["differs"] = bits, _differs
            tests.append(f"differs(h{j}, v{j}, t{j})")
        elif get == "absent":
            tests.append(f"{key!r} in h{j}")
        elif get == "item" and type(holder) is dict and isinstance(key, str):
            tests.append(f"h{j}.get({key!r}) is not v{j} and not same(item(h{j}, {key!r}), v{j})")
        else:
            space[f"k{j}"], space[f"get_{get}"] = key, GETTERS[get]
            tests.append(f"not same(get_{get}(h{j}, k{j}), v{j})")
    if captures.arrays:
        space["known"] = captures.arrays
        tests.append("arrays(known)")
    names = ", ".join(f"{name}={name}" for name in space)  # as defaults they are local: 5 ns each
    body = " or\n        ".join(tests) or "False"
    exec(f"def changed({names}):\n    return (\n        {body}\n    )", space)
    return space["changed"]  # type: ignore[no-any-return]


def _arrays(known: list[tuple[np.ndarray, bytes]]) -> bool:
    """Whether an array holds other bits than it did."""
    for x, content in known:
        if x.nbytes < LARGE or x.itemsize != 8 or not x.flags.c_contiguous:
            if x.tobytes() != content:
                return True
        elif x.nbytes != len(content) or _other_words(x, content):
            return True
    return False


def _other_words(x: np.ndarray, content: bytes) -> bool:
    """The same for a large array, without a copy: that would cost more than to compare it."""
    new, old = x.reshape(-1).view(np.int64), np.frombuffer(content, np.int64)
    return any((new[i : i + PIECE] != old[i : i + PIECE]).any() for i in range(0, len(new), PIECE))


def _token(captures: Captures) -> Any:
    """Equal for equal captures: under it, the programs of a function are found again."""
    parts: list[Any] = []
    fed = captures.parameters.places if captures.parameters is not None else {}
    for entry in captures.entries:
        get, holder, key, value = entry
        if fed and entry.place in fed:
            parts.append((get, id(holder), str(key), value.shape, value.dtype.str))
            continue
        plain = get in ("keys", "equal") or isinstance(value, (*SCALARS, frozenset))
        what = (type(value), repr(value)) if plain else id(value)
        parts.append((get, id(holder), str(key), what))
    parts += [(a.shape, a.dtype.str, content) for a, content in captures.arrays]
    return tuple(parts)
