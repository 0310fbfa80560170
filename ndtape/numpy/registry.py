"""Which of NumPy's functions are recorded, under which names, and what the others are told.

`function` files an implementation three times over: for NumPy's own dispatch (`np.sum(x)` on a
recording array), for the namespace `nt.numpy`, which also takes nested lists of recording scalars,
and for the page docs/numpy.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..errors import UnsupportedError
from ..record import core
from ..record.arrays import IMPLEMENTATIONS, implements

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # by dotted name below numpy: "sum", "linalg.norm"
REFUSED: dict[str, str] = {}  # name -> what to do instead


def numpys_own(name: str) -> Any:
    """The function of this NumPy, or None where this version has none.

    Looked up in the module's dict: asking for a deprecated name as an attribute would warn.
    """
    found: Any = np
    for part in name.split("."):
        found = vars(found).get(part)
        if found is None:
            return None
    return found


def function(*names: str) -> Callable[[F], F]:
    """File an implementation under NumPy's names for it.

    Names that this version of NumPy lacks still exist in `nt.numpy`.
    """

    def register(implementation: F) -> F:
        for name in names:
            own = numpys_own(name)
            if own is not None:
                implements(own)(implementation)
            FUNCTIONS[name] = implementation
        return implementation

    return register


def refuse(name: str, advice: str) -> None:
    """Say what to do instead of a function that is not recorded."""

    def refusal(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            f"np.{name} is not recorded: {advice}; nt.primitive(value, vjp) adds your own "
            f"[{core.user_line()}]"
        )

    refusal.__name__ = name.split(".")[-1]
    REFUSED[name] = advice
    own = numpys_own(name)
    if own is not None:
        implements(own)(refusal)


def supported() -> dict[str, str]:
    """The functions that are recorded on arrays, by name, with a line on each.

    >>> from ndtape import numpy
    >>> numpy.supported()["trace"]
    'Sum along diagonals.'
    """
    found = dict(FUNCTIONS)
    for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft)):
        for name, own in vars(module).items():
            if not name.startswith("_") and prefix + name not in REFUSED:
                implementation = implementation_of(own)
                if implementation is not None:
                    found.setdefault(prefix + name, implementation)
    return {name: _summary(f) for name, f in sorted(found.items())}


def implementation_of(own: Any) -> Callable[..., Any] | None:
    """What is called in the place of NumPy's function, here or in ndtape.primitives."""
    return IMPLEMENTATIONS.get(own) if callable(own) else None


def _summary(implementation: Callable[..., Any]) -> str:
    lines = (implementation.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def markdown() -> str:
    """The page docs/numpy.md, written from the registry so that it cannot go stale."""
    functions = supported()
    own = {n: t for n, t in functions.items() if implementation_of(numpys_own(n)) is None}
    numpys = {n: t for n, t in functions.items() if n not in own}
    lines = [
        "# NumPy functions on recording arrays",
        "",
        "Generated from the registry of `ndtape.numpy`. Do not edit.",
        "",
        "Besides these, every function of the operation table is a ufunc with full broadcasting.",
        "A keyword that is not honoured is refused by name. The same functions are in `nt.numpy`,",
        "where they also take nested lists of recording scalars.",
        *_section("np", "function", "notes", numpys),
        "",
        "## Only in `nt.numpy`",
        "",
        "NumPy's own functions of these names do not ask their arguments, or do not exist.",
        *_section("nt.numpy", "function", "notes", own),
        "",
        "## Refused, with advice",
        *_section("np", "function", "instead", dict(sorted(REFUSED.items()))),
    ]
    return "\n".join(lines) + "\n"


def _section(prefix: str, left: str, right: str, rows: dict[str, str]) -> list[str]:
    lines = ["", f"| {left} | {right} |", "|---|---|"]
    return lines + [f"| `{prefix}.{name}` | {_cell(text)} |" for name, text in rows.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
