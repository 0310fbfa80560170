"""Hand-written digits read row by row, as a sequence of eight rows of eight pixels.

A GRU sees one row a step, and what it thinks is read off after each. It is trained in three ways:
to be right after the last row; to be right after each row, as early as it can; and as two layers
that read downwards and upwards. The data is scikit-learn's (1797 images, a quarter is held back).

    python examples/row_digits.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from showing import OUTPUT, figure, save

import ndtape as nt
from ndtape import nn

HIDDEN, BATCH, EPOCHS, RATE = 32, 32, 20, 5e-3


def load():
    """Rows as sequences, (images, 8, 8), and the digits: of training, and held back."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    rows = images.reshape(-1, 8, 8) / 16.0
    return train_test_split(rows, digits, test_size=0.25, random_state=0, stratify=digits)


def one_way(params, rows):
    """Scores after each row: (images, 8, 10)."""
    _, outputs = nn.scan_layer(nn.gru_cell, params["cell"], None, rows, batch_first=True)
    return nn.dense(params["out"], outputs)


def both_ways(params, rows):
    """The same from rows read downwards and upwards, each row with the state of both layers."""
    _, outputs = nn.bidirectional(nn.gru_cell, params["cell"], None, rows, batch_first=True)
    return nn.dense(params["out"], outputs)


def make_model(scores, hidden, rng):
    if scores is both_ways:
        cell = nn.bidirectional_init(nn.gru_init, rng, 8, hidden)
        return {"cell": cell, "out": nn.dense_init(rng, 2 * hidden, 10)}
    return {"cell": nn.gru_init(rng, 8, hidden), "out": nn.dense_init(rng, hidden, 10)}


def last_row_loss(scores, digits):
    return nt.softmax_cross_entropy(scores[:, -1], digits)


def every_row_loss(scores, digits):
    """The mean over rows and images."""
    return nt.softmax_cross_entropy(scores, np.repeat(digits[:, None], scores.shape[1], axis=1))


# title: (scores after each row, the loss of scores)
READERS = {
    "last row's loss": (one_way, last_row_loss),
    "every row's loss": (one_way, every_row_loss),
    "both ways": (both_ways, last_row_loss),
}


def accuracy(title, params, rows, digits):
    """The share of right answers after each row, (8,)."""
    scores, _ = READERS[title]
    guesses = np.argmax(scores(params, rows), axis=-1)
    return np.mean(guesses == digits[:, None], axis=0)


def train(title, rows, digits, epochs=EPOCHS, hidden=HIDDEN, seed=0):
    """Mini-batches of Adam: the model, and the mean loss of each epoch."""
    scores, loss_of = READERS[title]
    rng = np.random.default_rng(seed)
    params = make_model(scores, hidden, rng)
    method = nt.optim.adam(rate=RATE)
    memory, history = method.init(params), []
    loss = nt.function(lambda params, rows, digits: loss_of(scores(params, rows), digits))
    gradient = nt.value_and_grad(loss)
    batches = len(rows) // BATCH
    bar = nt.progress(range(epochs), f"digits, {title}")
    for _ in bar:
        order, losses = rng.permutation(len(rows)), []
        for chosen in np.array_split(order[: batches * BATCH], batches):
            value, grads = gradient(params, rows[chosen], digits[chosen])
            params, memory = method.update(params, grads, memory)
            losses.append(float(value))
        history.append(float(np.mean(losses)))
        bar.show(loss=history[-1])
    return params, history


def draw(folder, found, images):
    picture, axes = figure(columns=2)
    if picture is None:
        return None
    left, right = axes
    for title, result in found.items():
        left.semilogy(range(1, len(result["losses"]) + 1), result["losses"], label=title)
        right.plot(range(1, 9), 100 * result["accuracy"], "o-", label=title)
    left.set(xlabel="epoch", ylabel="mean loss", title="digits, row by row")
    left.legend()
    right.set(xlabel="read off after row", ylabel="% right on images held back")
    for k, image in enumerate(images[:3]):
        inset = left.inset_axes([0.04 + 0.13 * k, 0.05, 0.12, 0.2])
        inset.imshow(image, cmap="gray_r")
        inset.set_axis_off()
    return save(picture, folder, "row_digits")


def main(folder=OUTPUT, epochs=EPOCHS, hidden=HIDDEN):
    """All readers; losses and accuracies by title."""
    rows, unseen, digits, unseen_digits = load()
    found = {}
    for title in READERS:
        start = time.perf_counter()
        params, losses = train(title, rows, digits, epochs, hidden)
        taken = time.perf_counter() - start
        right = accuracy(title, params, unseen, unseen_digits)
        found[title] = {"losses": losses, "accuracy": right}
        print(
            f"{title:16s} loss {losses[0]:.4f} -> {losses[-1]:.4f} in {taken:.1f} s; right on ",
            end="",
        )
        print(f"{len(unseen)} images held back: {right[-1]:.1%}, by rows read:", end="")
        print("".join(f" {share:.0%}" for share in right))
    found["picture"] = draw(folder, found, unseen)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
