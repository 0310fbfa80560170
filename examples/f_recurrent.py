"""Back-propagation through time with all its numbers: a vanilla network, an LSTM, long unrolls.

F1 takes the sum over the places of a shared matrix apart, term by term, by hand and by tape; the
terms of the second and third place are exercise H5. F2 is exercise H4, "compute the gradients of an
LSTM, two steps": the recursion by hand, then the tape. F3 looks at hundreds and thousands of steps:
how the adjoint of the state vanishes or explodes on its way back, what truncation cuts off, and a
picture of both.

    python examples/f_recurrent.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
from e_models import fill
from showing import OUTPUT, figure, save
from walkthrough import Numbers, same_array, walk

import ndtape as nt

# --- F1: three steps of h = σ(Wi x + Wh h), y = softmax(Wo h) -------------------------------------

STEPS = 3
WI, WH, WO = fill((2, 2)), fill((2, 2), 4), fill((2, 2), 8)
XS, H0, CLASSES = fill((3, 2), 12, 1.0), np.array([0.1, -0.2]), (0, 1, 0)


def rnn_losses(Wi, copies, Wo, h, push=None):
    """The losses of the three steps, each with a copy of Wh of its own.

    `push` is added to h of the first step: its derivative is the row that arrives there.
    """
    losses = []
    for t in range(STEPS):
        h = nt.expit(Wi @ XS[t] + copies[t] @ h)
        if push is not None and t == 0:
            h = h + push
        losses.append(nt.softmax_cross_entropy(Wo @ h, CLASSES[t]))
    return np.stack(losses)


def shared(Wi, Wh, Wo, h):
    """The total loss as the network means it: one Wh at three places."""
    return np.sum(rnn_losses(Wi, [Wh] * STEPS, Wo, h))


def states():
    """h⁰, h¹, h², h³ in plain NumPy."""
    h = [H0]
    for x in XS:
        h.append(1 / (1 + np.exp(-(WI @ x + WH @ h[-1]))))
    return h


def by_hand():
    """The bracket of term 1 row by row, and the terms of the three copies.

    Rows are multiplied from the left: ∂C/∂h · ∂h³/∂h² · ∂h²/∂h¹, with ∂hᵗ/∂hᵗ⁻¹ = diag(h(1-h)) Wh.
    """
    h = states()
    at_loss = [(nt.softmax(WO @ h[t + 1]) - np.eye(2)[CLASSES[t]]) @ WO for t in range(STEPS)]
    bracket, terms = [], []
    for copy in range(STEPS):
        arrived = np.zeros(2)
        for t in range(copy, STEPS):
            row = at_loss[t]
            for k in range(t, copy, -1):  # from step t down to the step of this copy
                row = (row * h[k + 1] * (1 - h[k + 1])) @ WH
            if copy == 0:
                bracket.append(row)
            arrived = arrived + row
        slope = h[copy + 1] * (1 - h[copy + 1])
        terms.append(np.outer(arrived * slope, h[copy]))
    return bracket, terms


TERMS = [
    "-0.007425 0.014851  -0.000309 0.000617",
    "0.069886 0.043036  0.000997 0.000614",
    "-0.027435 -0.039358  0.000168 0.000241",
]


def f1(numbers: Numbers) -> None:
    """F1. vanilla RNN, three steps: one matrix at three places, a term for each"""
    losses = rnn_losses(WI, [WH] * STEPS, WO, H0)
    numbers.check_array("C¹, C², C³", losses, (3,), "0.491096222 0.860916476 0.606819002")
    numbers.check("C", shared(WI, WH, WO, H0), "1.958831699310")

    bracket, terms = by_hand()
    rows = nt.jacobian(lambda push: rnn_losses(WI, [WH] * STEPS, WO, H0, push))(np.zeros(2))
    numbers.check_array(
        "bracket of term 1, C¹ C² C³",
        rows,
        (3, 2),
        "-0.273981 0.001445  -0.048411 -0.014304  -0.002850 -0.000018",
    )
    numbers.check_array("their sum", rows.sum(axis=0), (2,), "-0.325241 -0.012877")
    same_array(rows, np.stack(bracket), within=1e-14)

    of_copies = nt.grad(lambda copies: np.sum(rnn_losses(WI, copies, WO, H0)))([WH] * STEPS)
    for k, printed in enumerate(TERMS):
        numbers.check_array(f"term {k + 1}: copy {k + 1} of Wh", of_copies[k], (2, 2), printed)
        same_array(of_copies[k], terms[k], within=1e-14)
    dWi, dWh, dWo, dh0 = nt.grad(shared, (0, 1, 2, 3))(WI, WH, WO, H0)
    numbers.check_array("dC/dWh, the sum", dWh, (2, 2), "0.035026 0.018529  0.000856 0.001472")
    same_array(dWh, sum(of_copies), within=1e-14)
    numbers.check_array("dC/dWi", dWi, (2, 2), "0.098363 -0.058278  -0.000660 -0.003785")
    numbers.check_array("dC/dWo", dWo, (2, 2), "-0.112756 -0.088392  0.112756 0.088392")
    numbers.check_array("dC/dh⁰", dh0, (2,), "0.034588 0.008847")
    of_zero = nt.grad(lambda copies: np.sum(rnn_losses(WI, copies, WO, 0 * H0)))([WH] * STEPS)
    numbers.check("term 1 from h⁰ = 0, entries that are not 0", np.count_nonzero(of_zero[0]), "0")


# --- F2: two steps of an LSTM ---------------------------------------------------------------------

GATES = ("i", "f", "o", "z")
LSTM = {"i": fill((2, 4)), "f": fill((2, 4), 8), "o": fill((2, 4), 16), "z": fill((2, 4), 24)}
LSTM["V"] = fill((2, 2), 32)
LSTM_XS, LSTM_STATE = fill((2, 2), 36, 1.0), (np.array([0.1, -0.2]), np.array([0.3, -0.1]))
LSTM_CLASSES = (0, 1)


def lstm_loss(W, state, pushes):
    """The loss of both steps. `pushes[t][name]` is zero and added to that value of step t."""
    h, c = state
    total = 0.0
    for t, push in enumerate(pushes):
        u = np.concatenate([LSTM_XS[t], h])
        i, f, o = (nt.expit(W[gate] @ u + push[gate]) for gate in "ifo")
        z = np.tanh(W["z"] @ u + push["z"])
        c = f * c + i * z + push["c"]
        h = o * np.tanh(c) + push["h"]
        total = total + nt.softmax_cross_entropy(W["V"] @ h, LSTM_CLASSES[t])
    return total


def lstm_by_hand(W, state):
    """The exercise's recursion in plain NumPy: gradients by W and state, adjoints of each step."""
    h, c = state
    kept = []
    for t, x in enumerate(LSTM_XS):
        u = np.concatenate([x, h])
        i, f, o = (1 / (1 + np.exp(-(W[gate] @ u))) for gate in "ifo")
        z = np.tanh(W["z"] @ u)
        before, c = c, f * c + i * z
        h = o * np.tanh(c)
        e = np.exp(W["V"] @ h)
        kept.append((u, before, c, h, i, f, o, z, e / e.sum() - np.eye(2)[LSTM_CLASSES[t]]))

    dW = {name: np.zeros_like(w) for name, w in W.items()}
    dh, dc, steps = np.zeros(2), np.zeros(2), []
    for u, before, c, h, i, f, o, z, error in reversed(kept):
        dW["V"] += np.outer(error, h)
        dh = dh + W["V"].T @ error
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        adjoints = {
            "i": dc * z * i * (1 - i),
            "f": dc * before * f * (1 - f),
            "o": dh * np.tanh(c) * o * (1 - o),
            "z": dc * i * (1 - z**2),
        }
        steps.insert(0, adjoints | {"h": dh, "c": dc})
        for gate in GATES:
            dW[gate] += np.outer(adjoints[gate], u)
        dc = dc * f
        dh = sum(W[gate].T @ adjoints[gate] for gate in GATES)[2:]
    return dW, (dh, dc), steps


STEP_ADJOINTS = {
    2: {
        "i": "0.005932 -0.029213",
        "f": "0.005651 -0.002621",
        "o": "0.021231 -0.023049",
        "z": "0.065396 0.046631",
        "h": "0.347909 0.370509",
        "c": "0.103170 0.204064",
    },
    1: {
        "i": "-0.004964 0.000041",
        "f": "-0.008447 0.000507",
        "o": "-0.017508 0.004786",
        "z": "-0.053729 -0.011170",
        "h": "-0.325545 -0.344345",
        "c": "-0.113865 -0.020306",
    },
}
NORMS = {
    "i": "0.036985704857",
    "f": "0.011628899861",
    "o": "0.044964902133",
    "z": "0.120061123844",
    "V": "0.088823219366",
}


def f2(numbers: Numbers) -> None:
    """F2. LSTM, two steps: by hand from the last step back, and by tape"""
    zeros = [{name: np.zeros(2) for name in (*GATES, "h", "c")} for _ in range(2)]
    value, (dW, (dh0, dc0), pushes) = nt.value_and_grad(lstm_loss, (0, 1, 2))(
        LSTM, LSTM_STATE, zeros
    )
    numbers.check("loss", value, "1.330362458250")
    dW_hand, (dh0_hand, dc0_hand), steps_hand = lstm_by_hand(LSTM, LSTM_STATE)
    for step, printed in STEP_ADJOINTS.items():
        for name, text in printed.items():
            what = f"step {step}: d{name}" if name in "hc" else f"step {step}: adjoint of {name}"
            numbers.check_array(what, steps_hand[step - 1][name], (2,), text)
            same_array(pushes[step - 1][name], steps_hand[step - 1][name], within=1e-14)
    for name, text in NORMS.items():
        title = {"z": "c"}.get(name, name)
        numbers.check(f"‖dW_{title}‖" if name in GATES else "‖dV‖", np.linalg.norm(dW[name]), text)
        same_array(dW[name], dW_hand[name], within=1e-14)
    numbers.check_array("dh⁰", dh0, (2,), "-0.022721 -0.016424")
    numbers.check_array("dc⁰", dc0, (2,), "-0.050989 -0.010523")
    same_array(dh0, dh0_hand, within=1e-14)
    same_array(dc0, dc0_hand, within=1e-14)


# --- F3: long unrolls -----------------------------------------------------------------------------

WIDTH, LONG, VERY_LONG = 16, 400, 20_000
WINDOWS = [1, 2, 5, 10, 20, 50, 100, 200, LONG]  # of truncated back-propagation
ALONG = {0.8: "C0", 1.0: "C1", 1.4: "C2", 2.0: "C3"}  # sizes of the recurrent matrix, and colours


def rotation(width=WIDTH, seed=0):
    """A random orthogonal matrix."""
    found, upper = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    return found * np.sign(np.diag(upper))


def inputs(steps, seed=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((steps, WIDTH))


def last_state(Wh, xs, pushes, activation, window=None):
    """The first number of the last state; `pushes` as in F2.

    With a `window` the state becomes a constant before each so many last steps: back-propagation
    sees that many steps and no more.
    """
    h = np.zeros(WIDTH)
    for t in range(len(xs)):
        if window is not None and t == len(xs) - window:
            h = nt.stop_gradient(h)
        h = activation(Wh @ h + xs[t]) + pushes[t]
    return h[0]


def last_of_scan(Wh, xs, pushes, activation):
    """The same by `nt.scan`: the body is recorded once, however many steps there are."""

    def step(h, row):
        x, push = row
        return activation(Wh @ h + x) + push, None

    h, _ = nt.scan(step, np.zeros(WIDTH), (xs, pushes))
    return h[0]


def adjoint_norms(Wh, xs, activation=np.tanh, program=last_state):
    """‖d last/d hᵗ‖ for each step t, first step first."""
    no_push = np.zeros((len(xs), WIDTH))
    adjoints = nt.grad(program, 2)(Wh, xs, no_push, activation)
    return np.linalg.norm(adjoints, axis=1)


def linear(x):
    return x


def truncation_error(Wh, xs, windows):
    """How far, relatively, dWh of truncated back-propagation is from the whole, for each window."""
    no_push = np.zeros((len(xs), WIDTH))
    gradient = nt.grad(last_state)
    whole = gradient(Wh, xs, no_push, np.tanh)
    return [
        np.linalg.norm(gradient(Wh, xs, no_push, np.tanh, window) - whole) / np.linalg.norm(whole)
        for window in windows
    ]


@cache
def curves():
    """For each size: norms of the adjoints by step, and errors of truncation by window."""
    turn, xs = rotation(), inputs(LONG)
    norms = {size: adjoint_norms(size * turn, xs) for size in ALONG}
    errors = {size: truncation_error(size * turn, xs, WINDOWS) for size in ALONG}
    return norms, errors


def f3(numbers: Numbers) -> None:
    """F3. long unrolls: the adjoint of the state on its way back, and what truncation cuts off"""
    # Without an activation the adjoint of h, k steps before the end, is exactly sizeᵏ long.
    turn, xs = rotation(), inputs(LONG)
    for size, printed in [(0.9, "5.5304601e-19"), (1.0, "1.00000000"), (1.1, "3.2785467e16")]:
        norms = adjoint_norms(size * turn, xs, linear)
        same_array(norms[::-1] / size ** np.arange(LONG), np.ones(LONG), within=1e-11)
        numbers.check(f"no activation, size {size}: at step 1", norms[0], printed)
    norms = adjoint_norms(turn, inputs(VERY_LONG), linear, last_of_scan)
    numbers.check(f"size 1, step 1 of {VERY_LONG}", norms[0], "1.00000000")

    # tanh makes it shorter still, unless the matrix is large enough for the states to be chaotic.
    norms, errors = curves()
    for size, norm in norms.items():
        print(f"    size {size}: norm {norm[0]:.1e} at step 1, {norm[-1]:.0f} at step {LONG}")
        print(f"      a window of 20 steps: dWh differs by {errors[size][WINDOWS.index(20)]:.1e}")
    numbers.check("size 0.8: not above 0.8^399", norms[0.8][0] <= 0.8 ** (LONG - 1), "1")
    numbers.check("size 2.0: above 1000", norms[2.0][0] > 1e3, "1")
    numbers.check("error of a window of all steps", max(e[-1] for e in errors.values()), "0")


def draw(folder):
    """The curves of F3; the file, or None without matplotlib."""
    norms, errors = curves()
    picture, axes = figure(columns=2)
    if picture is None:
        return None
    left, right = axes
    for size, norm in norms.items():
        left.semilogy(range(1, LONG + 1), norm, color=ALONG[size], label=f"{size} × rotation")
    left.set(xlabel="step", ylabel="norm of the adjoint of h", title="tanh(Wh h + x), loss at 400")
    left.legend()
    for size, error in errors.items():
        kept = [(w, e) for w, e in zip(WINDOWS, error, strict=True) if e > 1e-15]
        right.loglog(*zip(*kept, strict=True), "o-", color=ALONG[size], label=f"{size} × rotation")
    right.set(xlabel="steps seen", ylabel="relative error of dWh", title="truncated")
    right.legend()
    return save(picture, folder, "f_recurrent")


SECTIONS = [f1, f2, f3]


def main(folder=OUTPUT) -> Numbers:
    """All sections, and the picture; the numbers by name."""
    numbers = walk("Recurrent networks, with numbers", SECTIONS)
    draw(folder)
    return numbers


if __name__ == "__main__":
    main(*sys.argv[1:2])
