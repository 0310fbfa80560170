"""Nested containers of numbers, through optree, a kept library; the only file that names it.

Dicts, lists, tuples, named tuples, deques, OrderedDict, defaultdict and dataclasses are containers;
so are classes that users register.  None is a container of nothing, as in JAX.  Everything else
is a leaf.  Subclasses of list, tuple and dict are leaves unless they are registered.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from typing import Any

import optree

from .errors import ArgumentError

NAMESPACE = "ndtape"  # what other libraries register with optree is no concern of ours
FIELDS = "__dataclass_fields__"
NESTED = (dict, list, tuple)
_lock = threading.Lock()
_dataclasses: set[type] = set()  # those that are registered


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree, dicts in the order of their sorted keys, and its structure."""
    leaves, structure = optree.tree_flatten(tree, namespace=NAMESPACE)
    # Dataclasses are registered when they are first met: they come out as leaves once.  A look at
    # the types costs a tenth of a microsecond; `is_leaf=` would call Python for every node.
    while any(hasattr(kind, FIELDS) for kind in set(map(type, leaves))):
        for leaf in leaves:
            if hasattr(type(leaf), FIELDS):
                _register_dataclass(type(leaf))
        leaves, structure = optree.tree_flatten(tree, namespace=NAMESPACE)
    return leaves, structure


def unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    """The tree of that structure with other leaves."""
    return optree.tree_unflatten(structure, leaves)


def order_of(tree: Any) -> Any:
    """The keys of dicts in a tree in their order, which a loop over items follows."""
    if isinstance(tree, dict):
        return (tuple(tree), *[order_of(x) for x in tree.values() if isinstance(x, NESTED)])
    if isinstance(tree, (list, tuple)):
        found = [order_of(x) for x in tree if isinstance(x, NESTED)]
        return tuple(found) if any(found) else None
    return None


def subtrees(structure: Any, tree: Any) -> list[Any]:
    """What stands in `tree` where `structure` has its leaves; raises `ArgumentError`."""
    try:
        found: list[Any] = structure.flatten_up_to(tree)
    except ValueError as error:
        raise ArgumentError(f"{tree!r} does not have the structure {text(structure)}") from error
    return found


def text(structure: Any) -> str:
    """A structure as an error message shows it: a star for each leaf."""
    return str(structure).removeprefix("PyTreeSpec(").removesuffix(")").replace(
        f", namespace={NAMESPACE!r}", ""
    )  # fmt: skip


def path_text(path: tuple[Any, ...]) -> str:
    """Where a leaf stands, as an error message shows it: ``['a'][0].b``."""
    return "".join(f".{p}" if isinstance(p, _Name) else f"[{p!r}]" for p in path)


class _Name(str):
    """The name of a field in a path."""


def parts_of(x: Any) -> tuple[list[Any], Any]:
    """The children of a container of a class of users, and what else is needed to build it."""
    children, aux, *_ = optree.tree_flatten_one_level(x, namespace=NAMESPACE)
    return list(children), aux


def built(cls: type, aux: Any, children: Iterable[Any]) -> Any:
    """A container of a registered class from what `parts_of` gives; raises `ArgumentError`."""
    entry = optree.register_pytree_node.get(cls, namespace=NAMESPACE)
    if entry is None or entry.namespace != NAMESPACE:
        raise ArgumentError(f"{cls.__qualname__} is not registered: call nt.register_tree first")
    return entry.unflatten_func(aux, list(children))


# --- classes of users -----------------------------------------------------------------------------


def register_tree(
    cls: type, flatten: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten: Callable[[Any, tuple[Any, ...]], Any],
) -> type:  # fmt: skip
    """Let instances of `cls` be containers, as `jax.tree_util.register_pytree_node` does.

    `flatten(x)` returns (children, aux): the parts, which may be containers themselves, and what
    else is needed to build x; `aux` is compared by == and hashed, so it holds no arrays.
    `unflatten(aux, children)` builds an instance from other parts: numbers, recording values, and
    at times placeholders, so it should not check them.  Returns `cls`.  Dataclasses
    need no registration: their fields are the children, except those declared with
    ``field(metadata={"static": True})``; they are rebuilt without calling ``__init__``.

    Raises `ArgumentError` where `cls` is no class or is registered already.

    >>> import ndtape as nt
    >>> class Line:
    ...     def __init__(self, slope, offset):
    ...         self.slope, self.offset = slope, offset
    >>> Line = nt.register_tree(Line, lambda l: ((l.slope, l.offset), None), lambda _, c: Line(*c))
    >>> gradient = nt.grad(lambda l: 3.0 * l.slope + l.offset)(Line(1.0, 2.0))
    >>> gradient.slope, gradient.offset
    (3.0, 1.0)
    """
    if not isinstance(cls, type):
        raise ArgumentError(f"register_tree takes a class, not {cls!r}")

    def parts(x: Any) -> tuple[tuple[Any, ...], Any]:
        children, aux = flatten(x)
        return tuple(children), aux

    try:
        optree.register_pytree_node(
            cls, parts, lambda aux, children: unflatten(aux, tuple(children)), namespace=NAMESPACE
        )  # fmt: skip
    except ValueError:
        raise ArgumentError(
            f"{cls.__name__} is a container already: classes are registered once, and before a "
            "dataclass is first used"
        ) from None
    return cls


def _register_dataclass(cls: type) -> None:
    """Make a dataclass a container of its fields, in our namespace.

    Instances are rebuilt field by field, as `copy.copy` does it: `__init__` and `__post_init__`
    would check or convert numbers that are gradients or recording values, and a frozen class or a
    field with init=False needs no exception.  Attributes that are no fields are not carried over:
    they would be old numbers.
    """

    fields = dataclasses.fields(cls)
    names = [_Name(f.name) for f in fields if not f.metadata.get("static", False)]
    fixed = [f.name for f in fields if f.metadata.get("static", False)]

    def parts(x: Any) -> tuple[list[Any], Any, tuple[str, ...]]:
        present = tuple(name for name in names if hasattr(x, name))  # init=False may be unset
        static = tuple((name, getattr(x, name)) for name in fixed if hasattr(x, name))
        return [getattr(x, name) for name in present], (present, static), present

    def again(aux: Any, children: Iterable[Any]) -> Any:
        present, static = aux
        x: Any = object.__new__(cls)
        for name, value in [*zip(present, children, strict=True), *static]:
            object.__setattr__(x, name, value)
        return x

    with _lock:
        if cls not in _dataclasses:  # another thread may have met it, too
            _dataclasses.add(cls)
            optree.register_pytree_node(
                cls, parts, again, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE
            )  # fmt: skip
