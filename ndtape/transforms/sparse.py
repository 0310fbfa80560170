"""Sparse Jacobians and Hessians: the pattern once, then a few sweeps for all entries.

A pattern belongs to a tape, that is to the branches taken, and to what is differentiated there.  A
traced function keeps it with each of its tapes; other functions are recorded afresh at each call,
and so is their pattern, unless the user hands it in.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, PatternError, UnsupportedError
from ..named import Transformed
from ..patterns import detect
from ..patterns.pattern import COLOURINGS, KINDS, Group, Sparsity
from ..patterns.steps import variants
from ..record.values import Result
from .directions import adjoints, second, seconds, tangent, tangents
from .evaluation import Argnums, Evaluation, shape_of, size_of
from .outputs import VectorEvaluation

FORMATS = ("csr", "csc", "coo")
TOLERANCE = 1e-6  # of a check, relative to the sum of absolute terms
ROUNDING = 1e-12  # relative to the largest such sum: what substitution leaves of a zero
Sparse = bool | str | Sparsity

_kept: dict[int, tuple[Any, list[tuple[Any, ...]]]] = {}  # by id of a tape: a reference, patterns


class SparseEvaluation(VectorEvaluation):
    """An evaluation on a tape that can be read: a compiled function is recorded."""

    offers = ("evaluate",)  # type: ignore[assignment]


def sparsity(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    of: str = "jacobian",
    colouring: str | None = None,
) -> Callable[..., Sparsity]:
    """`sparsity(f)(*args)` is the pattern of the Jacobian (`of="hessian"`: the Hessian) of f.

    A `Sparsity` prints, counts (`nnz`, `detection_sweeps`, `evaluation_sweeps`), is saved
    (`save`, `nt.Sparsity.load`), and is handed to `nt.jacobian(f, sparse=pattern)` or
    `nt.hessian`.  Trees of arguments and results count as one vector each, in their order.  The
    pattern holds wherever f takes the same branches.  `colouring` is, of a Hessian, "star" (every
    entry is read directly) or "acyclic" (fewer sweeps, some entries follow by subtraction), of a
    Jacobian "columns" or "rows" (mostly tangent or mostly reverse sweeps); by default, of a
    Jacobian, what takes fewer sweeps.  Raises `ArgumentError` for a kind or a colouring that there
    is not.

    >>> import ndtape as nt, numpy as np
    >>> f = lambda x: np.sum((x[1:] - x[:-1] ** 2) ** 2)
    >>> print(nt.sparsity(f, of="hessian")(np.ones(4)))
    Hessian 4 x 4, 10 entries (62.5%), evaluation: 3 sweeps (star), detection: 2 sweeps
    ##..
    ###.
    .###
    ..##
    """
    if of not in KINDS:
        raise ArgumentError(f"of must be one of {', '.join(KINDS)}, not {of!r}")
    if colouring not in (None, *COLOURINGS[of]):
        raise ArgumentError(
            f"the colouring of a {of} must be one of {', '.join(COLOURINGS[of])}, not {colouring!r}"
        )

    def transformed(*args: Any, **kwargs: Any) -> Sparsity:
        call: Evaluation
        if of == "jacobian":
            call = SparseEvaluation(f, args, kwargs, argnums, has_aux)
            found = _jacobian_pattern(call, colouring)
        else:
            call = Evaluation(f, args, kwargs, argnums, has_aux)
            found = _hessian_pattern(call, colouring)
        call.release()
        return found

    what = f"pattern of the {of.title()}"
    return Transformed(transformed, what, argnums, sparsity, f, argnums, has_aux, of, colouring)


def sparse_jacobian(
    f: Callable[..., Any], argnums: Argnums, has_aux: bool, sparse: Sparse, check: bool | None
) -> Callable[..., Any]:
    """`jacobian` with `sparse` given."""
    given, form = _asked(sparse, "jacobian")

    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = SparseEvaluation(f, args, kwargs, argnums, has_aux)
        _refuse_recording(call.numeric)
        pattern = _jacobian_pattern(call) if given is None else given
        rows, columns = [o.size for o in call.outputs], [size_of(x) for x in call.variables]
        _check_shape(pattern, (sum(rows), sum(columns)))
        matrix = pattern.matrix(_jacobian_entries(call, pattern))
        if _to_check(check, given, call):
            _check(pattern, matrix, lambda v: _product(call, v))
        smooth = [o.smooth_dtype for o in call.outputs if o.shape]
        blocks = _blocks(matrix, rows, columns, form, _dtype(call, smooth))
        answer = call.like_result([call.shaped(row) for row in blocks])
        answer = (answer, call.plain_tree(call.aux)) if has_aux else answer
        call.release()
        return answer

    return transformed


def sparse_hessian(
    f: Callable[..., Any], argnums: Argnums, has_aux: bool, sparse: Sparse, check: bool | None
) -> Callable[..., Any]:
    """`hessian` with `sparse` given."""
    given, form = _asked(sparse, "hessian")

    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(f, args, kwargs, argnums, has_aux)
        y = call.scalar()
        here = isinstance(y, Result) and call.is_here(y)
        _refuse_recording(call.is_numeric(lambda: [y.slot] if here else []))
        pattern = _hessian_pattern(call) if given is None else given
        sizes = [size_of(x) for x in call.variables]
        _check_shape(pattern, (sum(sizes), sum(sizes)))
        matrix = pattern.matrix(_hessian_entries(call, pattern))
        if _to_check(check, given, call) and here:
            slots = call.input_slots()
            _check(pattern, matrix, lambda v: second(call, y.slot, slots, v)[1][slots])
        blocks = _blocks(matrix, sizes, sizes, form, _dtype(call, []))
        answer = call.shaped([call.shaped(row) for row in blocks])
        answer = (answer, call.plain_tree(call.aux)) if has_aux else answer
        call.release()
        return answer

    return transformed


# --- patterns -------------------------------------------------------------------------------------


def _jacobian_pattern(call: Any, colouring: str | None = None) -> Sparsity:
    inputs, places = call.input_slots(), call.places()
    shape = len(places), len(inputs)

    def found() -> Sparsity:
        pattern = detect.jacobian(call.tape, inputs, places)
        return Sparsity.made("jacobian", shape, pattern, colouring)

    return _remembered(call, ("jacobian", colouring), (inputs, places), found)


def _hessian_pattern(call: Evaluation, colouring: str | None = None) -> Sparsity:
    y, inputs = call.scalar(), call.input_slots()
    n = len(inputs)
    root = y.slot if isinstance(y, Result) and call.is_here(y) else -1

    def found() -> Sparsity:
        none = detect.Found(np.zeros(n + 1, np.int64), np.zeros(0, np.int64), 0)
        pattern = none if root < 0 else detect.hessian(call.tape, inputs, root)
        return Sparsity.made("hessian", (n, n), pattern, colouring)

    return _remembered(call, ("hessian", colouring), (inputs, np.array([root])), found)


def _remembered(
    call: Evaluation, kind: tuple[Any, ...], slots: tuple[np.ndarray, np.ndarray],
    found: Callable[[], Sparsity],
) -> Sparsity:  # fmt: skip
    """The pattern for these slots of the tape of a traced function, found once."""
    if call.lent is None:
        return found()
    known, kind = _patterns(call.tape), (*kind, variants(call.tape))
    for its_kind, its_slots, pattern in known:
        if its_kind == kind and all(map(np.array_equal, its_slots, slots)):
            return pattern  # type: ignore[no-any-return]
    pattern = found()
    known.append((kind, slots, pattern))
    return pattern


def _patterns(tape: Any) -> list[tuple[Any, ...]]:
    """What is known of a tape; forgotten with it."""
    key = id(tape)
    if key not in _kept:
        _kept[key] = weakref.ref(tape, lambda _: _kept.pop(key, None)), []
    return _kept[key][1]


# --- entries --------------------------------------------------------------------------------------


def _jacobian_entries(call: Any, pattern: Sparsity) -> np.ndarray:
    inputs, places = call.input_slots(), call.places()
    data = np.zeros(pattern.nnz)
    by_columns, by_rows = pattern.by_columns, pattern.by_rows
    if by_columns:
        tangents(call, [inputs[g.seeds] for g in by_columns], _taking(data, by_columns, places))
    if by_rows:
        adjoints(call, [places[g.seeds] for g in by_rows], _taking(data, by_rows, inputs))
    return data


def _hessian_entries(call: Evaluation, pattern: Sparsity) -> np.ndarray:
    inputs, groups = call.input_slots(), pattern.by_columns
    numbers = np.zeros(pattern.numbers)
    if groups:
        seeds = [inputs[g.seeds] for g in groups]
        seconds(call, call.scalar().slot, seeds, _taking(numbers, groups, inputs))
    return pattern.entries(numbers)


def _taking(
    numbers: np.ndarray, groups: Sequence[Group], slots: np.ndarray
) -> Callable[[slice, np.ndarray], None]:
    """Reads the numbers of groups from a buffer that has a column for each of them.

    Several threads do, each for groups of its own: what they write is apart.
    """

    def take(which: slice, buffer: np.ndarray) -> None:
        for j, group in enumerate(groups[which]):
            numbers[group.entries] = buffer[slots[group.sources], j]

    return take


def _blocks(
    matrix: Any, rows: Sequence[int], columns: Sequence[int], form: str, dtype: Any
) -> list[list[Any]]:
    """The matrix as blocks [output][variable], in the format that was asked for."""
    matrix = matrix.astype(dtype, copy=False)
    if len(rows) == len(columns) == 1:
        return [[matrix.asformat(form)]]
    return [[matrix[r, c].asformat(form) for c in _slices(columns)] for r in _slices(rows)]


def _slices(sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


def _dtype(call: Evaluation, others: list[Any]) -> Any:
    """That of dense matrices: float32 where all arrays are."""
    found = [x.dtype for x in call.variables if shape_of(x)] + others
    return np.result_type(*found) if found else np.dtype(np.float64)


# --- what is asked, and whether it fits -----------------------------------------------------------


def _asked(sparse: Sparse, kind: str) -> tuple[Sparsity | None, str]:
    """A pattern that is given, and the format of the answer."""
    if isinstance(sparse, Sparsity):
        if sparse.kind != kind:
            raise ArgumentError(
                f"nt.{kind} needs the pattern of a {kind}, not of a {sparse.kind}: "
                f"nt.sparsity(f, of={kind!r}) finds it"
            )
        return sparse, FORMATS[0]
    form = FORMATS[0] if sparse is True else sparse
    if form not in FORMATS:
        raise ArgumentError(
            f"sparse must be True, one of {', '.join(FORMATS)}, or a pattern of nt.sparsity, "
            f"not {sparse!r}"
        )
    return None, str(form)


def _refuse_recording(numeric: bool) -> None:
    if not numeric:
        raise UnsupportedError(
            "a sparse matrix holds plain numbers, which an enclosing transform cannot "
            "differentiate: leave sparse=False there, or multiply by nt.jvp, nt.vjp or nt.hvp"
        )


def _check_shape(pattern: Sparsity, shape: tuple[int, int]) -> None:
    if pattern.shape != shape:
        raise PatternError(
            f"the pattern given is that of a {pattern.shape[0]} x {pattern.shape[1]} matrix, the "
            f"{pattern.kind} of this function is {shape[0]} x {shape[1]}: nt.sparsity finds its own"
        )


def _to_check(check: bool | None, given: Sparsity | None, call: Evaluation) -> bool:
    """A pattern that the user brings is checked once a tape, unless he says otherwise."""
    if check is not None or given is None or call.lent is None:
        return given is not None if check is None else check
    known = _patterns(call.tape)
    if any(pattern is given for _, _, pattern in known):
        return False
    known.append((("given", ""), (), given))
    return True


def _product(call: SparseEvaluation, v: np.ndarray) -> np.ndarray:
    """J v by one sweep."""
    t = tangent(call, call.input_slots(), v)
    return np.concatenate([np.zeros(0), *[call.flat_tangent(t, o) for o in call.outputs]])


def _check(pattern: Sparsity, matrix: Any, along: Callable[[np.ndarray], np.ndarray]) -> None:
    """Compare the matrix times a random direction with a sweep in that direction."""
    v = np.random.default_rng(pattern.nnz).uniform(0.5, 1.5, pattern.shape[1])
    product, scale = matrix @ v, abs(matrix) @ v
    exact = along(v)
    with np.errstate(invalid="ignore"):
        largest = np.max(scale, initial=0.0, where=np.isfinite(scale))
        allowed = TOLERANCE * (scale + np.abs(exact)) + ROUNDING * largest
        wrong = np.abs(product - exact) > allowed
    wrong |= np.isfinite(exact) & ~np.isfinite(product)
    if wrong.any():
        i = int(wrong.argmax())
        raise PatternError(
            f"the pattern given misses entries of row {i} of the {pattern.kind}: its product with "
            f"a random direction is {product[i]:.6g}, a sweep along it gives {exact[i]:.6g}. A "
            "pattern holds for the branches that were taken when it was found; nt.sparsity finds "
            "the one for these arguments"
        )
