"""``python -m ndtape``: what ndtape runs on, as `nt.show_config` tells it.

``python -m ndtape warmup`` fills the compile cache, ``warmup all`` with the kernels of every
operation; ``python -m ndtape startup`` measures how long a fresh process takes to its first
gradient, without a cache and with one (half a minute).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from .config import cache_state, show_config, text
from .ops import KERNELS, OTHERS, WIDE, WIDE_CODES
from .run import entry, kernel, sweeps

# The kernels that most programs with arrays need; the others are compiled when they are met.
COMMON = ("copy", "add", "subtract", "multiply", "divide", "negative", "square", "maximum", "sqrt",
          "exp", "log", "sin", "cos", "tanh", "sigmoid", "relu", "where", "less", "greater",
          "stop")  # fmt: skip
FIRST_GRADIENT = """
import time
start = time.perf_counter()
import ndtape as nt
x = nt.var([[1.0, 2.0], [3.0, 4.0]])
nt.tanh(x @ x.T + x).sum().backward()
print(time.perf_counter() - start)
"""


def warmup(everything: bool = False) -> str:
    """Compile sweeps and kernels, or load them from the cache; a line each."""
    from . import _callbacks
    from ._jit import Sweep
    from .batch import _rows
    from .passes import _common, _counting, _muladd, _needed, _ordering, _simplify, _slots, _sums

    start = time.perf_counter()
    for name in ("holding", "releasing", "replay", "replay_flat", "replay_second"):
        entry(name)
    lines = [f"  {'entries':<28}{time.perf_counter() - start:6.2f} s"]
    passes = _simplify, _common, _counting, _sums, _ordering, _muladd, _needed, _slots
    for module in (sweeps(), _rows, _callbacks, *passes):
        found = {name: x for name, x in vars(module).items() if isinstance(x, Sweep)}
        lines += [_timed(name, sweep) for name, sweep in found.items()]
    names = [w.name for w in WIDE] if everything else [*(o[0] for o in OTHERS), *COMMON]
    for name in names:
        wide = WIDE[WIDE_CODES[name] - WIDE[0].code]
        for table in KERNELS if everything else KERNELS[:2]:
            lines.append(_timed(f"{name}_{table}", kernel(wide, table)))
    return "\n".join(lines)


def _timed(name: str, sweep: Any) -> str:
    from ._jit import compiled_afresh

    start = time.perf_counter()
    sweep.address  # noqa: B018
    how = "compiled" if name in compiled_afresh else "from the cache"
    return f"  {name:<28}{time.perf_counter() - start:6.2f} s  {how}"


def start_up() -> str:
    """Seconds to the first gradient of an array program in a fresh process, import included."""
    with tempfile.TemporaryDirectory() as empty:
        cold, warm = (_first_gradient(empty) for _ in range(2))
    return (
        f"first array gradient in a fresh process: {cold:.1f} s with an empty compile cache, "
        f"{warm:.2f} s with a full one"
    )


def _first_gradient(cache: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_GRADIENT], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return float(done.stdout)


def main(arguments: list[str]) -> int:
    if not arguments:
        show_config()
    elif arguments in (["warmup"], ["warmup", "all"]):
        print(warmup(everything=len(arguments) > 1))
        print(text({"compile cache": cache_state()}))
    elif arguments == ["startup"]:
        print(start_up())
    else:
        print("usage: python -m ndtape [warmup [all] | startup]")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
