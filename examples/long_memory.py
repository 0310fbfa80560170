"""Two tasks for which a network must remember, and how far back its gradient reaches.

The adding problem (Hochreiter and Schmidhuber 1997): two of a hundred numbers are marked, and their
sum is wanted at the end. Who has learned nothing says 1, with a squared error of 1/6. The copy
memory task (in the form of Arjovsky, Shah and Bengio 2016): three letters are shown, then nothing
for a while, then a sign at which they have to be repeated. Without a memory the loss is that of
guessing the letters: 3 log 8 / steps.

Four cells try both: tanh with an orthogonal matrix, relu with an identity (Le, Jaitly and Hinton
2015), GRU, and LSTM. For each of them the norm of the gradient by the state is drawn against the
number of steps that it has come back. All of it takes about a minute.

    python examples/long_memory.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
from showing import OUTPUT, figure, save

import ndtape as nt
from ndtape import nn

BATCH, CLIP = 32, 1.0
ADDING = {"steps": 100, "hidden": 32, "rate": 3e-3, "updates": 2000}
COPYING = {"steps": 30, "hidden": 48, "rate": 6e-3, "updates": 2500}
LETTERS, SHOWN = 8, 3  # different letters, and how many are to be remembered


def small(rng, shape, dtype=np.float64):
    return (0.1 * rng.standard_normal(shape)).astype(dtype)


# name: (its weights, the cell)
CELLS = {
    "tanh, orthogonal": (nn.rnn_init, nn.rnn_cell),
    "relu, identity": (
        partial(nn.rnn_init, activation="relu", kernel=small, recurrent=nn.identity),
        partial(nn.rnn_cell, activation="relu"),
    ),
    "GRU": (nn.gru_init, nn.gru_cell),
    "LSTM": (nn.lstm_init, nn.lstm_cell),
}

# --- the tasks ------------------------------------------------------------------------------------


def adding(rng, steps):
    """Inputs (steps, batch, 2), numbers and marks, and the sums (batch,) that are wanted."""
    numbers = rng.uniform(size=(steps, BATCH))
    marks = np.zeros((steps, BATCH))
    half = steps // 2
    marks[rng.integers(0, half, BATCH), np.arange(BATCH)] = 1.0
    marks[rng.integers(half, steps, BATCH), np.arange(BATCH)] = 1.0
    return np.stack([numbers, marks], axis=-1), np.sum(numbers * marks, axis=0)


def adding_loss(cell, params, state, xs, sums):
    """The squared error of what is read off the last state."""
    state, outputs = nn.scan_layer(cell, params["cell"], state, xs)
    return nt.squared_error(nn.dense(params["out"], outputs[-1])[:, 0], sums)


def copying(rng, steps):
    """Inputs (steps, batch, letters + 2), one-hot, and the classes (steps, batch) that are wanted.

    Letter 0 is "nothing", the last one the sign to repeat.
    """
    letters = rng.integers(1, LETTERS + 1, (SHOWN, BATCH))
    shown = np.zeros((steps, BATCH), dtype=int)
    shown[:SHOWN] = letters
    shown[-SHOWN - 1] = LETTERS + 1
    wanted = np.zeros((steps, BATCH), dtype=int)
    wanted[-SHOWN:] = letters
    return np.eye(LETTERS + 2)[shown], wanted


def copying_loss(cell, params, state, xs, wanted):
    """The mean cross-entropy over all steps."""
    state, outputs = nn.scan_layer(cell, params["cell"], state, xs)
    return nt.softmax_cross_entropy(nn.dense(params["out"], outputs), wanted)


# task: (a batch of it, its loss, inputs, outputs, the loss of who remembers nothing)
TASKS = {
    "adding": (adding, adding_loss, 2, 1, lambda steps: 1 / 6),
    "copying": (copying, copying_loss, LETTERS + 2, LETTERS + 1,
                lambda steps: SHOWN * np.log(LETTERS) / steps),
}  # fmt: skip


def make_model(task, name, hidden, rng):
    _, _, inputs, outputs, _ = TASKS[task]
    init, _ = CELLS[name]
    return {"cell": init(rng, inputs, hidden), "out": nn.dense_init(rng, hidden, outputs)}


def train(task, name, steps, hidden, rate, updates, seed=0):
    """Adam on fresh batches: the first and the last parameters, and the loss of each update."""
    rng = np.random.default_rng(seed)
    batch, loss, *_ = TASKS[task]
    first = params = make_model(task, name, hidden, rng)
    method = nt.optim.adam(rate=lambda k: rate * (1 - 0.9 * k / updates))
    memory, losses = method.init(params), []
    gradient = nt.value_and_grad(nt.function(partial(loss, CELLS[name][1])))
    state = nn.zero_state(params["cell"], BATCH)
    bar = nt.progress(range(updates), f"{task}, {name:16s}")
    for _ in bar:
        value, grads = gradient(params, state, *batch(rng, steps))
        grads, _ = nn.clip_by_global_norm(grads, CLIP)
        params, memory = method.update(params, grads, memory)
        losses.append(float(value))
        bar.show(loss=value)
    return first, params, losses


# --- how far the gradient reaches -----------------------------------------------------------------


def norms_by_lag(task, name, params, steps, seed=0):
    """‖dL/d state‖ after 0, 1, 2, … steps back from the end, for the loss at the last step.

    The state of an LSTM is both of its vectors.
    """
    batch, *_ = TASKS[task]
    xs, wanted = batch(np.random.default_rng(seed), steps)

    def last_loss(params, xs, loop):
        _, outputs = loop(CELLS[name][1], params["cell"], None, xs)
        read = nn.dense(params["out"], outputs[-1])
        if task == "adding":
            return nt.squared_error(read[:, 0], wanted)
        return nt.softmax_cross_entropy(read, wanted[-1])

    (norms,) = nn.step_norms(last_loss, params, xs)
    return norms[::-1]


# --- what is shown --------------------------------------------------------------------------------


def draw(folder, task, found, steps):
    """Losses, and the reach of the gradient before and after training."""
    picture, axes = figure(columns=2)
    if picture is None:
        return None
    left, right = axes
    for k, (name, curves) in enumerate(found.items()):
        losses = curves["losses"]
        width = max(1, len(losses) // 50)
        means = np.reshape(losses[: len(losses) // width * width], (-1, width)).mean(1)
        left.semilogy(width * np.arange(1, len(means) + 1), means, color=f"C{k}", label=name)
        right.semilogy(curves["before"], color=f"C{k}", ls=":")
        right.semilogy(curves["after"], color=f"C{k}", label=name)
    left.axhline(TASKS[task][4](steps), color="0.4", ls="--", label="without a memory")
    left.set(xlabel="update", ylabel="loss", title=f"{task}, {steps} steps")
    left.set_ylim(top=5 * TASKS[task][4](steps))
    left.legend()
    right.set(xlabel="steps back from the loss", ylabel="norm of the gradient by the state")
    right.set_title("at the start (dotted) and after training")
    right.legend()
    return save(picture, folder, f"long_memory_{task}")


def study(task, folder, steps, hidden, rate, updates, cells=tuple(CELLS)):
    """Train each cell on a task, print and draw; what was found, by cell."""
    nothing, found = TASKS[task][4](steps), {}
    print(f"\n{task}, {steps} steps; without a memory the loss is {nothing:.4f}")
    for name in cells:
        start = time.perf_counter()
        first, last, losses = train(task, name, steps, hidden, rate, updates)
        found[name] = {
            "losses": losses,
            "before": norms_by_lag(task, name, first, steps),
            "after": norms_by_lag(task, name, last, steps),
        }
        reach = [curve[-1] / curve[0] for curve in (found[name]["before"], found[name]["after"])]
        end = np.mean(losses[-max(1, updates // 50) :])
        print(
            f"{name:18s} loss {end:.5f}; of the gradient's norm {reach[0]:.1e} is left at the ",
            end="",
        )
        print(f"first step, {reach[1]:.1e} after training; {time.perf_counter() - start:.0f} s")
    found["picture"] = draw(folder, task, found, steps)
    return found


def main(folder=OUTPUT, **sizes):
    """Both tasks; what was found, by task and cell."""
    return {
        "adding": study("adding", folder, **{**ADDING, **sizes}),
        "copying": study("copying", folder, **{**COPYING, **sizes}),
    }


if __name__ == "__main__":
    main(*sys.argv[1:2])
