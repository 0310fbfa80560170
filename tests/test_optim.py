"""nt.optim: the steps of torch.optim, the recurrences written out by hand, and the errors."""

from __future__ import annotations

import numpy as np
import pytest

from ndtape import optim
from ndtape.errors import ArgumentError

STEPS = 12


def gradients(params, step):
    """A bowl that is not round, with a slope that changes from step to step."""
    return {
        "w": 2 * params["w"] * np.array([1.0, 10.0, 0.1]) + np.sin(step),
        "b": 3 * params["b"] + np.cos(step),
    }


def start():
    return {"w": np.array([1.0, -2.0, 0.5]), "b": np.array([[0.25], [-4.0]])}


def run(opt, steps=STEPS):
    params = start()
    state = opt.init(params)
    for step in range(steps):
        params, state = opt.update(params, gradients(params, step), state)
    return params


PAIRS = {
    "sgd": (optim.sgd(0.01), lambda t, p: t.SGD(p, lr=0.01)),
    "momentum": (
        optim.momentum(0.01, decay=0.8),
        lambda t, p: t.SGD(p, lr=0.01, momentum=0.8),
    ),
    "momentum, weight decay": (
        optim.momentum(0.01, weight_decay=0.1),
        lambda t, p: t.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    ),
    "nesterov": (
        optim.nesterov(0.01, weight_decay=0.1),
        lambda t, p: t.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    ),
    "rmsprop": (optim.rmsprop(), lambda t, p: t.RMSprop(p)),
    "rmsprop, slow": (
        optim.rmsprop(0.02, decay=0.9, epsilon=1e-3),
        lambda t, p: t.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-3),
    ),
    "adam": (optim.adam(), lambda t, p: t.Adam(p)),
    "adam, own decays": (
        optim.adam(0.1, 0.7, 0.95, 1e-4),
        lambda t, p: t.Adam(p, lr=0.1, betas=(0.7, 0.95), eps=1e-4),
    ),
    "adamw": (optim.adamw(), lambda t, p: t.AdamW(p)),
    "adamw, strong": (
        optim.adamw(0.1, weight_decay=0.5),
        lambda t, p: t.AdamW(p, lr=0.1, weight_decay=0.5),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_steps_of_torch(name):
    torch = pytest.importorskip("torch")
    opt, build = PAIRS[name]
    leaves = {key: torch.tensor(value) for key, value in start().items()}
    theirs = build(torch.optim, list(leaves.values()))
    for step in range(STEPS):
        grads = gradients({key: leaf.numpy() for key, leaf in leaves.items()}, step)
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(grads[key])
        theirs.step()
    ours = run(opt)
    for key, leaf in leaves.items():
        np.testing.assert_allclose(ours[key], leaf.numpy(), rtol=1e-12, atol=1e-13)


def by_hand(step_of_leaf, moments):
    """Run a recurrence on every element by itself, with Python floats."""
    params = {key: value.copy() for key, value in start().items()}
    kept = {key: [[0.0] * moments for _ in value.ravel()] for key, value in params.items()}
    for step in range(STEPS):
        grads = gradients(params, step)
        for key, value in params.items():
            flat = value.reshape(-1)
            for i, g in enumerate(grads[key].ravel().tolist()):
                flat[i], kept[key][i] = step_of_leaf(float(flat[i]), g, kept[key][i], step + 1)
    return params


def hand_sgd(p, g, kept, step):
    return p - 0.01 * g, []


def hand_momentum(p, g, kept, step):
    v = 0.9 * kept[0] + g + 0.1 * p
    return p - 0.01 * v, [v]


def hand_nesterov(p, g, kept, step):
    g = g + 0.1 * p
    v = 0.9 * kept[0] + g
    return p - 0.01 * (g + 0.9 * v), [v]


def hand_rmsprop(p, g, kept, step):
    s = 0.99 * kept[0] + 0.01 * g**2
    return p - 0.01 * g / (s**0.5 + 1e-8), [s]


def hand_adam(p, g, kept, step, weight_decay=0.0):
    p = p - 1e-3 * weight_decay * p
    m = 0.9 * kept[0] + 0.1 * g
    s = 0.999 * kept[1] + 0.001 * g**2
    return p - 1e-3 * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)) ** 0.5 + 1e-8), [m, s]


HAND = {
    "sgd": (hand_sgd, 0),
    "momentum, weight decay": (hand_momentum, 1),
    "nesterov": (hand_nesterov, 1),
    "rmsprop": (hand_rmsprop, 1),
    "adam": (hand_adam, 2),
    "adamw": (lambda p, g, kept, step: hand_adam(p, g, kept, step, 0.01), 2),
}


@pytest.mark.parametrize("name", HAND)
def test_the_recurrence_by_hand(name):
    expected = by_hand(*HAND[name])
    for key, value in run(PAIRS[name][0]).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-12, atol=1e-13)


METHODS = {
    "sgd": optim.sgd,
    "momentum": optim.momentum,
    "nesterov": optim.nesterov,
    "rmsprop": optim.rmsprop,
    "adam": optim.adam,
    "adamw": optim.adamw,
}
every_method = pytest.mark.parametrize("name", METHODS)


@every_method
def test_types_and_structure_are_kept(name):
    params = {
        "layers": [(np.ones((2, 3), np.float32), np.float32(2)), (np.ones((0, 3)), 1)],
        "scale": 0.5,
    }
    opt = METHODS[name](rate=0.1)
    grads = {"layers": [(np.ones((2, 3)), 1.0), (np.ones((0, 3)), 1.0)], "scale": 1.0}
    state = opt.init(params)
    for _ in range(2):
        params, state = opt.update(params, grads, state)
    (w, b), (empty, whole) = params["layers"]
    assert (w.dtype, type(b), empty.shape) == (np.float32, np.float32, (0, 3))
    assert (type(whole), type(params["scale"])) == (float, float)
    for moment in set(state) - {"step"}:
        kept = state[moment]["layers"][0]
        assert (kept[0].dtype, type(kept[1])) == (np.float32, np.float32)
    assert state["step"] == 2


@every_method
def test_update_is_pure(name):
    opt = METHODS[name](rate=0.1)
    params, grads = [np.array([1.0, 2.0])], [np.array([3.0, -4.0])]
    state = opt.init(params)
    once, after = opt.update(params, grads, state)
    again, _ = opt.update(params, grads, state)
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(params[0], [1.0, 2.0])
    np.testing.assert_array_equal(grads[0], [3.0, -4.0])
    assert (state["step"], after["step"]) == (0, 1)
    assert all(not np.any(state[moment][0]) for moment in set(state) - {"step"})


@every_method
def test_a_schedule_is_asked_at_every_step(name):
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1 if step < 2 else 0.0

    opt = METHODS[name](rate=rate)
    params = [1.0]
    state = opt.init(params)
    seen = []
    for _ in range(4):
        params, state = opt.update(params, [0.5], state)
        seen.append(params[0])
    assert asked == [0, 1, 2, 3]
    assert seen[0] != seen[1]
    assert seen[1] == seen[2] == seen[3]


@every_method
def test_a_single_array_and_an_empty_tree(name):
    opt = METHODS[name](rate=0.1)
    params, _ = opt.update(np.ones(3), np.ones(3), opt.init(np.ones(3)))
    assert params.shape == (3,)
    assert opt.update({}, {}, opt.init({}))[0] == {}


@every_method
def test_it_reaches_the_minimum(name):
    opt = METHODS[name](rate=lambda step: 0.05 / (1 + 0.02 * step))
    params = {"x": np.array([1.0, -1.0])}
    state = opt.init(params)
    for _ in range(600):
        params, state = opt.update(params, {"x": 2 * (params["x"] - 0.3)}, state)
    np.testing.assert_allclose(params["x"], 0.3, atol=2e-3)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"w": np.ones(2)}, "structure"),
        ([np.ones(2), 1.0], "structure"),
        ({"w": None, "b": 1.0}, "structure"),
        ({"w": np.ones(3), "b": 1.0}, r"at \['w'\]: shape \(3,\), but the parameter's is \(2,\)"),
        (
            {"w": np.ones(2), "b": np.ones(1)},
            r"at \['b'\]: shape \(1,\), but the parameter's is \(\)",
        ),
    ],
)
def test_mismatched_gradients(grads, message):
    params = {"w": np.ones(2), "b": 0.0}
    opt = optim.adam()
    with pytest.raises(ArgumentError, match=message):
        opt.update(params, grads, opt.init(params))


def test_the_state_of_another_method_or_tree():
    params = [np.ones(2)]
    with pytest.raises(ArgumentError, match="keeps"):
        optim.adam().update(params, params, optim.sgd(0.1).init(params))
    with pytest.raises(ArgumentError, match="keeps"):
        optim.adam().update(params, params, None)
    with pytest.raises(ArgumentError, match="the state's 'mean' at"):
        optim.adam().update(params, params, optim.adam().init([np.ones(3)]))


@pytest.mark.parametrize("leaf", [np.arange(3), np.array([True]), np.ones(2, complex), "w"])
def test_parameters_that_cannot_take_a_step(leaf):
    with pytest.raises(ArgumentError, match=r"parameter \['w'\] is of type"):
        optim.sgd(0.1).init({"w": leaf})


def test_recording_values_are_refused():
    import ndtape as nt

    leaf = nt.var(1.0)
    with pytest.raises(ArgumentError, match="recording value"):
        optim.sgd(0.1).init([leaf])
    with pytest.raises(ArgumentError, match="recording value"):
        optim.sgd(0.1).update([1.0], [leaf], optim.sgd(0.1).init([1.0]))


def test_decays_outside_their_range():
    for build in (optim.momentum, optim.nesterov, optim.rmsprop, optim.adam):
        with pytest.raises(ArgumentError, match="decay"):
            build(rate=0.1, decay=1.0)


def test_nan_gradients_pass_through():
    """A nan is shown, not hidden: the parameter it belongs to becomes nan and no other."""
    opt = optim.adam()
    params, _ = opt.update([1.0, 2.0], [float("nan"), 1.0], opt.init([1.0, 2.0]))
    assert np.isnan(params[0])
    assert params[1] < 2.0
