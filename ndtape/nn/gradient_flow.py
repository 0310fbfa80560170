"""How much of a gradient reaches which step: do gradients vanish or explode along a sequence?

The derivative of a loss with respect to the state after step t, dL/dh_t, says how much the loss
would change if the network's memory were disturbed there.  It shrinks or grows by about the same
factor with each step back (Hochreiter 1991; Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and
Bengio 2013); these functions measure it, for the very loss that is trained, in one reverse sweep:
zeros are added to the states, and the loss is differentiated with respect to those.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError
from ..record.core import user_line
from ..transforms.gradients import grad
from ..trees import flatten, unflatten
from .sequences import Loop, scan_layer

Array: TypeAlias = Any
Tree: TypeAlias = Any


def state_gradients(f: Callable[..., Any], *args: Any, loop: Loop = scan_layer) -> list[Tree]:
    """dL/dh_t for each step t of each sequence that the loss L = ``f(*args, loop=loop)`` runs.

    `f` takes the keyword `loop` and runs its cells along sequences by it, as ``loop(cell, params,
    state, xs, ...)``, itself or through `stacked` and `bidirectional`.  Whichever `loop` is given,
    `scan_layer` (also with a schedule, by `functools.partial`) or `unroll`, results are the same.

    Gives a list with an entry for each run of a loop, in order (each layer, forward before
    backward): a tree like the state, with the steps as one more axis in front (also with
    `batch_first`).  For a state of several parts, such as (h, c), each part is disturbed by
    itself, as it is handed on after the step.  Steps beyond the `lengths` of a sequence have
    derivative 0.  `f` is called twice, the first time to see what it runs.

    Raises `ArgumentError` where f runs no loop that it is given, and what `nt.grad` raises.

    >>> import numpy as np, ndtape as nt
    >>> def loss(a, xs, loop=nt.nn.scan_layer):
    ...     _, h = loop(lambda a, h, x: a * h + x, a, np.zeros(1), xs)
    ...     return np.sum(h[-1])
    >>> [found] = nt.nn.state_gradients(loss, 0.5, np.ones((4, 1)))
    >>> found.ravel().tolist()  # each step back multiplies by a
    [0.125, 0.25, 0.5, 1.0]
    """
    zeros: list[Tree] = []
    axes: list[int] = []  # of the steps, in each run

    def watched(cell: Any, params: Tree, state: Tree, xs: Tree, **options: Any) -> Any:
        end, outputs = loop(cell, params, state, xs, **options)
        axes.append(int(options.get("batch_first", False)))
        zeros.append(_zeros(end, xs, axes[-1]))
        return end, outputs

    f(*args, loop=watched)
    if not zeros:
        raise ArgumentError(
            f"state_gradients: {getattr(f, '__name__', 'the loss')} runs no sequence by the `loop` "
            f"that it is given [{user_line()}]"
        )

    def of_disturbances(disturbances: list[Tree]) -> Any:
        given = iter(disturbances)

        def disturbed(cell: Any, params: Tree, state: Tree, xs: Tree, **options: Any) -> Any:
            def step(params: Tree, state: Tree, x_and_e: tuple[Any, Tree]) -> Tree:
                leaves, structure = flatten(cell(params, state, x_and_e[0]))
                return unflatten(structure, map(operator.add, leaves, flatten(x_and_e[1])[0]))

            return loop(step, params, state, (xs, next(given)), **options)

        return f(*args, loop=disturbed)

    found = grad(of_disturbances)(zeros)
    return [_steps_in_front(tree, axis) for tree, axis in zip(found, axes, strict=True)]


def step_norms(f: Callable[..., Any], *args: Any, loop: Loop = scan_layer) -> list[Array]:
    """The norm of dL/dh_t for each step: a list of arrays (T,), one a run of a loop.

    f and `loop` are those of `state_gradients`.  The norm is over all numbers of the state, batch
    and parts, in float64, without overflow or underflow on the way.

    >>> import numpy as np, ndtape as nt
    >>> def loss(params, xs, loop=nt.nn.scan_layer):
    ...     h, _ = loop(nt.nn.rnn_cell, params, None, xs)
    ...     return np.sum(h * h)
    >>> rng = np.random.default_rng(0)
    >>> params, xs = nt.nn.rnn_init(rng, 2, 8), rng.standard_normal((50, 2))
    >>> params["Wh"] *= 0.5  # of an orthogonal matrix: at least half of it is lost with each step
    >>> [norms] = nt.nn.step_norms(loss, params, xs)
    >>> norms.shape, bool((norms[:-1] < 0.5001 * norms[1:]).all())
    ((50,), True)
    """
    return [_norms(flatten(tree)[0]) for tree in state_gradients(f, *args, loop=loop)]


def step_ratio(norms: Any) -> float:
    """The factor by which the norm of dL/dh_t changes with each step back, as a geometric mean.

    Below 1 gradients vanish, above 1 they explode.  `norms` are those of one run of `step_norms`,
    (T,); the mean goes from the last step whose norm is not 0 (a loss may end before the sequence)
    to the first, and is 0 where nothing arrives there.  For a loop that runs in reverse give
    ``norms[::-1]``.

    Raises `ArgumentError` where there are not two steps to compare, or a norm is nan.

    >>> import ndtape as nt
    >>> nt.nn.step_ratio([0.125, 0.25, 0.5, 1.0, 0.0])
    0.5
    """
    norms = np.asarray(norms, np.float64)
    reached = np.flatnonzero(norms) if norms.ndim == 1 else np.zeros(0)
    if not reached.size or reached[-1] == 0 or np.isnan(norms).any():
        raise ArgumentError(
            "step_ratio needs the norms (T,) of two steps or more, up to one that is not 0, and "
            f"none of them nan; they are {norms} [{user_line()}]"
        )
    first, last = float(norms[0]), float(norms[reached[-1]])
    if first == 0 or math.isinf(last):
        return 0.0
    return math.exp((math.log(first) - math.log(last)) / int(reached[-1]))


# --- parts ----------------------------------------------------------------------------------------


def _zeros(state: Tree, xs: Tree, axis: int) -> Tree:
    """A zero for each number of each state."""
    steps = np.shape(flatten(xs)[0][0])[axis]
    leaves, structure = flatten(state)
    found = [np.zeros((*x.shape[:axis], steps, *x.shape[axis:]), x.dtype)
             for x in (x if hasattr(x, "shape") else np.asarray(x) for x in leaves)]  # fmt: skip
    return unflatten(structure, found)


def _steps_in_front(tree: Tree, axis: int) -> Tree:
    leaves, structure = flatten(tree)
    return unflatten(structure, [np.moveaxis(x, axis, 0) if axis else x for x in leaves])


def _norms(leaves: list[Array]) -> Array:
    """Norms over all but the first axis of arrays together."""
    steps = len(leaves[0])
    rows = np.concatenate([np.abs(x, dtype=np.float64).reshape(steps, -1) for x in leaves], axis=1)
    largest = rows.max(axis=1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    with np.errstate(over="ignore"):  # an infinite entry makes an infinite norm
        return scale * np.sqrt(np.sum((rows / scale[:, None]) ** 2, axis=1))
