"""PyTorch, eager, one thread: the loop unrolled by hand, and the module, fused inside."""

import torch

from . import Contestant, written_with

PACKAGES = ("torch",)
MODULES = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
torch.set_num_threads(1)


def contestants(problem):
    yield unrolled(problem)
    if problem.cell in MODULES:
        yield module(problem)


def tensors(arrays):
    if isinstance(arrays, tuple):
        return tuple(map(tensors, arrays))
    return torch.tensor(arrays)


def take_gradients(leaves):
    """As `zero_grad` leaves them: the next ones are written, not added."""
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found


def read(result):
    value, gradients = result
    return float(value.detach()), [part.numpy().copy() for part in gradients]


def unrolled(problem):
    program = written_with(problem.module, np=torch, sigmoid=torch.sigmoid)
    loss, (state, xs) = problem.unrolled(program), tensors(problem.data)

    def run(leaves):
        value = loss(leaves, state, xs)
        value.backward()
        return value, take_gradients(leaves)

    def convert(parameters):
        return tuple(leaf.requires_grad_() for leaf in tensors(parameters))

    return Contestant("PyTorch, unrolled", lambda: run, convert, read)


def module(problem):
    """`torch.nn.RNN` and its kind with our weights. Its second bias, which we lack, is 0."""
    state, xs = tensors(problem.data)
    if problem.cell == "lstm":
        state = tuple(part[None] for part in state)
    else:
        state = state[None]

    def convert(parameters):
        cell = MODULES[problem.cell](problem.H, problem.H, dtype=getattr(torch, problem.dtype))
        own = list(cell.parameters())
        with torch.no_grad():
            own[-1].zero_()
            for place, weight in zip(own, parameters, strict=False):
                place.copy_(torch.tensor(weight))
        return cell, own, len(parameters)

    def run(prepared):
        cell, own, count = prepared
        outputs, _ = cell(xs, state)
        value = torch.sum((outputs if problem.every else outputs[-1]) ** 2)
        value.backward()
        return value, take_gradients(own)[:count]

    return Contestant("PyTorch, module", lambda: run, convert, read)
