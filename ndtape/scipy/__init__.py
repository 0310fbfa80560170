"""SciPy's functions with derivatives, under SciPy's names: special, stats, linalg, integrate ...

`import ndtape.scipy as scipy` in the place of `import autograd.scipy as scipy` is what code written
for HIPS autograd needs.  Functions have SciPy's names, arguments and values; on plain numbers they
answer with plain numbers, on recording ones with recording ones.  The submodules are loaded when
they are asked for, and SciPy itself when a function is called.

>>> import ndtape as nt
>>> from ndtape.scipy.stats import norm
>>> nt.grad(lambda mu: norm.logpdf(3.0, mu, 2.0))(1.0)
0.5
"""

from __future__ import annotations

import importlib
from typing import Any

SUBMODULES = ("integrate", "linalg", "optimize", "signal", "special", "stats")


def __getattr__(name: str) -> Any:
    if name in SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name.startswith("_"):
        raise AttributeError(name)
    raise AttributeError(
        f"ndtape.scipy has no {name}: derivatives are there for {', '.join(SUBMODULES)}; "
        f"SciPy's own scipy.{name} takes plain numbers"
    )


def __dir__() -> list[str]:
    return [*globals(), *SUBMODULES]
