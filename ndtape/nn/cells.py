"""Recurrent cells: `cell(params, state, x)` gives the next state.

Vectors are rows: x is (inputs,) or (batch, inputs), a state (hidden,) or (batch, hidden), and a
layer x @ W.  The gates of a cell stand side by side in its weights, so that all of them are one
product; slices of the result are views, which record nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..functions import relu, sigmoid
from ..losses import layer_norm as _layer_norm
from ..record.core import user_line
from .initialisers import (
    Initialiser,
    generator,
    glorot_uniform,
    he_uniform,
    identity,
    orthogonal,
    side_by_side,
)

Array: TypeAlias = Any
Params: TypeAlias = dict[str, Any]

ACTIVATIONS = {"tanh": np.tanh, "relu": relu}
NORMS = ("gain_x", "gain_h", "gain_c", "bias_c")

# --- rnn -----------------------------------------------------------------------------------------


def rnn_init(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    *,
    activation: str = "tanh",
    kernel: Initialiser | None = None,
    recurrent: Initialiser | None = None,
    dtype: Any = np.float64,
) -> Params:
    """Weights of `rnn_cell`: Wx (inputs, hidden), Wh (hidden, hidden), b (hidden,).

    Wx is drawn by `kernel` and Wh by `recurrent`: by default `glorot_uniform` and `orthogonal`
    for tanh, `he_uniform` and `identity` for relu.  b is 0.

    Raises `ArgumentError` for an unknown activation and what is no generator.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.rnn_init(np.random.default_rng(0), 3, 2)
    >>> {name: value.shape for name, value in params.items()}
    {'Wx': (3, 2), 'Wh': (2, 2), 'b': (2,)}
    """
    _activation(activation)
    by_default = (glorot_uniform, orthogonal) if activation == "tanh" else (he_uniform, identity)
    return _weights(
        rng, inputs, hidden, 1, kernel or by_default[0], recurrent or by_default[1], dtype
    )


def rnn_cell(params: Params, h: Array, x: Array, activation: str = "tanh") -> Array:
    """The next state, activation(x @ Wx + h @ Wh + b).

    `activation` is "tanh" or "relu"; ``functools.partial(nn.rnn_cell, activation="relu")`` is the
    cell for a layer.

    Raises `ShapeError` where shapes do not fit, and names the parameter.

    >>> import numpy as np, ndtape as nt
    >>> params = {"Wx": np.ones((3, 2)), "Wh": np.eye(2), "b": np.zeros(2)}
    >>> nt.nn.rnn_cell(params, np.array([0.5, -4.0]), np.ones(3), activation="relu").tolist()
    [3.5, 0.0]

    Source: J. L. Elman, Finding structure in time, Cognitive Science 14 (1990).
    """
    f = _activation(activation)
    h, x = _fitting("rnn_cell", params, h, x, 1)
    return f(x @ params["Wx"] + h @ params["Wh"] + params["b"])


# --- gru -----------------------------------------------------------------------------------------


def gru_init(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    *,
    kernel: Initialiser = glorot_uniform,
    recurrent: Initialiser = orthogonal,
    dtype: Any = np.float64,
) -> Params:
    """Weights of `gru_cell`: Wx (inputs, 3·hidden), Wh (hidden, 3·hidden), b, bn (hidden,).

    The gates stand in the order reset, update, candidate, as in PyTorch, and are drawn one by one.
    The biases are 0.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.gru_init(np.random.default_rng(0), 3, 2)
    >>> {name: value.shape for name, value in params.items()}
    {'Wx': (3, 6), 'Wh': (2, 6), 'b': (6,), 'bn': (2,)}
    """
    params = _weights(rng, inputs, hidden, 3, kernel, recurrent, dtype)
    return {**params, "bn": np.zeros(hidden, dtype)}


def gru_cell(params: Params, h: Array, x: Array) -> Array:
    """The next state, z h + (1 - z) n, of reset r, update z and candidate n:

    r, z = σ(x @ Wx + h @ Wh + b) and n = tanh(x @ Wx + b + r · (h @ Wh + bn)), each with its own
    columns.  This is PyTorch's (and cuDNN's) form, which resets *after* the product, so that one
    product serves all gates; Cho et al. first reset h before it.

    Raises `ShapeError` where shapes do not fit, and names the parameter.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.gru_init(np.random.default_rng(0), 3, 2)
    >>> params["b"][2:4] = 1000.0  # the update gate is open: the state is kept
    >>> nt.nn.gru_cell(params, np.array([0.5, -4.0]), np.ones(3)).tolist()
    [0.5, -4.0]

    Source: K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014
    (version 1 on arXiv, 1406.1078v1, has the form that resets after the product).
    """
    h, x = _fitting("gru_cell", params, h, x, 3)
    size = h.shape[-1]
    _further("gru_cell", params, "bn", (size,))
    by_x = x @ params["Wx"] + params["b"]
    by_h = h @ params["Wh"]
    gates = sigmoid(by_x[..., : 2 * size] + by_h[..., : 2 * size])
    reset, update = gates[..., :size], gates[..., size:]
    new = np.tanh(by_x[..., 2 * size :] + reset * (by_h[..., 2 * size :] + params["bn"]))
    return new + update * (h - new)


# --- lstm ----------------------------------------------------------------------------------------


def lstm_init(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    *,
    forget_bias: float = 1.0,
    peephole: bool = False,
    layer_norm: bool = False,
    kernel: Initialiser = glorot_uniform,
    recurrent: Initialiser = orthogonal,
    dtype: Any = np.float64,
) -> Params:
    """Weights of `lstm_cell`: Wx (inputs, 4·hidden), Wh (hidden, 4·hidden), b (4·hidden,).

    The gates stand in the order **input, forget, output, candidate** (PyTorch's has the candidate
    third): the three that go through a sigmoid are neighbours and take one operation.
    `forget_bias` is the first bias of the forget gate: with 1 the cell begins by remembering.
    `peephole` adds "peep" (3, hidden), zeros; `layer_norm` adds "gain_x" and "gain_h"
    (4·hidden,), "gain_c" and "bias_c" (hidden,).

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.lstm_init(np.random.default_rng(0), 3, 2)
    >>> {name: value.shape for name, value in params.items()}
    {'Wx': (3, 8), 'Wh': (2, 8), 'b': (8,)}
    >>> params["b"].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    Source of the forget gate's bias: F. A. Gers, J. Schmidhuber, F. Cummins, Learning to forget,
    Neural Computation 12 (2000); R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration
    of recurrent network architectures, ICML 2015.
    """
    params = _weights(rng, inputs, hidden, 4, kernel, recurrent, dtype)
    params["b"][hidden : 2 * hidden] = forget_bias
    if peephole:
        params["peep"] = np.zeros((3, hidden), dtype)
    if layer_norm:
        for name, gates in zip(NORMS, (4, 4, 1, 1), strict=True):
            params[name] = np.full(gates * hidden, name != "bias_c", dtype)
    return params


def lstm_cell(params: Params, state: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """The next state (h, c): c ← σ(f) c + σ(i) tanh(g), h ← σ(o) tanh(c).

    i, f, o, g are the columns of x @ Wx + h @ Wh + b.  Which variant it is, the parameters say.
    With "peep", its rows times c are added to i, f and (with the new c) o.  With "gain_x", both
    products and the c under the last tanh are normalised over all their columns.

    Raises `ShapeError` where shapes do not fit, and names the parameter; `ArgumentError` for a
    state that is no pair.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.lstm_init(np.random.default_rng(0), 3, 2)
    >>> h, c = nt.nn.lstm_cell(params, nt.nn.zero_state(params), np.ones(3))
    >>> h.shape, c.shape
    ((2,), (2,))

    Source: S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997);
    with peepholes: F. A. Gers, N. N. Schraudolph, J. Schmidhuber, Learning precise timing with LSTM
    recurrent networks, JMLR 3 (2002); with layer normalisation: J. L. Ba, J. R. Kiros, G. E.
    Hinton, Layer normalization, arXiv:1607.06450, equations 20 to 22.
    """
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ArgumentError(
            f"lstm_cell: the state is a pair (h, c), such as nn.zero_state(params), not "
            f"{type(state).__name__} [{user_line()}]"
        )
    h, c = state
    h, x = _fitting("lstm_cell", params, h, x, 4, c)
    size = h.shape[-1]
    normed = "gain_x" in params
    if normed:
        for name, gates in zip(NORMS, (4, 4, 1, 1), strict=True):
            _further("lstm_cell", params, name, (gates * size,))
        z = _layer_norm(x @ params["Wx"], params["gain_x"], params["b"])
        z = z + _layer_norm(h @ params["Wh"], params["gain_h"])
    else:
        z = x @ params["Wx"] + h @ params["Wh"] + params["b"]
    if "peep" in params:
        _further("lstm_cell", params, "peep", (3, size))
        i, f, o, c = _by_peepholes(params["peep"], z, c, size)
    else:
        gates = sigmoid(z[..., : 3 * size])
        i, f, o = gates[..., :size], gates[..., size : 2 * size], gates[..., 2 * size :]
        c = f * c + i * np.tanh(z[..., 3 * size :])
    seen = _layer_norm(c, params["gain_c"], params["bias_c"]) if normed else c
    return o * np.tanh(seen), c


def _by_peepholes(peep: Array, z: Array, c: Array, size: int) -> tuple[Array, ...]:
    """Gates that look at c: input and forget at the old one, output at the new one."""
    i = sigmoid(z[..., :size] + peep[0] * c)
    f = sigmoid(z[..., size : 2 * size] + peep[1] * c)
    c = f * c + i * np.tanh(z[..., 3 * size :])
    return i, f, sigmoid(z[..., 2 * size : 3 * size] + peep[2] * c), c


# --- states --------------------------------------------------------------------------------------


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


# --- shared parts --------------------------------------------------------------------------------


def _weights(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    gates: int,
    kernel: Initialiser,
    recurrent: Initialiser,
    dtype: Any,
) -> Params:
    rng = generator(rng, "a recurrent layer")
    return {
        "Wx": side_by_side(kernel, rng, (inputs, hidden), gates, dtype),
        "Wh": side_by_side(recurrent, rng, (hidden, hidden), gates, dtype),
        "b": np.zeros(gates * hidden, dtype),
    }


def _activation(name: str) -> Any:
    found = ACTIVATIONS.get(name)
    if found is None:
        raise ArgumentError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, not {name!r}; another cell is a "
            f"function of three lines, and every layer takes it [{user_line()}]"
        )
    return found


def _fitting(
    cell: str, params: Params, h: Array, x: Array, gates: int, c: Array = None
) -> tuple[Array, Array]:
    """State and input as arrays, whose shapes fit the parameters: else it says which does not."""
    h = h if hasattr(h, "shape") else np.asarray(h)
    x = x if hasattr(x, "shape") else np.asarray(x)
    try:
        shapes = (params["Wx"].shape, params["Wh"].shape, params["b"].shape)
    except (KeyError, TypeError, AttributeError):
        raise ArgumentError(
            f"{cell} takes a dict with the arrays 'Wx', 'Wh' and 'b', as {cell[:-5]}_init makes "
            f"it, not {_keys(params)} [{user_line()}]"
        ) from None
    size = shapes[1][0] if shapes[1] else 0
    wide = gates * size
    if (
        shapes != ((*x.shape[-1:], wide), (size, wide), (wide,))
        or h.shape != (*x.shape[:-1], size)
        or (c is not None and c.shape != h.shape)
    ):
        _misfit(cell, shapes, h, x, gates, c)
    return h, x


def _further(cell: str, params: Params, name: str, shape: tuple[int, ...]) -> None:
    """A parameter that only some cells have: with broadcasting a wrong one would go unnoticed."""
    if name not in params:
        raise ArgumentError(f"{cell}: params[{name!r}] is missing [{user_line()}]")
    if params[name].shape != shape:
        raise ShapeError(
            f"{cell}: params[{name!r}] has shape {params[name].shape} and must have {shape} "
            f"[{user_line()}]"
        )


def _misfit(cell: str, shapes: Any, h: Array, x: Array, gates: int, c: Array) -> None:
    """The error for the first of the shapes that does not fit those before it."""
    by_x, by_h, bias = shapes
    wide = "hidden" if gates == 1 else f"{gates}·hidden"
    if len(by_h) != 2 or by_h[1] != gates * by_h[0]:
        text = f"params['Wh'] has shape {by_h} and must have (hidden, {wide})"
    elif len(by_x) != 2 or by_x[1] != by_h[1]:
        text = f"params['Wx'] has shape {by_x} and must have (inputs, {by_h[1]}), as 'Wh' {by_h}"
    elif bias != by_h[1:]:
        text = f"params['b'] has shape {bias} and must have {by_h[1:]}, as 'Wh' {by_h}"
    elif x.shape[-1:] != by_x[:1]:
        text = (
            f"x has shape {x.shape}, but params['Wx'] of shape {by_x} takes ({by_x[0]},) or "
            f"(batch, {by_x[0]})"
        )
    elif h.shape != (*x.shape[:-1], by_h[0]):
        text = (
            f"the state h has shape {h.shape} and must have {(*x.shape[:-1], by_h[0])}, for x of "
            f"shape {x.shape} and params['Wh'] of shape {by_h}"
        )
    else:
        text = f"the state c has shape {c.shape} and h has {h.shape}"
    raise ShapeError(f"{cell}: {text} [{user_line()}]")


def _keys(params: Any) -> str:
    return f"a dict with {list(params)}" if isinstance(params, dict) else type(params).__name__
