"""Whether parameters, state and input of a cell fit together, and first states that do.

With broadcasting much that is wrong would go through: what does not fit is named here, before.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..record.core import user_line

Array: TypeAlias = Any
Params: TypeAlias = dict[str, Any]

Shapes: TypeAlias = dict[str, tuple[int, ...]]

GRU_ONLY: Shapes = {"bn": (1,)}  # shapes, the last of which is a multiple of hidden
PEEPHOLE: Shapes = {"peep": (3, 1)}
NORMS: Shapes = {"gain_x": (4,), "gain_h": (4,), "gain_c": (1,), "bias_c": (1,)}


def zero_state(params: Any, batch: int | None = None) -> Any:
    """The state to begin with: zeros (hidden,) or (batch, hidden), a pair of them for an LSTM.

    `params` are those of a cell of this package (how many gates it has says which), or lists and
    dicts of them, as `stacked` and `bidirectional` take; then the states come in the same
    containers.  The zeros have the dtype of the weights.

    Raises `ArgumentError` for other parameters: the states of your own cells are yours to make.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.rnn_init(np.random.default_rng(0), 3, 2)
    >>> nt.nn.zero_state(params, batch=2).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    if isinstance(params, (list, tuple)):
        return [zero_state(p, batch) for p in params]
    if isinstance(params, dict) and "Wh" not in params:
        return {name: zero_state(p, batch) for name, p in params.items()}
    shape: tuple[int, ...] = ()
    if isinstance(params, dict):
        shape = tuple(getattr(params["Wh"], "shape", ()))
    if len(shape) != 2 or shape[1] not in (shape[0], 3 * shape[0], 4 * shape[0]):
        raise ArgumentError(
            "zero_state: these are no parameters of rnn_init, gru_init or lstm_init, or lists and "
            f"dicts of them; give the first state of your own cell [{user_line()}]"
        )
    size = shape[:1] if batch is None else (batch, shape[0])
    zeros = np.zeros(size, np.dtype(params["Wh"].dtype))
    return (zeros, zeros.copy()) if shape[1] == 4 * shape[0] else zeros


def pair(cell: str, state: Any) -> tuple[Array, Array]:
    """The state of an LSTM."""
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ArgumentError(
            f"{cell}: the state is a pair (h, c), such as nn.zero_state(params), not "
            f"{type(state).__name__} [{user_line()}]"
        )
    return state[0], state[1]


def fitting(
    cell: str, params: Params, h: Array, x: Array, gates: int, c: Array = None
) -> tuple[Array, Array]:
    """State and input as arrays, whose shapes fit the parameters: else it says which does not.

    A step, other than a cell, takes x after its product with Wx.
    """
    h, x = (v if hasattr(v, "shape") else np.asarray(v) for v in (h, x))
    try:
        by_x, by_h, bias = (params["Wx"].shape, params["Wh"].shape, params["b"].shape)
    except (KeyError, TypeError, AttributeError):
        found = f"a dict with {list(params)}" if isinstance(params, dict) else type(params).__name__
        raise ArgumentError(
            f"{cell} takes a dict with the arrays 'Wx', 'Wh' and 'b', as {cell[: cell.find('_')]}"
            f"_init makes it, not {found} [{user_line()}]"
        ) from None
    size = by_h[0] if by_h else 0
    inputs = gates * size if cell.endswith("_step") else by_x[0] if by_x else 0
    if (
        by_h != (size, gates * size)
        or by_x[1:] != by_h[1:]
        or bias != by_h[1:]
        or x.shape[-1:] != (inputs,)
        or h.shape != (*x.shape[:-1], size)
        or (c is not None and c.shape != h.shape)
    ):
        _misfit(cell, (by_x, by_h, bias), h, x, c, gates, inputs)
    if gates == 3:
        _more(cell, params, size, GRU_ONLY)
    elif gates == 4 and len(params) > 3:
        _more(cell, params, size, PEEPHOLE if "peep" in params else {})
        _more(cell, params, size, NORMS if "gain_x" in params else {})
    return h, x


def _more(cell: str, params: Params, size: int, shapes: Shapes) -> None:
    """Parameters that only some cells have."""
    for name, multiples in shapes.items():
        shape = (*multiples[:-1], multiples[-1] * size)
        if name not in params:
            raise ArgumentError(f"{cell}: params[{name!r}] is missing [{user_line()}]")
        if params[name].shape != shape:
            raise ShapeError(
                f"{cell}: params[{name!r}] has shape {params[name].shape} and must have {shape} "
                f"[{user_line()}]"
            )


def _misfit(
    cell: str, shapes: Any, h: Array, x: Array, c: Array, gates: int, inputs: int
) -> NoReturn:
    """The error for the first of the shapes that does not fit those before it."""
    by_x, by_h, bias = shapes
    wide = "hidden" if gates == 1 else f"{gates}·hidden"
    if len(by_h) != 2 or by_h[1] != gates * by_h[0]:
        text = f"params['Wh'] has shape {by_h} and must have (hidden, {wide})"
    elif by_x[1:] != by_h[1:]:
        text = f"params['Wx'] has shape {by_x} and must have (inputs, {by_h[1]}), as 'Wh' {by_h}"
    elif bias != by_h[1:]:
        text = f"params['b'] has shape {bias} and must have {by_h[1:]}, as 'Wh' {by_h}"
    elif x.shape[-1:] != (inputs,):
        what = "z" if cell.endswith("_step") else "x"
        by = f"params['Wh'] of shape {by_h}" if what == "z" else f"params['Wx'] of shape {by_x}"
        text = f"{what} has shape {x.shape}, but {by} takes ({inputs},) or (batch, {inputs})"
    elif h.shape != (*x.shape[:-1], by_h[0]):
        text = (
            f"the state h has shape {h.shape} and must have {(*x.shape[:-1], by_h[0])}, for x of "
            f"shape {x.shape} and params['Wh'] of shape {by_h}"
        )
    else:
        text = f"the state c has shape {c.shape} and h has {h.shape}"
    raise ShapeError(f"{cell}: {text} [{user_line()}]")
