"""Training along long sequences: windows of a text, and back-propagation that is cut off.

A long sequence is taken in windows.  The state at the end of one window is the first state of the
next (training is *stateful*), but gradients go back through a fixed number of windows only
(truncated back-propagation through time), so that the cost of a step of the optimiser does not
grow with the sequence.

    batchify, windows, pad_sequences    data: one long sequence, or many of different lengths
    truncated                           the loop: loss, gradient, clipping, step, next window

Sources: R. J. Williams, J. Peng, An efficient gradient-based algorithm for on-line training of
recurrent network trajectories, Neural Computation 2 (1990); I. Sutskever, Training recurrent neural
networks, PhD thesis, Toronto (2013), section 2.8.6, for the numbers k1 and k2.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..bars import Progress
from ..errors import ArgumentError, ShapeError
from ..optim import Optimizer
from ..record.core import user_line
from ..traced.function import Function, function
from ..transforms.gradients import stop_gradient, value_and_grad
from ..trees import flatten, path_text, unflatten
from .objectives import clip_by_global_norm, global_norm

Array: TypeAlias = Any
Tree: TypeAlias = Any


class Trained(NamedTuple):
    """What `truncated` yields after each window.

    `value`: the loss of the window; `grads`: its gradient, clipped where there is a limit; `norm`:
    the norm of the gradient before clipping; `params`, `memory`: parameters and the optimiser's
    state after the step; `state`: the network's state after the window.  All that is needed to go
    on from there.
    """

    value: Any
    grads: Tree
    norm: Any
    params: Tree
    memory: Any
    state: Tree


def truncated(
    loss: Callable[..., tuple[Any, Tree]],
    params: Tree,
    state: Tree,
    windows: Iterable[Any],
    *,
    back: int = 1,
    optimizer: Optimizer | None = None,
    memory: Any = None,
    limit: float | None = None,
    progress: str | None = None,
) -> Iterator[Trained]:
    """Truncated back-propagation through time: a generator that yields `Trained` a window.

    ``loss(params, state, *window)`` returns the pair of a window's loss and the state after it; a
    traced function (`nt.function`) is recorded once and replayed for all windows of one length.
    `state` is the one before the first window, `windows` are tuples of further arguments, such as
    `windows((xs, targets), k)` makes them.

    The state is handed on from window to window as plain numbers (`stop_gradient` inside other
    transforms).  With windows of k steps there is a step of the optimiser every k1 = k steps, from
    the loss of those, and its gradient reaches back through k2 = k · `back` steps: with
    ``back=1``, the usual case, it stops at the window's first state; otherwise the windows before
    are run again, from the state that they began with, with the parameters of now.  Where `back`
    covers all windows and there is no optimiser, the gradients add up to that of the whole
    sequence.

    Between windows ``optimizer.update`` takes a step, with gradients clipped to the norm `limit`
    first, where one is given.  `memory` is the optimiser's state to go on with (``None``: a fresh
    one).  Without an optimiser the parameters stay as they are.

    `progress` is the text of a bar (`nt.progress`) that shows windows done and the last loss.

    Raises `ArgumentError` where `back` is no whole number from 1 on or the loss returns no pair,
    and what `clip_by_global_norm` and the optimiser raise.

    >>> import numpy as np, ndtape as nt
    >>> def loss(a, h, xs):  # h <- a h + x, and the squares of all h
    ...     total = 0.0
    ...     for x in xs:
    ...         h = a * h + x
    ...         total = total + h * h
    ...     return total, h
    >>> xs = np.array([1.0, 2.0, 3.0, 4.0])
    >>> whole = nt.grad(lambda a: loss(a, 0.5, xs)[0])(0.5)
    >>> cuts = [(xs[:2],), (xs[2:],)]
    >>> [round(found.grads, 6) for found in nt.nn.truncated(loss, 0.5, 0.5, cuts)]
    [9.125, 91.898438]
    >>> found = list(nt.nn.truncated(loss, 0.5, 0.5, cuts, back=2))
    >>> round(sum(f.grads for f in found) - whole, 12), float(found[-1].state)
    (0.0, 6.15625)
    """
    _at_least_one("truncated: back", back)
    if optimizer is not None and memory is None:
        memory = optimizer.init(params)
    found = _over_windows(loss, params, state, windows, back, optimizer, memory, limit)
    return found if progress is None else _watched(found, windows, progress)


def _watched(found: Iterator[Trained], windows: Iterable[Any], text: str) -> Iterator[Trained]:
    """The same with a bar, that shows the last loss."""
    bar = Progress(found, text, len(windows) if isinstance(windows, Sized) else None)
    for trained in bar:
        bar.show(loss=trained.value)
        yield trained


def _over_windows(
    loss: Callable[..., tuple[Any, Tree]],
    params: Tree,
    state: Tree,
    windows: Iterable[Any],
    back: int,
    optimizer: Optimizer | None,
    memory: Any,
    limit: float | None,
) -> Iterator[Trained]:
    gradient = _differentiated(loss, back)
    starts: deque[Tree] = deque([state], maxlen=back)  # the states before the windows in reach
    reached: deque[tuple[Any, ...]] = deque(maxlen=back)
    for window in windows:
        reached.append(window if type(window) is tuple else (window,))
        (value, state), grads = gradient(params, starts[0], *reached)
        state = stop_gradient(state)
        starts.append(state)
        if limit is None:
            norm = global_norm(grads)
        else:
            grads, norm = clip_by_global_norm(grads, limit)
        if optimizer is not None:
            params, memory = optimizer.update(params, grads, memory)
        yield Trained(value, grads, norm, params, memory, state)


def _differentiated(loss: Callable[..., tuple[Any, Tree]], back: int) -> Callable[..., Any]:
    """`value_and_grad` of the last of some windows, through those before it."""

    if back > 1:
        chain = _traced_chain(loss) if isinstance(loss, Function) else _chain(loss)
        return value_and_grad(chain, has_aux=True)
    of_one = value_and_grad(loss, has_aux=True)
    return lambda params, state, window: of_one(params, state, *window)


def _chain(loss: Callable[..., tuple[Any, Tree]]) -> Callable[..., tuple[Any, Tree]]:
    def last_of(params: Tree, state: Tree, *windows: tuple[Any, ...]) -> tuple[Any, Tree]:
        for window in windows:
            value, state = _pair(loss(params, state, *window))
        return value, state

    return last_of


def _traced_chain(loss: Function) -> Function:
    """The chain as a traced function, kept on the loss: the next epoch finds the tapes of this."""
    kept: dict[str, Any] = loss.__dict__
    if "chain_of_windows" not in kept:
        kept["chain_of_windows"] = function(_chain(loss))
    traced: Function = kept["chain_of_windows"]
    return traced


def _pair(result: Any) -> tuple[Any, Tree]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError(
            "truncated: the loss must return a pair, the loss of the window and the state after "
            f"it, not {type(result).__name__} [{user_line()}]"
        )
    return result


# --- data -----------------------------------------------------------------------------------------


def batchify(sequence: Array, batch: int) -> Array:
    """One long sequence as `batch` equal ones side by side: (N, ...) to (N // batch, batch, ...).

    Column j holds the j-th part of the sequence, whole and in order, so that the state after a
    window is the one with which the next window of the same column begins.  What is left at the
    end, fewer than `batch` entries, falls away.

    Raises `ArgumentError` where `batch` is no whole number from 1 on, `ShapeError` where the
    sequence is shorter than that.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.batchify(np.arange(7), 3).tolist()
    [[0, 2, 4], [1, 3, 5]]
    """
    _at_least_one("batchify: batch", batch)
    sequence = np.asarray(sequence)
    if not sequence.shape or len(sequence) < batch:
        raise ShapeError(
            f"batchify: a sequence of shape {sequence.shape} does not make {batch} of them "
            f"[{user_line()}]"
        )
    steps = len(sequence) // batch
    parts = sequence[: steps * batch].reshape(batch, steps, *sequence.shape[1:])
    return np.ascontiguousarray(np.swapaxes(parts, 0, 1))


def windows(xs: Tree, steps: int, axis: int = 0) -> Iterator[Any]:
    """The arrays of a tree cut along time, a tree for each window of `steps` steps.

    The last window may be shorter.

    Raises `ArgumentError` where `steps` is no whole number from 1 on or the tree has no arrays,
    `ShapeError` where they have different lengths along the axis; the message names the leaf.

    >>> import numpy as np, ndtape as nt
    >>> text = np.arange(8)
    >>> for symbols, followers in nt.nn.windows((text[:-1], text[1:]), 3):
    ...     print(symbols, followers)
    [0 1 2] [1 2 3]
    [3 4 5] [4 5 6]
    [6] [7]
    """
    _at_least_one("windows: steps", steps)
    leaves, structure = flatten(xs)
    shapes = [np.shape(x) if not hasattr(x, "shape") else x.shape for x in leaves]
    if not leaves:
        raise ArgumentError(f"windows: a tree without arrays [{user_line()}]")
    for path, shape in zip(structure.paths(), shapes, strict=True):
        if len(shape) <= axis or shape[axis] != shapes[0][axis]:
            raise ShapeError(
                f"windows: xs{path_text(path)} has shape {shape} and must have as many steps along "
                f"axis {axis} as the first array, of shape {shapes[0]} [{user_line()}]"
            )
    before = (slice(None),) * axis
    return (
        unflatten(structure, [x[(*before, slice(start, start + steps))] for x in leaves])
        for start in range(0, shapes[0][axis], steps)
    )


def pad_sequences(
    sequences: Sequence[Array], value: float = 0, batch_first: bool = False
) -> tuple[Array, Array]:
    """Sequences of different lengths as one array, and their lengths.

    Each is (T_i, ...) with the same further axes and dtype; the array is (T, batch, ...), with
    `batch_first` (batch, T, ...), where T is the longest, and holds `value` beyond a sequence's
    end.  With `lengths`, which `unroll`, `scan_layer` and `sequence_loss` take, that value has no
    influence.

    Raises `ArgumentError` where there is no sequence, `ShapeError` where further axes differ.

    >>> import numpy as np, ndtape as nt
    >>> xs, lengths = nt.nn.pad_sequences([np.array([1.0, 2.0]), np.array([3.0])])
    >>> xs.tolist(), lengths.tolist()
    ([[1.0, 3.0], [2.0, 0.0]], [2, 1])
    """
    arrays = [np.asarray(x) for x in sequences]
    if not arrays:
        raise ArgumentError(f"pad_sequences: no sequence [{user_line()}]")
    for i, x in enumerate(arrays):
        if not x.shape or x.shape[1:] != arrays[0].shape[1:]:
            raise ShapeError(
                f"pad_sequences: sequence {i} has shape {x.shape} and must be "
                f"{('T', *arrays[0].shape[1:])} like the first [{user_line()}]"
            )
    lengths = np.array([len(x) for x in arrays])
    shape = (int(lengths.max()), len(arrays), *arrays[0].shape[1:])
    padded = np.full(shape, value, np.result_type(*arrays))
    for i, x in enumerate(arrays):
        padded[: len(x), i] = x
    return (np.ascontiguousarray(np.swapaxes(padded, 0, 1)) if batch_first else padded), lengths


def _at_least_one(name: str, value: Any) -> None:
    try:
        fits = operator.index(value) >= 1 and not isinstance(value, bool)
    except TypeError:
        fits = False
    if not fits:
        raise ArgumentError(
            f"{name} must be a whole number from 1 on, not {value!r} [{user_line()}]"
        )
