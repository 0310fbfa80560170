"""Public programs that the field measures itself by, each written as its user would write it.

Scalar loops where the program is about scalars, NumPy where it is about arrays; nothing here knows
of a tape. `replay.py` races them, the tests hold them to `golden.json`: numbers that other
libraries and other people agree on. Points are made with `fill`, without a random generator.
"""

import json
import os
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import FunctionType

import numba
import numpy as np

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
DATA = Path(os.environ.get("NDTAPE_DATA", HERE.parent.parent.parent / "shared" / "data"))
SOURCES = {
    "adbench": "https://github.com/microsoft/ADBench (MIT), data/",
    "posteriordb": "https://github.com/stan-dev/posteriordb (BSD-3), posterior_database/data/",
}


class DataMissingError(FileNotFoundError):
    """A public data set is not on this machine; the message says where it comes from."""


def data_file(name):
    """The path of a data set, e.g. "adbench/gmm/gmm_d2_K5.txt", below `$NDTAPE_DATA`."""
    path = DATA / name
    if not path.exists():
        source = SOURCES[name.partition("/")[0]]
        raise DataMissingError(f"{name} is not in $NDTAPE_DATA; it comes from {source}")
    return path


def fill(size, offset=0, scale=0.5):
    """scale · sin(1 + offset + k) for k = 0 … size − 1."""
    return scale * np.sin(1.0 + offset + np.arange(size))


def distance(x, y):
    """|x − y| / max(1, |x| + |y|), the largest over all entries: relative, absolute below 1."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape:
        raise ValueError(f"shapes {x.shape} and {y.shape} differ")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf
    return float(np.max(np.abs(x - y) / np.maximum(1.0, np.abs(x) + np.abs(y)), initial=0.0))


def golden_distance(name, value, gradient):
    """How far value and gradient are from the golden ones: size, norm, sum, ends, all if given."""
    golden, gradient = GOLDEN[name], np.ravel(gradient)
    if gradient.size != golden["n"]:
        raise ValueError(f"the gradient of {name} has {golden['n']} entries, not {gradient.size}")
    pairs = [
        (value, golden["f"]),
        (np.linalg.norm(gradient), golden["norm2"]),
        (gradient.sum(), golden["sum"]),
        (gradient[:4], golden["head"]),
        (gradient[-2:], golden["tail"]),
    ]
    if "g" in golden:
        pairs.append((gradient, golden["g"]))
    return max(distance(found, wanted) for found, wanted in pairs)


def written_with(name, library):
    """The program `name` as a module of its own whose `np` is another library: the same text."""
    specification = find_spec(f"{__name__}.{name}")
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    module.np = library
    return module


def njit(function, **options):
    """Numba's, of a function and of the plain functions of its module that it calls."""
    known = function.__globals__
    bound = FunctionType(function.__code__, dict(known), function.__name__, function.__defaults__)
    for name in function.__code__.co_names:
        value = known.get(name)
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            bound.__globals__[name] = njit(value, **options)
    return numba.njit(**options)(bound)
