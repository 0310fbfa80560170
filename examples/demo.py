"""The main job in one script, `make demo`: a recurrent network, unrolled, learns to write.

The network is a plain Python loop, h = tanh(x Wx + h Wh + b), a letter a step. `nt.function`
records it once; after that a gradient through 32 steps is one replay. The text is Python's own
documentation, as `help()` shows it. Four times on its way the network writes by itself.

    python examples/demo.py [folder for the picture, demo_output if none is given]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pydoc_text
from showing import figure, save, say

import ndtape as nt

HIDDEN, BATCH, LENGTH = 128, 16, 32
STEPS, RATE, CLIP = 1600, 4e-3, 1.0
SAMPLES = 4
OUTPUT = Path("demo_output")


def make_network(letters, hidden, rng):
    """Parameters: letters in, state to state, state to letters."""
    return {
        "Wx": rng.normal(size=(letters, hidden)) * 0.1,
        "Wh": rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
        "b": np.zeros(hidden),
        "Wo": rng.normal(size=(hidden, letters)) * 0.1,
        "bo": np.zeros(letters),
    }


def step(params, h, letters):
    """The next state: plain arrays or recording ones. `letters` are numbers, one a stream."""
    return np.tanh(params["Wx"][letters] + h @ params["Wh"] + params["b"])


def mean_loss(params, h, inputs, targets):
    """The mean cross-entropy of the next letter, in nats, and the last state, to go on from."""
    states = []
    for letters in inputs:  # an unrolled loop: it may hold anything that Python can
        h = step(params, h, letters)
        states.append(h)
    logits = np.stack(states) @ params["Wo"] + params["bo"]
    return nt.softmax_cross_entropy(logits, targets), h


def clipped(grads, limit):
    """The gradients, shortened together where their norm is above the limit."""
    norm = np.sqrt(sum(np.sum(g * g) for g in grads.values()))
    return {name: g * min(1.0, limit / norm) for name, g in grads.items()}


def write(params, alphabet, rng, length=150, start="\n", temperature=0.7):
    """Letters drawn one after another, each fed back as the next input."""
    h, text = np.zeros(len(params["b"])), start
    for _ in range(length):
        h = step(params, h, alphabet.index(text[-1]))
        chances = nt.softmax((h @ params["Wo"] + params["bo"]) / temperature)
        text += alphabet[rng.choice(len(alphabet), p=chances)]
    return text[len(start) :]


def held_back_loss(params, codes):
    """The loss on text that was not trained on, in one pass over BATCH streams of it."""
    each = (len(codes) - 1) // BATCH
    inputs, targets = next(pydoc_text.streams(codes, BATCH, each))
    return float(mean_loss(params, np.zeros((BATCH, len(params["b"]))), inputs, targets)[0])


def train(text, alphabet, steps=STEPS, hidden=HIDDEN, seed=0, quiet=False):
    """Adam with back-propagation truncated to LENGTH steps; parameters, losses, seconds."""
    rng = np.random.default_rng(seed)
    codes = pydoc_text.encode(text, alphabet)
    params = make_network(len(alphabet), hidden, rng)
    method = nt.optim.adam(rate=lambda k: RATE * (1 - 0.9 * k / steps))
    memory = method.init(params)
    gradient = nt.value_and_grad(nt.function(mean_loss), has_aux=True)
    h, losses, start = np.zeros((BATCH, hidden)), [], time.perf_counter()
    windows = pydoc_text.streams(codes, BATCH, LENGTH)
    bar = nt.progress(range(steps), "training")
    for k in bar:
        inputs, targets = next(windows)
        (loss, h), grads = gradient(params, h, inputs, targets)
        params, memory = method.update(params, clipped(grads, CLIP), memory)
        losses.append(float(loss))
        bar.show(loss=losses[-1])
        if k == 0 and not quiet:
            say(f"first gradient after {time.perf_counter() - start:.1f} s, compiling included")
            start = time.perf_counter()
        if (k + 1) % max(1, steps // SAMPLES) == 0 and not quiet:
            recent = np.mean(losses[-100:])
            say(f"\nafter {k + 1} steps, loss {recent:.3f}, it writes:")
            say(write(params, alphabet, np.random.default_rng(seed)))
    return params, losses, time.perf_counter() - start


def smooth(losses, width=50):
    """Means over `width` steps: (steps, means)."""
    count = max(1, len(losses) // width)
    width = len(losses) // count
    return width * np.arange(1, count + 1), np.reshape(
        losses[: count * width], (count, width)
    ).mean(1)


def draw(folder, losses, held_back, simple):
    picture, axes = figure()
    if picture is None:
        return None
    (axes,) = axes
    axes.plot(losses, color="0.8", label="each step")
    axes.plot(*smooth(losses), label="mean of 50 steps")
    axes.axhline(simple, color="C3", ls=":", label="frequencies of letters alone")
    axes.plot(len(losses), held_back, "ko", label="text held back")
    axes.set(xlabel="step", ylabel="nats a letter", title="an unrolled network on pydoc's topics")
    axes.legend()
    return save(picture, folder, "loss")


def main(folder=OUTPUT, steps=STEPS, hidden=HIDDEN, letters=None, quiet=False):
    """Train, write, draw; what was found."""
    text, alphabet = pydoc_text.load(letters)
    cut = len(text) - len(text) // 20
    codes = pydoc_text.encode(text, alphabet)
    shares = np.bincount(codes) / len(codes)
    simple = -np.sum(shares * np.log(shares))
    size = sum(
        p.size for p in make_network(len(alphabet), hidden, np.random.default_rng(0)).values()
    )
    print(f"{len(text)} letters of text, {len(alphabet)} different ones; {size} parameters")
    params, losses, taken = train(text[:cut], alphabet, steps, hidden, quiet=quiet)
    held_back = held_back_loss(params, codes[cut:])
    curve = [f"{loss:.2f}" for loss in smooth(losses, max(1, steps // 8))[1]]
    print(f"\nmean loss, eighth by eighth: {' '.join(curve)} nats a letter")
    print(f"letters by their frequency alone: {simple:.2f}; on text held back: {held_back:.2f}")
    print(f"{len(losses)} steps of {BATCH} × {LENGTH} letters in {taken:.1f} s, ", end="")
    print(f"{1e3 * taken / len(losses):.1f} ms a step")
    file = draw(folder, losses, held_back, simple)
    return {"losses": losses, "held_back": held_back, "simple": simple, "picture": file}


if __name__ == "__main__":
    main(*sys.argv[1:2])
