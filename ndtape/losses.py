"""Softmax and its relatives, losses and layer normalisation, right where exponentials overflow.

Every function takes scalars, recording arrays or plain ones (and answers in kind), along any axis,
and is a handful of recorded operations, so that derivatives of any order follow.  No array of
(samples, classes, classes) is ever built.

A loss is ``f(prediction, target, axis=-1, reduction="mean")``.  ``reduction="none"`` keeps the loss
of every sample, ``"sum"`` adds them, ``"mean"`` divides that by the number of *samples*: a sample
is what is left when the axis of the classes is taken away, or a single element for the losses that
compare elements.  Targets of the losses over classes are either class numbers (whole numbers, the
shape of the prediction without `axis`) or rows of probabilities (the shape of the prediction).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from .errors import ArgumentError, ShapeError
from .record.arrays import as_array, recording
from .record.core import user_line
from .record.elementwise import elementwise
from .record.wide import contract, reduce, take_flat

Axis: TypeAlias = int | Sequence[int] | None
Numbers: TypeAlias = Any  # a recording array or scalar, or plain numbers

# --- softmax -----------------------------------------------------------------------------------


def softmax(x: Numbers, axis: Axis = -1) -> Numbers:
    """exp(x) / Σ exp(x) along an axis or several; the Jacobian is diag(s) - s sᵀ.

    The largest element is subtracted first, which changes nothing but the range (the shift is held
    constant: its derivative is 0 exactly).  An element of -inf has probability 0 and derivative 0;
    where all are -inf, or one is inf, the answer is nan.

    Raises `ShapeError` for an axis that x does not have.

    >>> import numpy as np, ndtape as nt
    >>> nt.softmax(np.array([1000.0, 0.0, -1000.0]))
    array([1., 0., 0.])

    Source: Goodfellow, Bengio, Courville, Deep Learning, 4.1 (the shift) and 6.2.2.3.
    """
    x, axes = _along(x, axis)
    e = elementwise("exp", _shifted(x, axes)[0])
    return e / _sum(e, axes, keep=True)


def log_softmax(x: Numbers, axis: Axis = -1) -> Numbers:
    """x - logsumexp(x), the logarithm of `softmax` without its underflow.

    >>> import numpy as np, ndtape as nt
    >>> nt.log_softmax(np.array([1000.0, 0.0, -1000.0])).tolist()
    [0.0, -1000.0, -2000.0]
    """
    x, axes = _along(x, axis)
    shifted, _ = _shifted(x, axes)
    return shifted - _log_sum_exp(shifted, axes, keep=True)


def logsumexp(x: Numbers, axis: Axis = None, keepdims: bool = False) -> Numbers:
    """log Σ exp(x) over an axis, several, or (None) all; the derivative is `softmax`.

    -inf where all elements are -inf, inf where one is; there the derivative is nan.

    >>> import numpy as np, ndtape as nt
    >>> round(nt.logsumexp(np.array([1000.0, 1000.0])), 10)
    1000.6931471806

    Source: P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and
    softmax functions, IMA J. Numer. Anal. 41 (2021).
    """
    x, axes = _along(x, axis)
    shifted, largest = _shifted(x, axes, infinite=True)
    total = _log_sum_exp(shifted, axes)
    if keepdims:
        total = _kept(total, x, axes, always=True)
    return total + (_kept(largest, x, axes, always=True) if keepdims else largest)


# --- losses over classes -----------------------------------------------------------------------


def softmax_cross_entropy(
    logits: Numbers, target: Numbers, axis: int = -1, reduction: str = "mean"
) -> Numbers:
    """-Σ y log softmax(x): cross entropy of logits; the derivative is softmax(x) Σy - y.

    Targets are class numbers, or rows y of any sum (soft targets included), to which the loss has
    the derivative -log softmax(x).  Right at any logits: a class with the logit -inf is masked out,
    and costs inf only where it is the target.

    Raises `ShapeError` where shapes do not fit or a class number is out of range, `ArgumentError`
    for class numbers that are not whole and for an unknown reduction.

    >>> import numpy as np, ndtape as nt
    >>> x = nt.var(np.array([[1000.0, 0.0, -1000.0]]))
    >>> loss = nt.softmax_cross_entropy(x, np.array([2]))
    >>> loss.backward()
    >>> loss.value, x.grad
    (2000.0, array([[ 1.,  0., -1.]]))

    Source: Goodfellow, Bengio, Courville, Deep Learning, 6.2.2.3.
    """
    x, axes = _along(logits, axis)
    target = _operand(target)
    by_class = _are_classes(x, target, axes, "softmax_cross_entropy")
    shifted, _ = _shifted(x, axes)
    total = _log_sum_exp(shifted, axes)
    if by_class:
        return _reduced(total - _picked(shifted, target, axes), reduction)
    # mz: a target of 0 costs nothing even at a logit of -inf
    said = _sum(elementwise("mz", target, shifted), axes)
    return _reduced(_sum(target, axes) * total - said, reduction)


def cross_entropy(
    prediction: Numbers, target: Numbers, axis: int = -1, reduction: str = "mean"
) -> Numbers:
    """-Σ y log p: cross entropy of probabilities p; the derivative is -y / p.

    With class numbers it is -1 / p at the picked element and exactly 0 elsewhere.  A target of 0
    costs 0 and has derivative 0, also at p = 0.  Logits are for `softmax_cross_entropy`, which
    stays right where probabilities underflow.

    Raises what `softmax_cross_entropy` raises.

    >>> import numpy as np, ndtape as nt
    >>> p = nt.var(np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]))
    >>> nt.cross_entropy(p, np.array([0, 1]), reduction="sum").backward()
    >>> p.grad.tolist()
    [[-2.0, 0.0, 0.0], [0.0, -4.0, 0.0]]
    """
    p, axes = _along(prediction, axis)
    target = _operand(target)
    if _are_classes(p, target, axes, "cross_entropy"):
        each = elementwise("log", _picked(p, target, axes))
    else:
        each = _sum(elementwise("xlogy", target, p), axes)
    return _reduced(-each, reduction)


def nll(
    log_prediction: Numbers, target: Numbers, axis: int = -1, reduction: str = "mean"
) -> Numbers:
    """-Σ y log p, given log p (from `log_softmax`): the negative log-likelihood.

    Raises what `softmax_cross_entropy` raises.

    >>> import numpy as np, ndtape as nt
    >>> float(nt.nll(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 0]), reduction="sum"))
    2.0794415416798357
    """
    p, axes = _along(log_prediction, axis)
    target = _operand(target)
    if _are_classes(p, target, axes, "nll"):
        each = _picked(p, target, axes)
    else:
        each = _sum(elementwise("mz", target, p), axes)
    return _reduced(-each, reduction)


def kl_div(
    prediction: Numbers, target: Numbers, axis: int = -1, reduction: str = "mean"
) -> Numbers:
    """Σ y log(y / p): Kullback and Leibler's divergence of probabilities p from targets y.

    Terms with y = 0 are 0 and have derivative 0 with respect to p.

    Raises `ShapeError` where the shapes differ.

    >>> import numpy as np, ndtape as nt
    >>> float(nt.kl_div(np.array([0.5, 0.5]), np.array([1.0, 0.0])))
    0.6931471805599453
    """
    p, axes = _along(prediction, axis)
    y = _operand(target)
    _same_shape(p, y, "kl_div")
    terms = elementwise("xlogy", y, y) - elementwise("xlogy", y, p)
    return _reduced(_sum(terms, axes), reduction)


# --- losses of elements ------------------------------------------------------------------------


def squared_error(prediction: Numbers, target: Numbers, reduction: str = "mean") -> Numbers:
    """(p - y)², element by element; the derivative is 2 (p - y).

    Raises `ShapeError` where shapes differ, unless one is a single number.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.squared_error)(4.5, 3.0)
    (2.25, 3.0)
    """
    p, y = _elements(prediction, target, "squared_error")
    return _reduced(elementwise("square", p - y), reduction)


def absolute_error(prediction: Numbers, target: Numbers, reduction: str = "mean") -> Numbers:
    """|p - y|, element by element; the derivative is the sign, 0 where they are equal.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.absolute_error)(1.0, 3.0)
    (2.0, -1.0)
    """
    p, y = _elements(prediction, target, "absolute_error")
    return _reduced(elementwise("abs", p - y), reduction)


def huber(
    prediction: Numbers, target: Numbers, delta: float = 1.0, reduction: str = "mean"
) -> Numbers:
    """(p - y)² / 2 up to |p - y| = delta, and the line delta (|p - y| - delta / 2) from there.

    The derivative is p - y, clipped to ±delta.  Raises `ArgumentError` unless delta > 0.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.huber)(5.0, 1.0, 2.0)
    (6.0, 2.0)

    Source: P. J. Huber, Robust estimation of a location parameter, Ann. Math. Statist. 35 (1964).
    """
    if not delta > 0:
        raise ArgumentError(f"huber: delta must be positive, not {delta!r} [{user_line()}]")
    p, y = _elements(prediction, target, "huber")
    rest = p - y
    inner = elementwise("clip", rest, -delta, delta)
    # inner (rest - inner / 2) is both pieces at once
    return _reduced(inner * elementwise("fma", inner, -0.5, rest), reduction)


def logistic_loss(x: Numbers, y: Numbers, reduction: str = "mean") -> Numbers:
    """log(1 + exp(-x y)) for labels y of ±1; the derivative is -y / (1 + exp(x y)).

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.logistic_loss)(1000.0, -1.0)
    (1000.0, 1.0)
    """
    x, y = _elements(x, y, "logistic_loss")
    return _reduced(elementwise("softplus", x * -y), reduction)


def sigmoid_cross_entropy(logits: Numbers, target: Numbers, reduction: str = "mean") -> Numbers:
    """-y log σ(x) - (1 - y) log(1 - σ(x)), element by element; the derivative is σ(x) - y.

    Targets y are probabilities (0 and 1 among them).  Both terms are computed as softplus, without
    a difference of large numbers: the loss keeps its relative accuracy at any logit.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.sigmoid_cross_entropy)(-1000.0, 1.0)
    (1000.0, -1.0)
    """
    x, y = _elements(logits, target, "sigmoid_cross_entropy")
    # mz: at a logit of ±inf the term with weight 0 is 0
    one = elementwise("mz", y, elementwise("softplus", -x))
    other = elementwise("mz", 1.0 - y, elementwise("softplus", x))
    return _reduced(one + other, reduction)


def binary_cross_entropy(prediction: Numbers, target: Numbers, reduction: str = "mean") -> Numbers:
    """-y log p - (1 - y) log(1 - p), element by element, for probabilities p.

    A term with weight 0 is 0 and has derivative 0, also at p = 0 or 1.  Logits are for
    `sigmoid_cross_entropy`.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.binary_cross_entropy)(0.5, 1.0)
    (0.6931471805599453, -2.0)
    """
    p, y = _elements(prediction, target, "binary_cross_entropy")
    each = elementwise("xlogy", y, p) + elementwise("xlogy", 1.0 - y, 1.0 - p)
    return _reduced(-each, reduction)


def hinge(x: Numbers, y: Numbers, reduction: str = "mean") -> Numbers:
    """max(0, 1 - x y) for labels y of ±1; the derivative is -y below the margin, 0 at it.

    >>> import ndtape as nt
    >>> nt.value_and_grad(nt.hinge)(0.25, 1.0)
    (0.75, -1.0)
    """
    x, y = _elements(x, y, "hinge")
    return _reduced(elementwise("relu", 1.0 + x * -y), reduction)


def l2(x: Numbers, strength: Numbers = 1.0) -> Numbers:
    """strength Σ x²: the regularisation that shrinks weights; the derivative is 2 strength x.

    >>> import numpy as np, ndtape as nt
    >>> nt.grad(nt.l2)(np.array([1.0, 2.0, 3.0]), 0.1).round(12).tolist()
    [0.2, 0.4, 0.6]
    """
    x = _operand(x)
    labels = list(range(len(_shape(x))))
    total = contract(x, labels, x, labels, []) if labels else elementwise("square", x)
    return strength * total


# --- layers ------------------------------------------------------------------------------------


def layer_norm(
    x: Numbers,
    gain: Numbers = None,
    bias: Numbers = None,
    eps: float = 1e-5,
    axis: Axis = -1,
) -> Numbers:
    """(x - mean) / sqrt(variance + eps) · gain + bias, with mean and variance along `axis`.

    The variance divides by the number of elements.  gain and bias have the shape of x along the
    normalised axes (or are single numbers).

    Raises `ShapeError` where shapes do not fit.

    >>> import numpy as np, ndtape as nt
    >>> nt.layer_norm(np.array([1.0, 2.0, 3.0, 6.0]), eps=0.0).round(6).tolist()
    [-1.069045, -0.534522, 0.0, 1.603567]

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, Layer normalization, arXiv:1607.06450.
    """
    x, axes = _along(x, axis)
    gain, bias = (_beside(v, x, axes) for v in (gain, bias))
    share = 1.0 / math.prod(_shape(x)[i] for i in axes)
    centred = x - _kept(_sum(x, axes) * share, x, axes)
    square = _sum(elementwise("square", centred), axes)
    width = elementwise("sqrt", elementwise("fma", square, share, eps))
    result = centred / _kept(width, x, axes)
    if gain is not None and bias is not None:
        return elementwise("fma", result, gain, bias)
    if gain is not None:
        return result * gain
    return result if bias is None else result + bias


def _beside(v: Numbers, x: Numbers, axes: tuple[int, ...]) -> Numbers:
    """gain or bias with axes of length 1 where x is not normalised."""
    if v is None:
        return None
    v = _operand(v)
    shape = tuple(_shape(x)[i] for i in axes)
    if _shape(v) == ():
        return v
    if _shape(v) != shape:
        raise ShapeError(
            f"layer_norm: gain or bias of shape {_shape(v)} for x of shape {_shape(x)}, which is "
            f"normalised over axes {axes} and needs shape {shape} [{user_line()}]"
        )
    return v.reshape(tuple(n if i in axes else 1 for i, n in enumerate(_shape(x))))


# --- shared parts ------------------------------------------------------------------------------


def _operand(x: Numbers) -> Numbers:
    """A recording value or number as it is, lists as an array, other numbers as a NumPy array."""
    if recording(x) or type(x) in (int, float, bool):  # these adapt to the other's dtype
        return x
    if isinstance(x, (list, tuple)):
        x = as_array(x)
        return x if x.needs_grad else x.value
    return np.asarray(x)


def _shape(x: Numbers) -> tuple[int, ...]:
    return tuple(getattr(x, "shape", ()))


def _along(x: Numbers, axis: Axis) -> tuple[Numbers, tuple[int, ...]]:
    """x, and the axes counted from the front."""
    x = _operand(x)
    shape = _shape(x)
    given = range(len(shape)) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    for a in given:
        if not -len(shape) <= a < len(shape):
            raise ShapeError(f"axis {a} of an array of shape {shape} [{user_line()}]")
    axes = tuple(sorted({a % len(shape) for a in given}))
    if any(shape[i] == 0 for i in axes):
        raise ShapeError(f"axes {axes} of an array of shape {shape} are empty [{user_line()}]")
    return x, axes


def _kept(reduced: Numbers, x: Numbers, axes: tuple[int, ...], always: bool = False) -> Numbers:
    """A reduction of x with its axes put back as ones; scalars broadcast without."""
    if _shape(reduced) == () and not always:
        return reduced
    shape = tuple(1 if i in axes else n for i, n in enumerate(_shape(x)))
    return (as_array(reduced) if recording(reduced) else np.asarray(reduced)).reshape(shape)


def _sum(x: Numbers, axes: tuple[int, ...], keep: bool = False) -> Numbers:
    total = reduce("sum", x, axes)
    return _kept(total, x, axes) if keep else total


def _shifted(x: Numbers, axes: tuple[int, ...], infinite: bool = False) -> tuple[Numbers, Numbers]:
    """x less its largest element along the axes, and that element, held constant.

    With `infinite`, differences of equal infinities do not become nan: the shift stays finite.
    """
    largest = elementwise("stop", reduce("max", x, axes))
    if infinite:
        largest = elementwise("nan_to_num", largest)
    # not x - largest: plain arrays of infinities would warn where recorded ones are nan
    return elementwise("subtract", x, _kept(largest, x, axes)), largest


def _log_sum_exp(shifted: Numbers, axes: tuple[int, ...], keep: bool = False) -> Numbers:
    return elementwise("log", _sum(elementwise("exp", shifted), axes, keep))


def _reduced(each: Numbers, reduction: str) -> Numbers:
    """Losses of samples, as `reduction` says."""
    if reduction == "none":
        return each
    if reduction not in ("mean", "sum"):
        raise ArgumentError(
            f'reduction must be "mean", "sum" or "none", not {reduction!r} [{user_line()}]'
        )
    shape = _shape(each)
    if shape == ():
        return each
    total = reduce("sum", each, tuple(range(len(shape))))
    if reduction == "sum":
        return total
    samples = math.prod(shape)
    if not samples:
        raise ArgumentError(f"the mean loss of no samples, shape {shape} [{user_line()}]")
    return total / samples


def _same_shape(p: Numbers, y: Numbers, name: str) -> None:
    if _shape(p) != _shape(y):
        raise ShapeError(
            f"{name}: prediction of shape {_shape(p)} and target of shape {_shape(y)} differ "
            f"[{user_line()}]"
        )


def _elements(p: Numbers, y: Numbers, name: str) -> tuple[Numbers, Numbers]:
    """Prediction and target of one shape, or one of them a number.

    Broadcasting further is refused: (n, 1) against (n,) would be n² silent losses.
    """
    p, y = _operand(p), _operand(y)
    if _shape(p) and _shape(y):
        _same_shape(p, y, name)
    return p, y


# --- classes -----------------------------------------------------------------------------------


def _are_classes(x: Numbers, target: Numbers, axes: tuple[int, ...], name: str) -> bool:
    """Whether the target holds class numbers, by its shape; if not, it must be rows."""
    if len(axes) != 1:
        raise ShapeError(
            f"{name} of an array of shape {_shape(x)} over axes {axes} [{user_line()}]"
        )
    shape, samples = _shape(x), tuple(n for i, n in enumerate(_shape(x)) if i not in axes)
    if _shape(target) == shape:
        return False
    if _shape(target) != samples:
        raise ShapeError(
            f"{name}: target of shape {_shape(target)} fits neither as class numbers (shape "
            f"{samples}) nor as rows (shape {shape}) a prediction of shape {shape} [{user_line()}]"
        )
    return True


def _picked(x: Numbers, target: Numbers, axes: tuple[int, ...]) -> Numbers:
    """The element of each sample that its class number names."""
    (axis,) = axes
    shape = _shape(x)
    classes = _class_numbers(target, shape[axis])
    if len(shape) == 1 and not recording(classes):
        return x[int(classes)]
    first, step = _first_class(shape, axis)
    places = classes * step + first
    if recording(x) or recording(places):
        return take_flat(x, places)
    return x.reshape(-1)[places]


@lru_cache(maxsize=256)
def _first_class(shape: tuple[int, ...], axis: int) -> tuple[Any, int]:
    """Where in the flat array the first class of every sample stands, and how far the next is."""
    places = np.arange(math.prod(shape)).reshape(shape).take(0, axis)
    return places, math.prod(shape[axis + 1 :])


def _class_numbers(target: Numbers, count: int) -> Numbers:
    """Class numbers, which are whole and in range, now and in replays."""
    if not recording(target):
        target = np.asarray(target)
    dtype = getattr(target, "dtype", np.dtype(float))
    if dtype.kind not in "iu":
        raise ArgumentError(
            f"class numbers must be integers, not {dtype}: use .astype(int), or give rows of "
            f"probabilities of the prediction's shape [{user_line()}]"
        )
    numbers = np.asarray(target.value if recording(target) else target)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
        place = tuple(np.argwhere((numbers < 0) | (numbers >= count))[0].tolist())
        raise ShapeError(
            f"class number {numbers[place]} at {place} is out of range for {count} classes "
            f"[{user_line()}]"
        )
    if not recording(target):
        return numbers
    # A replay may bring other numbers: outside the range they must not reach into another sample.
    inside = elementwise("logical_and", target >= 0, target < count)
    return elementwise("where", inside, target, -(2**53))
