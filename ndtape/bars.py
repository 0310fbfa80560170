"""Progress bars by tqdm, where somebody looks on: a terminal or a notebook, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from . import notices
from .errors import ArgumentError

T = TypeVar("T")


class Progress(Generic[T]):
    """A bar, made by `progress`: iterate over it, or use it in `with` and call `advance`."""

    def __init__(self, iterable: Iterable[T] | None, text: str, total: int | None) -> None:
        if iterable is not None and total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.iterable, self.text, self.total = iterable, text, total
        self.done = 0
        self._bar: Any = None

    def __repr__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        return f"<progress{self.text and f' {self.text!r}'}: {self.done}{of}>"

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("nobody knows how many there are: say it by total=")
        return self.total

    def __iter__(self) -> Iterator[T]:
        if self.iterable is None:
            raise ArgumentError("nt.progress without an iterable: call advance() for each step")
        with self:
            for x in self.iterable:
                yield x
                self.advance()

    def __enter__(self) -> Progress[T]:
        self.done = 0
        self._bar = _bar(self.text, self.total)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def advance(self, steps: int = 1) -> None:
        """So many more are done."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)

    def show(self, **numbers: Any) -> None:
        """Put numbers beside the bar, such as a loss; recording values and strings, too."""
        if self._bar is not None:
            words = {name: _short(value) for name, value in numbers.items()}
            self._bar.set_postfix(words, refresh=False)


def progress(
    iterable: Iterable[T] | None = None, text: str = "", *, total: int | None = None
) -> Progress[T]:
    """The elements of `iterable`, with a bar on stderr that says how far the loop is.

    ``bar.show(loss=value)`` in the loop puts numbers beside the bar.  Without an iterable, use it
    in `with` and call ``bar.advance()``.  `total` is how many there are, where `len` does not say.

    The bar is tqdm's.  There is none where nobody looks on (stderr is a file, or a pipe), in the
    processes of a pool, where NDTAPE_QUIET or `nt.set_quiet` says so, and where tqdm is not
    installed (``pip install tqdm``): the loop is the same then.

    >>> import ndtape as nt
    >>> bar = nt.progress(range(3), "training")
    >>> for step in bar:
    ...     bar.show(loss=1.0 / (1 + step))
    >>> bar
    <progress 'training': 3 of 3>
    """
    return Progress(iterable, text, total)


def _bar(text: str, total: int | None) -> Any:
    """tqdm's bar, or None where there is to be none."""
    notebook = _in_a_notebook()
    if notices.is_quiet() or not (notebook or notices.is_terminal(sys.stderr)):
        return None
    try:
        if notebook and find_spec("ipywidgets"):
            from tqdm.notebook import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc=text or None, leave=False, dynamic_ncols=True)


def _in_a_notebook() -> bool:
    """Whether the output goes to a notebook, which can show a bar though it is no terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _short(value: Any) -> str:
    value = getattr(value, "value", value)  # of a recording value
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)
