"""scipy.stats with derivatives: densities, distribution functions and their inverses.

Each distribution has SciPy's names and arguments: `norm.logpdf(x, loc, scale)`, shapes first,
everything broadcasts, and `norm(loc, scale).logpdf(x)` is the frozen form.  Derivatives are there
with respect to every argument, of any order.  Outside the support a density is 0 and its logarithm
-inf, with derivative 0; where parameters are not valid the answer is nan.  What draws or describes
(`rvs`, `mean`, `fit` ...) is SciPy's own and takes plain numbers.

>>> import ndtape as nt, numpy as np
>>> from ndtape.scipy import stats
>>> x = np.array([1.0, 2.0, 4.0])
>>> round(nt.grad(lambda a: stats.gamma.logpdf(x, a, scale=2.0).sum())(1.5), 6)
-0.10947
>>> import ndtape.scipy.stats.norm as norm  # a distribution can be imported like a module
>>> round(nt.grad(norm.logcdf)(-40.0), 6)
40.024969
"""

from __future__ import annotations

import sys
from typing import Any

from . import continuous as _continuous
from . import discrete as _discrete
from . import multivariate as _multivariate
from . import positive as _positive
from .distributions import Distribution

DISTRIBUTIONS: dict[str, Distribution] = {
    name: found
    for module in (_continuous, _positive, _discrete, _multivariate)
    for name, found in vars(module).items()
    if isinstance(found, Distribution)
}
globals().update(DISTRIBUTIONS)
for _name, _found in DISTRIBUTIONS.items():  # `import ndtape.scipy.stats.norm`, as in HIPS autograd
    sys.modules[f"{__name__}.{_name}"] = _found


def __getattr__(name: str) -> Any:
    """Every other name is SciPy's own."""
    if name.startswith("_"):
        raise AttributeError(name)
    import scipy.stats

    if not hasattr(scipy.stats, name):
        raise AttributeError(f"neither ndtape.scipy.stats nor scipy.stats has {name}")
    return getattr(scipy.stats, name)


def __dir__() -> list[str]:
    return sorted(DISTRIBUTIONS)
