"""Weights from PyTorch's recurrent modules, and back.  PyTorch itself is not needed.

PyTorch keeps transposed matrices, a row a gate's unit, and two biases whose sum is all that counts
(except in the candidate of a GRU); an LSTM's gates are in the order i, f, g, o there and i, f, o, g
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError
from ..record.core import user_line

Params: TypeAlias = dict[str, Any]

ORDERS = {1: (0,), 3: (0, 1, 2), 4: (0, 1, 3, 2)}  # of gates; each is its own inverse
WAYS = (("forward", ""), ("backward", "_reverse"))


def from_torch(state_dict: Mapping[str, Any]) -> list[Any]:
    """Parameters of `stacked`, a list of layers, from the ``state_dict()`` of a PyTorch module.

    `state_dict` has PyTorch's names ("weight_ih_l0" ...) of torch.nn.RNN, GRU or LSTM, with CPU
    tensors or arrays; modules without biases get zeros, bidirectional ones dicts with "forward" and
    "backward".  Arrays are copies.

    Raises `ArgumentError` where there is no such entry, or projections (proj_size).

    >>> import numpy as np, ndtape as nt
    >>> module = {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2))}
    >>> (params,) = nt.nn.from_torch(module)
    >>> {name: value.shape for name, value in params.items()}
    {'Wx': (3, 8), 'Wh': (2, 8), 'b': (8,)}
    """
    if "weight_ih_l0" not in state_dict or any("weight_hr" in name for name in state_dict):
        raise ArgumentError(
            "from_torch takes the state_dict of a torch.nn.RNN, GRU or LSTM without proj_size, not "
            f"one with {list(state_dict)} [{user_line()}]"
        )
    layers: list[Any] = []
    while f"weight_ih_l{len(layers)}" in state_dict:
        i = len(layers)
        if f"weight_ih_l{i}_reverse" in state_dict:
            layers.append({way: _from_one(state_dict, f"_l{i}{end}") for way, end in WAYS})
        else:
            layers.append(_from_one(state_dict, f"_l{i}"))
    return layers


def to_torch(layers: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The inverse of `from_torch`: arrays under PyTorch's names, ready for ``torch.from_numpy``.

    `layers` are the parameters of one cell, or a list of layers.  The second bias is 0, except for
    the candidate of a GRU.  Raises `ArgumentError` for an LSTM with peepholes or layer
    normalisation, which PyTorch does not have.

    >>> import numpy as np, ndtape as nt
    >>> sorted(nt.nn.to_torch(nt.nn.rnn_init(np.random.default_rng(0), 3, 2)))
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    for i, layer in enumerate(layers if isinstance(layers, (list, tuple)) else [layers]):
        if "forward" in layer:
            for way, end in WAYS:
                _to_one(found, layer[way], f"_l{i}{end}")
        else:
            _to_one(found, layer, f"_l{i}")
    return found


def _from_one(state_dict: Mapping[str, Any], end: str) -> Params:
    by_x, by_h = (np.asarray(state_dict[f"weight_{kind}{end}"]) for kind in ("ih", "hh"))
    hidden = by_h.shape[1]
    gates = by_h.shape[0] // hidden
    biases = [
        np.asarray(state_dict.get(f"bias_{kind}{end}", np.zeros(by_h.shape[0], by_h.dtype)))
        for kind in ("ih", "hh")
    ]
    params = {"Wx": by_x, "Wh": by_h, "b": biases[0] + biases[1]}
    if gates == 3:
        params["b"][2 * hidden :] = biases[0][2 * hidden :]
    params = {name: _swapped(value, gates).T.copy() for name, value in params.items()}
    if gates == 3:
        params["bn"] = biases[1][2 * hidden :].copy()
    return params


def _to_one(found: dict[str, Any], params: Params, end: str) -> None:
    hidden, wide = params["Wh"].shape
    gates = wide // hidden
    if set(params) - {"Wx", "Wh", "b", "bn"} or gates not in ORDERS:
        raise ArgumentError(
            f"to_torch: torch.nn has no cell with the parameters {list(params)} [{user_line()}]"
        )
    for name, own in (("weight_ih", "Wx"), ("weight_hh", "Wh"), ("bias_ih", "b")):
        found[name + end] = _swapped(np.asarray(params[own]).T, gates).copy()
    second = np.zeros_like(found["bias_ih" + end])
    if "bn" in params:
        second[2 * hidden :] = params["bn"]
    found["bias_hh" + end] = second


def _swapped(rows: Any, gates: int) -> Any:
    """Rows (gates · hidden, ...) with the gates in the other order."""
    blocks = np.split(rows, gates)
    return np.concatenate([blocks[i] for i in ORDERS[gates]])
