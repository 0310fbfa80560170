"""The compiling that all workers of a whole run need, done once: each takes what no other has.

Without it, workers that begin with an empty compile cache compile the same sweeps and kernels at
the same time.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from ndtape import kernels
from ndtape._jit import Sweep

# Modules whose sweeps most tests meet; helpers of a module are compiled with it.
SWEEPS = "ndtape._sweeps"
OTHERS = [
    "ndtape._callbacks", "ndtape.batch._rows",
    *(f"ndtape.passes.{name}" for name in ("_simplify", "_sums", "_slots", "_common", "_muladd",
                                           "_ordering", "_counting", "_needed")),
]  # fmt: skip
# What takes longest comes first, so that all workers are done at about the same time.
FIRST = (
    "ndtape.kernels.contract", "ndtape.kernels.reduce", "forward_over_reverse",
    "forward_over_reverse_packs", "reverse_packs", "reverse", "ndtape.kernels.loops",
    "forward", "forward_packs", "ndtape.kernels.weights",
)  # fmt: skip


def parts() -> dict[str, list[Sweep]]:
    """What can be compiled at the same time without doing anything twice, the longest first."""
    found: dict[str, list[Sweep]] = {name: [] for name in FIRST}
    modules = map(importlib.import_module, [SWEEPS, *OTHERS])
    sweeps = [x for m in modules for x in vars(m).values() if isinstance(x, Sweep)]
    for sweep in [*sweeps, *kernels.kernels().values()]:
        module = sweep.function.__module__
        found.setdefault(sweep.name if module == SWEEPS else module, []).append(sweep)
    return found


def compile_a_share(claims: Path) -> None:
    """Compile the parts that no other worker has claimed by making a folder of their name."""
    for name, sweeps in parts().items():
        try:
            (claims / name).mkdir()
        except FileExistsError:
            continue
        for sweep in sweeps:
            sweep.address  # noqa: B018
