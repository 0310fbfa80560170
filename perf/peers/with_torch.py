"""PyTorch with zero-dimensional float64 tensors on one thread: its eager mode, scalar by scalar."""

import torch

from peers import RECORD, Contestant

PACKAGES = ("torch",)
LARGEST = 150_000


def contestants(problem, size, patience):
    if problem.operations(size) > LARGEST * patience:
        return
    torch.set_num_threads(1)
    program, inputs = problem.program(size), problem.inputs(size)

    def run():
        leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in inputs]
        result = program(leaves, torch.sin)
        result.backward()
        return result.item(), [leaf.grad.item() for leaf in leaves]

    yield Contestant("PyTorch", RECORD, run)
