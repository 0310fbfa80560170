"""Every exception and warning that ndtape raises, with advice as part of the message.

Compiled sweeps return status codes; Python turns them into these sentences.
"""

from __future__ import annotations

import numpy as np


class TapeError(Exception):
    """Base class of all errors raised by ndtape."""


class BadTapeError(TapeError, ValueError):
    """A tape breaks a rule of the format; the message names the instruction and the rule."""


class SpentTapeError(TapeError, RuntimeError):
    """`backward` came a second time through instructions that an earlier one gave up."""


class GradientLostError(TapeError, TypeError):
    """An operation would turn a recording value into a plain number and drop its gradient."""


class UnsupportedError(TapeError, TypeError):
    """An operation, or an operand type, that ndtape cannot record."""


class CompileError(TapeError, TypeError):
    """A function that `nt.jit` cannot compile, or not to record; the message names its line.

    `report` is Numba's own account.
    """

    report = ""


class LeafWriteError(TapeError, RuntimeError):
    """An in-place operation on a leaf outside `no_grad`."""


class ArgumentError(TapeError, ValueError):
    """An argument of a transform is not what it needs; the message says which and why."""


class ShapeError(TapeError, ValueError, IndexError):
    """Shapes do not fit together, or an index lies outside; the message names both and the line."""


class ChangedShapeError(ShapeError):
    """An operation whose shape depends on numbers gave another shape than when it was recorded."""

    index = -1  # of the instruction
    shapes: tuple[tuple[int, ...], ...] = ()  # that it gives now


class MatrixError(TapeError, np.linalg.LinAlgError):
    """A matrix, or its shape, is not what an operation of linear algebra needs."""


class MatrixShapeError(ShapeError, MatrixError):
    """Shapes that an operation of linear algebra cannot take; also NumPy's `LinAlgError`."""


class SingularMatrixError(MatrixError):
    """A matrix without inverse (or without full rank); the message says which of the stack."""


class NotPositiveDefiniteError(MatrixError):
    """A Cholesky factor of a matrix that has none; the message says which of the stack."""


class TapeFullError(TapeError, MemoryError):
    """The tape cannot grow: 2**32 slots are used, or memory is at its end."""


class NonFiniteError(TapeError, FloatingPointError):
    """`check_finite` found a nan or an infinity; the message names the instruction and line."""


class EscapedError(TapeError, RuntimeError):
    """A recording value was used after the traced function that recorded it had returned."""


class TooManyTapesError(TapeError, RuntimeError):
    """The branches of a traced function went more ways than it may keep tapes for."""


class UnstableProgramError(TapeError, RuntimeError):
    """A traced function gave another program when it was recorded again with the same branches."""


class ConvergenceError(TapeError, ArithmeticError):
    """A solver gave up; `iterations` and `residual` say how far it came."""

    def __init__(self, message: str, iterations: int = 0, residual: float = np.nan) -> None:
        super().__init__(message)
        self.iterations = iterations
        self.residual = residual


class TapeFileError(TapeError, ValueError):
    """A file that is no tape, is damaged, or was written by a later version."""


class ShardError(TapeError, RuntimeError):
    """A shard of `nt.parallel` failed, or its worker was lost; `shard` is its number, or -1.

    An exception of the loss comes out as it is, with one of these as its cause.
    """

    def __init__(self, message: str, shard: int = -1) -> None:
        super().__init__(message)
        self.shard = shard


class NotRecordedError(TapeError, RuntimeError):
    """A loaded function was to go a way that it had not gone before it was saved."""


class PatternError(TapeError, ValueError):
    """A sparsity pattern is none, or not that of the function; the message says where."""


class CheckError(TapeError, AssertionError):
    """`check_grads` found two derivatives that disagree."""


class GradientLostWarning(UserWarning):
    """A recording value was read as a plain number; its gradient ends there."""


class DegenerateWarning(UserWarning):
    """A derivative of vectors (eigh, svd) that their matrix does not determine."""
