"""Functions, data and failures as bytes, between processes."""

from __future__ import annotations

import pickle
import traceback
from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ShardError


def dumps(x: Any) -> bytes:
    """An object as bytes: by cloudpickle where it is installed, which takes lambdas, too."""
    for name in ("cloudpickle", "joblib.externals.cloudpickle", "pickle"):
        try:
            module = import_module(name)
            break
        except ImportError:
            continue
    data: bytes = module.dumps(x, protocol=pickle.HIGHEST_PROTOCOL)
    return data


def loads(data: bytes) -> Any:
    """The object again; for bytes that this package has written in the same run alone."""
    return pickle.loads(data)


class Failure(NamedTuple):
    """An exception in a shard, as it is sent back."""

    shard: int
    error: bytes | None  # None where it cannot be sent
    kind: str
    text: str  # its traceback

    @classmethod
    def of(cls, shard: int, error: BaseException) -> Failure:
        """A failure of this process."""
        text = "".join(traceback.format_exception(error))
        try:
            known = dumps(error.with_traceback(None))
            loads(known)  # classes with arguments of their own often come back as a TypeError
            data: bytes | None = known
        except Exception:
            data = None
        return cls(shard, data, f"{type(error).__name__}: {error}", text)

    def exception(self, count: int) -> Exception:
        """What to raise: the exception of the shard, its cause a `ShardError` with the rest."""
        message = f"shard {self.shard} of {count} failed: {self.kind}"
        told = ShardError(f"{message}\n\n{self.text}", self.shard)
        try:
            error = None if self.error is None else loads(self.error)
        except Exception:  # a class that is not known here
            error = None
        if not isinstance(error, Exception):
            return told
        told.__cause__ = error.__cause__
        error.__cause__ = told
        return error
