"""The models of `e_models.py` on real data that comes with scikit-learn.

    diabetes        442 patients, 10 measurements   linear regression
    breast cancer   569 tumours, 30 measurements    logistic and softmax regression
    digits          1797 images of 8×8 pixels       one hidden tanh layer; two relu layers

Each model is trained in mini-batches, judged on data it has not seen, and drawn with its loss
curve.

    python examples/e_real_data.py [folder for the pictures, examples/output if none is given]
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import ndtape as nt

OUTPUT = Path(__file__).parent / "output"


def split(name):
    """Standardised training and test data: (x, y, x of the test, y of the test)."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    seen, unseen, y_seen, y_unseen = train_test_split(x, y, test_size=0.25, random_state=0)
    mean, deviation = seen.mean(axis=0), seen.std(axis=0)
    deviation[deviation == 0] = 1.0  # pixels that are always white
    return (seen - mean) / deviation, y_seen, (unseen - mean) / deviation, y_unseen


def train(title, loss, params, x, y, method, epochs, batch):
    """Mini-batch descent; the parameters at the end and the mean loss of every epoch."""
    shuffle = np.random.default_rng(0)
    state = method.init(params)
    history = []
    bar = nt.progress(range(epochs), f"{title:28s}")
    for _ in bar:
        order = shuffle.permutation(len(x))
        total = 0.0
        for first in range(0, len(x), batch):
            rows = order[first : first + batch]
            value, grads = nt.value_and_grad(loss)(params, x[rows], y[rows])
            params, state = method.update(params, grads, state)
            total += value * len(rows)
        history.append(total / len(x))
        bar.show(loss=history[-1])
    return params, history


# --- linear regression, E1 ------------------------------------------------------------------------


def linear(params, x):
    return x @ params["w"] + params["b"]


def squared_error(params, x, y):
    return nt.squared_error(linear(params, x), y)


def diabetes(epochs=60):
    """Progression of diabetes from ten measurements: (losses, R² on unseen patients, picture)."""
    x, y, x_test, y_test = split("diabetes")
    middle, scale = y.mean(), y.std()
    params = {"w": np.zeros(x.shape[1]), "b": 0.0}
    params, losses = train(
        "diabetes, linear",
        squared_error,
        params,
        x,
        (y - middle) / scale,
        nt.optim.sgd(rate=lambda step: 0.05 / (1 + step / 100)),
        epochs,
        batch=32,
    )
    predicted = linear(params, x_test) * scale + middle
    score = 1 - np.sum((y_test - predicted) ** 2) / np.sum((y_test - y_test.mean()) ** 2)

    # What descent comes close to: the normal equations.
    ones = np.column_stack([x, np.ones(len(x))])
    best, *_ = np.linalg.lstsq(ones, (y - middle) / scale, rcond=None)
    least = np.mean((ones @ best - (y - middle) / scale) ** 2)
    return {"losses": losses, "score": float(score), "least": float(least)}, (predicted, y_test)


# --- logistic and softmax regression, E2 ----------------------------------------------------------


def logistic(params, x, y):
    """Labels -1 and 1."""
    return nt.logistic_loss(linear(params, x), y) + nt.l2(params["w"], 1e-3)


def softmax_regression(params, x, y):
    return nt.softmax_cross_entropy(x @ params["W"].T + params["b"], y)


def accuracy(scores, y):
    return float(np.mean(np.argmax(scores, axis=1) == y))


def breast_cancer(epochs=30):
    """Benign or malignant, by two models: losses and accuracy on unseen tumours of each."""
    x, y, x_test, y_test = split("breast_cancer")
    method = nt.optim.nesterov(rate=0.02)
    params = {"w": np.zeros(x.shape[1]), "b": 0.0}
    params, losses = train("cancer, logistic", logistic, params, x, 2.0 * y - 1, method, epochs, 32)
    right = float(np.mean((linear(params, x_test) > 0) == y_test))
    found = {"logistic": {"losses": losses, "score": right}}

    params = {"W": np.zeros((2, x.shape[1])), "b": np.zeros(2)}
    params, losses = train("cancer, softmax", softmax_regression, params, x, y, method, epochs, 32)
    right = accuracy(x_test @ params["W"].T + params["b"], y_test)
    found["softmax"] = {"losses": losses, "score": right}
    return found


# --- networks, E3 and E4 --------------------------------------------------------------------------


def layers(*sizes):
    """Weights of a network with these layer sizes, small and random, and biases of zero."""
    draw = np.random.default_rng(1)
    return [
        {"W": draw.normal(size=(n_out, n_in)) * np.sqrt(2 / n_in), "b": np.zeros(n_out)}
        for n_in, n_out in pairwise(sizes)
    ]


def network(params, x, activation):
    h = x
    for layer in params[:-1]:
        h = activation(h @ layer["W"].T + layer["b"])
    return h @ params[-1]["W"].T + params[-1]["b"]


def tanh_loss(params, x, y):
    return nt.softmax_cross_entropy(network(params, x, np.tanh), y)


def relu_loss(params, x, y):
    return nt.softmax_cross_entropy(network(params, x, nt.relu), y)


def digits(epochs=15):
    """Hand-written digits by two networks: losses, accuracy on unseen images, some predictions."""
    x, y, x_test, y_test = split("digits")
    found = {}
    for title, loss, activation, sizes, method in [
        ("hidden layer", tanh_loss, np.tanh, (64, 32, 10), nt.optim.momentum(rate=0.05)),
        ("relu net", relu_loss, nt.relu, (64, 32, 32, 10), nt.optim.adam(rate=3e-3)),
    ]:
        params, losses = train(f"digits, {title}", loss, layers(*sizes), x, y, method, epochs, 32)
        scores = network(params, x_test, activation)
        found[title] = {"losses": losses, "score": accuracy(scores, y_test)}
    return found, (np.argmax(scores, axis=1), y_test)


# --- pictures -------------------------------------------------------------------------------------


def draw_results(folder, curves, predicted):
    """Loss curves, and predicted against true progression; the file, or None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture")
        return None
    picture = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = picture.subplots(1, 2)
    for title, found in curves.items():
        left.semilogy(range(1, len(found["losses"]) + 1), found["losses"], label=title)
    left.set(xlabel="epoch", ylabel="mean loss", title="training")
    left.legend()
    values, truth = predicted
    right.plot(truth, values, ".", alpha=0.6)
    right.axline((150, 150), slope=1, color="C1")
    right.set(xlabel="true", ylabel="predicted", title="diabetes, unseen patients")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "e_real_data.png"
    picture.savefig(file, dpi=120)
    return file


def main(folder=OUTPUT):
    """Train all five, print their scores, save the picture; results by title."""
    linear_found, predicted = diabetes()
    found = {"diabetes, linear": linear_found}
    found |= {f"cancer, {title}": result for title, result in breast_cancer().items()}
    digit_results, _ = digits()
    found |= {f"digits, {title}": result for title, result in digit_results.items()}
    for title, result in found.items():
        what = "R²" if title.startswith("diabetes") else "accuracy"
        losses = result["losses"]
        print(
            f"{title:24s} loss {losses[0]:.4f} -> {losses[-1]:.4f}, "
            f"{what} on unseen data {result['score']:.3f}"
        )
    least = linear_found["least"]
    print(f"the least possible loss of the linear model is {least:.4f} (normal equations)")
    file = draw_results(Path(folder), found, predicted)
    if file:
        print(f"loss curves: {file}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
