"""ndtape's own contestant: `sparse=True`."""

import ndtape as nt

from . import Contestant

PACKAGES = ("ndtape", "numpy", "scipy", "numba", "llvmlite")


def contestants(problem):
    made = []

    def build():
        made[:] = [nt.function(problem.program())]
        made[0].clear()  # nt.function gives the same object for the same function
        transform = nt.jacobian if problem.task == "jacobian" else nt.hessian
        return transform(made[0], sparse=True)

    def facts():
        return figures(nt.sparsity(made[0], of=problem.task)(problem.points[0]))

    yield Contestant("ndtape", build, lambda x: x, lambda matrix: matrix, facts)


def figures(pattern):
    """What a pattern says of itself."""
    return {
        "entries": pattern.nnz,
        "detection sweeps": pattern.detection_sweeps,
        "tangent sweeps": pattern.tangent_sweeps,
        "reverse sweeps": pattern.reverse_sweeps,
        "evaluation sweeps": pattern.evaluation_sweeps,
    }
