"""NumPy's functions for recording arrays, and NumPy's namespace for code that changes its import.

`import ndtape.numpy as np` in the place of `import autograd.numpy as np` is all that code written
for HIPS autograd needs.  Functions have NumPy's names and arguments; they take recording arrays
and scalars, plain ones, and nested lists of both.  Creation functions (zeros, array, eye ...) make
constant recording arrays, which recording values can be written into.  What is not recorded is
NumPy's own, which refuses recording values with advice.

>>> import ndtape as nt
>>> import ndtape.numpy as np
>>> x = nt.var([1.0, 2.0])
>>> np.sum(np.sin(x) * np.ones(2)).backward()
>>> x.grad.round(6).tolist()
[0.540302, -0.416147]
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

# Importing them files what they implement.  No module has the name of a function of NumPy's.
from . import calculus as _calculus  # noqa: F401
from . import convolution as _convolution  # noqa: F401
from . import elementwise as _elementwise  # noqa: F401
from . import fft as fft
from . import indexing as _indexing  # noqa: F401
from . import interpolation as _interpolation  # noqa: F401
from . import joining as _joining  # noqa: F401
from . import linalg as linalg
from . import loops as _loops  # noqa: F401
from . import namespace as _namespace
from . import polynomials as _polynomials  # noqa: F401
from . import quantiles as _quantiles  # noqa: F401
from . import random as random
from . import reading as _reading  # noqa: F401
from . import refused as _refused  # noqa: F401
from . import statistics as _statistics  # noqa: F401
from . import subscripts as _subscripts  # noqa: F401
from .registry import markdown as markdown
from .registry import supported as supported


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    found = globals()[name] = _namespace.look_up("", _numpy, name)
    return found


def __dir__() -> list[str]:
    return _namespace.names("", _numpy)
