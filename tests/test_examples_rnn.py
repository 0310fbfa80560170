"""The examples of recurrent networks: numbers of F1 to F3, and trainings that learn, in small."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import ndtape as nt
from ndtape import nn

# --- F1, F2, F3: typed here a second time, from the list of worked examples -----------------------


@pytest.fixture(scope="module")
def recurrent():
    return importlib.import_module("f_recurrent")


@pytest.fixture(scope="module")
def walked(recurrent, tmp_path_factory):
    """What its `main` shows, with the picture."""
    folder = tmp_path_factory.mktemp("pictures")
    return recurrent.main(folder), folder / "f_recurrent.png"


def close(actual, expected, digits):
    """To the last digit printed, and with the shape printed."""
    expected = np.asarray(expected, dtype=float)
    assert np.shape(actual) == expected.shape
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=0.51 * 10.0**-digits)


def test_every_section_shows_its_numbers(recurrent, walked):
    numbers, picture = walked
    assert {key.partition(":")[0] for key in numbers} == {"f1", "f2", "f3"}
    assert len(numbers) == 80
    pytest.importorskip("matplotlib")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_f1_losses_and_gradients(recurrent):
    WI, WH, WO, H0 = recurrent.WI, recurrent.WH, recurrent.WO, recurrent.H0
    close(recurrent.rnn_losses(WI, [WH] * 3, WO, H0), [0.491096222, 0.860916476, 0.606819002], 9)
    value, (dWi, dWh, dWo, dh0) = nt.value_and_grad(recurrent.shared, (0, 1, 2, 3))(WI, WH, WO, H0)
    close(value, 1.958831699310, 12)
    close(dWh, [[0.035026, 0.018529], [0.000856, 0.001472]], 6)
    close(dWi, [[0.098363, -0.058278], [-0.000660, -0.003785]], 6)
    close(dWo, [[-0.112756, -0.088392], [0.112756, 0.088392]], 6)
    close(dh0, [0.034588, 0.008847], 6)


def test_f1_the_terms_of_the_three_copies(recurrent):
    bracket, by_hand = recurrent.by_hand()
    close(bracket, [[-0.273981, 0.001445], [-0.048411, -0.014304], [-0.002850, -0.000018]], 6)
    close(sum(bracket), [-0.325241, -0.012877], 6)
    terms = [
        [[-0.007425, 0.014851], [-0.000309, 0.000617]],
        [[0.069886, 0.043036], [0.000997, 0.000614]],
        [[-0.027435, -0.039358], [0.000168, 0.000241]],
    ]
    close(by_hand, terms, 6)

    @nt.function
    def total(copies):
        return np.sum(recurrent.rnn_losses(recurrent.WI, copies, recurrent.WO, recurrent.H0))

    for _ in range(2):  # recorded, then replayed
        by_tape = nt.grad(total)([recurrent.WH] * 3)
        np.testing.assert_allclose(by_tape, by_hand, rtol=0, atol=1e-15)


F2_STEPS = [
    {
        "i": (-0.004964, 0.000041),
        "f": (-0.008447, 0.000507),
        "o": (-0.017508, 0.004786),
        "z": (-0.053729, -0.011170),
        "h": (-0.325545, -0.344345),
        "c": (-0.113865, -0.020306),
    },
    {
        "i": (0.005932, -0.029213),
        "f": (0.005651, -0.002621),
        "o": (0.021231, -0.023049),
        "z": (0.065396, 0.046631),
        "h": (0.347909, 0.370509),
        "c": (0.103170, 0.204064),
    },
]
F2_NORMS = {"i": 0.036985704857, "f": 0.011628899861, "o": 0.044964902133, "z": 0.120061123844,
            "V": 0.088823219366}  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
def test_f2_the_lstm(recurrent, traced):
    f = nt.function(recurrent.lstm_loss) if traced else recurrent.lstm_loss
    zeros = [{name: np.zeros(2) for name in F2_STEPS[0]} for _ in range(2)]
    value, (dW, (dh0, dc0), pushes) = nt.value_and_grad(f, (0, 1, 2))(
        recurrent.LSTM, recurrent.LSTM_STATE, zeros
    )
    close(value, 1.330362458250, 12)
    dW_by_hand, state_by_hand, steps_by_hand = recurrent.lstm_by_hand(
        recurrent.LSTM, recurrent.LSTM_STATE
    )
    for found in (pushes, steps_by_hand):
        for step, expected in zip(found, F2_STEPS, strict=True):
            for name, printed in expected.items():
                close(step[name], printed, 6)
    for found in (dW, dW_by_hand):
        for name, norm in F2_NORMS.items():
            close(np.linalg.norm(found[name]), norm, 12)
    for dh, dc in ((dh0, dc0), state_by_hand):
        close(dh, [-0.022721, -0.016424], 6)
        close(dc, [-0.050989, -0.010523], 6)


def test_f2_by_the_cell_of_the_library(recurrent):
    """The same network by `nn.lstm_cell`: weights transposed, four side by side."""
    W = recurrent.LSTM
    stacked = np.concatenate([W["i"], W["f"], W["o"], W["z"]]).T
    params = {"Wx": stacked[:2], "Wh": stacked[2:], "b": np.zeros(8)}

    def loss(params):
        _, outputs = nn.scan_layer(nn.lstm_cell, params, recurrent.LSTM_STATE, recurrent.LSTM_XS)
        return nt.softmax_cross_entropy(outputs @ W["V"].T, np.array([0, 1]), reduction="sum")

    value, grads = nt.value_and_grad(loss)(params)
    close(value, 1.330362458250, 12)
    both = np.concatenate([grads["Wx"], grads["Wh"]]).T
    for k, gate in enumerate("ifoz"):
        close(np.linalg.norm(both[2 * k : 2 * k + 2]), F2_NORMS[gate], 12)


def test_f3_norms_along_the_steps(recurrent):
    turn, xs = recurrent.rotation(), recurrent.inputs(60)
    assert np.allclose(turn @ turn.T, np.eye(len(turn)), atol=1e-14)
    for size in (0.5, 1.0, 1.5):
        for program in (recurrent.last_state, recurrent.last_of_scan):
            norms = recurrent.adjoint_norms(size * turn, xs, recurrent.linear, program)
            np.testing.assert_allclose(norms, size ** np.arange(59.0, -1, -1), rtol=1e-12)
    norms = recurrent.adjoint_norms(0.5 * turn, xs)
    assert (norms[:-1] <= 0.5 * norms[1:]).all()  # tanh takes a little more each time


def test_f3_truncation(recurrent):
    errors = recurrent.truncation_error(
        0.5 * recurrent.rotation(), recurrent.inputs(60), [5, 20, 60]
    )
    assert 1e-3 < errors[0] < 0.1 and 0 < errors[1] < 1e-6 and errors[2] == 0


# --- trainings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    demo = importlib.import_module("demo")
    return demo.main(
        tmp_path_factory.mktemp("demo"), steps=200, hidden=32, letters=40_000, quiet=True
    )


def test_the_demo_learns(demo_run):
    losses = demo_run["losses"]
    _, alphabet = importlib.import_module("pydoc_text").load(40_000)
    assert losses[0] == pytest.approx(np.log(len(alphabet)), rel=0.05)  # all letters alike
    assert np.mean(losses[-20:]) < demo_run["simple"] - 0.25
    assert demo_run["held_back"] < demo_run["simple"] - 0.15
    pytest.importorskip("matplotlib")
    assert demo_run["picture"].name == "loss.png" and demo_run["picture"].stat().st_size > 5000


def test_the_demo_is_the_same_from_the_same_seed(demo_run):
    demo, text = importlib.import_module("demo"), importlib.import_module("pydoc_text")
    found, alphabet = text.load(40_000)
    losses = demo.train(found[:38_000], alphabet, 200, 32, quiet=True)[1]
    assert losses == demo_run["losses"]
    params, other, _ = demo.train(found[:38_000], alphabet, 3, 32, seed=1, quiet=True)
    assert other[:3] != losses[:3]
    said = [demo.write(params, alphabet, np.random.default_rng(3), 20) for _ in range(2)]
    assert said[0] == said[1] and len(said[0]) == 20 and set(said[0]) <= set(alphabet)


def test_the_gradient_of_the_demo_is_the_textbook_recursion():
    """Back-propagation through time by hand, for a window of the demo."""
    demo = importlib.import_module("demo")
    rng = np.random.default_rng(4)
    p = demo.make_network(7, 5, rng)
    inputs, targets = rng.integers(0, 7, (2, 6, 3))
    first = rng.normal(size=(3, 5))
    gradient = nt.value_and_grad(nt.function(demo.mean_loss), has_aux=True)
    (_, last), found = gradient(p, first, inputs, targets)

    states = [first]
    for letters in inputs:
        states.append(np.tanh(p["Wx"][letters] + states[-1] @ p["Wh"] + p["b"]))
    np.testing.assert_allclose(last, states[-1], rtol=1e-14)
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    dh = np.zeros_like(first)
    for t in range(5, -1, -1):
        error = (nt.softmax(states[t + 1] @ p["Wo"] + p["bo"]) - np.eye(7)[targets[t]]) / 18
        grads["Wo"] += states[t + 1].T @ error
        grads["bo"] += error.sum(0)
        dz = (dh + error @ p["Wo"].T) * (1 - states[t + 1] ** 2)
        np.add.at(grads["Wx"], inputs[t], dz)
        grads["Wh"] += states[t].T @ dz
        grads["b"] += dz.sum(0)
        dh = dz @ p["Wh"].T
    for name, value in grads.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-15)


def test_text_is_taken_once_and_streams_go_on():
    text = importlib.import_module("pydoc_text")
    whole, alphabet = text.load()
    paragraphs = [" ".join(part.split()) for part in whole.split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs)) > 1000
    codes = text.encode(whole, alphabet)
    assert "".join(alphabet[k] for k in codes[:50]) == whole[:50]
    windows = text.streams(codes[:101], 4, 10)
    first, second, third = (next(windows) for _ in range(3))
    assert first[0].shape == (10, 4)
    np.testing.assert_array_equal(first[1][:-1], first[0][1:])
    np.testing.assert_array_equal(first[1][-1], second[0][0])
    np.testing.assert_array_equal(third[0], first[0])  # the text begins again
    with pytest.raises(ValueError, match="too few"):
        next(text.streams(codes[:20], 4, 10))


def test_the_character_lstm_learns_and_repeats_itself(tmp_path):
    lstm = importlib.import_module("char_lstm")
    first, second = (
        lstm.main(tmp_path / "pictures", passes=2, hidden=24, letters=60_000, quiet=True)
        for _ in range(2)
    )
    assert first["losses"] == second["losses"] and first["sample"] == second["sample"]
    assert len(first["losses"]) == len(first["norms"]) == 148
    assert np.mean(first["losses"][-10:]) < first["simple"] - 0.1
    assert first["held_back"] < first["simple"] - 0.05 and len(first["sample"]) == 80
    pytest.importorskip("matplotlib")
    assert first["picture"].read_bytes().startswith(b"\x89PNG")


def test_digits_row_by_row(tmp_path):
    pytest.importorskip("sklearn")
    digits = importlib.import_module("row_digits")
    found = digits.main(tmp_path, epochs=5, hidden=24)
    for title in digits.READERS:
        assert found[title]["losses"][-1] < 0.7 * found[title]["losses"][0]
        assert found[title]["accuracy"][-1] > 0.75
    early, late = found["every row's loss"]["accuracy"], found["last row's loss"]["accuracy"]
    assert early[3] > 0.5 > late[3]  # asked after each row, it answers early


def test_adding_and_copying(tmp_path):
    memory = importlib.import_module("long_memory")
    rng = np.random.default_rng(0)
    xs, sums = memory.adding(rng, 20)
    assert xs.shape == (20, 32, 2) and (xs[..., 1].sum(axis=0) == 2).all()
    np.testing.assert_allclose(sums, np.sum(xs[..., 0] * xs[..., 1], axis=0))
    xs, wanted = memory.copying(rng, 12)
    np.testing.assert_array_equal(np.argmax(xs[:3], axis=-1), wanted[-3:])
    assert (np.argmax(xs[-4], axis=-1) == memory.LETTERS + 1).all() and not wanted[:-3].any()
    assert memory.TASKS["copying"][4](12) == pytest.approx(3 * np.log(8) / 12)

    found = memory.study("adding", tmp_path, 10, 16, 1e-2, 250, ["relu, identity"])
    assert np.mean(found["relu, identity"]["losses"][-20:]) < 0.05 < 1 / 6
    # An identity with relu loses nothing on the way back; it has not learned yet.
    before = memory.norms_by_lag(
        "adding", "relu, identity",
        memory.make_model("adding", "relu, identity", 16, np.random.default_rng(0)), 10,
    )  # fmt: skip
    np.testing.assert_array_equal(before, found["relu, identity"]["before"])
    assert before[-1] > 0.3 * before[0]
    short = memory.study("copying", tmp_path, 8, 12, 1e-2, 3, ["LSTM", "GRU"])
    assert [len(short[name]["after"]) for name in ("LSTM", "GRU")] == [8, 8]


def test_norms_by_lag_are_those_of_the_adjoint():
    """For one step back, by the definition: the derivative of the rest by the state."""
    memory = importlib.import_module("long_memory")
    params = memory.make_model("adding", "tanh, orthogonal", 6, np.random.default_rng(2))
    xs, sums = memory.adding(np.random.default_rng(0), 9)
    norms = memory.norms_by_lag("adding", "tanh, orthogonal", params, 9)
    h, _ = nn.unroll(nn.rnn_cell, params["cell"], nn.zero_state(params["cell"], 32), xs[:-2])

    def rest(h):
        return memory.adding_loss(nn.rnn_cell, params, h, xs[-2:], sums)

    np.testing.assert_allclose(norms[2], np.linalg.norm(nt.grad(rest)(h)), rtol=1e-12)


def test_sunspots(tmp_path):
    sunspots = importlib.import_module("sunspots")
    years, roots = sunspots.load()
    assert years[0] == 1700 and years[-1] == 2008 and (np.diff(years) == 1).all()
    np.testing.assert_allclose(np.mean(roots**2), 49.752104, atol=1e-6)
    found = sunspots.main(tmp_path, members=2, updates=120, hidden=5)
    assert all(np.mean(losses[-10:]) < 0.75 * losses[0] for losses in found["losses"])
    one_year = found["one_year"]
    assert one_year["linear"]["1921-1955"] == pytest.approx(0.111, abs=5e-4)
    assert one_year["GRU"]["1921-1955"] < 0.6 * one_year["same again"]["1921-1955"]
    # The first year of a free run is the forecast of one year; both ways of computing agree.
    np.testing.assert_allclose(found["horizons"]["GRU"][0], one_year["GRU"]["1921-1955"], rtol=1e-9)


def test_beside_pytorch(tmp_path):
    pytest.importorskip("torch")
    beside = importlib.import_module("beside_pytorch")
    found = beside.main(tmp_path, steps=8, hidden=10, letters=30_000)
    assert found["gradients apart"] < 1e-12 and found["losses apart"] < 1e-12
    curves = found["curves"]
    assert curves["ndtape"][-1] < curves["ndtape"][0] and len(curves["PyTorch"]) == 8


def test_scalar_neurons(tmp_path, capsys):
    pytest.importorskip("sklearn")
    neurons = importlib.import_module("scalar_neurons")
    found = neurons.main(tmp_path, epochs=2)
    assert found["losses"][1] < found["losses"][0] < 1 and found["accuracy"] > 0.85
    assert "dc/dx = -9.626059" in capsys.readouterr().out
