"""One LSTM trained twice, by ndtape and by PyTorch: the same weights, the same text, two curves.

Both begin with the weights that ndtape draws and see the same windows of Python's documentation, in
float64, with the same Adam. What differs is the order of additions, so the curves lie upon each
other until rounding has grown up. Printed are the largest difference of the losses and the time of
a step in each, on one thread. Without PyTorch only ndtape's run is made.

    python examples/beside_pytorch.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
import time
from itertools import islice

import numpy as np
import pydoc_text
from char_lstm import loss_and_state, make_model
from showing import OUTPUT, figure, save

import ndtape as nt
from ndtape import nn

HIDDEN, BATCH, LENGTH, STEPS, RATE = 64, 8, 40, 300, 5e-3


def steps_here(params, windows):
    """ndtape: for each step its loss, and a function that gives its gradient."""
    training = nn.truncated(
        nt.function(loss_and_state),
        params,
        nn.zero_state(params["lstm"], BATCH),
        windows,
        optimizer=nt.optim.adam(rate=RATE),
    )
    for found in training:
        yield float(found.value), lambda found=found: found.grads


def model_there(torch, params):
    """Modules with the same weights, in the same order: letters, LSTM, what reads the state.

    torch.nn.LSTM adds two biases; only one of them is trained here, or their sum would move twice
    as fast.
    """
    size, hidden = params["letters"]["W"].shape[1], params["lstm"]["Wh"].shape[0]
    letters = torch.nn.Embedding(*params["letters"]["W"].shape, dtype=torch.float64)
    lstm = torch.nn.LSTM(size, hidden, dtype=torch.float64)
    out = torch.nn.Linear(*params["out"]["W"].shape, dtype=torch.float64)
    weights = {name: torch.from_numpy(w) for name, w in nn.to_torch(params["lstm"]).items()}
    lstm.load_state_dict(weights)
    lstm.bias_hh_l0.requires_grad_(False)
    with torch.no_grad():
        letters.weight.copy_(torch.from_numpy(params["letters"]["W"]))
        out.weight.copy_(torch.from_numpy(params["out"]["W"].T))
        out.bias.copy_(torch.from_numpy(params["out"]["b"]))
    return letters, lstm, out


def gradient_there(letters, lstm, out):
    """PyTorch's gradient as a tree like ndtape's."""
    names = {name: p.grad for name, p in lstm.named_parameters() if p.grad is not None}
    (ours,) = nn.from_torch(names)
    return {
        "letters": {"W": letters.weight.grad.numpy().copy()},
        "lstm": ours,
        "out": {"W": out.weight.grad.numpy().T.copy(), "b": out.bias.grad.numpy().copy()},
    }


def steps_there(torch, params, windows):
    """PyTorch: the same."""
    letters, lstm, out = model_there(torch, params)
    weights = [p for module in (letters, lstm, out) for p in module.parameters()]
    method = torch.optim.Adam([p for p in weights if p.requires_grad], lr=RATE)
    state = None
    for window in windows:
        inputs, targets = (torch.from_numpy(np.ascontiguousarray(part)) for part in window)
        outputs, state = lstm(letters(inputs), state)
        logits = out(outputs).reshape(-1, out.out_features)
        loss = torch.nn.functional.cross_entropy(logits, targets.reshape(-1))
        method.zero_grad()
        loss.backward()
        method.step()
        state = tuple(part.detach() for part in state)
        yield float(loss.detach()), lambda: gradient_there(letters, lstm, out)


def largest_difference(ours, theirs):
    """Of two gradients, relative to the largest entry of each array."""
    worst = 0.0
    for part, arrays in ours.items():
        for name, one in arrays.items():
            other = theirs[part][name]
            worst = max(worst, np.max(np.abs(one - other)) / np.max(np.abs(one)))
    return float(worst)


def draw(folder, curves):
    picture, axes = figure(columns=len(curves))
    if picture is None:
        return None
    axes[0].plot(curves["ndtape"], label="ndtape")
    if "PyTorch" in curves:
        axes[0].plot(curves["PyTorch"], "--", label="PyTorch")
        apart = np.abs(curves["ndtape"] - curves["PyTorch"])
        axes[1].semilogy(np.maximum(apart, 1e-17), ".", markersize=3)
        axes[1].set(xlabel="step", ylabel="difference of the losses", title="float64")
    axes[0].set(xlabel="step", ylabel="nats a letter", title="one LSTM, trained twice")
    axes[0].legend()
    return save(picture, folder, "beside_pytorch")


def train(runs, steps):
    """A step of each run in turn: losses and seconds by name, and the gradients of step one."""
    curves = {name: np.zeros(steps) for name in runs}
    times = {name: np.zeros(steps) for name in runs}
    gradients = {}
    for k in nt.progress(range(steps), " and ".join(runs)):
        for name, run in runs.items():
            start = time.perf_counter()
            curves[name][k], gradient = next(run)
            times[name][k] = time.perf_counter() - start
            if k == 0:
                gradients[name] = gradient()
    return curves, times, gradients


def main(folder=OUTPUT, steps=STEPS, hidden=HIDDEN, letters=None):
    """Train twice, compare, draw; what was found."""
    text, alphabet = pydoc_text.load(letters)
    codes = pydoc_text.encode(text, alphabet)
    params = make_model(len(alphabet), hidden, np.random.default_rng(0))
    windows = list(islice(pydoc_text.streams(codes, BATCH, LENGTH), steps))
    runs = {"ndtape": steps_here(params, windows)}
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: nothing to compare with")
        curves, times, _ = train(runs, steps)
        found = {}
    else:
        runs["PyTorch"] = steps_there(torch, params, windows)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            curves, times, gradients = train(runs, steps)
        finally:
            torch.set_num_threads(threads)
        found = {
            "losses apart": float(np.max(np.abs(curves["ndtape"] - curves["PyTorch"]))),
            "gradients apart": largest_difference(*gradients.values()),
        }
        print(
            f"largest differences: first gradients {found['gradients apart']:.1e}, relative to ",
            end="",
        )
        print(f"each array's largest entry; losses {found['losses apart']:.1e}")
    for name, taken in times.items():
        print(f"{name:8s} loss {curves[name][0]:.4f} -> {curves[name][-1]:.4f}, ", end="")
        print(
            f"first step {1e3 * taken[0]:.0f} ms, then {1e3 * np.median(taken[1:]):.2f} ms a step"
        )
    return found | {"curves": curves, "times": times, "picture": draw(folder, curves)}


if __name__ == "__main__":
    main(*sys.argv[1:2])
