"""The implicit function theorem: derivatives of x(θ) where F(x, θ) = 0, however x was found.

    dx/dθ = −(∂F/∂x)⁻¹ ∂F/∂θ

A solve is one instruction on the tape.  In a forward sweep the solver runs, on plain numbers; in a
reverse sweep one linear system with the transposed Jacobian is solved, and what it gives is
carried through F once.  The rule is a NumPy program of F and of another primitive, the linear
solve, so that derivatives nest to any order.

Griewank and Walther, Evaluating Derivatives (2008), chapter 15; Blondel et al., Efficient and
Modular Implicit Differentiation (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ArgumentError, ConvergenceError, SingularMatrixError
from ..record.arrays import FLOAT32, Array, as_array, moves, plain_value, scalar_dtype
from ..record.calls import Primitive, call
from ..record.core import recording, user_line
from ..record.values import Leaf, Var
from ..traced.function import function
from ..transforms.closures import Closure
from ..transforms.gradients import grad
from ..transforms.jacobians import jacobian
from ..transforms.linear_maps import jvp
from ..trees import flatten, unflatten
from ..vectors import Unravel, ravel
from .apart import apart, checked, plain
from .krylov import krylov

# (f, start, unravel, args) -> whatever the solver says, with its solution as the vector `x`
Solve = Callable[[Callable[..., Any], np.ndarray, Unravel, tuple[Any, ...]], Any]
# (f, x, unravel, args) -> F(x) as a vector, for plain and for recording x and args
Residual = Callable[[Callable[..., Any], Any, Unravel, tuple[Any, ...]], Any]
# How linear systems with ∂F/∂x are solved: (method, tolerance, iterations)
Linear = tuple[str, float, int | None]
NEAR = 1e-8  # to a solution, relative
DENSE: Linear = ("dense", 0.0, None)
METHODS = ("dense", "gmres", "cg", "bicgstab")


class Setting:
    """A function, its unknowns x0 and its arguments, apart from the recording values in them.

    `parameters` are the recording values among `args` and in the closure of f; `given(values)` is
    (f, args) with others in their place.
    """

    def __init__(self, solver: str, f: Callable[..., Any], x0: Any, args: Any) -> None:
        self.solver = solver
        if not callable(f):
            raise ArgumentError(f"nt.{solver} takes a function, not {f!r:.60} [{user_line()}]")
        if not isinstance(args, tuple):
            args = (args,)  # as SciPy has it
        closure = Closure(f)
        leaves, self._structure = flatten(args)
        self._moving = [j for j, x in enumerate(leaves) if moves(x)]
        self.parameters = [*[leaves[j] for j in self._moving], *closure.values]
        self._leaves = [None if moves(x) else x for x in leaves]
        self._closure = closure
        self.start, self.unravel = ravel(_guess(x0))
        self.kinds = [_kind(x) for x in self.parameters]
        closure.forget()

    def given(self, values: Sequence[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        leaves, count = list(self._leaves), len(self._moving)
        for j, x in zip(self._moving, values, strict=False):
            leaves[j] = x
        return self._closure(values[count:]), unflatten(self._structure, leaves)

    def natural(self, values: Sequence[Any]) -> list[Any]:
        """Parameters as the user's function expects them, from arrays of float64."""
        return [_natural(x, *kind) for x, kind in zip(values, self.kinds, strict=True)]


def _guess(x0: Any) -> Any:
    """Leaves of `nt.var` as plain numbers: a guess has no derivative, and they are not replayed."""
    leaves, structure = flatten(x0)
    if not any(isinstance(x, Leaf) or (isinstance(x, Array) and x.is_leaf) for x in leaves):
        return x0
    is_leaf = [isinstance(x, Leaf) or (isinstance(x, Array) and x.is_leaf) for x in leaves]
    return unflatten(structure, [x.value if leaf else x
                                 for x, leaf in zip(leaves, is_leaf, strict=True)])  # fmt: skip


def _kind(x: Any) -> tuple[bool, np.dtype[Any]]:
    """Whether a parameter is a number and no array, and its dtype."""
    return (True, scalar_dtype(x)) if isinstance(x, Var) else (False, x.dtype)


def _natural(x: Any, is_number: bool, dtype: np.dtype[Any]) -> Any:
    if moves(x):
        if is_number:
            return x[()] if isinstance(x, Array) else x
        return x.astype(dtype) if dtype == FLOAT32 else x
    x = np.asarray(plain_value(x))
    return x.astype(dtype).item() if is_number else x.astype(dtype)


class Problem:
    """F(x, θ) = 0 as functions of vectors and numbers; the parameter of the two primitives."""

    def __init__(
        self, setting: Setting, solve: Solve, residual: Residual, linear: Linear = DENSE
    ) -> None:
        self.setting = setting
        self._linear = linear
        self._solve = solve
        self._residual = residual
        self.floats = [j for j, kind in enumerate(setting.kinds) if kind[1].kind == "f"]
        self.found: Any = None  # what the solver said last
        self._solved: tuple[list[Any], Any] | None = None
        self._matrix: tuple[list[Any], np.ndarray] | None = None
        self._code = getattr(setting.given(setting.parameters)[0], "__code__", None)

    def __repr__(self) -> str:
        """Equal for problems that are recorded at one place of one function."""
        return f"<{self.setting.solver} of {self._code}>"

    # --- F and what derives from it ---

    def residual(self, x: Any, *parameters: Any) -> Any:
        f, args = self.setting.given(parameters)
        return self._residual(f, x, self.setting.unravel, args)

    @cached_property
    def traced(self) -> Callable[..., Any]:
        return function(self.residual)  # type: ignore[no-any-return]

    @cached_property
    def pairing(self) -> Callable[..., Any]:
        """(x, u, θ) -> <u, F(x, θ)>: its gradients are products with transposed Jacobians."""
        return function(lambda x, u, *t: np.sum(u * self.residual(x, *t)))  # type: ignore[no-any-return]

    @cached_property
    def bilinear(self) -> Callable[..., Any]:
        """(x, u, v, θ) -> <u, ∂F/∂x v>."""
        first = grad(self.pairing)
        return function(lambda x, u, v, *t: np.sum(first(x, u, *t) * v))  # type: ignore[no-any-return]

    @cached_property
    def directional(self) -> Callable[..., Any]:
        """(x, v, θ) -> ∂F/∂x v."""
        return function(lambda x, v, *t: jvp(lambda y: self.residual(y, *t), (x,), (v,))[1])  # type: ignore[no-any-return]

    # --- plain numbers ---

    def solve(self, start: np.ndarray, parameters: Sequence[Any]) -> np.ndarray:
        """x for parameters, by the solver; asked again for the same, the same."""
        key = [start, *parameters]
        known = self._solved  # another thread may write it meanwhile
        if known is None or not _same(known[0], key):
            values = self.setting.natural(parameters)
            with apart(self.setting.solver):
                f, args = self.setting.given(values)
                found = self._solve(f, start.copy(), self.setting.unravel, args)
            self._confirm(found, parameters)
            known = self._solved = [np.array(v) for v in key], found
        self.found = known[1]
        return np.array(known[1].x)

    def _confirm(self, found: Any, parameters: Sequence[Any]) -> None:
        """A point that is no solution has no derivative; raises `ConvergenceError`.

        SciPy's methods also report failure where rounding keeps them from the last digits that
        were asked for.  Then a step of Newton's method says how far the solution is.
        """
        if getattr(found, "success", True):
            return
        x, solver = np.asarray(found.x), self.setting.solver
        with apart(solver):
            F = np.asarray(self.traced(x.copy(), *self.setting.natural(parameters)))
        try:
            step = self.linear(F, x, parameters, False)
        except (SingularMatrixError, ConvergenceError):
            step = np.full(1, np.inf)
        if np.abs(step).max(initial=0.0) <= NEAR * (1.0 + np.abs(x).max(initial=0.0)):
            return
        count = int(found.get("nit", found.get("nfev", 0)))
        distance = float(np.abs(F).max())
        message = " ".join(str(found.message).split())
        raise ConvergenceError(
            f"nt.{solver} did not converge in {count} steps, residual {distance:.3g}: {message} "
            f"[{user_line()}]",
            count,
            distance,
        )

    def matrix(self, x: np.ndarray, parameters: Sequence[Any]) -> np.ndarray:
        """∂F/∂x."""
        key = [x, *parameters]
        known = self._matrix
        if known is None or not _same(known[0], key):
            with apart(self.setting.solver):
                found = jacobian(self.traced)(x.copy(), *self.setting.natural(parameters))
                found = np.asarray(plain(self.setting.solver, found))
            known = self._matrix = [np.array(v) for v in key], found
        return known[1]

    def linear(
        self, w: np.ndarray, x: np.ndarray, parameters: Sequence[Any], transposed: bool
    ) -> Any:
        """(∂F/∂x)⁻¹ w, or with the transposed matrix."""
        if self._linear[0] != "dense":
            return self._iterated(w, x, parameters, transposed)
        matrix = self.matrix(x, parameters)
        try:
            found = np.linalg.solve(matrix.T if transposed else matrix, w)
        except np.linalg.LinAlgError:
            found = np.full(len(w), np.nan)
        if np.isnan(found).any() and not np.isnan(w).any():
            raise SingularMatrixError(
                f"the Jacobian of the equations of nt.{self.setting.solver} at their solution is "
                "singular or not finite: the solution has no derivative there"
            )
        return found

    def _iterated(
        self, w: np.ndarray, x: np.ndarray, parameters: Sequence[Any], transposed: bool
    ) -> Any:
        """The same without a matrix: products with it are derivatives of F along a direction."""
        method, tol, maxiter = self._linear
        natural = self.setting.natural(parameters)
        adjoint = grad(self.pairing)
        with apart(self.setting.solver):

            def product(v: np.ndarray) -> np.ndarray:
                if transposed or method == "cg":  # symmetric
                    return adjoint(x, v, *natural)  # type: ignore[no-any-return]
                return self.directional(x, v, *natural)  # type: ignore[no-any-return]

            return krylov(self.setting.solver, method, product, w, None, tol, maxiter)


def _same(known: Sequence[Any], key: Sequence[Any]) -> bool:
    return all(map(np.array_equal, known, key))


# --- the two primitives ---------------------------------------------------------------------------


def _surroundings(problem: Problem, *values: Any) -> AbstractContextManager[None]:
    """Rules get plain arrays in sweeps, and recording ones where derivatives nest."""
    return nullcontext() if any(map(moves, values)) else apart(problem.setting.solver)


def _through_parameters(
    problem: Problem, of: Callable[..., Any], vectors: Sequence[Any], parameters: Sequence[Any],
    first: Sequence[int] = (),
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Minus the gradient of `of(*vectors, *parameters)`: for the vectors `first`, and for the
    parameters, None for whole numbers."""
    chosen = [*first, *[len(vectors) + j for j in problem.floats]]
    found: list[Any] = [None] * (len(vectors) + len(parameters))
    if chosen:
        natural = problem.setting.natural(parameters)
        for j, g in zip(chosen, grad(of, tuple(chosen))(*vectors, *natural), strict=True):
            found[j] = -(as_array(g) if moves(g) else np.asarray(g))
    return found[: len(vectors)], found[len(vectors) :]


def _implicit_value(start: Any, *parameters: Any, problem: Problem) -> Any:
    return problem.solve(start, parameters)


def _implicit_vjp(w: Any, z: Any, start: Any, *parameters: Any, problem: Problem) -> Any:
    with _surroundings(problem, w, z, *parameters):
        u = call(LINEAR, {"problem": problem, "transposed": True}, w, z, *parameters)
        _, terms = _through_parameters(problem, problem.pairing, [z, u], parameters)
    return None, *terms  # the start has no influence on the solution


def _implicit_jvp(tangents: Any, z: Any, start: Any, *parameters: Any, problem: Problem) -> Any:
    with _surroundings(problem, z, *parameters, *tangents):
        if not problem.floats:
            return np.zeros(z.shape)
        natural = problem.setting.natural(parameters)
        speed = _along_parameters(
            problem, lambda *t: problem.residual(z, *t), natural, tangents[1:]
        )
        return -call(LINEAR, {"problem": problem, "transposed": False}, speed, z, *parameters)


def _along_parameters(
    problem: Problem, of: Callable[..., Any], natural: list[Any], tangents: Sequence[Any],
    x: tuple[Any, ...] = (), speed: tuple[Any, ...] = (),
) -> Any:  # fmt: skip
    """The derivative of `of(*x, *parameters)`: x has the `speed`, the parameters `tangents`."""

    def of_floats(*values: Any) -> Any:
        full = list(natural)
        for j, value in zip(problem.floats, values[len(x) :], strict=True):
            full[j] = value
        return of(*values[: len(x)], *full)

    primals = *x, *[natural[j] for j in problem.floats]
    speeds = *speed, *[_like(tangents[j], natural[j]) for j in problem.floats]
    return jvp(of_floats, primals, speeds)[1]


def _like(tangent: Any, x: Any) -> Any:
    """A tangent in the form of a parameter: a number for a number."""
    if not np.shape(x) and not isinstance(x, (Array, np.ndarray)) and np.ndim(tangent) == 0:
        return tangent[()] if isinstance(tangent, (Array, np.ndarray)) else tangent
    return tangent


def _linear_value(w: Any, x: Any, *parameters: Any, problem: Problem, transposed: bool) -> Any:
    return problem.linear(w, x, parameters, transposed)


def _linear_vjp(
    w: Any, z: Any, b: Any, x: Any, *parameters: Any, problem: Problem, transposed: bool
) -> Any:
    """z = A⁻¹ b with A(x, θ): with s = A⁻ᵀ w, the adjoint of b is s, that of A is −s zᵀ."""
    with _surroundings(problem, w, z, x, *parameters):
        s = call(LINEAR, {"problem": problem, "transposed": not transposed}, w, x, *parameters)
        left, right = (z, s) if transposed else (s, z)
        vectors, terms = _through_parameters(
            problem, problem.bilinear, [x, left, right], parameters, (0,)
        )
    return s, vectors[0], *terms


def _linear_jvp(
    tangents: Any, z: Any, b: Any, x: Any, *parameters: Any, problem: Problem, transposed: bool
) -> Any:
    """z' = A⁻¹ (b' − A' z)."""
    with _surroundings(problem, z, x, *parameters, *tangents):
        of = grad(problem.pairing) if transposed else problem.directional
        natural = problem.setting.natural(parameters)
        change = _along_parameters(
            problem, lambda x, *t: of(x, z, *t), natural, tangents[2:], (x,), (tangents[1],)
        )
        params = {"problem": problem, "transposed": transposed}
        return call(LINEAR, params, tangents[0] - change, x, *parameters)


IMPLICIT = Primitive("implicit solve", _implicit_value, _implicit_vjp, _implicit_jvp,
                     doc="x with F(x, θ) = 0")  # fmt: skip
LINEAR = Primitive("linear solve of an implicit function", _linear_value, _linear_vjp, _linear_jvp,
                   doc="(∂F/∂x)⁻¹ w")  # fmt: skip


# --- what solvers call ----------------------------------------------------------------------------


def solved(
    setting: Setting, solve: Solve, residual: Residual, linear: Linear = DENSE
) -> tuple[Any, Any]:
    """(x, what the solver said): x a tree of plain numbers, or recording where a parameter is."""
    moving = any(map(moves, (setting.start, *setting.parameters)))
    if not (moving and recording()):
        values = [plain_value(x) for x in setting.parameters]
        with apart(setting.solver):
            f, args = setting.given(setting.natural(values))
            found = solve(f, np.array(plain_value(setting.start)), setting.unravel, args)
        return setting.unravel(np.array(found.x)), found
    problem = Problem(setting, solve, residual, linear)
    parameters, setting.parameters = setting.parameters, []  # they belong to the tape
    x = call(IMPLICIT, {"problem": problem}, setting.start, *parameters)
    setting.start = None
    return setting.unravel(x), problem.found


def recording_result(found: Any, asked: Sequence[Any]) -> Any:
    """What a solver of SciPy's said, without what would be wrong beside a recording solution.

    Arrays and floats (`hess_inv`, `cost`) would have derivatives; in a traced function the counts
    of iterations, too, would be those of another solve.
    """
    kept = (bool,) if any(map(_is_traced, asked)) else (bool, int, str)
    return type(found)({k: v for k, v in found.items() if isinstance(v, kept)})


def _is_traced(x: Any) -> bool:
    if not moves(x):
        return False
    tape = (x.storage if isinstance(x, Array) else x).tape
    return getattr(tape, "traced", None) is not None


def linear_by(solver: str, method: str) -> Linear:
    """The option `linear` of a solver."""
    if method not in METHODS:
        raise ArgumentError(
            f"nt.{solver}: linear is one of {', '.join(METHODS)}, not {method!r} [{user_line()}]"
        )
    return method, 1e-10, None


def vector(solver: str, tree: Any, size: int) -> Any:
    """The value of a user's function as a vector of the length that it must have."""
    return checked(solver, ravel(tree)[0], size)
