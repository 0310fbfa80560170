"""ndtape: gradients of ordinary Python numeric code, from a compiled tape.

>>> import ndtape as nt
>>> x = nt.var([1.0, 2.0])
>>> y = nt.sin(x) @ x
>>> y.backward()
>>> x.grad.round(6).tolist()
[1.381773, 0.077004]
"""

from . import nn as nn
from . import numpy as numpy
from . import optim as optim
from . import parallel as parallel
from . import primitives as _primitives  # noqa: F401  registers linear algebra, sorting ...
from . import scipy as scipy
from ._version import __version__ as __version__
from .bars import progress as progress
from .batch.vmap import vmap as vmap
from .check import check_grads as check_grads
from .compiled.decorator import Jit as Jit
from .compiled.decorator import jit as jit
from .config import show_config as show_config
from .errors import ArgumentError as ArgumentError
from .errors import BadTapeError as BadTapeError
from .errors import ChangedShapeError as ChangedShapeError
from .errors import CheckError as CheckError
from .errors import CompileError as CompileError
from .errors import ConvergenceError as ConvergenceError
from .errors import DegenerateWarning as DegenerateWarning
from .errors import EscapedError as EscapedError
from .errors import GradientLostError as GradientLostError
from .errors import GradientLostWarning as GradientLostWarning
from .errors import LeafWriteError as LeafWriteError
from .errors import MatrixError as MatrixError
from .errors import MatrixShapeError as MatrixShapeError
from .errors import NonFiniteError as NonFiniteError
from .errors import NotPositiveDefiniteError as NotPositiveDefiniteError
from .errors import NotRecordedError as NotRecordedError
from .errors import PatternError as PatternError
from .errors import ShapeError as ShapeError
from .errors import ShardError as ShardError
from .errors import SingularMatrixError as SingularMatrixError
from .errors import SpentTapeError as SpentTapeError
from .errors import TapeError as TapeError
from .errors import TapeFileError as TapeFileError
from .errors import TapeFullError as TapeFullError
from .errors import TooManyTapesError as TooManyTapesError
from .errors import UnstableProgramError as UnstableProgramError
from .errors import UnsupportedError as UnsupportedError
from .files import load as load
from .functions import *  # noqa: F403
from .loops import schedules as schedules
from .loops.scan import scan as scan
from .losses import absolute_error as absolute_error
from .losses import binary_cross_entropy as binary_cross_entropy
from .losses import cross_entropy as cross_entropy
from .losses import hinge as hinge
from .losses import huber as huber
from .losses import kl_div as kl_div
from .losses import l2 as l2
from .losses import layer_norm as layer_norm
from .losses import log_softmax as log_softmax
from .losses import logistic_loss as logistic_loss
from .losses import logsumexp as logsumexp
from .losses import nll as nll
from .losses import sigmoid_cross_entropy as sigmoid_cross_entropy
from .losses import softmax as softmax
from .losses import softmax_cross_entropy as softmax_cross_entropy
from .losses import squared_error as squared_error
from .lowlevel import LowLevel as LowLevel
from .lowlevel import lowlevel as lowlevel
from .notices import set_quiet as set_quiet
from .numpy import fft as fft
from .numpy import linalg as linalg
from .numpy.creation import array as array
from .numpy.creation import empty as empty
from .numpy.creation import full as full
from .numpy.creation import ones as ones
from .numpy.creation import zeros as zeros
from .optimising import optimize as optimize
from .patterns.pattern import Sparsity as Sparsity
from .pictures import draw as draw
from .record.arrays import Array as Array
from .record.arrays import var as var
from .record.backward import define as define
from .record.calls import Primitive as Primitive
from .record.calls import primitive as primitive
from .record.core import Recorder as Tape  # noqa: F401
from .record.core import no_grad as no_grad
from .record.core import record_lines as record_lines
from .record.values import Var as Var
from .reference import table as table
from .solvers.fixed import fixed_point as fixed_point
from .solvers.ivp import solve_ivp as solve_ivp
from .solvers.least_squares import least_squares as least_squares
from .solvers.linear import linear_solve as linear_solve
from .solvers.minimize import minimize as minimize
from .solvers.roots import root as root
from .threads import get_num_threads as get_num_threads
from .threads import set_num_threads as set_num_threads
from .traced.function import Function as Function
from .traced.function import function as function
from .transforms.checkpoints import checkpoint as checkpoint
from .transforms.checkpoints import remat as remat
from .transforms.custom import custom_jvp as custom_jvp
from .transforms.custom import custom_vjp as custom_vjp
from .transforms.gradients import grad as grad
from .transforms.gradients import stop_gradient as stop_gradient
from .transforms.gradients import value_and_grad as value_and_grad
from .transforms.jacobians import hessian as hessian
from .transforms.jacobians import jacfwd as jacfwd
from .transforms.jacobians import jacobian as jacobian
from .transforms.jacobians import jacrev as jacrev
from .transforms.linear_maps import elementwise_grad as elementwise_grad
from .transforms.linear_maps import gauss_newton_vp as gauss_newton_vp
from .transforms.linear_maps import hvp as hvp
from .transforms.linear_maps import jvp as jvp
from .transforms.linear_maps import linearize as linearize
from .transforms.linear_maps import vjp as vjp
from .transforms.sparse import sparsity as sparsity
from .trees import register_tree as register_tree
from .vectors import ravel as ravel
from .verify import tape_of as tape_of
from .verify import verify as verify


def __getattr__(name: str) -> object:
    from .elsewhere import advice

    words = advice(name, globals())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{words}")
