"""``python -m ndtape``: versions and the state of the compile cache; ``warmup`` fills it."""

from __future__ import annotations

import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from . import __version__
from .run import address, entry, sweeps


def versions() -> str:
    lines = [f"ndtape {__version__} on CPython {platform.python_version()}, {platform.platform()}"]
    for package in ("numba", "llvmlite", "numpy", "scipy", "optree"):
        try:
            lines.append(f"  {package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"  {package} is not installed")
    return "\n".join(lines)


def warmup() -> str:
    """Compile every sweep, or load it from the cache; a line each."""
    from ._jit import Sweep, compiled_afresh

    module = sweeps()
    start = time.perf_counter()
    for name in ("holding", "releasing", "replay"):
        entry(name)
    lines = [f"  {'entries':<28}{time.perf_counter() - start:6.2f} s"]
    for name, sweep in vars(module).items():
        if isinstance(sweep, Sweep):
            start = time.perf_counter()
            address(name)
            how = "compiled" if name in compiled_afresh else "from the cache"
            lines.append(f"  {name:<28}{time.perf_counter() - start:6.2f} s  {how}")
    return "\n".join(lines)


def cache_state() -> str:
    """Where compiled sweeps are kept, and which of them are there."""
    from ._jit import Sweep, cache_folder

    module = sweeps()
    folder = cache_folder(str(module.__file__))
    if folder is None:
        return "compile cache: none, no folder can be written; set NUMBA_CACHE_DIR"
    known = [s for s in vars(module).values() if isinstance(s, Sweep)]
    kept = [s for s in known if any(folder.glob(f"_sweeps.{s.function.__qualname__}-*.nbi"))]
    return (
        f"compile cache: {folder}\n  {len(kept)} of {len(known)} sweeps are compiled for table "
        f"{module.FINGERPRINT}" + ("" if kept else "; `python -m ndtape warmup` compiles them")
    )


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["warmup"]):
        print("usage: python -m ndtape [warmup]")
        return 2
    print(versions())
    if arguments:
        print(warmup())
    print(cache_state())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
