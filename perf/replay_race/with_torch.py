"""PyTorch, eager, float64, one thread: the graph is recorded for each gradient."""

import torch
from workloads import gmm, lynx_hare, moons, written_with

from . import PRODUCT, Contestant

PACKAGES = ("torch",)
LONGEST_LOOP = 100  # terms of a scalar loop, at 30 microseconds a term and more
torch.set_num_threads(1)


class Lenient:
    """torch.log takes tensors only; NumPy's takes plain numbers too."""

    @staticmethod
    def log(x):
        return torch.log(torch.as_tensor(x))


def programs(problem):
    """(how, function of one flat tensor)."""
    torch.set_default_dtype(torch.float64)  # NumPy's default, which the programs rely on
    if problem.kind in ("rosenbrock", "ackley", "cascade"):
        module = written_with(problem.kind, torch)
        if problem.kind != "cascade" and problem.size <= LONGEST_LOOP:
            yield "scalar loop", module.loop
        yield "vector", module.vector
    elif problem.kind == "gmm":
        data = gmm.read(problem.size)
        module = written_with("gmm", torch)
        module.places = lambda D: torch.from_numpy(gmm.places(D))
        module.logsumexp = lambda b: torch.logsumexp(b, -1)
        f = module.objective(torch.from_numpy(data.x), data.gamma, data.m)
        yield "vector", lambda x: f(split(data, x))
    elif problem.kind == "moons":
        points, labels = map(torch.tensor, moons.make_points())
        module = written_with("moons", torch)
        module.relu = torch.relu
        yield "vector", lambda p: module.matrix_loss(p, points, labels)
    elif problem.kind == "lynx_hare":
        yield "scalar loop", written_with("lynx_hare", Lenient).objective(lynx_hare.read())


def split(data, x):
    K, D = data.means.shape
    return x[:K], x[K : K + K * D].reshape(K, D), x[K + K * D :].reshape(K, -1)


def contestants(problem):
    for how, f in programs(problem):
        yield gradient(f"PyTorch, {how}", f)
        yield product(f"PyTorch, {how}", f, problem.direction)


def leaf(point):
    return torch.tensor(point, requires_grad=True)


def gradient(name, f):
    def run(x):
        value = f(x)
        value.backward()
        gradient, x.grad = x.grad, None
        return value, gradient

    def read(result):
        return float(result[0].detach()), result[1].numpy()

    return Contestant(name, lambda: run, convert=leaf, read=read)


def product(name, f, direction):
    v = torch.tensor(direction)

    def run(x):
        (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
        return torch.autograd.grad(gradient @ v, x)[0]

    return Contestant(name, lambda: run, PRODUCT, leaf, lambda result: result.numpy())
