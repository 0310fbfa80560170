"""Recurrent layers equal PyTorch's modules: values and every gradient, with the weights copied."""

from functools import partial

import numpy as np
import pytest

import ndtape as nt
from ndtape import nn

torch = pytest.importorskip("torch")

LENGTHS = np.array([4, 6, 1])
T, BATCH, INPUTS, HIDDEN = 6, 3, 2, 5
CELLS = {
    "tanh": (partial(torch.nn.RNN, nonlinearity="tanh"), nn.rnn_cell),
    "relu": (partial(torch.nn.RNN, nonlinearity="relu"), partial(nn.rnn_cell, activation="relu")),
    "gru": (torch.nn.GRU, nn.gru_cell),
    "lstm": (torch.nn.LSTM, nn.lstm_cell),
}


def close(found, expected):
    assert np.shape(found) == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=1e-10)


def torch_state(state):
    """Last states of layers and directions as PyTorch stacks them: [h] or [h, c]."""
    flat = []
    for layer in state:
        flat += [layer["forward"], layer["backward"]] if isinstance(layer, dict) else [layer]
    pairs = [s if isinstance(s, tuple) else (s,) for s in flat]
    return [np.stack(part) for part in zip(*pairs, strict=True)]


def nested(states, two_ways, layers):
    """Ours from PyTorch's first states [h] or [h, c]."""
    each = [s[0] if len(s) == 1 else tuple(s) for s in zip(*states, strict=True)]
    if two_ways:
        return [{"forward": each[2 * i], "backward": each[2 * i + 1]} for i in range(layers)]
    return each


@pytest.mark.parametrize("loop", [nn.unroll, nn.scan_layer], ids=["unroll", "scan"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "packed"])
@pytest.mark.parametrize(
    ("kind", "layers", "two_ways", "batch_first"),
    [
        ("tanh", 1, False, False),
        ("relu", 2, True, True),
        ("gru", 1, False, True),
        ("gru", 2, True, False),
        ("lstm", 1, False, False),
        ("lstm", 2, True, True),
    ],
)
def test_equal_to_the_module(kind, layers, two_ways, batch_first, lengths, loop):
    make, cell = CELLS[kind]
    rng = np.random.default_rng(5)
    torch.manual_seed(5)
    module = make(
        INPUTS,
        HIDDEN,
        num_layers=layers,
        bidirectional=two_ways,
        batch_first=batch_first,
        dtype=torch.float64,
    )
    xs = rng.standard_normal((BATCH, T, INPUTS) if batch_first else (T, BATCH, INPUTS))
    first = rng.standard_normal((1 + (kind == "lstm"), layers * (1 + two_ways), BATCH, HIDDEN))
    width = HIDDEN * (1 + two_ways)
    weights = [
        rng.standard_normal((*xs.shape[:2], width)),
        *rng.standard_normal((len(first), layers * (1 + two_ways), BATCH, HIDDEN)),
    ]

    def loss(layers_params, states, xs):
        end, outputs = nn.stacked(
            cell,
            layers_params,
            nested(states, two_ways, layers),
            xs,
            lengths=lengths,
            batch_first=batch_first,
            loop=loop,
        )
        found = [outputs, *torch_state(end)]
        return sum(np.sum(w * f) for w, f in zip(weights, found, strict=True)), found

    params = nn.from_torch(module.state_dict())
    (_, found), grads = nt.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(
        params, list(first), xs
    )

    leaves = [torch.tensor(s, requires_grad=True) for s in first]
    data = torch.tensor(xs, requires_grad=True)
    fed = data
    if lengths is not None:
        fed = torch.nn.utils.rnn.pack_padded_sequence(
            data, torch.tensor(lengths), batch_first, enforce_sorted=False
        )
    outputs, end = module(fed, tuple(leaves) if kind == "lstm" else leaves[0])
    if lengths is not None:
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first)
    expected = [outputs, *(end if kind == "lstm" else [end])]
    sum((torch.tensor(w) * e).sum() for w, e in zip(weights, expected, strict=True)).backward()

    for one, other in zip(found, expected, strict=True):
        close(one, other)
    own = nn.to_torch(grads[0])
    if kind != "gru":  # PyTorch has the bias twice, so both have its derivative
        own |= {name.replace("ih", "hh"): g for name, g in own.items() if "bias_ih" in name}
    for name, parameter in module.named_parameters():
        if kind == "gru" and "bias_hh" in name:
            close(own[name][2 * HIDDEN :], parameter.grad[2 * HIDDEN :])
        else:
            close(own[name], parameter.grad)
    for one, leaf in zip(grads[1], leaves, strict=True):
        close(one, leaf.grad)
    close(grads[2], data.grad)
    if lengths is not None:
        beyond = ~nn.step_mask(lengths, T, batch_first)
        assert not grads[2][beyond].any() and not found[0][beyond].any()


@pytest.mark.parametrize("make", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
@pytest.mark.parametrize("bias", [True, False])
def test_weights_go_to_pytorch_and_back(make, bias):
    module = make(2, 3, num_layers=2, bidirectional=True, bias=bias, dtype=torch.float64)
    params = nn.from_torch(module.state_dict())
    other = make(2, 3, num_layers=2, bidirectional=True, dtype=torch.float64)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in nn.to_torch(params).items()})
    xs = torch.randn(4, 2, 2, dtype=torch.float64)
    close(other(xs)[0].detach().numpy(), module(xs)[0])
    again = nn.from_torch(other.state_dict())
    for one, two in zip(params, again, strict=True):
        for way in ("forward", "backward"):
            assert all((one[way][k] == two[way][k]).all() for k in one[way])


def test_layer_norm_lstm_is_the_one_of_pytorchs_own_functions():
    """As pytorch/benchmarks/fastrnns/custom_lstms.py writes it (whose affine biases are in b)."""
    rng = np.random.default_rng(2)
    params = nn.lstm_init(rng, INPUTS, HIDDEN, layer_norm=True)
    params = {name: p + 0.3 * rng.standard_normal(p.shape) for name, p in params.items()}
    h, c = rng.standard_normal((2, BATCH, HIDDEN))
    x = rng.standard_normal((BATCH, INPUTS))
    w = rng.standard_normal((2, BATCH, HIDDEN))

    def loss(params, h, c, x):
        new = nn.lstm_cell(params, (h, c), x)
        return np.sum(w[0] * new[0] + w[1] * new[1])

    value, grads = nt.value_and_grad(loss, argnums=(0, 1, 2, 3))(params, h, c, x)
    p = {name: torch.tensor(v, requires_grad=True) for name, v in params.items()}
    th, tc, tx = (torch.tensor(v, requires_grad=True) for v in (h, c, x))
    norm = torch.nn.functional.layer_norm
    z = norm(tx @ p["Wx"], (4 * HIDDEN,), p["gain_x"]) + p["b"]
    i, f, o, g = (z + norm(th @ p["Wh"], (4 * HIDDEN,), p["gain_h"])).chunk(4, 1)
    new_c = f.sigmoid() * tc + i.sigmoid() * g.tanh()
    new_h = o.sigmoid() * norm(new_c, (HIDDEN,), p["gain_c"], p["bias_c"]).tanh()
    total = (torch.tensor(w[0]) * new_h + torch.tensor(w[1]) * new_c).sum()
    total.backward()
    close(value, total)
    for name, leaf in p.items():
        close(grads[0][name], leaf.grad)
    for one, leaf in zip(grads[1:], (th, tc, tx), strict=True):
        close(one, leaf.grad)
