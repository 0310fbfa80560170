"""NumPy's functions on recording arrays against NumPy itself.

A row is an expression over x, y, u and the shapes of their operands.  From each row follow: value,
shape and dtype against NumPy's own answer in float64 and float32, also through views that are not
contiguous; the gradient against differences of NumPy's own function; and, for a sample, second
derivatives and the forward sweeps.  Rows of whole numbers and booleans have values only.
"""

import itertools
import zlib

import numpy as np
import pytest

import ndtape as nt
import ndtape.numpy as nnp
import ndtape.primitives
from ndtape.passes import seal
from ndtape.run import Workspace

# NumPy 1 chose the dtypes of float32 results by value, and took scalars for arrays of one element.
OLD = np.lib.NumpyVersion(np.__version__) < "2.0.0"
VECTOR, MATRIX, CUBE = (4,), (3, 4), (2, 3, 4)
SHAPES = [(), (1,), (4,), (0,), (3, 4), (1, 3), (3, 1), (2, 0), (2, 3, 2), (2, 1, 3)]


def axes(ndim):
    """None, every axis from the front and from the back, pairs, all."""
    singles = [a for i in range(ndim) for a in (i, i - ndim)]
    return [None, *singles, *itertools.permutations(range(ndim), 2), tuple(range(ndim))]


def reductions():
    for name in ("sum", "mean", "max", "min", "ptp", "var", "std", "nansum", "nanmax", "median"):
        for shape in SHAPES:
            for axis in axes(len(shape)):
                if name in ("ptp", "nanmax", "median") and len(shape) > 2:
                    continue
                if name == "std" and (not np.prod(shape) or np.prod(shape) == 1):
                    continue  # see test_standard_deviation_of_constant_data
                yield f"np.{name}(x, axis={axis})", [shape]
                yield f"np.{name}(x, axis={axis}, keepdims=True)", [shape]


def axis_functions():
    calls = (
        "np.cumsum(x, axis=AXIS)", "np.diff(x, axis=AXIS)", "np.flip(x, AXIS)",
        "np.roll(x, 2, AXIS)", "np.repeat(x, 2, AXIS)", "np.take(x, [1, 0, -1], AXIS)",
        "np.expand_dims(x, AXIS)", "np.concatenate([x, x * 2.0], AXIS)", "np.stack([x, x], AXIS)",
        "np.trapezoid(x, axis=AXIS)", "np.gradient(x, axis=AXIS)", "np.delete(x, 1, AXIS)",
        "np.insert(x, 1, 5.0, AXIS)", "np.append(x, x, AXIS)", "np.moveaxis(x, AXIS, 0)",
        "np.rollaxis(x, AXIS)", "np.swapaxes(x, AXIS, 0)", "np.average(x, AXIS)",
        "np.array_split(x, 3, AXIS)[1]", "np.compress([True, False, True], x, AXIS)",
        "np.unwrap(x * 4.0, axis=AXIS)", "np.quantile(x, 0.3, AXIS)",
        "np.percentile(x, [10, 50, 100], AXIS)", "np.nanmean(x, AXIS)", "np.nanvar(x, AXIS)",
        "np.count_nonzero(x, AXIS)", "np.any(x, AXIS)", "np.all(x, AXIS)",
        "np.apply_along_axis(lambda r: r * r[0], AXIS, x)", "np.apply_along_axis(np.sum, AXIS, x)",
        "np.take_along_axis(x, np.argsort(x, AXIS), AXIS)",
    )  # fmt: skip
    for call in calls:
        for shape in ((3,), (3, 4), (3, 3, 5)):
            for axis in range(-len(shape), len(shape)):
                yield call.replace("AXIS", str(axis)), [shape]


def any_shape():
    """Functions for arrays of any rank and size; NumPy says where a shape does not fit."""
    calls = (
        "np.ravel(x)", "np.reshape(x, -1)", "np.reshape(x, (-1, 1))", "np.reshape(x, -1, 'F')",
        "np.transpose(x)", "np.squeeze(x)", "np.atleast_1d(x)", "np.atleast_2d(x)",
        "np.atleast_3d(x)", "np.fliplr(x)", "np.flipud(x)", "np.flip(x)", "np.rot90(x)",
        "np.roll(x, 1)", "np.repeat(x, 3)", "np.tile(x, 2)", "np.tile(x, (2, 1, 2))",
        "np.tril(x)", "np.triu(x, 1)", "np.diag(x)", "np.diagflat(x)", "np.diagonal(x)",
        "np.trace(x)", "np.pad(x, 1)", "np.pad(x, 2, 'edge')", "np.pad(x, 2, 'reflect')",
        "np.pad(x, 2, 'wrap')", "np.pad(x, 2, 'symmetric')",
        "np.pad(x, ((1, 2),), constant_values=3.0)", "np.cumsum(x)", "np.clip(x, -0.5, 0.5)",
        "np.clip(x, None, 0.5)", "np.clip(x, 0.1, None)", "np.round(x, 2)", "np.round(x * 100, -1)",
        "np.around(x)", "np.fix(x)", "np.nan_to_num(x)", "np.sinc(x)", "np.copy(x)",
        "np.zeros_like(x)", "np.ones_like(x)", "np.full_like(x, 2.5)",
        "np.broadcast_to(x, (2, 3, 4))",
        "np.vstack([x, x])", "np.hstack([x, x])", "np.dstack([x, x])", "np.column_stack([x, x])",
        "np.stack([x, 2.0 * x])", "np.concatenate([x, x])", "np.concatenate([x, x], axis=None)",
        "np.append(x, 1.0)", "np.ediff1d(x)", "np.dot(x, 2.0)", "np.dot(3.0, x)",
        "np.inner(x, 2.0)",
        "np.outer(x, x)", "np.vdot(x, x)", "np.kron(x, x)", "np.where(x > 0, x, 2.0 * x)",
        "np.where(x > 0, 0.0, x)", "np.select([x > 1, x > 0], [x, x * x], 7.0)",
        "np.piecewise(x, [x < 0, x >= 0], [lambda t: -t, lambda t: t * t])",
        "np.isclose(x, x + 1e-9)", "np.real(x)", "np.imag(x)", "np.gradient(x)",
        "np.argwhere(x > 0)", "np.where(x > 0)", "np.flatnonzero(x > 0)", "np.extract(x > 0, x)",
        "np.sum(x, where=x > 0)", "np.mean(x, where=x > -9)", "np.max(x, initial=0.5)",
        "np.max(x, initial=-9.0, where=x > 0)", "np.sum(x, initial=2.0)", "np.var(x, ddof=1)",
        "np.array_equal(x, x)", "np.allclose(x, x)", "np.shape(x)", "np.ndim(x)", "np.size(x)",
        "np.result_type(x, 1.0)", "np.nonzero(x)", "np.einsum('...->...', x)",
        "np.isposinf(x)", "np.resize(x, (2, 5))", "np.split(np.ravel(x), [1, 2])",
        "np.modf(x)", "np.divmod(x, 2.0)", "np.fmod(x, 0.7)", "np.logaddexp2(x, 0.5)",
        "np.signbit(x)", "np.logical_xor(x, x > 0)", "np.array2string(x)", "np.iscomplexobj(x)",
        "np.broadcast_arrays(x, np.zeros((2, 3, 4)))[0]", "np.meshgrid(x, x)[0]",
        "np.interp(x, [-1.0, 0.0, 2.0], [3.0, 1.0, 4.0])", "np.geomspace(2.0 + x * x, 9.0, 5)",
        "np.linspace(x, 1.0, 5)", "np.linspace(0.0, x, 5, endpoint=False)",
        "np.linspace(x, 2.0 * x, 4, axis=-1)", "np.logspace(x, 1.0, 4)", "np.astype(x, np.float64)",
    )  # fmt: skip
    for call in calls:
        for shape in SHAPES:
            yield call, [shape]


def products():
    pairs = {
        "np.dot(x, y)": [((), ()), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 3)), ((3, 4), (4, 2)),
                         ((2, 3, 4), (4,)), ((2, 3, 4), (5, 4, 2)), ((3, 0), (0, 2)),
                         ((0, 3), (3, 2)), ((1, 1), (1, 1)), ((3, 4), (3, 4))],
        "np.matmul(x, y)": [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 3)), ((3, 4), (4, 2)),
                            ((2, 3, 4), (4, 2)), ((3, 4), (2, 4, 2)), ((2, 3, 4), (2, 4, 2)),
                            ((1, 3, 4), (5, 4, 2)), ((5, 1, 3, 4), (2, 4, 3)), ((4,), (2, 4, 3)),
                            ((2, 3, 4), (4,)), ((3, 0), (0, 2)), ((0, 3), (3, 2)), ((), (3,)),
                            ((2, 3, 4), (3, 4, 2)), ((3, 4), (3, 4)), ((1, 1), (1, 1))],
        "x @ y": [((3, 4), (4, 2)), ((4,), (4,)), ((2, 3, 4), (4,))],
        "np.inner(x, y)": [((4,), (4,)), ((3, 4), (4,)), ((3, 4), (2, 4)), ((2, 3), (2, 4))],
        "np.outer(x, y)": [((4,), (3,)), ((2, 3), (2,)), ((), (3,)), ((0,), (3,))],
        "np.vdot(x, y)": [((4,), (4,)), ((2, 3), (3, 2)), ((0,), (0,))],
        "np.vecdot(x, y)": [((4,), (4,)), ((3, 4), (4,)), ((3, 1, 4), (2, 4))],
        "np.matvec(x, y)": [((3, 4), (4,)), ((2, 3, 4), (4,)), ((3, 4), (2, 4))],
        "np.vecmat(x, y)": [((3,), (3, 4)), ((2, 3), (3, 4)), ((3,), (2, 3, 4))],
        "np.tensordot(x, y)": [((2, 3, 4), (3, 4, 2)), ((3, 4), (3, 4))],
        "np.tensordot(x, y, 1)": [((2, 3), (3, 4)), ((2, 3, 4), (4, 2)), ((3,), (3,))],
        "np.tensordot(x, y, 0)": [((2,), (3,)), ((), (3,))],
        "np.tensordot(x, y, ([0, 2], [1, 0]))": [((2, 3, 4), (4, 2, 3))],
        "np.tensordot(x, y, (0, -1))": [((2, 3), (4, 2))],
        "np.kron(x, y)": [((2,), (3,)), ((2, 3), (3, 2)), ((2,), (2, 3)), ((2, 2, 2), (1, 2))],
        "np.cross(x, y)": [((3,), (3,)), ((4, 3), (3,)), ((4, 3), (4, 3))],
        "np.cross(x, y, axis=0)": [((3, 2), (3, 2))],
        "np.linalg.multi_dot([x, y, u])": [((2, 5), (5, 3), (3, 4)), ((5,), (5, 3), (3,)),
                                           ((5,), (5, 3), (3, 4)), ((2, 5), (5, 3), (3,))],
        "np.convolve(x, y)": [((5,), (3,)), ((2,), (4,)), ((1,), (1,)), ((), (3,))],
        "np.convolve(x, y, 'same')": [((5,), (3,)), ((5,), (4,)), ((3,), (5,)), ((4,), (4,))],
        "np.convolve(x, y, 'valid')": [((5,), (3,)), ((2,), (5,)), ((3,), (3,))],
        "np.correlate(x, y)": [((5,), (3,)), ((2,), (5,))],
        "np.correlate(x, y, 'same')": [((5,), (3,)), ((5,), (4,)), ((3,), (6,)), ((4,), (4,))],
        "np.correlate(x, y, 'full')": [((5,), (3,)), ((2,), (5,))],
        "np.polyval(x, y)": [((4,), (3,)), ((3,), ()), ((0,), (3,))],
        "np.polymul(x, y)": [((3,), (2,))],
        "np.polyadd(x, y)": [((3,), (2,)), ((2,), (4,))],
        "np.polysub(x, y)": [((3,), (2,)), ((2,), (4,))],
        "np.cov(x, y)": [((5,), (5,)), ((2, 5), (2, 5))],
        "np.corrcoef(x, y)": [((5,), (5,))],
        "np.average(x, weights=y * y + 1.0)": [((3,), (3,)), ((3, 4), (3, 4))],
        "np.average(x, 1, y * y + 1.0)": [((3, 4), (4,)), ((3, 4), (3, 4))],
        "np.average(x, 0, y * y + 1.0, returned=True)[1]": [((3, 4), (3,))],
        "np.cov(x, aweights=y * y)": [((2, 5), (5,))],
        "np.interp(x, np.array([-0.5, 0.0, 1.0]), y)": [((6,), (3,)), ((), (3,)), ((2, 3), (3,))],
        "np.interp(u, np.cumsum(x * x + 0.1), y)": [((5,), (5,), (6,)), ((1,), (1,), (3,))],
        "np.interp(x, [0.0, 0.4, 0.7], y, period=1.0)": [((6,), (3,))],
        "np.interp(x, [-0.5, 0.0, 1.0], y, left=y[0] * 2.0, right=0.5)": [((6,), (3,))],
        "np.trapezoid(x, y)": [((5,), (5,)), ((3, 5), (5,)), ((3, 5), (3, 5))],
        "np.trapezoid(x, dx=y)": [((5,), ())],
        "np.gradient(x, y)": [((5,), ()), ((3, 4), ())],
        "np.gradient(x, np.cumsum(y * y + 0.1))": [((5,), (5,))],
        "np.gradient(x, np.cumsum(y * y + 0.1), edge_order=2)": [((5,), (5,))],
        "np.gradient(x, np.array([0.0, 1.0, 1.5, 3.0]), axis=1)": [((3, 4),)],
        "np.gradient(x, 2.0, y)[1]": [((3, 4), ())],
        "np.where(x > y, x, y)": [((3,), (3,)), ((3, 1), (4,)), ((), (3,)), ((2, 3), ())],
        "np.choose(np.array([0, 1, 0]), [x, y])": [((3,), (3,)), ((), (3,))],
        "np.concatenate([x, y], 0)": [((2, 3), (1, 3)), ((2, 3), (0, 3)), ((3,), (1,))],
        "np.block([[x, y], [y.T, u]])": [((2, 2), (2, 3), (3, 3))],
        "np.insert(x, [1, 2], y)": [((4,), (2,)), ((4,), ())],
        "np.pad(x, 1, constant_values=y)": [((3,), ()), ((2, 3), (2, 2))],
        "np.diff(x, prepend=y, append=1.0)": [((4,), ()), ((3, 4), ())],
        "np.ediff1d(x, to_end=y, to_begin=[1.0, 2.0])": [((4,), ()), ((2, 2), (2,))],
        "np.polyfit(x, y, 2)": [((6,), (6,))],
        "np.polyfit(np.arange(6.0), x, 2, w=y * y + 0.5)": [((6,), (6,))],
        "np.einsum('ij,jk', x, y)": [((2, 3), (3, 4))],
        "np.einsum('ij,jk->ki', x, y)": [((2, 3), (3, 4))],
        "np.einsum('ij,ij->', x, y)": [((2, 3), (2, 3))],
        "np.einsum('ij,ij->i', x, y)": [((2, 3), (2, 3))],
        "np.einsum('i,j->ij', x, y)": [((2,), (3,))],
        "np.einsum('ij,k->i', x, y)": [((2, 3), (4,))],
        "np.einsum('bij,bjk->bik', x, y)": [((2, 3, 4), (2, 4, 2)), ((0, 3, 4), (0, 4, 2))],
        "np.einsum('...ij,...jk->...ik', x, y)": [((5, 2, 3, 4), (2, 4, 2)), ((3, 4), (2, 4, 2))],
        "np.einsum('...i,...i', x, y)": [((2, 3), (3,)), ((2, 3), (1, 3))],
        "np.einsum('ii,ij->j', x, y)": [((3, 3), (3, 2))],
        "np.einsum('i...,i...->...', x, y)": [((2, 3), (2, 3))],
        "np.einsum(x, [0, 1], y, [1, 2], [0, 2])": [((2, 3), (3, 4))],
        "np.einsum(x, [0, ...], y, [0, ...])": [((2, 3), (2, 3))],
        "np.einsum('ij,jk,kl->il', x, y, u)": [((2, 3), (3, 4), (4, 2))],
        "np.einsum('i,ij,j->', x, y, u)": [((3,), (3, 4), (4,)), ((3,), (3, 1), (4,))],
        "np.einsum('ij,jk,kl', x, y, u, optimize='optimal')": [((2, 3), (3, 4), (4, 2))],
        "np.einsum('ij,ij,ij->j', x, y, u)": [((2, 3), (2, 3), (2, 3))],
        "np.einsum('a,b,c->cab', x, y, u)": [((2,), (3,), (2,))],
    }  # fmt: skip
    for call, cases in pairs.items():
        for shapes in cases:
            yield call, list(shapes)


def others():
    calls = {
        "np.einsum('ij->ji', x)": [(2, 3)], "np.einsum('ii->i', x)": [(3, 3)],
        "np.einsum('ii', x)": [(3, 3)], "np.einsum('iij->j', x)": [(3, 3, 2)],
        "np.einsum('ij->', x)": [(2, 3)], "np.einsum('ij->j', x)": [(2, 3)],
        "np.einsum('ba', x)": [(2, 3)], "np.einsum('...i->i...', x)": [(2, 3, 4)],
        "np.einsum('ijij->ij', x)": [(2, 3, 2, 3)],
        "np.diagonal(x, 1, 0, 2)": [CUBE], "np.trace(x, 1, 0, 2)": [CUBE],
        "np.diag(x, -1)": [VECTOR, MATRIX], "np.triu(x, -1)": [CUBE], "np.tril(x, 1)": [CUBE],
        "np.transpose(x, (1, 2, 0))": [CUBE], "np.moveaxis(x, (0, 1), (2, 0))": [CUBE],
        "np.rot90(x, 2, (1, 2))": [CUBE], "np.roll(x, (1, 2), (0, 1))": [MATRIX],
        "np.flip(x, (0, 1))": [MATRIX], "np.repeat(x, [1, 0, 2], 0)": [(3, 2)],
        "np.squeeze(x, 1)": [(3, 1), (2, 3)], "np.expand_dims(x, (0, 2))": [MATRIX],
        "np.pad(x, ((1, 0), (0, 2)))": [MATRIX], "np.pad(x, (1, 2), 'reflect')": [MATRIX],
        "np.pad(x, ((1, 2), (0, 1)), constant_values=((1.0, 2.0), (3.0, 4.0)))": [MATRIX],
        "np.split(x, 2, 1)": [MATRIX], "np.vsplit(x, [1])": [MATRIX], "np.hsplit(x, 2)": [MATRIX],
        "np.dsplit(x, 2)": [CUBE], "np.unstack(x, axis=1)": [MATRIX], "np.split(x, 3)": [VECTOR],
        "np.take(x, [[0, 1], [5, -1]])": [MATRIX], "np.take(x, 1, 0)": [MATRIX],
        "np.take(x, [0, 9, -8], mode='wrap')": [VECTOR],
        "np.take(x, [0, 9, -8], mode='clip')": [VECTOR], "np.take(x, [9])": [VECTOR],
        "np.take(x, np.array([], int))": [VECTOR], "np.compress([False, True], x)": [MATRIX],
        "np.delete(x, [0, 2])": [VECTOR, MATRIX], "np.delete(x, slice(0, 2), 1)": [MATRIX],
        "np.diff(x, 2)": [(5,), MATRIX], "np.diff(x, 0)": [VECTOR],
        "np.gradient(x, edge_order=2)": [(5,)], "np.gradient(x, 2.0, edge_order=2)": [(5,)],
        "np.gradient(x, axis=(1, 0))": [MATRIX], "np.gradient(x, 0.5, 2.0)": [MATRIX],
        "np.gradient(x, np.array([0.0, 1.0, 3.0, 3.5]), edge_order=2)": [VECTOR],
        "np.sum(x, (0, 2))": [CUBE], "np.sum(x, ())": [MATRIX], "np.max(x, (-1, 0))": [CUBE],
        "np.std(x, 0, ddof=1)": [MATRIX], "np.var(x, 1, correction=1)": [MATRIX],
        "np.var(x, 1, mean=np.mean(x, 1, keepdims=True))": [MATRIX],
        "np.std(x, 0, where=np.array([[True], [False], [True]]))": [MATRIX],
        "np.mean(x, 1, where=x > -9, keepdims=True)": [MATRIX],
        "np.sum(x, 0, where=[True, False, True, True])": [MATRIX],
        "np.cov(x)": [(2, 5), (5,)], "np.cov(x, rowvar=False, bias=True)": [(5, 2)],
        "np.cov(x, ddof=0, fweights=[1, 2, 1, 3, 1])": [(2, 5)], "np.corrcoef(x)": [(3, 5), (5,)],
        "np.vander(x)": [VECTOR], "np.vander(x, 3, increasing=True)": [VECTOR],
        "np.polyder(x)": [VECTOR], "np.polyint(x, 2, [1.0, 2.0])": [VECTOR],
        "np.polyval([2.0, 1.0, 3.0], x)": [VECTOR, MATRIX],
        "np.linalg.matrix_power(x, 5)": [(3, 3)],
        "np.linalg.matrix_power(x, 0)": [(3, 3)], "np.linalg.trace(x)": [CUBE],
        "np.linalg.diagonal(x)": [CUBE], "np.matrix_transpose(x)": [CUBE],
        "np.meshgrid(x, x, indexing='ij', sparse=True)[0]": [VECTOR],
        "np.lib.stride_tricks.sliding_window_view(x, 2, 0)": [VECTOR, MATRIX],
        "np.quantile(x, [0.0, 0.4, 1.0], (0, 1), keepdims=True)": [MATRIX],
        "np.quantile(x, 0.4, method='lower')": [VECTOR, MATRIX],
        "np.quantile(x, 0.4, 0, method='nearest')": [(5, 2)],
        "np.bincount(np.array([0, 2, 2, 1]), x, 5)": [VECTOR],
        "np.bincount(np.array([0, 2, 2, 1]), x)": [VECTOR],
        "np.take_along_axis(x, np.array([[0], [1], [-1]]), 1)": [MATRIX],
        "np.nan_to_num(np.where(x > 0, np.nan, x), nan=2.0)": [VECTOR],
        "np.nanmean(np.where(x > 0, np.nan, x))": [MATRIX], "np.nanstd(np.where(x > 1, np.nan, x))":
        [MATRIX], "np.nanmin(np.where(x > 0, np.nan, x), 0)": [(9, 2)],
        "np.nancumsum(np.where(x > 0, np.nan, x))": [VECTOR],
        "np.nanmedian(np.where(x > 0.5, np.nan, x))": [VECTOR, MATRIX],
        "np.nanquantile(np.where(x > 0.5, np.nan, x), [0.2, 0.7], 1)": [(4, 8)],
        "np.nanpercentile(np.where(x > 0.5, np.nan, x), 40, 0, keepdims=True)": [(9, 2)],
        "np.nanprod(np.where(x > 0, np.nan, x))": [VECTOR],
        "np.cumulative_sum(x, axis=1, include_initial=True)": [MATRIX],
        "np.apply_over_axes(np.sum, x, (0, 2))": [CUBE],
        "np.unravel_index(np.argmax(x), x.shape)": [MATRIX],
        "np.max(np.abs(x) + 1.0, axis=0, initial=1.5)": [MATRIX],
        "np.sinc(x * 0.01)": [VECTOR], "np.fill_diagonal(x * 1.0, 0.0)": [MATRIX],
        "np.linspace(x[0], x[1], 4, retstep=True)": [MATRIX], "np.logspace(x, 0.5, 3, base=2.0)":
        [VECTOR], "np.ldexp(x, 3)": [VECTOR], "np.choose(x > 0, [x, x * x])": [VECTOR],
        "np.diag_indices_from(x)": [(3, 3)], "np.unstack(x)": [MATRIX],
    }  # fmt: skip
    for call, shapes in calls.items():
        for shape in shapes:
            yield call, [shape]


def known(call):
    """Whether this NumPy has all functions of a row."""
    names = [part.split("(")[0] for part in call.split("np.")[1:]]
    return all(hasattr(np, name.split(".")[0].split(",")[0].split(")")[0]) for name in names)


ROWS = [
    row
    for row in (*reductions(), *axis_functions(), *any_shape(), *products(), *others())
    if known(row[0])
]
CALLS = list(dict.fromkeys(call for call, _ in ROWS))


def each_row(calls):
    """Decorator: one test for each expression, which goes through the shapes of its rows."""

    def decorate(check):
        def test(call):
            for other, shapes in ROWS:
                if other == call:
                    try:
                        check(call, shapes)
                    except Exception as error:
                        raise AssertionError(f"{call} with shapes {shapes}: {error}") from error

        test.__doc__ = check.__doc__
        test.row = check
        return pytest.mark.parametrize("call", calls)(test)

    return decorate


# --- one row --------------------------------------------------------------------------------------


def numbers(call, shapes, dtype=np.float64):
    """The operands of a row: normal numbers that differ from row to row."""
    random = np.random.RandomState(zlib.crc32(f"{call}{shapes}".encode()))
    return [np.asarray(random.randn(*shape), dtype) for shape in shapes]


def evaluate(call, operands, module=np):
    return eval(call, {"np": module}, dict(zip("xyu", operands, strict=False)))


def parts(z):
    """The arrays of a result."""
    return list(z) if isinstance(z, (tuple, list)) else [z]


def plain(z):
    return z.value if isinstance(z, (nt.Var, nt.Array)) else z


def expectation(call, operands):
    """NumPy's own answer, or the class of its error."""
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return evaluate(call, operands)
            except Exception as error:
                return type(error)


def view(array):
    """A leaf, and a view of it with these numbers that is not contiguous."""
    if array.ndim >= 2:
        leaf = nt.var(np.ascontiguousarray(array.T))
        return leaf, leaf.T
    if array.ndim == 1 and array.size:
        leaf = nt.var(np.repeat(array[::-1], 2))
        return leaf, leaf[::-1][1::2]
    leaf = nt.var(array)
    return leaf, leaf


def agree(ours, theirs, rtol):
    if isinstance(theirs, (str, np.dtype, bool)) or theirs is None:
        assert ours == theirs
        return
    assert len(parts(ours)) == len(parts(theirs))
    for z, expected in zip(parts(ours), parts(theirs), strict=True):
        found = np.asarray(plain(z))
        assert found.shape == np.shape(expected)
        if isinstance(z, nt.Array):
            assert z.dtype == np.asarray(expected).dtype
        tiny = rtol * max(1.0, np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=tiny)


@each_row(CALLS)
def test_values(call, shapes):
    """Value, shape and dtype are NumPy's, for float64 and float32, leaves and views."""
    for dtype, rtol in ((np.float64, 1e-13), (np.float32, 2e-5)):
        if OLD and (dtype == np.float32 or () in shapes):
            continue
        operands = numbers(call, shapes, dtype)
        expected = expectation(call, operands)
        for make in (lambda a: nt.var(a), lambda a: view(a)[1]):
            given = [make(a) for a in operands]
            if isinstance(expected, type):
                with pytest.raises((nt.TapeError, expected)):
                    evaluate(call, given)
            elif all(a.ndim for a in operands) or dtype == np.float64:  # scalars are float64
                agree(evaluate(call, given), expected, rtol)


def weighted(z, weights):
    total = 0.0
    for part, w in zip(parts(z), weights, strict=True):
        total = total + np.sum(part * w)
    return total


def differentiable(call, shapes):
    """Whether a row has finite floats as its result, and an operand with elements."""
    z = expectation(call, numbers(call, shapes))
    if isinstance(z, (type, str, np.dtype, bool, int)) or z is None:
        return False
    found = [np.asarray(part) for part in parts(z)]
    return (
        all(part.dtype.kind == "f" and np.isfinite(part).all() for part in found)
        and any(part.size for part in found)
        and any(0 not in shape for shape in shapes)
    )


def seeds(call, shapes):
    """A cotangent for each part of the result and a direction for each operand."""
    random = np.random.RandomState(1)
    operands = numbers(call, shapes)
    result = parts(expectation(call, operands))
    return (
        operands,
        [random.randn(*np.shape(part)) for part in result],
        [np.asarray(random.randn(*a.shape)) for a in operands],
    )


def slope(function, operands, direction, h=1e-6):
    """The derivative of a function of arrays along a direction, by central differences."""
    up = function([a + h * d for a, d in zip(operands, direction, strict=True)])
    down = function([a - h * d for a, d in zip(operands, direction, strict=True)])
    return (up - down) / (2 * h)


@each_row(CALLS)
def test_gradients(call, shapes):
    """<w, J t> by differences of NumPy's function is <Jᵀ w, t> by ours."""
    if not differentiable(call, shapes):
        return
    operands, weights, direction = seeds(call, shapes)
    expected = slope(lambda a: weighted(evaluate(call, a), weights), operands, direction)
    for through_views in (False, True):
        pairs = [view(a) if through_views else (nt.var(a),) * 2 for a in operands]
        loss = weighted(evaluate(call, [x for _, x in pairs]), weights)
        if not isinstance(loss, nt.Var) or not loss.needs_grad:
            assert abs(expected) < 1e-9  # zeros_like and the like
            continue
        loss.backward()
        found = 0.0
        for (leaf, _), a, d in zip(pairs, operands, direction, strict=True):
            g = leaf.grad
            if g is None or not a.size:
                continue
            g = np.asarray(g)
            if through_views and a.ndim >= 2:
                g = g.T
            elif through_views and a.ndim == 1:
                g = g[::-1][1::2]
            assert g.shape == a.shape
            found += float(np.sum(g * d))
        assert found == pytest.approx(expected, rel=2e-5, abs=2e-7)


SAMPLE = [call for call in CALLS if zlib.crc32(call.encode()) % 5 == 0]


@each_row(SAMPLE)
def test_second_derivatives(call, shapes):
    """The gradient of <gradient, t> against differences of gradients."""
    if not differentiable(call, shapes) or any(0 in shape for shape in shapes):
        return
    operands, weights, direction = seeds(call, shapes)

    def loss(*arrays):
        return weighted(evaluate(call, arrays), weights) + sum(0.0 * np.sum(a) for a in arrays)

    numbers_of = tuple(range(len(operands)))
    gradient = nt.grad(loss, numbers_of)

    def along(*arrays):
        return sum(np.sum(g * d) for g, d in zip(gradient(*arrays), direction, strict=True))

    second = nt.grad(along, numbers_of)(*operands)
    found = sum(float(np.sum(g * d)) for g, d in zip(second, direction, strict=True))
    expected = slope(lambda a: float(along(*a)), operands, direction)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


@each_row(SAMPLE)
def test_forward_sweeps(call, shapes):
    """Tangents against differences, Hessian times vector against the nested gradient."""
    if not differentiable(call, shapes) or any(0 in shape for shape in shapes):
        return
    if "astype" in call and () in shapes:  # a scalar argument is a float
        return
    operands, weights, direction = seeds(call, shapes)
    primals = tuple(a if a.ndim else float(a) for a in operands)
    tangents = tuple(d if d.ndim else float(d) for d in direction)

    def loss(*arrays):
        return weighted(evaluate(call, arrays), weights) + sum(0.0 * np.sum(a) for a in arrays)

    expected = slope(lambda a: weighted(evaluate(call, a), weights), operands, direction)
    assert nt.jvp(loss, primals, tangents)[1] == pytest.approx(expected, rel=2e-5, abs=2e-7)

    numbers_of = tuple(range(len(operands)))
    gradient = nt.grad(loss, numbers_of)

    def along(*arrays):
        return sum(np.sum(g * d) for g, d in zip(gradient(*arrays), tangents, strict=True))

    _, _, product = nt.hvp(loss, primals, tangents)
    nested = nt.grad(along, numbers_of)(*primals)
    for found, twice in zip(product, nested, strict=True):
        np.testing.assert_allclose(found, twice, rtol=1e-9, atol=1e-9)


# --- whole numbers, keywords, conventions ---------------------------------------------------------

WHOLE = (
    "np.sum(x)", "np.sum(x, 0)", "np.mean(x)", "np.max(x, 1)", "np.cumsum(x)", "np.any(x)",
    "np.all(x, 0)", "np.dot(x, x.T)", "x @ x.T", "np.concatenate([x, x])", "np.stack([x, x])",
    "np.where(x > 0, x, 2)", "np.diff(x)", "np.clip(x, 1, 2)", "np.round(x)", "np.take(x, [1, 0])",
    "np.count_nonzero(x)", "np.einsum('ij,kj->ik', x, x)", "np.trace(x)", "np.pad(x, 1)",
    "np.outer(x, x)", "np.tril(x)", "np.diag(x)", "np.var(x)", "np.nan_to_num(x)",
    "np.zeros_like(x)", "np.nonzero(x)", "np.argwhere(x)", "np.ptp(x)", "np.average(x)",
    "np.sum(x, dtype=np.float32)", "np.mean(x, dtype=np.float32)", "np.kron(x, x)",
    "np.bincount(np.ravel(x), minlength=9)", "np.unravel_index(np.ravel(x), (3, 3))",
    "np.ravel_multi_index((np.ravel(x), np.ravel(x)), (4, 5))", "np.isclose(x, 1)",
    "np.divmod(x, 2)", "np.gradient(x)", "np.median(x)", "np.repeat(x, 2, 1)",
    "np.array_equal(x, x)", "np.result_type(x, 1.5)", "np.compress([True, False], x, 0)",
)  # fmt: skip


@pytest.mark.parametrize("call", WHOLE)
@pytest.mark.parametrize("kind", ["constant", "recorded"])
def test_whole_numbers_and_booleans(call, kind):
    """Integers and booleans, plain constants and recorded ones, have NumPy's values and dtypes."""
    whole = np.array([[1, 0, 2], [3, 1, 0]])
    for array in (whole, whole > 0):
        expected = expectation(call, [array])
        if kind == "constant":
            x = nnp.array(array)
        elif array.dtype == bool:
            x = nt.var(array + 0.0) > 0
        else:
            x = nt.var(array + 0.25).astype(int)
        if isinstance(expected, type):
            with pytest.raises((nt.TapeError, expected)):
                evaluate(call, [x])
        elif np.asarray(parts(expected)[0]).dtype != np.float16:  # of rounded booleans
            agree(evaluate(call, [x]), expected, 1e-6 if "float32" in call else 1e-13)


def test_standard_deviation_of_constant_data():
    """It is 0, and so are all its derivatives."""
    x = nt.var(np.full(3, 2.0))
    y = np.std(x)
    y.backward()
    assert y.value == 0.0
    assert x.grad.tolist() == [0.0, 0.0, 0.0]
    second = nt.grad(lambda a: np.sum(nt.grad(np.std)(a) * np.arange(3.0)))(np.full(3, 2.0))
    assert second.tolist() == [0.0, 0.0, 0.0]


def test_sinc_is_smooth_at_zero():
    first, second = nt.grad(np.sinc), nt.grad(nt.grad(np.sinc))
    assert first(0.0) == 0.0
    assert second(0.0) == pytest.approx(-(np.pi**2) / 3)
    for x in (0.0318, 0.0319, 1e-9):  # both sides of the seam
        assert first(x) == pytest.approx(-(np.pi**2) * x / 3, rel=1e-2)


def test_ties_share():
    x = nt.var([1.0, 3.0, 3.0])
    np.max(x).backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5]


KEYWORDS = (
    ("np.reshape(x, 4, order='A')", "order"),
    ("np.ravel(x, order='K')", "order"),
    ("np.pad(x, 1, 'mean')", "mean"),
    ("np.pad(x, 1, 'reflect', reflect_type='odd')", "reflect_type"),
    ("np.einsum('ij->ji', x, order='F')", "order"),
    ("np.einsum('ij->ji', x, casting='unsafe')", "casting"),
    ("np.matmul(x, x, axes=[(0, 1), (0, 1), (0, 1)])", "axes"),
    ("np.quantile(x, 0.5, method='weibull')", "weibull"),
    ("np.repeat(x, x > 0)", "repeat"),
    ("np.broadcast_to(x, (2, 2), subok=True)", "subok"),
    ("np.concatenate([x, x], casting='unsafe')", "casting"),
    ("np.mean(x, dtype=int)", "dtype"),
    ("np.angle(x)", "arctan2"),
    ("np.histogram(x)", "bincount"),
    ("np.roots(x)", "Newton"),
    ("np.unique(x)", "unique"),
    ("np.linspace(0.0, 1.0, x[0, 0])", "num"),
)


@pytest.mark.parametrize(("call", "word"), KEYWORDS)
def test_refused_by_name(call, word):
    """What is not honoured is refused, and the message names it."""
    x = nt.var(np.arange(4.0).reshape(2, 2))
    with pytest.raises(nt.TapeError, match=word):
        evaluate(call, [x])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("np.dot(x, y)", ["(2, 3)", "(2, 2)"]),
        ("np.matmul(x, y)", ["(2, 3)", "(2, 2)"]),
        ("np.einsum('ij,jk', x, y)", ["(2, 3)", "(2, 2)"]),
        ("np.tensordot(x, y, 1)", ["(2, 3)", "(2, 2)"]),
        ("np.concatenate([x, y])", ["(2, 3)", "(2, 2)"]),
        ("np.sum(x, axis=2)", ["axis 2", "2 dimensions"]),
        ("np.reshape(x, (4, 2))", ["(2, 3)", "(4,2)"]),
        ("np.take(x, [7], 1)", ["7"]),
    ],
)
def test_shape_errors_name_both_shapes_and_the_line(call, words):
    x, y = nt.var(np.ones((2, 3))), nt.var(np.ones((2, 2)))
    with pytest.raises(nt.ShapeError) as caught:
        evaluate(call, [x, y])
    assert all(word in str(caught.value) for word in [*words, ":1"]), caught.value


OUT = ("np.sum(x, 0, out=o)", "np.mean(x, 0, out=o)", "np.max(x, 0, out=o)", "np.std(x, 0, out=o)",
       "np.cumsum(x[0], out=o)", "np.dot(x[0], y, out=o)", "np.matmul(x[0], y, out=o)",
       "np.take(x[0], [0, 1, 2], out=o)", "np.clip(x[0], 0.0, 1.0, out=o)",
       "np.concatenate([x[0, :1], x[1, 1:]], out=o)", "np.einsum('ij->j', x, out=o)",
       "np.median(x, 0, out=o)", "np.stack([x[0, 0], x[0, 1], x[1, 2]], out=o)")  # fmt: skip


@pytest.mark.parametrize("call", OUT)
def test_out(call):
    """The result is written into a recording array, with its gradient, and returned."""
    random = np.random.RandomState(0)
    x, y = random.randn(2, 3), random.randn(3, 3)
    expected = eval(call, {"np": np, "x": x, "y": y, "o": np.zeros(3)})
    leaf, out = nt.var(x), nnp.zeros(3)
    returned = eval(call, {"np": np, "x": leaf, "y": y, "o": out})
    assert returned is out
    np.testing.assert_allclose(out.value, expected, rtol=1e-13)
    np.sum(out * np.arange(3.0)).backward()
    assert leaf.grad.any()
    with pytest.raises(nt.GradientLostError, match=r"nt\.zeros"):
        eval(call, {"np": np, "x": leaf, "y": y, "o": np.zeros(3)})
    with pytest.raises(nt.ShapeError, match=r"out=|shape"):
        eval(call, {"np": np, "x": leaf, "y": y, "o": nnp.zeros((3, 1))})


IN_PLACE = (
    "np.put(x, [1, -1], [5.0, y[0]])", "np.put(x, [1, 3], y[1])", "np.putmask(x, m, y[0])",
    "np.place(x, m, [y[0], y[1]])", "np.copyto(x, y[0])", "np.copyto(x, y, where=m)",
    "np.fill_diagonal(x, y)", "np.fill_diagonal(x, y[1])",
    "np.put_along_axis(x, np.array([[0], [2]]), y[2], 1)",
)  # fmt: skip


@pytest.mark.parametrize("call", IN_PLACE)
def test_written_in_place(call):
    """Functions that write, on a copy of a leaf, against NumPy."""
    random = np.random.RandomState(3)
    x, y, w = random.randn(2, 3), random.randn(3), random.randn(2, 3)
    mask = x > 0

    def loss(a, b):
        a = a * 1.0
        exec(call, {"np": np, "x": a, "y": b[:2] if "fill" in call else b, "m": mask})
        return np.sum(a * a * w)

    direction = [random.randn(2, 3), random.randn(3)]
    leaves = [nt.var(x), nt.var(y)]
    z = loss(*leaves)
    assert z.value == pytest.approx(loss(x, y))
    z.backward()
    grads = [np.zeros(a.shape) if a.grad is None else a.grad for a in leaves]
    found = sum(np.sum(g * d) for g, d in zip(grads, direction, strict=True))
    assert found == pytest.approx(slope(lambda a: loss(*a), [x, y], direction), rel=1e-6)


FRESH = (
    "np.copy(np.broadcast_to(x * 1.0, (2, 3)))", "np.broadcast_to(x * 1.0, (2, 3)).copy()",
    "np.meshgrid(x * 1.0, x * 1.0)[0]", "np.repeat(x, 2)", "np.tile(x, (2, 1))",
    "np.full_like(x, x[1])", "np.take(x, [0, 0, 1])", "np.where(x > 1, x, 0.0)",
    "np.copy(np.lib.stride_tricks.sliding_window_view(x * 1.0, 2))", "np.copy(x[::-1])",
    "np.outer(x, x).T.copy()", "np.concatenate([x, x])", "np.pad(x, 1)",
)  # fmt: skip


@pytest.mark.parametrize("call", FRESH)
def test_copies_share_nothing(call):
    """A write into a result changes that element, and neither another one nor the operand."""
    numbers_of_x = np.array([1.0, 2.0, 3.0])
    x = nt.var(numbers_of_x) * 1.0
    z = evaluate(call, [x])
    expected = evaluate(call, [numbers_of_x]).copy()
    for place in np.ndindex(z.shape):
        z[place] = expected[place] = 10.0 + sum(place)
        np.testing.assert_array_equal(z.value, expected)
    assert x.value.tolist() == [1.0, 2.0, 3.0]


# --- indices and masks that are recorded ----------------------------------------------------------

DYNAMIC = (
    "np.take(x, i)", "np.take(x, i, mode='wrap')", "np.take(x, i, mode='clip')",
    "np.take_along_axis(x, np.argsort(y), -1)", "np.choose(i, [x, y, x * y])",
    "np.bincount(i, x, 4)", "np.where(y > 0, x, y)", "np.select([y > 1, y > 0], [x, y])",
    "np.max(x, where=y > 0, initial=-9.0)", "np.interp(y, [-1.0, 0.0, 1.0], x[:3])",
    "np.sum(x, where=y > 0)", "np.std(x * (y > 0))", "np.nanmean(np.where(y > 0, x, np.nan))",
    "np.median(x)", "np.ravel(np.take(np.stack([x, y]), i, 1))",
)  # fmt: skip


@pytest.mark.parametrize("call", DYNAMIC)
def test_a_replay_follows_masks_and_indices(call):
    """One tape, swept with other inputs, answers as NumPy does."""

    def program(x, y, n):
        return np.sum(np.cos(eval(call, {"np": np, "x": x, "y": y, "i": n.astype(int)})))

    def inputs(seed):
        random = np.random.RandomState(seed)
        return [random.randn(5), random.randn(5), random.randint(0, 3, 5) + 0.5]

    with nt.Tape() as tape:
        program(*[nt.var(a) * 1.0 for a in inputs(5)])  # the product fixes the order of inputs
    work = Workspace(seal(tape))
    for seed in range(3):
        work.set_inputs(np.concatenate(inputs(seed)))
        assert work.value(work.tape.slots - 1) == pytest.approx(program(*inputs(seed)))


WRITES = (
    "np.put(x, i, y)", "np.put_along_axis(x, np.argsort(y), 3.0 * y, 0)", "np.add.at(x, i, y)",
    "np.place(x, y > 0, [1.0, 2.0])", "np.putmask(x, y > 0, y * y)", "x[i] = 2.0",
    "np.copyto(x, y, where=y > 0)", "x[y > 0] = 0.0", "x[:] = np.compress(y > -99, x)",
    "x[:] = np.extract(y > -99, x)", "x[:] = np.argwhere(y > -99)[:, 0] * x",
    "x[:] = np.unravel_index(i, (3,))[0] * x", "x[:] = np.isin(i, [0, 2]) * x",
    "x[:] = np.quantile(y, 0.3) * x", "x[:] = np.flatnonzero(y > -99) * x",
    "x[:] = np.piecewise(y, [y < 0], [lambda t: -t, lambda t: t**2])",
)  # fmt: skip


@pytest.mark.parametrize("statement", WRITES)
def test_a_replay_writes_where_its_numbers_say(statement):
    """The same for functions and statements that write, to places that depend on inputs."""

    def program(x, y, n):
        x = x * 1.0
        exec(statement, {"np": np, "x": x, "y": y, "i": n.astype(int)})
        return np.sum(np.cos(x))

    def inputs(seed):
        random = np.random.RandomState(seed)
        return [random.randn(5), random.randn(5), random.permutation(3)[[0, 1, 2, 0, 1]] + 0.5]

    with nt.Tape() as tape:
        program(*[nt.var(a) * 1.0 for a in inputs(5)])
    work = Workspace(seal(tape))
    for seed in range(3):
        work.set_inputs(np.concatenate(inputs(seed)))
        assert work.value(work.tape.slots - 1) == pytest.approx(program(*inputs(seed)))


def test_a_replay_with_another_count_is_an_error():
    with nt.Tape() as tape:
        np.sum(np.nonzero(nt.var([1.0, -1.0, 2.0]) > 0)[0] * 1.0)
    work = Workspace(seal(tape))
    work.set_inputs(np.array([1.0, 1.0, 1.0]))
    with pytest.raises(nt.ShapeError, match="record again"):
        work.value(work.tape.slots - 1)


# --- the namespace --------------------------------------------------------------------------------


def test_namespace_takes_lists_of_recording_scalars():
    a, b = nt.var(2.0), nt.var(3.0)
    assert nnp.sum([a, b * b]).value == 11.0
    assert nnp.sin([a, 1.0]).value.tolist() == np.sin([2.0, 1.0]).tolist()
    assert nnp.max([[a], [b]], axis=0).value.tolist() == [3.0]
    assert nnp.dot([a, b], [b, a]).value == 12.0
    assert nnp.where([True, False], [a, b], [b, a]).value.tolist() == [2.0, 2.0]
    assert nnp.linalg.multi_dot([nnp.array([[a]]), nnp.array([[b]])]).value.tolist() == [[6.0]]
    assert nnp.array([[a, 1.0], [0.0, b]]).shape == (2, 2)
    z = nnp.array([a, b]) @ nnp.array([b, a])
    z.backward()
    assert (a.grad, b.grad) == (6.0, 4.0)


def test_namespace_makes_arrays_that_can_be_written_into():
    x = nt.var(3.0)
    for made in (nnp.zeros(2), nnp.ones(2), nnp.empty(2), nnp.full(2, 7.0), nnp.array([1.0, 2.0]),
                 nnp.eye(2)[0], nnp.zeros_like(nnp.ones(2)), nnp.arange(2.0),
                 nnp.linspace(0.0, 1.0, 2) + nnp.zeros(2)):  # fmt: skip
        x.grad = None
        made[1] = x * x
        np.sum(made * 2.0).backward()
        assert x.grad == 12.0
    assert nnp.zeros((2, 3), dtype=np.float32).dtype == np.float32
    assert nnp.array([1, 2]).dtype == np.int64
    assert nnp.array([True]).dtype == np.bool_
    with pytest.raises(nt.UnsupportedError, match="complex"):
        nnp.zeros(3, dtype=complex)
    with pytest.raises(nt.UnsupportedError, match="linspace"):
        nnp.arange(x)


def test_namespace_is_numpys_elsewhere():
    assert nnp.pi == np.pi and nnp.newaxis is None and nnp.float64 is np.float64
    assert nnp.random.RandomState(0).randn(2).shape == (2,)
    assert nnp.triu_indices(2)[0].tolist() == [0, 0, 1]
    assert nnp.sum(np.ones(3)) == 3.0 and type(nnp.sin(np.ones(2))) is np.ndarray
    target = np.zeros(2)
    nnp.add.at(target, [0, 0], 1.0)
    assert target.tolist() == [2.0, 0.0]
    with pytest.raises(AttributeError, match="NumPy"):
        nnp.no_such_function  # noqa: B018
    with pytest.raises(nt.UnsupportedError, match="where"):
        nnp.vectorize(abs)
    assert {"sum", "zeros", "linalg", "pi", "sin"} <= set(dir(nnp))
    assert nnp.r_[nt.var(1.0), 2.0, 0:2].value.tolist() == [1.0, 2.0, 0.0, 1.0]
    assert nnp.c_[nt.var([1.0, 2.0]), nnp.zeros(2)].shape == (2, 2)


def test_constant_arrays_are_parameters():
    """Made by the namespace, they say shapes and places as plain arrays do."""
    x = nt.var([1.0, 2.0, 3.0, 4.0])
    assert nnp.reshape(x, nnp.array([2, 2])).shape == (2, 2)
    assert nnp.repeat(x, nnp.array([0, 1, 2, 0])).value.tolist() == [2.0, 3.0, 3.0]
    assert nnp.split(x, nnp.array([1, 2]))[2].value.tolist() == [3.0, 4.0]
    assert nnp.take(x, nnp.array([0, -1])).value.tolist() == [1.0, 4.0]
    assert nnp.delete(x, nnp.array([0, 1])).value.tolist() == [3.0, 4.0]
    assert nnp.bincount(nnp.array([0, 1, 1, 0]), x).value.tolist() == [5.0, 5.0]
    assert nnp.full(nnp.array([2, 1]), x[0]).shape == (2, 1)
    assert nnp.arange(nnp.array(3)).value.tolist() == [0, 1, 2]
    with pytest.raises(nt.UnsupportedError, match="repeat"):
        nnp.repeat(x, nnp.floor(x).astype(int))


def test_page_of_functions():
    page = nnp.markdown()
    assert "| `np.einsum` |" in page and "| `np.angle` |" in page
    assert "| `nt.numpy.zeros` |" in page and "| `np.linalg.solve` |" in page
    assert all(text for text in nnp.supported().values())


# --- convolutions and programs --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shapes", [((4, 5), (2, 3)), ((5, 4), (1, 1)), ((3, 3), (3, 3))])
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
def test_convolve2d(mode, shapes, boundary):
    """As SciPy's, with its gradient."""
    signal = pytest.importorskip("scipy.signal")
    random = np.random.RandomState(2)
    x, k = (random.randn(*s) for s in shapes)
    direction = [random.randn(*s) for s in shapes]
    expected = signal.convolve2d(x, k, mode, boundary)
    leaves = [nt.var(x), nt.var(k)]
    z = nnp.convolve2d(*leaves, mode, boundary)
    np.testing.assert_allclose(z.value, expected, rtol=1e-12, atol=1e-12)
    w = random.randn(*expected.shape)
    np.sum(z * w).backward()
    found = sum(np.sum(a.grad * d) for a, d in zip(leaves, direction, strict=True))
    want = slope(lambda a: np.sum(signal.convolve2d(*a, mode, boundary) * w), [x, k], direction)
    assert found == pytest.approx(want, rel=1e-6)


def test_convolve2d_fills_with_a_recorded_number():
    x, fill = nt.var(np.ones((2, 2))), nt.var(3.0)
    z = nnp.convolve2d(x, np.ones((2, 2)), fillvalue=fill)
    assert z.value[0].tolist() == [10.0, 8.0, 10.0]
    np.sum(z).backward()
    assert fill.grad == 20.0
    with pytest.raises(nt.UnsupportedError, match="boundary"):
        nnp.convolve2d(x, np.ones((2, 2)), boundary="reflect")


def layers(np, random):
    """Parameters of a network, as code for HIPS autograd writes them."""
    sizes = [3, 4, 2]
    return [(0.5 * random.randn(m, n), 0.1 * random.randn(n)) for m, n in itertools.pairwise(sizes)]


def network_loss(np, params, inputs, targets):
    """The log posterior of autograd's neural_net.py."""
    for W, b in params:
        outputs = np.dot(inputs, W) + b
        inputs = np.tanh(outputs)
    logits = outputs - np.log(np.sum(np.exp(outputs), axis=1, keepdims=True))
    prior = sum(np.sum(W**2) + np.sum(b**2) for W, b in params)
    return -np.mean(np.sum(logits * targets, axis=1)) + 0.1 * prior


def recurrence_loss(np, params, inputs, targets):
    """Rows written into zeros, states in a list: what plain NumPy could not trace."""
    (W, b), (V, c) = params
    history = np.zeros((inputs.shape[0], 4))
    state = np.zeros(4)
    states = []
    for t in range(inputs.shape[0]):
        state = np.tanh(np.dot(inputs[t], W) + b + 0.5 * state)
        history[t] = state
        states.append(np.max(state))
    outputs = np.einsum("tj,jk->tk", history, V) + c
    errors = np.array([np.sum((outputs[t] - targets[t]) ** 2) for t in range(len(targets))])
    return np.mean(errors) + np.std(np.array(states)) + np.linalg.norm(history)


@pytest.mark.parametrize("loss", [network_loss, recurrence_loss])
def test_code_for_autograd_runs_with_the_import_changed(loss):
    random = np.random.RandomState(0)
    params = layers(np, random)
    inputs, targets = random.randn(5, 3), np.eye(2)[[0, 1, 1, 0, 1]]
    gradient = nt.grad(lambda p: loss(nnp, p, inputs, targets))(params)
    direction = [tuple(random.randn(*a.shape) for a in layer) for layer in params]

    def moved(h):
        return loss(np, [
            tuple(a + h * d for a, d in zip(layer, step, strict=True))
            for layer, step in zip(params, direction, strict=True)
        ], inputs, targets)  # fmt: skip

    expected = (moved(1e-6) - moved(-1e-6)) / 2e-6
    found = sum(
        np.sum(g * d)
        for layer, step in zip(gradient, direction, strict=True)
        for g, d in zip(layer, step, strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-6)
