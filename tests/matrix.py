"""The derived test matrix: what every row of the op table must fulfil, checked from outside.

Nothing here names a row that it must have: points, forms, true values and true derivatives follow
from the row, so that a new row is tested without an edit.  A row whose value is a new function of
vmath needs one entry in `MATH`, the same thing said in mpmath.

Three parts.  *Points*: random ones of the row's domain, and every mix of zeros, tiny, huge and
non-finite numbers.  *Numbers*: what an implementation says at these points: values, partial
derivatives, second derivatives.  `Bench` gets them from the compiled sweeps, all rows in one tape;
`interpreted` from a row's text alone, so that the checks themselves can be tested on rows with
planted errors and without a compiler.  *Checks*: functions from a row and its numbers to a list of
complaints; the truth comes from mpmath, and from NumPy and SciPy where mathematics has no value.
"""

from __future__ import annotations

import ast
import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
import scipy.special
from mpmath import mp, mpf

from ndtape import passes, rules
from ndtape.ops import INPUT_CODE, OPCODES, ORDER, ROWS, STRUCTURE, TABLE, Op, Opcode, forms
from ndtape.run import Workspace
from ndtape.tape import Tape
from ndtape.verify import verify

mp.prec = 250
LANES = 16
ROWS_TESTED = [row for row in TABLE if row.kind not in STRUCTURE]
OPCODES_TESTED = [o for o in OPCODES if o.row.kind not in STRUCTURE]

# --- mathematics: the functions that rows may call -----------------------------------------------


class NoValue(Exception):
    """Mathematics has no real number here: the conventions of NumPy decide."""


def _exact(function: Callable[..., Fraction | int]) -> Callable[..., mpf]:
    """A function of rational numbers, without rounding."""

    def evaluated(*args: Any) -> mpf:
        if any(isinstance(a, mpmath.mpc) for a in args) or not all(map(mpmath.isfinite, args)):
            raise NoValue
        answer = Fraction(function(*map(_fraction, args)))
        return mpf(answer.numerator) / answer.denominator

    return evaluated


def _fraction(x: mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _quotient(x: Fraction, y: Fraction) -> int:
    return math.floor(x / y)


def _real(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of real numbers that has no analytic continuation worth the name."""

    def evaluated(*args: Any) -> Any:
        if any(isinstance(a, mpmath.mpc) for a in args):
            raise NoValue
        return function(*args)

    return evaluated


def _sign(x: mpf) -> int:
    return (x > 0) - (x < 0)


def _single(x: mpf) -> mpf:
    """The nearest number with 24 bits; mathematics has no value beyond float32's range."""
    with np.errstate(over="ignore"):
        rounded = np.float32(float(x))  # points are floats: nothing is rounded twice
    if not np.isfinite(rounded):
        raise NoValue
    return mpf(float(rounded))


def _power_of_0(y: Any) -> mpf:
    if mp.re(y) < 0:
        raise NoValue
    return mpf(y == 0)


def _magnitude(x: Any) -> Any:
    """|x|, continued to complex numbers on either side of 0: complex steps go through it."""
    return -x if mp.re(x) < 0 else x


def _polygamma(n: int, x: Any) -> Any:
    """mpmath's, which never ends at huge x: there, the asymptotic series."""
    if abs(x) < 1e6 or n == 0:
        return mp.psi(n, x)
    if x < 0:
        raise NoValue  # floats as large as that are whole numbers, hence poles
    series = mp.factorial(n - 1) + mp.factorial(n) / (2 * x) + mp.factorial(n + 1) / (12 * x * x)
    return (-1) ** (n + 1) * series / x**n


MATH: dict[str, Callable[..., Any]] = {
    "power": lambda x, y: mp.power(x, y) if x != 0 else _power_of_0(y),
    "sqrt": mp.sqrt,
    "cbrt": lambda x: -mp.cbrt(-x) if mp.re(x) < 0 else mp.cbrt(x),
    "exp": mp.exp,
    "exp2": lambda x: mp.power(2, x),
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": lambda x: mp.log(x) / mp.log(10),
    "log1p": mp.log1p,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arctan2": _real(mp.atan2),
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsinh": lambda x: -mp.asinh(-x) if mp.re(x) < 0 else mp.asinh(x),
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "hypot": lambda x, y: mp.sqrt(x * x + y * y),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)) if mp.re(x) < 0 else x + mp.log1p(mp.exp(-x)),
    "logaddexp": lambda x, y: (
        mp.log1p(mp.exp(min(x, y, key=mp.re) - max(x, y, key=mp.re))) + max(x, y, key=mp.re)
    ),
    "erf": mp.erf,
    "erfc": mp.erfc,
    "gammaln": _real(lambda x: mp.re(mp.loggamma(x))),
    "digamma": _real(mp.digamma),
    "polygamma": _real(lambda n, x: _polygamma(int(n), x)),
    "fabs": _magnitude,
    "sign": _real(_sign),
    "floor": _exact(math.floor),
    "ceil": _exact(math.ceil),
    "trunc": _exact(math.trunc),
    "rint": _exact(round),
    "mod": _exact(lambda x, y: x - y * _quotient(x, y)),
    "floor_divide": _exact(_quotient),
    "maximum": _real(max),
    "minimum": _real(min),
    "fmax": _real(max),
    "fmin": _real(min),
    "copysign": lambda x, y: -_magnitude(x) if mp.re(y) < 0 else _magnitude(x),
    "mz": lambda x, y: x * y,
    "fma": lambda x, y, u: x * y + u,
    "round32": _real(lambda x: _single(x)),
}


# What composite rows mean, independently of how they are written.  A row that is not here is held
# against its own text (and against its ufunc).
def _nothing_left_of_0(x: mpf) -> mpf:
    if x < 0:
        raise NoValue
    return mpf(0)


MEANING: dict[str, Callable[..., Any]] = {
    "copy": lambda x: x,
    "stop": lambda x: x,
    "attach": lambda x, y, u: y,
    "add": lambda x, y: mp.fsum([x, y]),
    "subtract": lambda x, y: mp.fsum([x, -y]),
    "multiply": lambda x, y: mp.fprod([x, y]),
    "divide": lambda x, y: mp.fdiv(x, y),
    "negative": lambda x: mp.fneg(x),
    "square": lambda x: mp.power(x, 2),
    "cube": lambda x: mp.power(x, 3),
    "reciprocal": lambda x: mp.power(x, -1),
    "heaviside": lambda x, y: [mpf(0), y, mpf(1)][_sign(x) + 1],
    "abs": abs,
    "clip": lambda x, y, u: min(max(x, y), u),
    "where": lambda x, y, u: u if x == 0 else y,
    "nan_to_num": lambda x: x,
    "arccoth": mp.acoth,
    "deg2rad": mp.radians,
    "rad2deg": mp.degrees,
    "logit": lambda x: mp.log(x) - mp.log1p(-x),
    "relu": lambda x: max(x, mpf(0)),
    "leaky_relu": lambda x, y: x * (y if x < 0 else 1),
    "elu": lambda x, y: y * mp.expm1(x) if x < 0 else x,
    "gelu": lambda x: x * mp.ncdf(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "xlogy": lambda x, y: x * mp.log(y) if x != 0 else mpf(0),
    "entr": lambda x: -x * mp.log(x) if mp.re(x) > 0 else _nothing_left_of_0(x),
    "xlog1py": lambda x, y: x * mp.log1p(y) if x != 0 else mpf(0),
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)) if mp.re(x) > 0 else x - mp.log1p(mp.exp(x)),
    "ndtr": lambda x: mp.erfc(-x / mp.sqrt(2)) / 2,
    "log_ndtr": lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
    "less": lambda x, y: int(x < y),
    "less_equal": lambda x, y: int(x <= y),
    "greater": lambda x, y: int(x > y),
    "greater_equal": lambda x, y: int(x >= y),
    "equal": lambda x, y: int(x == y),
    "not_equal": lambda x, y: int(x != y),
    "logical_and": lambda x, y: int(x != 0 and y != 0),
    "logical_or": lambda x, y: int(x != 0 or y != 0),
    "logical_not": lambda x: int(x == 0),
    "isnan": lambda x: 0,
    "isfinite": lambda x: 1,
    "isinf": lambda x: 0,
}

# --- rule text, evaluated ------------------------------------------------------------------------

COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class Arithmetic(NamedTuple):
    """How to evaluate rule text: on mpmath's numbers, or on NumPy's arrays."""

    number: Callable[[float], Any]
    functions: dict[str, Callable[..., Any]]
    ordered: Callable[[Any], Any]  # the part of a number that comparisons look at
    choose: Callable[[Any, Callable[[], Any], Callable[[], Any]], Any]


EXACT = Arithmetic(mpf, MATH, mp.re, lambda test, yes, no: yes() if test else no())


def evaluate(node: ast.expr, names: dict[str, Any], how: Arithmetic) -> Any:
    """The value of an expression in the grammar of rules."""

    def value(n: ast.expr) -> Any:
        return evaluate(n, names, how)

    match node:
        case ast.Constant():
            return how.number(node.value)
        case ast.Name():
            return names[node.id]
        case ast.UnaryOp():
            return -value(node.operand)
        case ast.BinOp(left, ast.Add(), right):
            return value(left) + value(right)
        case ast.BinOp(left, ast.Sub(), right):
            return value(left) - value(right)
        case ast.BinOp(left, ast.Mult(), right):
            return value(left) * value(right)
        case ast.BinOp(left, ast.Div(), right):
            return value(left) / value(right)
        case ast.Compare(left, [op], [right]):
            return _compared(how.ordered(value(left)), op, how.ordered(value(right)))
        case ast.BoolOp():
            tests = [value(n) for n in node.values]
            return np.logical_and.reduce(tests) if isinstance(node.op, ast.And) else (
                np.logical_or.reduce(tests)
            )  # fmt: skip
        case ast.IfExp():
            return how.choose(
                value(node.test), lambda: value(node.body), lambda: value(node.orelse)
            )
        case ast.Call(ast.Name(name)):
            return how.functions[name](*map(value, node.args))
    raise AssertionError(f"{ast.unparse(node)!r} is outside the grammar of rules")


def _compared(left: Any, op: ast.cmpop, right: Any) -> Any:
    symbol = COMPARE[type(op)]
    return {
        "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right,
        "==": left == right, "!=": left != right,
    }[symbol]  # fmt: skip


def text_value(text: str, names: dict[str, Any], how: Arithmetic) -> Any:
    return evaluate(rules.expand(rules.parse(text)), names, how)


def names_of(row: Op, point: Any) -> dict[str, Any]:
    return dict(zip(row.operands, point, strict=True))


# --- truth ---------------------------------------------------------------------------------------


def own_text(row: Op) -> Callable[..., Any]:
    """The row's value as a function of mpmath's numbers."""
    return lambda *point: text_value(row.z, names_of(row, point), EXACT)


def meaning(row: Op) -> Callable[..., Any]:
    """The true function of a row."""
    return MEANING.get(row.name) or MATH.get(row.name) or own_text(row)


LARGE = 1e6  # beyond, the neighbours of a float may lie behind a kink: floor, mod
UNDEFINED = (NoValue, ZeroDivisionError, ValueError, OverflowError)


def true_row(row: Op) -> Op:
    """The row of that name in the table: what is true of it is worked out once."""
    return ROWS.get(row.name, row)


def true_value(row: Op, point: tuple[float, ...]) -> mpf | None:
    """The exact value, None where there is none, or where it may depend on the sign of a zero."""
    if not all(map(math.isfinite, point)) or any(bits(x) == bits(-0.0) for x in point):
        return None
    return _true_value(row, point)


@cache
def _true_value(row: Op, point: tuple[float, ...]) -> mpf | None:
    try:
        z = meaning(row)(*map(mpf, point))
    except UNDEFINED:
        return None
    if isinstance(z, mpmath.mpc):
        return z.real if z.imag == 0 else None
    return mpf(z) if mpmath.isfinite(z) else None


@cache
def complex_step(row: Op, point: tuple[float, ...], j: int) -> mpf | None:
    """The derivative of the row's own text, None where complex numbers do not go through."""
    # sin(1e300 + ih) is linear only in a far smaller step, and mpmath's own imaginary parts cancel.
    extreme = any(not 1 / LARGE < abs(x) < LARGE for x in point if x != 0.0)
    digits, precision = (1300, 3000) if extreme else (200, 800)
    with mp.workprec(precision):
        numbers: list[Any] = list(map(mpf, point))
        step = min(abs(numbers[j]), mpf(1)) * mpf(2) ** -digits
        if step == 0:
            return None
        numbers[j] = mp.mpc(numbers[j], step)
        try:
            return mp.im(own_text(row)(*numbers)) / step
        except (*UNDEFINED, TypeError):
            return None


@cache
def differences(row: Op, point: tuple[float, ...], orders: tuple[int, ...]) -> mpf | None:
    """A partial derivative of the true function, by differences in high precision."""
    moving = [j for j, order in enumerate(orders) if order]
    for j, x in enumerate(point):
        if not (1 / LARGE <= abs(x) <= LARGE or (x == 0.0 and j not in moving)):
            return None  # the step is absolute
    fixed = list(map(mpf, point))

    def restricted(*args: Any) -> Any:
        for j, x in zip(moving, args, strict=True):
            fixed[j] = x
        return mp.re(meaning(row)(*fixed))

    at = tuple(mpf(point[j]) for j in moving)
    try:
        return mp.diff(restricted, at, tuple(orders[j] for j in moving))
    except UNDEFINED:
        return None


def true_partial(row: Op, point: tuple[float, ...], j: int) -> mpf | None:
    if row.name in CLAIMED:
        return mpf(CLAIMED[row.name](*point)[j])
    exempt, _ = EXEMPT.get(row.name, (lambda *point_and_j: False, ""))
    if true_value(row, point) is None or exempt(*point, j):
        return None
    stepped = complex_step(row, point, j)
    return stepped if stepped is not None else differences(row, point, _unit(row, j))


def true_second(row: Op, point: tuple[float, ...], i: int, j: int) -> mpf | None:
    if row.name in CLAIMED:
        return mpf(float(row.name == "attach" and (i, j) == (0, 2)))
    return differences(row, point, tuple(map(sum, zip(_unit(row, i), _unit(row, j), strict=True))))


def _unit(row: Op, j: int) -> tuple[int, ...]:
    return tuple(int(k == j) for k in range(len(row.operands)))


# Rows whose partial derivatives are a decision and not those of their value.
CLAIMED: dict[str, Callable[..., tuple[float, ...]]] = {
    "stop": lambda x: (0.0,),
    "attach": lambda x, y, u: (u, 1.0, 0.0),
    "round32": lambda x: (1.0,),
}

# Points without a derivative that mpmath would invent, and why.
EXEMPT: dict[str, tuple[Callable[..., bool], str]] = {
    "power": (
        lambda x, y, j: x < 0 and (j == 1 or abs(y) > 2**53),
        "negative bases have powers at isolated exponents only, and y - 1 must be exact",
    ),
}

# --- IEEE conventions ----------------------------------------------------------------------------


def _chosen(test: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    return np.where(test, yes(), no())


def _polygamma_convention(n: Any, x: Any) -> Any:
    """SciPy's, but nan where the two sides of a pole differ, and among the poles at -inf."""
    poles = (x <= 0) & (x == np.floor(x)) & (x != 0)
    undecided = np.isneginf(x) | (poles & (np.asarray(n) % 2 == 0))
    return np.where(undecided, np.nan, scipy.special.polygamma(n, x))


NUMPY: dict[str, Callable[..., Any]] = {
    "polygamma": _polygamma_convention,
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "digamma": scipy.special.psi,
    "mz": lambda x, y: np.where(x == 0, 0.0, x * y),
    "fma": lambda x, y, u: x * y + u,  # rounded twice: good enough for classes of results
    "round32": lambda x: np.asarray(x, np.float32).astype(np.float64),
}


def numpy_function(name: str) -> Callable[..., Any]:
    """The function of a row, or of vmath, as NumPy and SciPy have it."""
    found = NUMPY.get(name)
    row = ROWS.get(name)
    for other in [name, *(row.ufunc.split() if row else [])]:
        found = found or getattr(np, other, None) or getattr(scipy.special, other, None)
    if found is None and row is not None and not rules.is_primitive(name):
        return lambda *point: text_value(row.z, names_of(row, point), IEEE)
    assert found is not None, f"say in NUMPY what {name} is"
    return found


class _NumPy(dict):
    def __missing__(self, name: str) -> Callable[..., Any]:
        self[name] = numpy_function(name)
        return self[name]


IEEE = Arithmetic(np.float64, _NumPy(), np.real, _chosen)


def conventional(row: Op, points: np.ndarray) -> np.ndarray:
    """The values that NumPy and SciPy give."""
    with np.errstate(all="ignore"):
        values = np.asarray(numpy_function(row.name)(*points.T), np.float64)
    return np.broadcast_to(values, len(points))


# --- points --------------------------------------------------------------------------------------

SPECIAL = (*(s * x for x in (0.0, 5e-324, 1e-300, 1e300, math.inf) for s in (1, -1)), math.nan)
EDGES = (1.0, -1.0, 0.5, 2.0, 3.0, -2.0)  # bounds of domains, ties, whole numbers
WIDE = (1e-9, -1e-9, 0.0123, -0.37, -2.6, 7.3, -17.7, 44.1, 1234.3, -1234.3)
ORDERS = (0.0, 1.0, 2.0, 3.0, 4.0, 10.0)


@cache
def candidates(row: Op, j: int) -> tuple[float, ...]:
    """The numbers that operand j takes."""
    if domain(row, j) == ORDER:
        return ORDERS
    rng = np.random.default_rng(zlib.crc32(f"{row.name}{j}".encode()))
    count = {1: 40, 2: 5, 3: 3}[len(row.operands)]
    drawn = tuple(rng.uniform(*domain(row, j), count).tolist())
    if len(row.operands) == 3:
        return (*drawn, 0.0, -0.0, 1e-300, math.inf, -math.inf, math.nan, -0.37)
    wide = WIDE if len(row.operands) == 1 else WIDE[2:6]
    return (*drawn, *(-x for x in drawn[:3]), *wide, *EDGES, *SPECIAL)


@cache
def points(row: Op) -> np.ndarray:
    """All mixes of the operands' numbers: shape (points, operands)."""
    columns = [candidates(row, j) for j in range(len(row.operands))]
    return np.array(list(itertools.product(*columns)))


@cache
def inside(row: Op) -> np.ndarray:
    """Which points are random ones of the domain, where everything is smooth."""
    count = {1: 40, 2: 5, 3: 3}[len(row.operands)]
    columns = []
    for j in range(len(row.operands)):
        total = len(candidates(row, j))
        columns.append(range(total) if domain(row, j) == ORDER else range(count))
    wanted = [
        all(i in column for i, column in zip(index, columns, strict=True))
        for index in itertools.product(
            *(range(len(candidates(row, j))) for j in range(len(columns)))
        )
    ]
    return np.flatnonzero(wanted)


@cache
def regular(row: Op) -> np.ndarray:
    """Points at which derivatives can be asked for: no bounds, no ties, and not too many.

    One operand may be 0.0, where other operands than that one are asked about.
    """
    fine, steps = [], []
    for i, point in enumerate(points(row).tolist()):
        variables = [x for j, x in enumerate(point) if domain(row, j) != ORDER]
        ties = len(set(map(abs, variables))) < len(variables)
        if not ties and not any(x in UNSMOOTH or not math.isfinite(x) for x in variables):
            (steps if 0.0 in variables else fine).append(i)
    shuffled = np.random.default_rng(len(row.name)).permutation
    chosen = [*shuffled(fine)[:60], *(shuffled(steps)[:30] if len(row.operands) > 1 else [])]
    return np.union1d(np.array(chosen, int), inside(row))


UNSMOOTH = {*EDGES, 5e-324, -5e-324}


def domain(row: Op, j: int) -> tuple[float, float]:
    return row.domain[min(j, len(row.domain) - 1)]


# --- numbers -------------------------------------------------------------------------------------


class Numbers(NamedTuple):
    """What an implementation of a row says at its points."""

    value: np.ndarray  # (points,)
    partials: np.ndarray  # (points, operands)
    tangents: np.ndarray  # the same by the forward mode
    second: np.ndarray  # (points, operands, operands)

    @classmethod
    def empty(cls, count: int, operands: int) -> Numbers:
        shapes = (count,), (count, operands), (count, operands), (count, operands, operands)
        return cls(*(np.full(shape, np.nan) for shape in shapes))


def interpreted(row: Op, which: np.ndarray) -> Numbers:
    """The numbers of a row's text at some of its points; no compiler, so rows may be made up."""
    every = points(true_row(row))
    numbers = Numbers.empty(len(every), len(row.operands))
    with np.errstate(all="ignore"):
        names: dict[str, Any] = names_of(row, every[which].T)
        names["z"] = text_value(row.z, names, IEEE)
        numbers.value[which] = names["z"]
        for j, text in enumerate(row.partials):
            numbers.partials[which, j] = text_value(text, names, IEEE)
            numbers.tangents[which, j] = numbers.partials[which, j]
            for i, x in enumerate(row.operands):
                ones = {x: rules.number(1.0), "z": rules.parse(row.partials[i])}
                change = rules.along(rules.parse(text), ones)
                second = 0.0 if change is None else evaluate(rules.expand(change), names, IEEE)
                numbers.second[which, j, i] = second
    return numbers


class Case(NamedTuple):
    """One instruction of the bench: its constants are the same in all lanes."""

    opcode: Opcode
    lanes: np.ndarray  # 16 indices into points(row)
    operands: tuple[int, ...]  # input slots; -1 for constants
    root: int


def bits(x: float) -> bytes:
    return struct.pack("d", x)


def cases(opcode: Opcode) -> Iterator[np.ndarray]:
    """Lanes for an opcode: all points, in packs that agree in the constant operands."""
    table = points(opcode.row)
    constant = [j for j, f in enumerate(opcode.form) if f == "k"]
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for index, point in enumerate(table):
        groups.setdefault(tuple(bits(point[j]) for j in constant), []).append(index)
    for group in groups.values():
        for start in range(0, len(group), LANES):
            chunk = group[start : start + LANES]
            yield np.array(chunk + chunk[:1] * (LANES - len(chunk)))


class Bench:
    """All opcodes at all points in one tape, whose instructions have inputs of their own."""

    def __init__(self) -> None:
        tape, rows, planned = Tape(), [], []
        for opcode in OPCODES_TESTED:
            for lanes in cases(opcode):
                at = points(opcode.row)[lanes]
                slots = []
                for j, f in enumerate(opcode.form):
                    if f == "v":
                        slots.append(tape.append(INPUT_CODE, tape.constant(0.0)))
                        rows.append(at[:, j])
                    else:
                        slots.append(-1)
                planned.append((opcode, lanes, tuple(slots)))
        self.inputs = np.array(rows)
        self.cases = []
        for opcode, lanes, slots in planned:
            at = points(opcode.row)[lanes[0]]
            operands = [tape.constant(at[j]) if s < 0 else s for j, s in enumerate(slots)]
            self.cases.append(Case(opcode, lanes, slots, tape.append(opcode.code, *operands)))
        self.tape = passes.seal(tape)
        verify(self.tape)
        self.roots = np.array([case.root for case in self.cases])

    def run(self, lanes: int, adjoint: np.ndarray, tangent: np.ndarray) -> dict[str, np.ndarray]:
        """v, g, t, h of every slot: shape (slots, 16) whatever the number of lanes at a time.

        `adjoint` is the seed of all results, `tangent` (3, 16) that of the first, second and third
        operands; both may differ from lane to lane.  `g2` is forward-over-reverse's own gradient.
        """
        total = len(self.tape)
        answer = {name: np.empty((total, LANES)) for name in ("v", "g", "t", "h", "g2")}
        for lane in range(1 if lanes == LANES else LANES):
            part = slice(None) if lanes == LANES else lane
            work = Workspace(self.tape, lanes)
            work.set_inputs(self.inputs[:, part])
            g = work.reverse({int(root): adjoint[part] for root in self.roots})
            answer["g"][:, part] = g[:total]
            t = work.tangent(
                {
                    s: tangent[j, part]
                    for c in self.cases
                    for j, s in enumerate(c.operands)
                    if s >= 0
                }
            )
            answer["v"][:, part], answer["t"][:, part] = work.array("v")[:total], t[:total]
            g, h = work.array("g"), work.array("h")
            g[:total] = h[:total] = 0.0
            g[self.roots] = adjoint[part]
            for _ in work.sweep("forward_over_reverse" + work.suffix, 0, total, backwards=True):
                pass
            answer["g2"][:, part], answer["h"][:, part] = g[:total], h[:total]
        return answer

    def numbers(self) -> dict[int, Numbers]:
        """By opcode: what the scalar sweeps say; nan with respect to constants."""
        found = {
            o.code: Numbers.empty(len(points(o.row)), len(o.row.operands)) for o in OPCODES_TESTED
        }
        for i in range(3):
            seeds = np.zeros((3, LANES))
            seeds[i] = 1.0
            columns = self.run(1, np.ones(LANES), seeds)
            for case in self.cases:
                if i < len(case.operands) and case.operands[i] >= 0:
                    self._collect(found[case.opcode.code], case, i, columns)
        return found

    def _collect(
        self, numbers: Numbers, case: Case, i: int, columns: dict[str, np.ndarray]
    ) -> None:
        numbers.value[case.lanes] = columns["v"][case.root]
        numbers.tangents[case.lanes, i] = columns["t"][case.root]
        for j, slot in enumerate(case.operands):
            if slot >= 0:
                numbers.partials[case.lanes, j] = columns["g"][slot]
                numbers.second[case.lanes, j, i] = columns["h"][slot]


def at_point(opcode: Opcode, point: Any, lanes: int = 1) -> tuple[float, list[float]]:
    """Value and partial derivatives of one instruction at one point, nan for constants."""
    tape, slots = Tape(8), []
    for x, f in zip(point, opcode.form, strict=True):
        slots.append(tape.append(INPUT_CODE, tape.constant(x)) if f == "v" else -1)
    operands = [s if s >= 0 else tape.constant(x) for s, x in zip(slots, point, strict=True)]
    root = tape.append(opcode.code, *operands)
    work = Workspace(tape, lanes)
    inputs = np.array([x for x, s in zip(point, slots, strict=True) if s >= 0])
    work.set_inputs(inputs if lanes == 1 else np.repeat(inputs[:, None], lanes, axis=1))
    g = work.reverse({root: 1.0}).reshape(-1, lanes)
    v = work.array("v").reshape(-1, lanes)
    return float(v[root, -1]), [float(g[s, -1]) if s >= 0 else math.nan for s in slots]


def widest(row: Op) -> Opcode:
    """The opcode with the fewest constants."""
    form = max(forms(row), key=lambda f: f.count("v"))
    return next(o for o in OPCODES if o.row.name == row.name and o.form == form)


# --- checks --------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> Any:
    """Equal bits; a nan is a nan, whatever its sign and payload."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))


# Where two units in the last place cannot be held: the bound, as a function of the point, and why.
ULPS: dict[str, tuple[Callable[..., float], str]] = {
    "gelu": (lambda x: 4 + 2 * x * x, "erfc takes a rounded argument, and its slope grows"),
    "ndtr": (lambda x: 4 + 2 * x * x, "erfc takes a rounded argument"),
    "log_ndtr": (lambda x: 4 + 2 * x * x, "erfc takes a rounded argument"),
    "logaddexp": (
        lambda x, y: 2 + 2 * min(1e9, max(abs(x), abs(y)) / max(abs(np.logaddexp(x, y)), 1e-9)),
        "a negative maximum cancels against the logarithm of a sum",
    ),
    "gammaln": (lambda x: 2 if x > 0 else 50, "between the poles left of 0 it has zeros"),
}

# Where relative precision of the first derivative cannot be held: its scale, and why.
SCALES: dict[str, tuple[float, str]] = {
    "tanh": (1.0, "1 - z * z from the value z alone: absolute precision where tanh saturates"),
    "sigmoid": (1.0, "z * (1 - z) from the value z alone: absolute precision where it saturates"),
}


def ulps(got: float, expected: mpf) -> float:
    """The distance of a float from the truth, in units of the last place."""
    nearest = float(expected)
    if not math.isfinite(got) or not math.isfinite(nearest):
        return 0.0 if got == nearest else math.inf
    unit = max(math.ulp(nearest), 5e-324)
    return float(abs(mpf(got) - expected) / mpf(unit))


def wrong_values(row: Op, values: np.ndarray, which: Any = None) -> list[str]:
    """Complaints about values: against mpmath, and where that has none against NumPy."""
    row = true_row(row)
    bound, _ = ULPS.get(row.name, (lambda *point: 2.0, ""))
    usual = conventional(row, points(row))
    complaints = []
    for i in range(len(points(row))) if which is None else which:
        point, got = tuple(points(row)[i].tolist()), float(values[i])
        expected = true_value(row, point)
        if expected is None:
            if not agree(row, got, usual[i]):
                complaints.append(f"{row.name}{point} = {got!r}, NumPy says {usual[i]!r}")
            continue
        error = ulps(got, expected)
        if not error <= bound(*point):
            complaints.append(f"{row.name}{point} = {got!r}, off by {error:.3g} ulp")
        elif got == 0.0 == usual[i] and not agree(row, got, usual[i]):
            complaints.append(f"{row.name}{point} = {got!r}, NumPy says {usual[i]!r}")
    return complaints


def agree(row: Op, got: float, usual: float) -> bool:
    """Whether a value follows NumPy's, which is rounded too."""
    if got == 0.0 == usual and row.name in TIED_ZEROS:
        return True
    return bool(same(got, usual) or 0 < abs(got - usual) <= 1e-12 * abs(usual))


# Of 0.0 and -0.0 either may be the larger one: NumPy's answer depends on the machine.
TIED_ZEROS = {"maximum", "minimum", "fmax", "fmin", "clip"}
TINY = 1e-200  # mpmath's complex erf is no better
RELATIVE = 1e-12


def wrong_partials(
    row: Op, numbers: Numbers, which: Any, operands: Any = None, relative: float = RELATIVE
) -> list[str]:
    """Complaints about first derivatives at points where they exist."""
    row = true_row(row)
    scale = relative * SCALES[row.name][0] if row.name in SCALES else TINY
    complaints = []
    for i, j in itertools.product(which, operands or range(len(row.operands))):
        point = tuple(points(row)[i].tolist())
        expected = true_partial(row, point, j) if point[j] != 0.0 else None
        if expected is None:
            continue
        for mode, got in (("reverse", numbers.partials[i, j]), ("tangent", numbers.tangents[i, j])):
            if not close(got, expected, relative, scale):
                complaints.append(
                    f"d{row.operands[j]} {row.name}{point} = {got!r} by the {mode} sweep, "
                    f"should be {float(expected)!r}"
                )
    return complaints


def wrong_second(row: Op, numbers: Numbers, which: Any, variable: Any) -> list[str]:
    """Complaints about second derivatives, with a scale of 1: they may cancel."""
    row = true_row(row)
    complaints = []
    for k, i, j in itertools.product(which, variable, variable):
        point = tuple(points(row)[k].tolist())
        expected, got = true_second(row, point, i, j), numbers.second[k, i, j]
        if expected is not None and not close(got, expected, 1e-11, 1e-12):
            complaints.append(
                f"d{row.operands[i]} d{row.operands[j]} {row.name}{point} = {got!r}, "
                f"should be {float(expected)!r}"
            )
    return complaints


def close(got: float, expected: mpf, relative: float, scale: float) -> bool:
    """|got - expected| <= relative * |expected| + scale, infinities by overflow included."""
    if not math.isfinite(got):
        return got == float(expected)
    return bool(abs(mpf(got) - expected) <= relative * abs(expected) + scale)
