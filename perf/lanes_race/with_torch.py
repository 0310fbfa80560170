"""PyTorch's functional transforms, eager, one thread: `torch.func.vmap` and `grad_and_value`."""

import torch

from . import Contestant, programs, written_with

PACKAGES = ("torch",)
LONGEST = 1000  # operations; each takes tens of microseconds
torch.set_num_threads(1)


def contestants(problem):
    if problem.operations > LONGEST:
        return
    module = written_with(programs.__name__, np=torch, exp=torch.exp, sin=torch.sin,
                          sqrt=torch.sqrt, maximum=at_least)  # fmt: skip
    if problem.kind == "asian":
        yield asian("PyTorch func", problem, module.asian)
        yield asian("PyTorch func, arrays", problem, module.asian_of_arrays)
    else:
        yield chain("PyTorch func", problem, problem.unrolled(module))


def at_least(x, bound):
    return torch.clamp(x, min=bound)


def chain(name, problem, program):
    def convert(point):
        return tuple(map(torch.tensor, point))

    def build():
        if problem.task == "value":
            rows = torch.func.vmap(program)
        else:
            rows = torch.func.vmap(torch.func.grad_and_value(program, (0, 1, 2)))
        return lambda point: rows(*point)

    def read(result):
        slopes, value = ((), result) if problem.task == "value" else result
        return value.numpy().copy(), [slope.numpy().copy() for slope in slopes]

    return Contestant(name, build, convert, read)


def asian(name, problem, program):
    z = torch.tensor(problem.z)
    rows = torch.func.vmap(program, (None, 0))

    def build():
        if problem.task == "paths":
            each = torch.func.vmap(torch.func.grad_and_value(program), (None, 0))
            return lambda p: each(p, z)
        return torch.func.grad_and_value(lambda p: torch.mean(rows(p, z)))

    def read(result):
        slopes, value = result
        return value.numpy().copy(), [slopes.numpy().copy()]

    return Contestant(name, build, torch.tensor, read)
