"""PyTorch, eager, float64, one thread: the chains as the user writes them, scalar by scalar."""

import torch

from . import GRADIENT, Contestant
from .problems import CHAIN

PACKAGES = ("torch",)


def contestants(problem):
    if problem.program.form != CHAIN:
        return
    torch.set_num_threads(1)

    def build():
        function = problem.function_with(torch)

        def run(*arguments):
            leaves = [
                torch.tensor(a, dtype=torch.float64, requires_grad=True)
                for a in arguments[: problem.moving]
            ]
            result = function(*leaves, *arguments[problem.moving :])
            result.backward()
            return result.item(), [leaf.grad.item() for leaf in leaves]

        return run

    yield Contestant("PyTorch", GRADIENT, build)
