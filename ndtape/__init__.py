"""ndtape: gradients of ordinary Python numeric code, from a compiled tape.

>>> import ndtape as nt
>>> x = nt.var(2.0)
>>> y = nt.sin(x) * x
>>> y.backward()
>>> round(x.grad, 12)
0.077003753731
"""

from ._version import __version__ as __version__
from .check import check_grads as check_grads
from .errors import ArgumentError as ArgumentError
from .errors import BadTapeError as BadTapeError
from .errors import CheckError as CheckError
from .errors import GradientLostError as GradientLostError
from .errors import GradientLostWarning as GradientLostWarning
from .errors import LeafWriteError as LeafWriteError
from .errors import NonFiniteError as NonFiniteError
from .errors import SpentTapeError as SpentTapeError
from .errors import TapeError as TapeError
from .errors import TapeFullError as TapeFullError
from .errors import UnsupportedError as UnsupportedError
from .functions import *  # noqa: F403
from .record.backward import define as define
from .record.core import Recorder as Tape  # noqa: F401
from .record.core import no_grad as no_grad
from .record.core import record_lines as record_lines
from .record.values import Var as Var
from .record.values import var as var
from .reference import table as table
from .transforms import grad as grad
from .transforms import hvp as hvp
from .transforms import value_and_grad as value_and_grad
from .verify import tape_of as tape_of
from .verify import verify as verify
