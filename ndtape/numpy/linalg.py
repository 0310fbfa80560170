"""numpy.linalg under the name that code written for HIPS autograd imports."""

from __future__ import annotations

from typing import Any

import numpy as _numpy

from . import namespace as _namespace


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    found = globals()[name] = _namespace.look_up("linalg.", _numpy.linalg, name)
    return found


def __dir__() -> list[str]:
    return _namespace.names("linalg.", _numpy.linalg)
