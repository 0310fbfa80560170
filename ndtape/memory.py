"""How much memory there is: looked at before the numbers of a sweep are allocated.

An operating system promises more than it has, and kills who takes it at its word.  So a large
allocation is compared first with what is available: by the limit of the process on its address
space (`ulimit -v`), by the limits of the control groups that it is in (containers, batch systems),
and on the whole machine.  What cannot fit raises `TapeFullError`, before anything is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import TapeFullError

SMALL = 1 << 26  # bytes that are not worth a look: it takes up to 2 ms
UNITS = ("bytes", "kB", "MB", "GB", "TB")
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Files of a control group in its two versions: the limit, what is used, what of that is a cache.
FILES = (("memory.max", "memory.current", "inactive_file"),
         ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))  # fmt: skip
UNLIMITED = 1 << 60


class Available(NamedTuple):
    """Bytes that can still be had, and what says so."""

    bytes: int
    limit: str


def check(needed: int, what: str, advice: str) -> None:
    """Raise `TapeFullError` if `needed` bytes more are more than there are.

    `what` needs them, as the beginning of a sentence; `advice` says what can be done.

    >>> from ndtape import memory
    >>> memory.check(1 << 50, "the gradient of this tape needs", "record shorter pieces")
    Traceback (most recent call last):
    ndtape.errors.TapeFullError: the gradient of this tape needs 1125.9 TB, ...
    """
    if needed < SMALL:
        return
    there = available()
    if there is None or needed <= there.bytes:
        return
    raise TapeFullError(
        f"{what} {text(needed)}, and there are {text(there.bytes)} ({there.limit}): {advice}"
    )


def text(count: float) -> str:
    """A number of bytes for people.

    >>> from ndtape.memory import text
    >>> text(8), text(26_000_000)
    ('8 bytes', '26.0 MB')
    """
    if count < 1000:
        return f"{count:.0f} {UNITS[0]}"
    for unit in UNITS[1:]:
        count /= 1000
        if count < 1000 or unit == UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def available() -> Available | None:
    """The tightest of all limits; None where nothing is known."""
    found = [*of_process(), *of_groups(), *of_machine()]
    return min(found, default=None)


def of_process() -> Iterator[Available]:
    """What the limits of this process leave."""
    try:
        import resource
    except ImportError:  # not Unix
        return
    status = _fields(PROC / "self" / "status")
    for name, used in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        soft = resource.getrlimit(getattr(resource, name))[0]
        if soft != resource.RLIM_INFINITY:
            free = max(soft - status.get(used, 0), 0)
            yield Available(free, f"{name} allows this process {text(soft)}")


def of_groups() -> Iterator[Available]:
    """What the control groups of this process leave, each and the ones around it."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files, root = FILES[bool(controllers)], GROUPS / ("memory" if controllers else "")
        for folder in _around(root, path):
            limit, used = (_number(folder / name) for name in files[:2])
            if limit is not None and used is not None and limit < UNLIMITED:
                cache = _fields(folder / "memory.stat").get(files[2], 0)
                free = max(limit - used + cache, 0)
                yield Available(free, f"the control group of this process has {text(limit)}")


def _around(root: Path, path: str) -> Iterator[Path]:
    """A folder below `root`, and all between them; inside a container only the root is there."""
    folder = root / path.strip("/")
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def of_machine() -> Iterator[Available]:
    """What the machine can give without taking it from others, and what it can swap out."""
    known = _fields(PROC / "meminfo")
    if "MemAvailable" in known:
        free = known["MemAvailable"] + known.get("SwapFree", 0)
        yield Available(free, f"of {text(known.get('MemTotal', 0))} on this machine")
        return
    try:
        import psutil  # type: ignore
    except ImportError:
        return
    memory = psutil.virtual_memory()
    yield Available(int(memory.available), f"of {text(memory.total)} on this machine")


def _fields(path: Path) -> dict[str, int]:
    """The lines "name: number kB" or "name number" of a file, in bytes."""
    found = {}
    for line in _read(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdigit():
            found[words[0]] = int(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return found


def _number(path: Path) -> int | None:
    word = _read(path).strip()
    return int(word) if word.isdigit() else None  # "max" is no limit


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
