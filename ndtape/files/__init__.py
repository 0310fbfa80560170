"""Tapes and traced functions in files: `tape.save`, `f.save`, `nt.load`.

A file is an .npz of vectors of numbers, and a JSON header that says what they are (container.py).
It holds no code: what is read is checked, verified like a tape of the user's own, and can only do
what instructions do.  Whatever is wrong with a file comes out as `TapeFileError`.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from ..tape import Tape
    from ..traced.function import Function

Path = str | os.PathLike[str] | BinaryIO


def load(path: Path) -> Any:
    """What `tape.save` or `f.save` has written: an `nt.Tape`, or a `LoadedFunction`.

    `path` is a file's name, or a binary file open for reading.  Nothing in a file is executed:
    its sizes are compared with its bytes before memory is taken, tapes are verified, and what they
    call is looked up by name among the primitives of this process.

    A tape comes with its inputs as fresh leaves: ``tape["x"]`` is the value named x (or ``"r4"``,
    as it prints), for `tape.gradient` and everything else.  A function is called, differentiated
    and mapped as before; a branch that it had not taken raises `NotRecordedError`.

    Raises `TapeFileError` for a file that is damaged, hostile, or of a later version, and `OSError`
    where there is none.

    >>> import io, ndtape as nt
    >>> file, x = io.BytesIO(), nt.var(3.0, name="x")
    >>> with nt.Tape() as tape:
    ...     y = x * x
    >>> tape.save(file, y=y)
    >>> loaded = nt.load(file)
    >>> loaded.gradient(loaded["y"], loaded["x"])
    6.0
    """
    from .reading import read_file

    if isinstance(path, (str, os.PathLike)):
        with open(path, "rb") as file:
            return read_file(file, os.fspath(path))
    path.seek(0)
    return read_file(path, "the file")


def save(thing: Tape | Function, path: Path, /, **results: Any) -> None:
    """Write a tape, with recording values that get names on it, or a traced function."""
    data = saved_bytes(thing, True, **results)
    if not isinstance(path, (str, os.PathLike)):
        path.write(data)
        return
    # Beside the file first: who is interrupted has the old one still.
    part = f"{os.fspath(path)}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise


def saved_bytes(thing: Tape | Function, compress: bool = False, /, **results: Any) -> bytes:
    """What a file with this tape, or function, holds; equal ones give equal bytes."""
    from . import container, writing

    header, arrays = writing.described(thing, results)
    file = io.BytesIO()
    container.write(file, header, arrays, compress)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """`load` of the bytes of a file."""
    return load(io.BytesIO(data))
