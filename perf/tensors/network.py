"""Forward and backward of a network 64-32-10 on scikit-learn's digits: loss and all gradients.

Every contestant is held to the gradients written out by hand below before its time counts. No
update of the weights: it is the same small cost for all of them.
"""

from itertools import pairwise

import numpy as np

import ndtape as nt
from ndtape.passes import seal
from ndtape.run import Workspace

from . import STEP, Contestant

SIZES = (64, 32, 10)
BATCHES = (1, 16, 128)
SWEPT, TRACED = "ndtape, swept", "ndtape, traced"
AFRESH = "ndtape, recorded afresh"


def data(batch):
    """Images, classes, and the parameters W1, b1, W2, b2."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    params = []
    for n_in, n_out in pairwise(SIZES):
        params.append(draw.normal(size=(n_out, n_in)) / np.sqrt(n_in))
        params.append(draw.normal(size=n_out) * 0.1)
    return images[:batch] / 16.0, classes[:batch], params


def by_hand(x, classes, params):
    """Loss and gradients in plain NumPy."""
    W1, b1, W2, b2 = params
    h = np.tanh(x @ W1.T + b1)
    s = h @ W2.T + b2
    shifted = s - s.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = np.mean(np.log(total[:, 0]) - shifted[rows, classes])
    delta = e / total
    delta[rows, classes] -= 1.0
    delta /= len(x)
    below = (delta @ W2) * (1 - h * h)
    return [loss, below.T @ x, below.sum(axis=0), delta.T @ h, delta.sum(axis=0)]


def loss_of(params, x, classes):
    W1, b1, W2, b2 = params
    return nt.softmax_cross_entropy(np.tanh(x @ W1.T + b1) @ W2.T + b2, classes)


def afresh(x, classes, params):
    leaves = [nt.var(p) for p in params]

    def run():
        loss = loss_of(leaves, x, classes)
        loss.backward()
        for p in leaves:
            p.zero_grad()

    def found():
        loss = loss_of(leaves, x, classes)
        loss.backward()
        result = [loss.value, *(np.array(p.grad) for p in leaves)]
        for p in leaves:
            p.zero_grad()
        return result

    return run, found


def swept(x, classes, params):
    """New parameters in, value and gradient out: two sweeps over a tape recorded once."""
    leaves = [nt.var(p) for p in params]
    with nt.Tape() as tape:
        loss_of(leaves, x, classes)
    place = {id(leaf.storage): k for k, leaf in enumerate(leaves)}
    order = [place[id(storage)] for _, storage in sorted(tape.inputs, key=lambda entry: entry[0])]
    tape = seal(tape)
    work, root = Workspace(tape), tape.slots - 1
    numbers = np.concatenate([params[k].ravel() for k in order])

    def run():
        work.set_inputs(numbers)
        return work.gradient(root)

    def found():
        g, at = run(), 0
        gradients = [None] * len(params)
        for k in order:
            size = params[k].size
            gradients[k] = g[at : at + size].reshape(params[k].shape).copy()
            at += size
        return [work.values[root], *gradients]

    return run, found


def traced(x, classes, params):
    """What users write: parameters in a list, images and classes as data."""
    step = nt.value_and_grad(nt.function(loss_of))

    def found():
        loss, gradients = step(params, x, classes)
        return [loss, *gradients]

    return lambda: step(params, x, classes), found


def with_torch(x, classes, params):
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    images, labels = torch.tensor(x), torch.tensor(classes)
    W1, b1, W2, b2 = leaves = [torch.tensor(p, requires_grad=True) for p in params]

    def step():
        for p in leaves:
            p.grad = None
        loss = cross_entropy(torch.tanh(images @ W1.T + b1) @ W2.T + b2, labels)
        loss.backward()
        return loss

    return step, lambda: [step().item(), *(p.grad.numpy().copy() for p in leaves)]


def with_jax(x, classes, params):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    @jax.value_and_grad
    def differentiated(params, x, classes):
        W1, b1, W2, b2 = params
        logs = jax.nn.log_softmax(jnp.tanh(x @ W1.T + b1) @ W2.T + b2)
        return -jnp.mean(logs[jnp.arange(len(x)), classes])

    given = [jnp.asarray(p) for p in params], jnp.asarray(x), jnp.asarray(classes)

    def found():
        loss, gradients = differentiated(*given)
        return [float(loss), *map(np.asarray, gradients)]

    return lambda: jax.block_until_ready(differentiated(*given)), found


def with_autograd(x, classes, params):
    import autograd.numpy as anp
    from autograd import value_and_grad

    rows = np.arange(len(x))

    def loss_of(params):
        W1, b1, W2, b2 = params
        s = anp.dot(anp.tanh(anp.dot(x, W1.T) + b1), W2.T) + b2
        s = s - anp.max(s, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(s), axis=1)) - s[rows, classes])

    differentiated = value_and_grad(loss_of)

    def found():
        loss, gradients = differentiated(params)
        return [loss, *gradients]

    return lambda: differentiated(params), found


BUILDERS = {"torch": with_torch, "jax": with_jax, "autograd": with_autograd}
TITLES = {"torch": "PyTorch", "jax": "JAX jit", "autograd": "autograd"}


def contestants(batch, peers, say):
    x, classes, params = data(batch)
    for name, build in ((SWEPT, swept), (TRACED, traced), (AFRESH, afresh)):
        run, found = build(x, classes, params)
        yield Contestant(name, STEP, run, 1, found)
    expected = by_hand(x, classes, params)
    yield Contestant(
        "NumPy by hand", STEP, lambda: by_hand(x, classes, params), 1, lambda: expected
    )
    for name in peers:
        if name in BUILDERS:
            try:
                run, found = BUILDERS[name](x, classes, params)
            except ImportError as error:
                say(f"{name}: skipped, not installed ({error})")
                continue
            yield Contestant(TITLES[name], STEP, run, 1, found)
