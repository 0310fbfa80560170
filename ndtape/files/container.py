"""The container of a file: named vectors in an .npz (a zip of .npy), the first one a JSON header.

Nothing is allocated by what a file says before that has been compared with what its bytes can hold:
deflate makes at most 1032 bytes of one, members may not overlap, and the length that an .npy header
announces must be that of its member.  Python's zip reader checks the sums of the contents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from .. import memory
from .._version import __version__
from ..errors import TapeError, TapeFileError, TapeFullError

FORMAT, VERSION = "ndtape", 1
HEADER = "header"
DTYPES = {"|u1": 1, "<u2": 2, "<u4": 4, "<i4": 4, "<i8": 8, "<f4": 4, "<f8": 8, "|b1": 1}
NAME = re.compile(r"[a-z0-9]{1,20}\.npy")
NPY = re.compile(
    rb"\{'descr': '([<|][a-z][1-8])', 'fortran_order': False, 'shape': \((\d{1,15}),\), \} *\n"
)
MAGIC = b"\x93NUMPY\x01\x00"
MOST_MEMBERS = 100_000
LARGEST_HEADER = 1 << 28  # bytes of JSON
DEFLATE = 1032  # bytes that one compressed byte can stand for, at most
LONGEST_START = 1024  # bytes of text in front of the numbers of a member
SLACK = 64  # bytes; an empty member has two compressed ones
WORK = 16  # bytes that checking needs for one of the file, about
EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members: equal contents give equal files
Arrays = Mapping[str, np.ndarray]


def write(file: BinaryIO, header: Mapping[str, Any], arrays: Arrays, compress: bool) -> None:
    """Write a header and vectors of the dtypes in DTYPES."""
    import zipfile

    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    head = {"format": FORMAT, "version": VERSION, "written_by": __version__, **header}
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    with zipfile.ZipFile(file, "w", kind, compresslevel=1 if compress else None) as archive:
        for name, array in {HEADER: np.frombuffer(text, np.uint8), **arrays}.items():
            member = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            member.compress_type = kind
            member.file_size = array.nbytes
            with archive.open(member, "w") as out:
                out.write(_npy_header(array))
                out.write(np.ascontiguousarray(array).data.cast("B"))


def _npy_header(array: np.ndarray) -> bytes:
    """What stands in front of the numbers in an .npy file, 128 bytes as NumPy writes them."""
    words = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': ({len(array)},), }}"
    text = words.encode().ljust(128 - len(MAGIC) - 3) + b"\n"
    return MAGIC + len(text).to_bytes(2, "little") + text


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is a `TapeFileError` about the file `name`.

    A file may hold anything, so any exception may come of it.
    """
    try:
        yield
    except TapeFileError:
        raise
    except (MemoryError, TapeFullError) as error:
        raise TapeFileError(f"{name} does not fit into memory: {error}") from error
    except TapeError as error:
        raise TapeFileError(f"{name} is damaged: {error}") from error
    except Exception as error:
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise TapeFileError(f"{name} is damaged, or was not written by ndtape ({told})") from error


def read(file: BinaryIO, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the vectors of a file; raises `TapeFileError` for anything else."""
    import zipfile

    with refusing(name), zipfile.ZipFile(file) as archive:
        members = _checked(archive.infolist(), file.seek(0, 2), name)
        arrays = {key: _vector(archive, info, name) for key, info in members.items()}
        return _header(arrays.pop(HEADER).tobytes(), name), arrays


def _checked(infos: list[Any], size: int, name: str) -> dict[str, Any]:
    """The members of a zip, if the file has as many bytes as they say."""
    if len(infos) > MOST_MEMBERS:
        raise TapeFileError(f"{name} has {len(infos)} members; a tape has {MOST_MEMBERS} at most")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if HEADER not in members or len(members) != len(infos):
        raise TapeFileError(f"{name} holds no tape: it has no header of ndtape, or two of a name")
    for info in infos:
        if not NAME.fullmatch(info.filename) or info.flag_bits & 1:
            raise TapeFileError(f"{name} holds no tape: it has a member {info.filename!r:.40}")
        most = {0: info.compress_size, 8: DEFLATE * info.compress_size + SLACK}
        if info.file_size > most.get(info.compress_type, -1):
            raise TapeFileError(
                f"{name} announces {memory.text(info.file_size)} for {info.filename}, more than "
                f"its {memory.text(info.compress_size)} in the file can hold"
            )
    if sum(info.compress_size for info in infos) > size:
        raise TapeFileError(f"{name} announces more bytes than its {size}: it is cut, or forged")
    if members[HEADER].file_size > LARGEST_HEADER:
        raise TapeFileError(f"{name} announces a header of {members[HEADER].file_size} bytes")
    total = sum(info.file_size for info in infos)
    memory.check(WORK * total, f"{name} unfolds to {memory.text(total)}: checking it needs",
                 "load it where there is more")  # fmt: skip
    return members


def _vector(archive: Any, info: Any, name: str) -> np.ndarray:
    """The vector in an .npy member, if it has the length that the member has."""
    what = f"{info.filename} in {name}"
    with archive.open(info) as member:
        start = member.read(len(MAGIC) + 2)
        length = int.from_bytes(start[len(MAGIC) :], "little")
        if start[: len(MAGIC)] != MAGIC or length > LONGEST_START:
            raise TapeFileError(f"{what} is no .npy of version 1")
        found = NPY.fullmatch(member.read(length))
        if found is None or (dtype := found[1].decode()) not in DTYPES:
            raise TapeFileError(f"{what} is no vector of numbers")
        count = int(found[2])
        if len(start) + length + count * DTYPES[dtype] != info.file_size:
            raise TapeFileError(
                f"{what} announces {count} numbers, and has {memory.text(info.file_size)}"
            )
        array = np.empty(count, dtype)
        done = member.readinto(array.view(np.uint8).data) if count else 0
        if done != array.nbytes or member.read(1):  # at the end, the sum of all is checked
            raise TapeFileError(f"{what} ends after {done} bytes of {array.nbytes}")
        return array


def _header(text: bytes, name: str) -> dict[str, Any]:
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TapeFileError(f"{name} holds no tape of ndtape")
    version = header.get("version")
    if version.__class__ is not int or version < 1:
        raise TapeFileError(f"{name} has no version: {version!r:.40}")
    if version > VERSION:
        writer = str(header.get("written_by"))[:40]
        raise TapeFileError(
            f"{name} was written by ndtape {writer} in version {version} of the format; this "
            f"ndtape ({__version__}) reads up to version {VERSION}: upgrade it"
        )
    return header
