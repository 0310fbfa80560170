"""What ndtape says on stderr while it works, and how to make it quiet.

Compiling is told once it has taken a second: on a terminal by a line that is rewritten and in the
end wiped out, elsewhere by one line a process.  What a cache can answer takes less, and is not
told.  Processes of a pool say nothing: somebody else owns the screen.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .errors import ArgumentError

VARIABLE = "NDTAPE_QUIET"
PATIENCE = 1.0  # seconds of compiling, in all, before it is told
WIPE = "\r\x1b[2K"  # to the first column, and the line away

_chosen: bool | None = None
_said: set[str] = set()


def set_quiet(on: bool | None = True) -> None:
    """Switch progress bars and the notice of compiling off, or on again; None: the default.

    The default is the environment variable NDTAPE_QUIET: anything but 0 makes ndtape quiet.
    Warnings and errors come all the same.  Raises `ArgumentError` for what is no truth value.

    >>> import ndtape as nt
    >>> nt.set_quiet()
    >>> nt.set_quiet(None)
    """
    global _chosen
    if on not in (True, False, None):
        raise ArgumentError(f"set_quiet takes True, False or None, not {on!r}")
    _chosen = on


def is_quiet() -> bool:
    """Whether nothing is to be told: switched off, a process of a pool, or no stderr."""
    if sys.stderr is None or in_a_pool():
        return True
    return _chosen if _chosen is not None else os.environ.get(VARIABLE, "").strip() not in ("", "0")


def in_a_pool() -> bool:
    """Whether another process has started this one to work for it."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks on: a stream that can be rewritten."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # a stand-in for a stream, a closed one
        return False


def notice(text: str) -> None:
    """Say `text` on stderr, once a process."""
    if text not in _said and sys.stderr is not None:
        _said.add(text)
        print(f"ndtape: {text}", file=sys.stderr, flush=True)


class _Compiling:
    """How long this process has compiled, and what of that is on the screen."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.seconds = 0.0  # of what is done
        self.depth = 0  # what is compiled may ask for other compiled code
        self.told = False  # elsewhere than on a terminal: once
        self.shown: Any = None  # the terminal that shows the line now

    def begin(self, what: str) -> threading.Timer | None:
        """What waits until it has taken long enough; None where it is part of another one."""
        with self.lock:
            self.depth += 1
            if self.depth > 1 or is_quiet():
                return None
            timer = threading.Timer(max(PATIENCE - self.seconds, 0.0), self.tell, (what,))
            timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the system gives no thread
            return None
        return timer

    def end(self, timer: threading.Timer | None, seconds: float) -> None:
        """Done: the line goes, if there is one."""
        if timer is not None:
            timer.cancel()
        with self.lock:
            self.depth -= 1
            if self.depth:
                return
            self.seconds += seconds
            if self.shown is not None:
                _write(self.shown, WIPE)
                self.shown = None

    def tell(self, what: str) -> None:
        """Show the line, unless that which it is about has ended meanwhile."""
        with self.lock:
            if not self.depth or self.shown is not None:
                return
            if is_terminal(sys.stderr):
                from shutil import get_terminal_size

                self.shown = sys.stderr
                line = f"ndtape: {what}"[: get_terminal_size().columns - 1]
                _write(self.shown, f"{WIPE}{line}")  # wiping takes one line of the screen
            elif not self.told:
                self.told = True
                _write(sys.stderr, f"ndtape: {what}\n")


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # a closed stream: nobody is left to be told
        pass


_compiling = _Compiling()


@contextmanager
def compiling(name: str, users: str | None = None) -> Iterator[None]:
    """Around something that is compiled, for one of the user's functions or for any: tell it if
    it takes long."""
    what = f"compiling {users}, once for these types of arguments"
    if users is None:
        what = (
            f"compiling {name.strip('_')} and what else is needed, once for this machine; "
            "`python -m ndtape warmup` does it ahead of time"
        )
    start = time.perf_counter()
    timer = _compiling.begin(what)
    try:
        yield
    finally:
        _compiling.end(timer, time.perf_counter() - start)


def _after_fork() -> None:
    """A child has no timers, and is not in the middle of compiling."""
    global _compiling
    _compiling = _Compiling()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
