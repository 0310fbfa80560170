"""A tape to look at, then a training run on real data, number by number.

First the exercise of the lectures: x = 5, y = 3, a = square(x), b = a + y, c = sin(b), recorded and
walked backwards. Then a classifier of scalar neurons, written with `for` loops over single numbers,
learns to tell benign from malignant tumours (scikit-learn's breast-cancer data, 30 measurements a
patient), is judged on patients that it has not seen, and its loss curve is saved. At the end, what
an operation costs beside the same arithmetic in plain Python floats.

    python examples/scalar_neurons.py [folder for the picture, examples/output if none is given]
"""

import math
import random
import sys
import time
from statistics import mean, median

from showing import OUTPUT, figure, save

import ndtape as nt

HIDDEN = 6
EPOCHS = 30
BATCH = 32
RATE = 0.1


def show_a_tape():
    """The tape of c = sin(x² + y) with its values and adjoints."""
    with nt.Tape(lines=True) as tape:
        x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
        a = nt.square(x)
        b = a + y
        c = nt.sin(b)
        dx, dy = tape.gradient(c, [x, y])
    print("c = sin(x² + y) at x = 5, y = 3, as ndtape records it:\n")
    print(tape.listing(values=True, adjoints=True))
    print(f"\nc = {c:.6f}, dc/dx = {dx:.6f}, dc/dy = {dy:.6f}\n")


def load_patients():
    """Standardised measurements and labels (1 is benign) as plain lists: training, held back."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_breast_cancer(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        rows, labels, test_size=0.25, random_state=0, stratify=labels
    )
    scaler = StandardScaler().fit(seen)
    training = list(zip(scaler.transform(seen).tolist(), seen_labels.tolist(), strict=True))
    held_back = list(zip(scaler.transform(unseen).tolist(), unseen_labels.tolist(), strict=True))
    return training, held_back


def make_network(inputs, number):
    """Hidden neurons and an output neuron, each a list [w1, ..., wn, bias]."""

    def neuron(size):
        spread = 1 / math.sqrt(size)
        return [number(random.uniform(-spread, spread)) for _ in range(size)] + [number(0.0)]

    return [neuron(inputs) for _ in range(HIDDEN)], neuron(HIDDEN)


def weighted_sum(neuron, inputs):
    *weights, total = neuron
    for weight, x in zip(weights, inputs, strict=True):
        total = total + weight * x
    return total


def score(network, row, tanh):
    """Positive for benign. Works on recorded numbers and on floats alike."""
    hidden, output = network
    return weighted_sum(output, [tanh(weighted_sum(neuron, row)) for neuron in hidden])


def mean_loss(network, batch, tanh, softplus):
    """The mean cross-entropy, -log of the probability that the network gives the right label."""
    total = 0.0
    for row, label in batch:
        s = score(network, row, tanh)
        total = total + (softplus(s) - s if label else softplus(s))
    return total / len(batch)


def parameters(network):
    hidden, output = network
    return [p for neuron in [*hidden, output] for p in neuron]


def values(network):
    """The same network in plain floats."""
    hidden, output = network
    return [[p.value for p in neuron] for neuron in hidden], [p.value for p in output]


def accuracy(network, patients):
    plain = values(network)
    return mean((score(plain, row, math.tanh) > 0) == bool(label) for row, label in patients)


def train(network, patients, epochs=EPOCHS):
    """Gradient descent in mini-batches; returns the mean loss of every epoch."""
    leaves = parameters(network)
    history = []
    bar = nt.progress(range(epochs), "training")
    for _ in bar:
        random.shuffle(patients)
        losses = []
        for start in range(0, len(patients), BATCH):
            loss = mean_loss(network, patients[start : start + BATCH], nt.tanh, nt.softplus)
            loss.backward()
            losses.append(loss.value)
            with nt.no_grad():
                for p in leaves:
                    p -= RATE * p.grad
                    p.zero_grad()
        history.append(mean(losses))
        bar.show(loss=history[-1])
    return history


def save_loss_plot(folder, history):
    picture, axes = figure()
    if picture is None:
        return None
    axes[0].semilogy(range(1, len(history) + 1), history)
    axes[0].set(xlabel="epoch", ylabel="mean loss", title="breast cancer, scalar neurons")
    return save(picture, folder, "scalar_neurons")


def seconds(run, times=15):
    """The median time of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return median(taken)


def softplus(s):
    return math.log1p(math.exp(-abs(s))) + max(s, 0.0)


def compare_with_floats(network, batch):
    """What an operation costs: plain floats, recording, recording with the gradient."""
    with nt.Tape() as tape:
        mean_loss(network, batch, nt.tanh, nt.softplus)
    plain = values(network)

    def differentiate():
        mean_loss(network, batch, nt.tanh, nt.softplus).backward()

    floats = seconds(lambda: mean_loss(plain, batch, math.tanh, softplus))
    recording = seconds(lambda: mean_loss(network, batch, nt.tanh, nt.softplus))
    gradient = seconds(differentiate)
    print(f"\none mini-batch is {len(tape)} operations; nanoseconds an operation:")
    for what, time_taken in [
        ("plain Python floats, the loss alone", floats),
        ("ndtape, recording", recording),
        ("ndtape, recording, loss and all gradients", gradient),
    ]:
        print(f"  {what:42s} {1e9 * time_taken / len(tape):6.0f}")


def main(folder=OUTPUT, epochs=EPOCHS):
    show_a_tape()
    random.seed(0)
    training, held_back = load_patients()
    network = make_network(len(training[0][0]), nt.var)
    print(f"{len(parameters(network))} parameters, {len(training)} patients to learn from")
    start = time.perf_counter()
    history = train(network, training, epochs)
    taken = time.perf_counter() - start
    print(f"loss {history[0]:.4f} -> {history[-1]:.4f} in {taken:.1f} s")
    right = accuracy(network, held_back)
    print(f"accuracy on {len(held_back)} patients held back: {right:.1%}")
    file = save_loss_plot(folder, history)
    compare_with_floats(network, training[:BATCH])
    return {"losses": history, "accuracy": right, "picture": file}


if __name__ == "__main__":
    main(*sys.argv[1:2])
