"""What a function is compiled to: one Numba function for each way of running it."""

from __future__ import annotations

from typing import Any

from numba import typeof
from numba.core.errors import NumbaError

from . import (  # noqa: F401  each makes something known to Numba
    boxing,
    creation,
    elementwise,
    namespace,
    products,
    reductions,
    shaping,
    solving,
)
from .binding import Binding
from .cache import cached, is_on_disk
from .entries import FROZEN, entry, with_copies

# What Numba raises where it refuses a write: for `a += b` it stumbles over its own assumption.
REFUSALS = (NumbaError, AttributeError)


class Variants:
    """The compiled forms of a Python function, each made when first needed."""

    def __init__(self, f: Any, cache: bool) -> None:
        self.py_func = f
        self.cache = cache
        self._bindings: dict[str, tuple[Any, str]] = {}
        self._entries: dict[Any, Any] = {}
        self._copying: set[Any] = set()  # structures for which the function needs copies
        self._plain: Any = None

    def bound(self, mode: str) -> tuple[Any, str]:
        """The dispatcher of the function in a mode, and the digest of all that it reaches."""
        known = self._bindings.get(mode)
        if known is None:
            binding = Binding(mode)
            known = self._bindings[mode] = binding.function(self.py_func), binding.digest
        return known

    @property
    def plain(self) -> Any:
        """The function as Numba's own: what other compiled code calls."""
        if self._plain is None:
            dispatcher, digest = self.bound(namespace.PLAIN)
            if self.cache:
                cached(dispatcher, self.py_func, namespace.PLAIN, digest)
            self._plain = dispatcher
        return self._plain

    def entry(self, structure: Any, mode: str) -> Any:
        """The compiled function that records, for a structure of the arguments."""
        known = self._entries.get((structure, mode))
        if known is None:
            f, digest = self.bound(mode)
            known = entry(f, structure, mode)
            if self.cache:
                cached(known, self.py_func, mode, f"{digest} {structure}")
            self._entries[structure, mode] = known
        return known

    def run(self, structure: Any, mode: str, address: int, leaves: list[Any]) -> Any:
        """Record: the outcome, numbers with their slots.

        Arrays that are not differentiated may not be written, which costs nothing, and lets Numba
        refuse a function that does; such a function gets copies, from its first call on.
        """
        if self._copying and (structure, mode) in self._copying:
            return self.entry(with_copies(structure), mode)(address, *leaves)
        made = self.entry(structure, mode)
        if made.overloads or not _has_frozen(structure):
            try:
                return made(address, *leaves)
            except REFUSALS:
                if not _has_frozen(structure):
                    raise
        copying = self.entry(with_copies(structure), mode)
        arguments = (address, *leaves)
        if is_on_disk(made, arguments) or not is_on_disk(copying, arguments):
            try:
                return made(*arguments)
            except REFUSALS:
                copying.compile(tuple([typeof(x) for x in arguments]))
        self._copying.add((structure, mode))
        return copying(*arguments)

    def ready(self, structure: Any, mode: str) -> Any:
        """The entry of a structure that has run, as it is called."""
        copying = (structure, mode) in self._copying
        return self.entry(with_copies(structure) if copying else structure, mode)


def _has_frozen(structure: Any) -> bool:
    if isinstance(structure, str):
        return structure == FROZEN
    return isinstance(structure, tuple) and any(map(_has_frozen, structure))
