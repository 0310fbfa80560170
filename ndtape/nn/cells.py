"""Recurrent cells: `cell(params, state, x)` gives the next state.

Vectors are rows: x is (inputs,) or (batch, inputs), a state (hidden,) or (batch, hidden), and a
layer x @ W.  The gates of a cell stand side by side in its weights, so that all of them are one
product; slices of the result are views, which record nothing.

Each cell also comes as a step, which takes its share of `project`, x @ Wx + b, instead of x:
for all steps of a sequence that is one product ahead of the loop, which is faster than many small
ones and keeps gates · hidden numbers a step in memory.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .. import functions
from ..errors import ArgumentError, ShapeError
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
from .shapes import NORMS, fitting, pair

Array: TypeAlias = Any
Params: TypeAlias = dict[str, Any]

ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: functions.relu(x)}

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
    h, x = fitting("rnn_cell", params, h, x, 1)
    return f(x @ params["Wx"] + h @ params["Wh"] + params["b"])


def rnn_step(params: Params, h: Array, z: Array, activation: str = "tanh") -> Array:
    """`rnn_cell` with z = x @ Wx + b computed before, by `project`.

    Raises what `rnn_cell` raises.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.rnn_init(np.random.default_rng(0), 3, 2)
    >>> xs, h = np.ones((5, 3)), np.zeros(2)
    >>> state, _ = nt.nn.scan_layer(nt.nn.rnn_step, params, h, nt.nn.project(params, xs))
    >>> same, _ = nt.nn.scan_layer(nt.nn.rnn_cell, params, h, xs)
    >>> bool(np.allclose(state, same, atol=1e-15))
    True
    """
    f = _activation(activation)
    h, z = fitting("rnn_step", params, h, z, 1)
    return f(z + h @ params["Wh"])


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
    h, x = fitting("gru_cell", params, h, x, 3)
    return _gru(params, h, x @ params["Wx"] + params["b"])


def gru_step(params: Params, h: Array, z: Array) -> Array:
    """`gru_cell` with z = x @ Wx + b computed before, by `project`; see `rnn_step`."""
    return _gru(params, *fitting("gru_step", params, h, z, 3))


def _gru(params: Params, h: Array, by_x: Array) -> Array:
    size = h.shape[-1]
    by_h = h @ params["Wh"]
    gates = functions.sigmoid(by_x[..., : 2 * size] + by_h[..., : 2 * size])
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
        for name, (gates,) in NORMS.items():
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
    h, c = pair("lstm_cell", state)
    h, x = fitting("lstm_cell", params, h, x, 4, c)
    if "gain_x" in params:
        return _lstm(params, h, c, project(params, x) + _normed(params, h))
    return _lstm(params, h, c, x @ params["Wx"] + h @ params["Wh"] + params["b"])


def lstm_step(params: Params, state: tuple[Array, Array], z: Array) -> tuple[Array, Array]:
    """`lstm_cell` with its share of x computed before, by `project`; see `rnn_step`."""
    h, c = pair("lstm_step", state)
    h, z = fitting("lstm_step", params, h, z, 4, c)
    return _lstm(params, h, c, z + (_normed(params, h) if "gain_x" in params else h @ params["Wh"]))


def _normed(params: Params, h: Array) -> Array:
    return _layer_norm(h @ params["Wh"], params["gain_h"])


def _lstm(params: Params, h: Array, c: Array, z: Array) -> tuple[Array, Array]:
    """From the columns i, f, o, g of z on."""
    size, normed = h.shape[-1], "gain_x" in params
    if "peep" in params:
        i, f, o, c = _by_peepholes(params["peep"], z, c, size)
    else:
        gates = functions.sigmoid(z[..., : 3 * size])
        i, f, o = gates[..., :size], gates[..., size : 2 * size], gates[..., 2 * size :]
        c = f * c + i * np.tanh(z[..., 3 * size :])
    seen = _layer_norm(c, params["gain_c"], params["bias_c"]) if normed else c
    return o * np.tanh(seen), c


def _by_peepholes(peep: Array, z: Array, c: Array, size: int) -> tuple[Array, ...]:
    """Gates that look at c: input and forget at the old one, output at the new one."""
    i = functions.sigmoid(z[..., :size] + peep[0] * c)
    f = functions.sigmoid(z[..., size : 2 * size] + peep[1] * c)
    c = f * c + i * np.tanh(z[..., 3 * size :])
    return i, f, functions.sigmoid(z[..., 2 * size : 3 * size] + peep[2] * c), c


# --- ahead of the loop ---------------------------------------------------------------------------


def project(params: Params, xs: Array) -> Array:
    """x @ Wx + b for all steps and sequences at once, for `rnn_step`, `gru_step` and `lstm_step`.

    `xs` is (..., inputs), the result (..., gates · hidden).  With layer normalisation it is that
    of x @ Wx, plus b.

    Raises `ShapeError` where shapes do not fit.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.gru_init(np.random.default_rng(0), 3, 2)
    >>> nt.nn.project(params, np.ones((5, 4, 3))).shape
    (5, 4, 6)
    """
    xs = xs if hasattr(xs, "shape") else np.asarray(xs)
    by_x = params["Wx"].shape
    if xs.shape[-1:] != by_x[:1]:
        raise ShapeError(
            f"project: xs has shape {xs.shape}, but params['Wx'] of shape {by_x} takes "
            f"(..., {by_x[0]}) [{user_line()}]"
        )
    if "gain_x" in params:
        return _layer_norm(xs @ params["Wx"], params["gain_x"], params["b"])
    return xs @ params["Wx"] + params["b"]


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
