"""`nt.show_config`: what ndtape runs on, and what decides how fast: for reports and for a look."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import memory, notices, threads
from ._version import __version__
from .errors import ArgumentError
from .ops import TABLE

NEEDED = ("numba", "llvmlite", "numpy", "scipy", "optree")
OPTIONAL = {  # extras of the package, and what they bring
    "draw": ("graphviz", "grandalf"),
    "parallel": ("dask", "distributed", "joblib"),
    "examples": ("tqdm", "matplotlib", "scikit-learn"),
}
VARIABLES = {  # what is read from the environment, by us or by those whom we call
    "NDTAPE_NUM_THREADS": "threads of calls with many rows",
    "NDTAPE_QUIET": "no progress bars, no notice of compiling",
    "NDTAPE_NUMBA_ERRORS": "Numba's whole report where nt.jit fails",
    "NUMBA_CACHE_DIR": "where compiled code is kept",
    "NUMBA_CPU_NAME": "the processor that is compiled for",
    "NUMBA_CPU_FEATURES": "its vector instructions",
    "NUMBA_OPT": "how hard the compiler tries",
    "NUMBA_DISABLE_JIT": "1: nothing is compiled, and ndtape does not work",
    "OMP_NUM_THREADS": "threads, where the first is not set, and of BLAS",
    "OPENBLAS_NUM_THREADS": "threads of BLAS",
    "MKL_NUM_THREADS": "threads of BLAS, where it is MKL",
}
FEATURES = ("avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl", "neon", "sve")
COMPILED = (".", "kernels", "passes", "batch", "patterns")  # folders whose code is kept on disk
Section = dict[str, Any]


def show_config(mode: str = "stdout") -> dict[str, Section] | None:
    """Print versions, processor, threads, BLAS, memory and the state of the compile cache.

    With ``mode="dicts"`` they are returned, as a dict of dicts, like those of
    `numpy.show_config`.  The first call loads Numba.  Raises `ArgumentError` for another mode.

    >>> import ndtape as nt
    >>> config = nt.show_config(mode="dicts")
    >>> sorted(config)[:4], config["ndtape"]["version"] == nt.__version__
    (['BLAS', 'compile cache', 'environment', 'memory'], True)
    """
    if mode not in ("stdout", "dicts"):
        raise ArgumentError(f'show_config: mode must be "stdout" or "dicts", not {mode!r}')
    found = {
        "ndtape": _ndtape(),
        "packages": {name: _version(name) for name in NEEDED},
        "optional packages": _optional(),
        "processor": _processor(),
        "threads": {"number": threads.get_num_threads()},
        "BLAS": _blas(),
        "memory": _memory(),
        "compile cache": cache_state(),
        "environment": {name: os.environ.get(name) for name in VARIABLES},
    }
    if mode == "dicts":
        return found
    print(text(found))
    return None


def text(found: dict[str, Section]) -> str:
    """The sections for people: a line each entry; of variables those that are set."""
    lines = []
    for title, section in found.items():
        rows = {name: value for name, value in section.items() if value is not None}
        if title == "environment":
            rows = {name: f"{rows[name]} ({VARIABLES[name]})" for name in rows}
            rows = rows or {"set": "nothing that has an effect here"}
        lines.append(title)
        width = max(map(len, rows), default=0) + 2
        lines += [f"  {name:<{width}}{_shown(name, value)}" for name, value in rows.items()]
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if name in ("size", "available") and isinstance(value, int):
        return memory.text(value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {v or 'missing'}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _ndtape() -> Section:
    return {
        "version": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "folder": str(Path(__file__).parent),
        "operations": len(TABLE),
        "quiet": notices.is_quiet(),
    }


def _optional() -> Section:
    import shutil

    found = {
        extra: {name: _version(name) for name in packages} for extra, packages in OPTIONAL.items()
    }
    found["draw"]["dot"] = shutil.which("dot")
    return found


def _processor() -> Section:
    import llvmlite.binding
    from numba.core import codegen, config

    asked: Any = config
    features = asked.CPU_FEATURES or codegen.get_host_cpu_features()  # type: ignore[no-untyped-call]
    names = {word[1:] for word in features.split(",") if word.startswith("+")}
    return {
        "name": asked.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        "vectors": [name for name in FEATURES if name in names],
        "cores": threads.cores(),
    }


def _blas() -> Section:
    """The library that large products go to: SciPy's, called by address."""
    from .kernels import blas

    found: Section = {"called": bool(blas.blas_table()[blas.DGEMM]), "of": None, "library": None}
    try:
        import scipy

        known = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        found["of"] = f"scipy {scipy.__version__}"
        found["library"] = f"{known['name']} {known['version']}"
    except (ImportError, KeyError, TypeError):  # no SciPy, or one that does not say
        pass
    n = round(blas.BLAS_WORK ** (1 / 3))
    return found | {"from": f"products of {n} x {n} matrices"}


def _memory() -> Section:
    there = memory.available()
    return {"available": there and there.bytes, "limit": there and there.limit}


# --- the cache ------------------------------------------------------------------------------------


def cache_state() -> Section:
    """Where compiled code is kept, how much there is, and how many of the sweeps."""
    from ._jit import Sweep, cache_folder
    from .run import sweeps

    module = sweeps()
    folder = cache_folder(str(module.__file__))
    if folder is None:
        return {"folder": None, "state": "no folder can be written; set NUMBA_CACHE_DIR"}
    known = [s for s in vars(module).values() if isinstance(s, Sweep)]
    kept = [s for s in known if any(folder.glob(f"_sweeps.{s.function.__qualname__}-*.nbi"))]
    sizes = list(_sizes())
    advice = "" if kept else "; `python -m ndtape warmup` compiles them"
    return {
        "folder": str(folder),
        "files": len(sizes),
        "size": sum(sizes),
        "table": module.FINGERPRINT,
        "state": f"{len(kept)} of {len(known)} sweeps are compiled{advice}",
    }


def _sizes() -> Iterator[int]:
    """Bytes of all that is kept, of earlier versions too."""
    from ._jit import cache_folder

    here = Path(__file__).parent
    sources = [next((here / name).glob("*.py")) for name in COMPILED]
    for folder in {cache_folder(str(source)) for source in sources}:
        if folder is not None and folder.is_dir():
            for file in os.scandir(folder):
                if file.name.endswith((".nbi", ".nbc")):
                    yield file.stat().st_size
