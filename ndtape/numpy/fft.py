"""numpy.fft under the name that code written for HIPS autograd imports."""

from __future__ import annotations

from typing import Any

import numpy as _numpy

from . import namespace as _namespace


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    found = globals()[name] = _namespace.look_up("fft.", _numpy.fft, name)
    return found


def __dir__() -> list[str]:
    return _namespace.names("fft.", _numpy.fft)
