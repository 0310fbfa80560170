"""Products with matrices of derivatives that are never formed: vjp, jvp, linearize and relatives.

With J the Jacobian of f and H the Hessian of a scalar f: `jvp` and `linearize` give J t, `vjp`
gives Jᵀ w, `hvp` gives H t, `gauss_newton_vp` gives Jᵀ J t (Pearlmutter, "Fast exact
multiplication by the Hessian", 1994; Schraudolph, "Fast curvature matrix-vector products", 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..named import Named, Transformed
from ..record.arrays import as_array, moves
from ..record.core import recording_on
from ..record.values import Result
from .directions import second
from .evaluation import Argnums, Evaluation, primals_of
from .gradients import value_and_gradient
from .outputs import VectorEvaluation, summed


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`vjp(f, *primals)` is (value, pullback); `pullback(w)` is a tuple of adjoints, one a primal.

    `w` is a cotangent: a tree like the value.  The pullback may be called any number of times.
    With `has_aux`, f returns (value, aux), and the answer is (value, pullback, aux).  Raises
    `ArgumentError` for a cotangent of another structure, `ShapeError` for one of another shape.

    >>> import ndtape as nt, numpy as np
    >>> value, pullback = nt.vjp(lambda A, x: A @ x, np.eye(2), np.array([1.0, 2.0]))
    >>> pullback(np.array([1.0, -1.0]))[1]
    array([ 1., -1.])
    """
    call = _vector(f, primals, has_aux)

    def pull(w: Any) -> Any:
        ws = call.cotangents(w)
        here = _recordable(call, ws, f, primals, has_aux)
        return here.shaped(here.pull(ws))

    value, pullback = call.value(), Named(pull, "pullback", f)
    return (value, pullback, call.plain_tree(call.aux)) if has_aux else (value, pullback)


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """`jvp(f, primals, tangents)` is (value, derivative of the value along the tangents).

    With `has_aux`, f returns (value, aux), and the answer is (value, derivative, aux).  Raises
    `ArgumentError` for tangents of another structure than the primals, `ShapeError` for other
    shapes.

    >>> import ndtape as nt, numpy as np
    >>> nt.jvp(lambda x: x**2, (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    (array([1., 4.]), array([2., 0.]))
    """
    primals = primals_of(primals, tangents)
    call = _vector(f, primals, has_aux)
    ts = call.directions(tangents)
    here = _recordable(call, ts, f, primals, has_aux)
    derivative = here.like_result(here.push(ts))
    value = call.value()
    aux = call.plain_tree(call.aux) if has_aux else None
    call.release()
    return (value, derivative, aux) if has_aux else (value, derivative)


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`linearize(f, *primals)` is (value, f_jvp); `f_jvp(*tangents)` is J t.

    The function is recorded once; each product is then one tangent sweep.  With `has_aux`, f
    returns (value, aux), and the answer is (value, f_jvp, aux).

    >>> import ndtape as nt
    >>> value, f_jvp = nt.linearize(lambda x, y: x * y, 2.0, 3.0)
    >>> value, f_jvp(1.0, 0.0), f_jvp(0.0, 1.0)
    (6.0, 3.0, 2.0)
    """
    call = _vector(f, primals, has_aux)

    def push(*tangents: Any) -> Any:
        ts = call.directions(tangents)
        here = _recordable(call, ts, f, primals, has_aux)
        return here.like_result(here.push(ts))

    value, f_jvp = call.value(), Named(push, "derivative", f)
    return (value, f_jvp, call.plain_tree(call.aux)) if has_aux else (value, f_jvp)


def _vector(
    f: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool = False, inline: bool = False
) -> VectorEvaluation:
    return VectorEvaluation(f, primals, {}, tuple(range(len(primals))), has_aux, inline)


def _recordable(
    call: VectorEvaluation,
    directions: list[Any],
    f: Callable[..., Any],
    primals: tuple[Any, ...],
    has_aux: bool,
) -> VectorEvaluation:
    """The evaluation, or one whose tape may grow where products are to be recorded.

    A traced function lends a tape that is not written to.
    """
    if call.lent is None or not any(map(moves, directions)):
        return call
    return _vector(f, primals, has_aux, inline=True)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Hessian of the scalar `f` at `primals` times `tangents`: (value, gradient, product).

    One forward, one tangent and one forward-over-reverse sweep at the outermost level; recorded
    inside another transform.  `primals` and `tangents` are tuples with one tree for each argument
    of `f`; so are gradient and product.

    >>> import ndtape as nt
    >>> nt.hvp(lambda x, y: x * x * y, (3.0, 2.0), (1.0, 0.0))
    (18.0, (12.0, 9.0), (4.0, 6.0))
    """
    primals = primals_of(primals, tangents)
    shorter = getattr(type(f), "second_order", None)  # of a traced function
    found = None if shorter is None else shorter(f, primals, tangents)
    if found is not None:
        return found
    call = Evaluation(f, primals, {}, tuple(range(len(primals))))
    ts = call.directions(tangents)
    if call.lent is not None and any(map(moves, ts)):
        call.release()
        call = Evaluation(f, primals, {}, tuple(range(len(primals))), inline=True)
    y = call.scalar()
    if not (isinstance(y, Result) and call.is_here(y)):
        value, gradient = value_and_gradient(call)
        answer = value, gradient, call.shaped(call.zeros())
    elif call.is_numeric(lambda: [y.slot]) and not any(map(moves, ts)):
        numbers = np.concatenate([np.zeros(0), *map(np.ravel, ts)])
        g, h = second(call, y.slot, call.input_slots(), numbers)
        answer = call.work.value(y.slot), call.shaped(call.read(g)), call.shaped(call.read(h))
    else:
        gradient = call.recorded(y)
        with recording_on(call.tape):
            along: Any = 0.0
            for g, t in zip(gradient, ts, strict=True):
                if moves(g):
                    along = along + summed(as_array(g) * as_array(t))
        answer = y, call.shaped(gradient), call.shaped(call.recorded(along))
    call.release()
    return answer


def gauss_newton_vp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    loss: Callable[[Any], Any] | None = None,
) -> Any:
    """The Gauss-Newton matrix of f at `primals` times `tangents`: Jᵀ J t, like the primals.

    f returns a vector, or any tree: the residuals.  With a scalar `loss` of the result it is
    Jᵀ H J t, with H the Hessian of the loss at the result (the generalised Gauss-Newton matrix,
    which for a cross entropy is Fisher's); without, the loss is half the sum of squares.

    >>> import ndtape as nt, numpy as np
    >>> nt.gauss_newton_vp(lambda x: x**2, (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    (array([ 4., 16.]),)
    """
    primals = primals_of(primals, tangents)
    call = _vector(f, primals)
    ts = call.directions(tangents)
    here = _recordable(call, ts, f, primals, False)
    along = here.push(ts)
    if loss is not None:
        _, _, (change,) = hvp(loss, (here.value(),), (here.like_result(along),))
        along = here.cotangents(change)
    else:
        along = [t if moves(t) else np.asarray(t, np.float64) for t in along]
    product = here.shaped(here.pull(along))
    call.release()
    return product


def elementwise_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """`elementwise_grad(f)(*args)` is the sum of each column of the Jacobian: Jᵀ 1.

    For a function that acts element by element it is the derivative at each element, in one reverse
    sweep.  The answer has the structure of the differentiated argument.  HIPS autograd's function
    of that name.

    >>> import ndtape as nt, numpy as np
    >>> nt.elementwise_grad(lambda x: x**3)(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = VectorEvaluation(f, args, kwargs, argnums)
        gradient = call.shaped(call.pull([np.ones(o.shape) for o in call.outputs]))
        call.release()
        return gradient

    what = "elementwise gradient"
    return Transformed(transformed, what, argnums, elementwise_grad, f, argnums)
