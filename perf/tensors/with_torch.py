"""PyTorch in its eager mode, float64, one thread."""

import numpy as np
import torch

from . import CALLED, INPUTS, RECORDED, Contestant

PACKAGES = ("torch",)
torch.set_num_threads(1)
FUNCTIONS = {
    "add": torch.add,
    "multiply": torch.mul,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "sum": torch.sum,
    "matmul": torch.matmul,
    "mat-vec": torch.matmul,
}


def contestants(operation, size):
    function = FUNCTIONS[operation.name]
    plain = [tuple(torch.tensor(x) for x in group) for group in operation.operands(size)]
    leaves = [tuple(x.clone().requires_grad_() for x in group) for group in plain]
    seed = torch.ones_like(function(*plain[0]))

    def run():
        for group in plain:
            function(*group)

    def differentiate():
        for group in leaves:
            function(*group).backward(seed)
            for x in group:
                x.grad = None

    def values():
        return [np.array([function(*group).numpy() for group in plain])]

    def derivatives():
        for group in leaves:
            function(*group).backward(seed)
        columns = zip(*leaves, strict=True)
        found = values() + [np.array([x.grad.numpy() for x in column]) for column in columns]
        for group in leaves:
            for x in group:
                x.grad = None
        return found

    yield Contestant("PyTorch", CALLED, run, INPUTS, values)
    yield Contestant("PyTorch", RECORDED, differentiate, INPUTS, derivatives)
