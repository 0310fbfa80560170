"""The instruction set: one row per operation, and nothing about an operation anywhere else.

An instruction is one opcode and up to three operands, held in columns of a tape::

    column  type     meaning
    op      uint16   index into OPCODES: a row of TABLE with a form
    a b c   uint32   operands, read as the form says: v = slot, k = index into the constant pool
    out     uint32   slot of the result; recorders leave it to `layout`, passes may change it

A row with operands x, y exists in several *forms* (`add` with two slots is form "vv", with a slot
and a constant "vk"): constants have no slot and no adjoint, and cost no instruction.

Rules are expressions over the operands ``x y u`` and the result ``z``: numbers, ``+ - * /``,
comparisons, ``and or``, conditional expressions and calls of rows.  Only a row whose value is its
own function (``sin``: ``sin(x)``) reaches into vmath.  That closure is what lets codegen write
second derivatives, packs, tests and documentation from the rows alone.
"""

from __future__ import annotations

import hashlib
from itertools import product
from typing import NamedTuple

INF = float("inf")
Interval = tuple[float, float]

# Domains that tests draw from, one interval an operand; the edges are tested separately.
REAL: Interval = (-4.0, 4.0)
POSITIVE: Interval = (0.05, 8.0)
UNIT: Interval = (-0.95, 0.95)
PROBABILITY: Interval = (0.02, 0.98)
ABOVE_1: Interval = (1.05, 6.0)
AWAY_FROM_0: Interval = (0.4, 5.0)
ORDER: Interval = (1.0, 4.0)  # whole numbers only, see `polygamma`

INPUT, UNARY, BINARY, TERNARY, GUARD = "input", "unary", "binary", "ternary", "guard"
OPERANDS = {INPUT: "x", UNARY: "x", BINARY: "xy", TERNARY: "xyu", GUARD: "xy"}
STRUCTURE = {INPUT, GUARD}  # kinds without mathematics


class Op(NamedTuple):
    """One row: how to compute, differentiate, dispatch, test and describe an operation."""

    name: str
    kind: str
    z: str  # value
    dx: str = "0"  # partial derivatives
    dy: str = "0"
    du: str = "0"
    ufunc: str = ""  # names of NumPy's and SciPy's ufuncs and of `math`, space separated
    domain: tuple[Interval, ...] = (REAL, REAL, REAL)
    kink: str = ""  # convention where the derivative does not exist
    doc: str = ""
    forms: str = ""  # allowed forms; "" means all that make sense
    commutes: bool = False  # x and y may be swapped: no form "kv"
    boolean: bool = False  # the result is 0 or 1
    default: float | None = None  # of y, in the function that users call

    @property
    def operands(self) -> str:
        return OPERANDS[self.kind]

    @property
    def partials(self) -> tuple[str, ...]:
        return (self.dx, self.dy, self.du)[: len(self.operands)]


TIE = "half each at a tie"
FLAT = "0 everywhere, also at the steps"
# Rows that users meet in listings only.
INTERNAL = {"input", "copy", "attach", "mz", "muladd", "guard"}

# The asymptotic series of the normal distribution function far to the left, over its leading term.
MILLS = ("1 - 1 / (x * x) * (1 - 3 / (x * x) * (1 - 5 / (x * x) * (1 - 7 / (x * x) * "
         "(1 - 9 / (x * x) * (1 - 11 / (x * x))))))")

TABLE: tuple[Op, ...] = (
    # structure
    Op("input", INPUT, "x", doc="a leaf or an argument; the constant is its value when recorded"),
    Op("copy", UNARY, "x", "1", ufunc="positive", doc="the same value under a new name"),
    Op("stop", UNARY, "x", doc="the same value, no derivative"),
    Op("round32", UNARY, "round32(x)", "1", doc="x rounded to the nearest float32"),
    Op("attach", TERNARY, "y", "u", "1", "0", forms="vvv vvk",
       doc="the value y, to which x contributes with the given partial derivative u"),
    # arithmetic
    Op("add", BINARY, "x + y", "1", "1", ufunc="add", commutes=True, doc="sum"),
    Op("subtract", BINARY, "x - y", "1", "-1", ufunc="subtract", doc="difference"),
    Op("multiply", BINARY, "x * y", "y", "x", ufunc="multiply", commutes=True, doc="product"),
    Op("divide", BINARY, "x / y", "1 / y", "-z / y", ufunc="divide",
       domain=(REAL, AWAY_FROM_0), doc="quotient"),
    Op("negative", UNARY, "-x", "-1", ufunc="negative", doc="sign change"),
    Op("mz", BINARY, "mz(x, y)", "y", "0 if x == 0 else x",
       doc="x * y, but 0 where x is 0 whatever y: an adjoint times a partial derivative"),
    Op("muladd", TERNARY, "x * y + u", "y", "x", "1", forms="vvv vvk vkv vkk",
       doc="x * y + u, rounded twice like the two operations that it stands for"),
    Op("fma", TERNARY, "fma(x, y, u)", "y", "x", "1", doc="x * y + u, rounded once"),
    Op("square", UNARY, "x * x", "2 * x", ufunc="square", doc="x ** 2"),
    Op("cube", UNARY, "x * x * x", "3 * x * x", doc="x ** 3"),
    Op("reciprocal", UNARY, "1 / x", "-z * z", ufunc="reciprocal", domain=(AWAY_FROM_0,),
       doc="1 / x"),
    Op("power", BINARY, "power(x, y)",
       "0 if y == 0 else y * power(x, y - 1)",
       "0 if x == 0 and y >= 0 else z * log(x)",
       ufunc="power float_power pow", domain=(POSITIVE, REAL),
       kink="0**y has derivative 0 with respect to y >= 0; nan with respect to y where x < 0",
       doc="x ** y; a constant whole y is right for negative x"),
    Op("mod", BINARY, "mod(x, y)", "1", "-floor_divide(x, y)", ufunc="remainder",
       domain=((0.1, 0.9), (1.1, 2.0)), kink="that of the piece", doc="remainder, sign of y"),
    Op("floor_divide", BINARY, "floor_divide(x, y)", ufunc="floor_divide",
       domain=((0.1, 0.9), (1.1, 2.0)), kink=FLAT, doc="floor(x / y)"),
    # pieces
    Op("abs", UNARY, "fabs(x)", "sign(x)", ufunc="absolute fabs", domain=(AWAY_FROM_0,),
       kink="0 at 0", doc="magnitude"),
    Op("sign", UNARY, "sign(x)", ufunc="sign", domain=(AWAY_FROM_0,), kink=FLAT,
       doc="-1, 0 or 1"),
    Op("heaviside", BINARY, "x if x != x else (0 if x < 0 else (1 if x > 0 else y))",
       "0", "1 if x == 0 else 0", ufunc="heaviside", domain=(AWAY_FROM_0, REAL), kink=FLAT,
       doc="step from 0 to 1, y at the step"),
    Op("floor", UNARY, "floor(x)", ufunc="floor", domain=((0.1, 0.9),), kink=FLAT,
       doc="largest whole number not above x"),
    Op("ceil", UNARY, "ceil(x)", ufunc="ceil", domain=((0.1, 0.9),), kink=FLAT,
       doc="smallest whole number not below x"),
    Op("trunc", UNARY, "trunc(x)", ufunc="trunc", domain=((0.1, 0.9),), kink=FLAT,
       doc="whole part"),
    Op("rint", UNARY, "rint(x)", ufunc="rint", domain=((0.1, 0.4),), kink=FLAT,
       doc="nearest whole number, ties to even"),
    Op("maximum", BINARY, "maximum(x, y)",
       "0.5 if x == y else (0 if z == y else 1)", "0.5 if x == y else (0 if z == x else 1)",
       ufunc="maximum", kink=TIE, commutes=True, doc="larger of the two, nan if one is nan"),
    Op("minimum", BINARY, "minimum(x, y)",
       "0.5 if x == y else (0 if z == y else 1)", "0.5 if x == y else (0 if z == x else 1)",
       ufunc="minimum", kink=TIE, commutes=True, doc="smaller of the two, nan if one is nan"),
    Op("fmax", BINARY, "fmax(x, y)",
       "0.5 if x == y else (0 if z == y else 1)", "0.5 if x == y else (0 if z == x else 1)",
       ufunc="fmax", kink=TIE, commutes=True, doc="larger of the two, ignores a nan"),
    Op("fmin", BINARY, "fmin(x, y)",
       "0.5 if x == y else (0 if z == y else 1)", "0.5 if x == y else (0 if z == x else 1)",
       ufunc="fmin", kink=TIE, commutes=True, doc="smaller of the two, ignores a nan"),
    Op("clip", TERNARY, "minimum(maximum(x, y), u)",
       "1 if z == x or x != x else 0",
       "1 if x < y and z != u else 0",
       "1 if z == u and z != x else 0",
       ufunc="clip", domain=(REAL, (-2.0, -1.0), (1.0, 2.0)), kink="x counts as inside at a bound",
       doc="x, but not below y nor above u"),
    Op("where", TERNARY, "y if x != 0 else u", "0", "1 if x != 0 else 0", "0 if x != 0 else 1",
       domain=((0.0, 1.0), REAL, REAL),
       doc="y where x is true, u elsewhere; the other branch contributes nothing, not even nan"),
    Op("copysign", BINARY, "copysign(x, y)", "sign(x) * copysign(1, y)", "0", ufunc="copysign",
       domain=(AWAY_FROM_0, AWAY_FROM_0), kink="0 at x = 0", doc="|x| with the sign of y"),
    Op("nan_to_num", UNARY,
       "0 if x != x else (1.7976931348623157e308 if x > 1.7976931348623157e308 else "
       "(-1.7976931348623157e308 if x < -1.7976931348623157e308 else x))",
       "1 if z == x else 0", kink="0 where x is replaced",
       doc="0 for nan, the largest finite numbers for the infinities"),
    # powers, exponentials, logarithms
    Op("sqrt", UNARY, "sqrt(x)", "0.5 / z", ufunc="sqrt", domain=(POSITIVE,), kink="inf at 0",
       doc="square root"),
    Op("cbrt", UNARY, "cbrt(x)", "1 / (3 * z * z)", ufunc="cbrt", domain=(AWAY_FROM_0,),
       kink="inf at 0", doc="cube root"),
    Op("exp", UNARY, "exp(x)", "z", ufunc="exp", doc="exponential"),
    Op("exp2", UNARY, "exp2(x)", "0.6931471805599453 * z", ufunc="exp2", doc="2 ** x"),
    Op("expm1", UNARY, "expm1(x)", "exp(x)", ufunc="expm1", doc="exp(x) - 1"),
    Op("log", UNARY, "log(x)", "1 / x", ufunc="log", domain=(POSITIVE,),
       doc="natural logarithm"),
    Op("log2", UNARY, "log2(x)", "1.4426950408889634 / x", ufunc="log2", domain=(POSITIVE,),
       doc="logarithm to base 2"),
    Op("log10", UNARY, "log10(x)", "0.4342944819032518 / x", ufunc="log10", domain=(POSITIVE,),
       doc="logarithm to base 10"),
    Op("log1p", UNARY, "log1p(x)", "1 / (1 + x)", ufunc="log1p", domain=((-0.9, 5.0),),
       doc="log(1 + x)"),
    # trigonometric and hyperbolic
    Op("sin", UNARY, "sin(x)", "cos(x)", ufunc="sin", doc="sine"),
    Op("cos", UNARY, "cos(x)", "-sin(x)", ufunc="cos", doc="cosine"),
    Op("tan", UNARY, "tan(x)", "1 + z * z", ufunc="tan", domain=((-1.4, 1.4),), doc="tangent"),
    Op("arcsin", UNARY, "arcsin(x)", "1 / sqrt((1 - x) * (1 + x))", ufunc="arcsin asin",
       domain=(UNIT,), kink="inf at -1 and 1", doc="inverse sine"),
    Op("arccos", UNARY, "arccos(x)", "-1 / sqrt((1 - x) * (1 + x))", ufunc="arccos acos",
       domain=(UNIT,), kink="-inf at -1 and 1", doc="inverse cosine"),
    Op("arctan", UNARY, "arctan(x)", "1 / (1 + x * x)", ufunc="arctan atan", doc="inverse tangent"),
    Op("arctan2", BINARY, "arctan2(x, y)",
       "y / hypot(x, y) / hypot(x, y)", "-x / hypot(x, y) / hypot(x, y)", ufunc="arctan2 atan2",
       domain=(AWAY_FROM_0, REAL), kink="nan at the origin",
       doc="angle of the point with ordinate x and abscissa y"),
    Op("sinh", UNARY, "sinh(x)", "cosh(x)", ufunc="sinh", doc="hyperbolic sine"),
    Op("cosh", UNARY, "cosh(x)", "sinh(x)", ufunc="cosh", doc="hyperbolic cosine"),
    Op("tanh", UNARY, "tanh(x)", "(1 - z) * (1 + z)", ufunc="tanh", doc="hyperbolic tangent"),
    Op("arcsinh", UNARY, "arcsinh(x)", "1 / hypot(x, 1)", ufunc="arcsinh asinh",
       doc="inverse hyperbolic sine"),
    Op("arccosh", UNARY, "arccosh(x)", "1 / (sqrt(x - 1) * sqrt(x + 1))", ufunc="arccosh acosh",
       domain=(ABOVE_1,), kink="inf at 1", doc="inverse hyperbolic cosine"),
    Op("arctanh", UNARY, "arctanh(x)", "1 / ((1 - x) * (1 + x))", ufunc="arctanh atanh",
       domain=(UNIT,), kink="inf at -1 and 1", doc="inverse hyperbolic tangent"),
    Op("arccoth", UNARY, "copysign(0.5 * log1p(2 / (abs(x) - 1)), x)", "1 / ((1 - x) * (1 + x))",
       domain=(ABOVE_1,), doc="inverse hyperbolic cotangent, |x| > 1"),
    Op("hypot", BINARY, "hypot(x, y)", "0 if z == 0 else x / z", "0 if z == 0 else y / z",
       ufunc="hypot", domain=(AWAY_FROM_0, REAL), kink="0 at the origin", commutes=True,
       doc="sqrt(x*x + y*y) without overflow"),
    Op("deg2rad", UNARY, "0.017453292519943295 * x", "0.017453292519943295",
       ufunc="deg2rad radians", doc="degrees to radians"),
    Op("rad2deg", UNARY, "57.29577951308232 * x", "57.29577951308232", ufunc="rad2deg degrees",
       doc="radians to degrees"),
    # activations and statistics
    Op("sigmoid", UNARY, "sigmoid(x)", "z * sigmoid(-x)", ufunc="expit",
       doc="1 / (1 + exp(-x)), also called expit"),
    Op("logit", UNARY, "2 * arctanh(2 * x - 1) if abs(x - 0.5) < 0.25 else log(x / (1 - x))",
       "1 / (x * (1 - x))", ufunc="logit", domain=(PROBABILITY,), doc="inverse of sigmoid"),
    Op("softplus", UNARY, "softplus(x)", "sigmoid(x)", doc="log(1 + exp(x))"),
    Op("logaddexp", BINARY, "logaddexp(x, y)",
       "0.5 if x == y else sigmoid(x - y)", "0.5 if x == y else sigmoid(y - x)",
       ufunc="logaddexp", commutes=True, doc="log(exp(x) + exp(y))"),
    Op("relu", UNARY, "0 if x <= 0 else x", "1 if x > 0 else 0", kink="0 at 0",
       domain=(AWAY_FROM_0,), doc="positive part"),
    Op("leaky_relu", BINARY, "x if x > 0 else x * y", "1 if x > 0 else y", "0 if x > 0 else x",
       domain=(AWAY_FROM_0, PROBABILITY), kink="y at 0", doc="x where positive, else x * y",
       forms="vv vk", default=0.01),
    Op("elu", BINARY, "x if x > 0 else y * expm1(x)", "1 if x > 0 else y * exp(x)",
       "0 if x > 0 else expm1(x)", domain=(AWAY_FROM_0, POSITIVE), kink="y at 0",
       doc="x where positive, else y * expm1(x)", forms="vv vk", default=1.0),
    Op("gelu", UNARY, "0 if x < -40 else 0.5 * x * erfc(-0.7071067811865476 * x)",
       "0 if x < -40 else 0.5 * erfc(-0.7071067811865476 * x)"
       " + (0 if abs(x) > 40 else 0.3989422804014327 * x * exp(-0.5 * x * x))",
       doc="x times the normal distribution function of x"),
    Op("silu", UNARY, "0 if x < -800 else x * sigmoid(x)",
       "0 if x < -800 else (1 if x > 800 else sigmoid(x) + z * sigmoid(-x))",
       doc="x * sigmoid(x)"),
    Op("erf", UNARY, "erf(x)", "1.1283791670955126 * exp(-x * x)", ufunc="erf",
       doc="error function"),
    Op("erfc", UNARY, "erfc(x)", "-1.1283791670955126 * exp(-x * x)", ufunc="erfc",
       doc="1 - erf(x)"),
    Op("gammaln", UNARY, "gammaln(x)", "digamma(x)", ufunc="gammaln lgamma",
       domain=(POSITIVE,), doc="logarithm of |gamma(x)|"),
    Op("digamma", UNARY, "digamma(x)", "polygamma(1, x)", ufunc="psi", domain=(POSITIVE,),
       doc="derivative of gammaln"),
    Op("polygamma", BINARY, "polygamma(x, y)", "0", "polygamma(x + 1, y)",
       domain=(ORDER, POSITIVE), forms="kv", doc="derivative of order x (a constant) of digamma"),
    Op("xlogy", BINARY, "0 if x == 0 and y == y else x * log(y)", "log(y)",
       "0 if x == 0 else x / y",
       ufunc="xlogy", domain=(POSITIVE, POSITIVE), kink="0 with respect to y where x = 0",
       doc="x * log(y), 0 where x = 0"),
    Op("xlog1py", BINARY, "0 if x == 0 and y == y else x * log1p(y)", "log1p(y)",
       "0 if x == 0 else x / (1 + y)",
       ufunc="xlog1py", domain=(POSITIVE, POSITIVE), kink="0 with respect to y where x = 0",
       doc="x * log(1 + y), 0 where x = 0"),
    Op("entr", UNARY, "x if x != x else (-x * log(x) if x > 0 else (0 if x == 0 else -1e309))",
       "-log(x) - 1", ufunc="entr", domain=(POSITIVE,), kink="inf at 0",
       doc="-x * log(x), 0 at 0, -inf left of it: a term of the entropy"),
    Op("ndtr", UNARY, "0.5 * erfc(-0.7071067811865476 * x)",
       "0.3989422804014327 * exp(-0.5 * x * x)", ufunc="ndtr",
       doc="distribution function of the standard normal"),
    Op("log_ndtr", UNARY,
       "log1p(-0.5 * erfc(0.7071067811865476 * x)) if x > -1 else "
       "(log(0.5 * erfc(-0.7071067811865476 * x)) if x > -35 else "
       f"-0.5 * x * x - log(-x) - 0.9189385332046727 + log({MILLS}))",
       f"exp(-0.5 * x * x - 0.9189385332046727 - z) if x > -35 else -x / ({MILLS})",
       ufunc="log_ndtr", doc="logarithm of ndtr, also far to the left"),
    Op("log_sigmoid", UNARY, "-softplus(-x)", "sigmoid(-x)", ufunc="log_expit",
       doc="logarithm of sigmoid"),
    # comparisons and logic: recorded, so that a replay sees them change
    *(
        Op(name, BINARY, f"1 if x {sign} y else 0", ufunc=name, boolean=True, kink=FLAT,
           doc=f"1 if x {sign} y, else 0")
        for name, sign in (("less", "<"), ("less_equal", "<="), ("greater", ">"),
                           ("greater_equal", ">="))
    ),
    Op("equal", BINARY, "1 if x == y else 0", ufunc="equal", boolean=True, kink=FLAT,
       commutes=True, doc="1 if x == y, else 0"),
    Op("not_equal", BINARY, "1 if x != y else 0", ufunc="not_equal", boolean=True, kink=FLAT,
       commutes=True, doc="1 if x != y, else 0"),
    Op("logical_and", BINARY, "1 if x != 0 and y != 0 else 0", ufunc="logical_and bitwise_and",
       boolean=True, kink=FLAT, commutes=True, doc="1 if both are true"),
    Op("logical_or", BINARY, "1 if x != 0 or y != 0 else 0", ufunc="logical_or bitwise_or",
       boolean=True, kink=FLAT, commutes=True, doc="1 if one is true"),
    Op("logical_not", UNARY, "1 if x == 0 else 0", ufunc="logical_not invert", boolean=True,
       kink=FLAT, doc="1 if x is false"),
    Op("isnan", UNARY, "1 if x != x else 0", ufunc="isnan", boolean=True, kink=FLAT,
       doc="1 if x is nan"),
    Op("isfinite", UNARY, "1 if x - x == 0 else 0", ufunc="isfinite", boolean=True, kink=FLAT,
       doc="1 if x is neither infinite nor nan"),
    Op("isinf", UNARY, "1 if abs(x) > 1.7976931348623157e308 else 0", ufunc="isinf", boolean=True,
       kink=FLAT, doc="1 if x is infinite"),
    # control
    Op("guard", GUARD, "x", forms="vk",
       doc="stops the sweep unless x is y: what Python did next depends on that"),
)


class Opcode(NamedTuple):
    """A row in one form: what the column `op` counts."""

    code: int
    row: Op
    form: str  # "v" or "k" for each operand

    @property
    def name(self) -> str:
        """The row's name, with the form where constants are involved: ``power_vk``."""
        return self.row.name if "k" not in self.form else f"{self.row.name}_{self.form}"


def forms(row: Op) -> list[str]:
    """The forms of a row: every mix of slots and constants with at least one slot."""
    if row.kind == INPUT:
        return ["k"]
    if row.forms:
        return row.forms.split()
    mixes = ["".join(mix) for mix in product("vk", repeat=len(row.operands))]
    return [m for m in mixes if "v" in m and not (row.commutes and m == "kv")]


OPCODES: tuple[Opcode, ...] = tuple(
    Opcode(code, row, form)
    for code, (row, form) in enumerate((row, form) for row in TABLE for form in forms(row))
)
ROWS: dict[str, Op] = {row.name: row for row in TABLE}
CODES: dict[tuple[str, str], int] = {(o.row.name, o.form): o.code for o in OPCODES}
INPUT_CODE = CODES["input", "k"]



# --- arrays -----------------------------------------------------------------------------------


class Wide(NamedTuple):
    """An operation on arrays: its result is a span of slots.  See nest.py for its operands."""

    code: int
    name: str
    operands: str  # the names of those that are spans of slots
    row: Op | None  # whose elementwise form it is
    doc: str


FIRST_WIDE = 512  # scalar codes may grow up to here without renumbering the others

OTHERS = (
    ("wide_input", "", "an array leaf or argument; the constants are its values when recorded"),
    ("sum", "x", "sum over axes"),
    ("max", "x", "largest over axes; ties share the derivative"),
    ("min", "x", "smallest over axes; ties share the derivative"),
    ("dot", "xy", "sum of products over shared axes: matrix products, einsum"),
    ("cumsum", "x", "running sums along an axis"),
    ("collect", "", "elements of other spans, at places fixed when recorded"),
    ("gather", "xy", "elements of x at the places y"),
    ("scatter_add", "xyu", "x with u added at the places y"),
    ("call", "", "a function that Python or compiled user code computes"),
    ("skip", "", "nothing: a fused instruction behind it does what stood here"),
    ("affine", "x", "an activation of a sum of products and spans, see nest.py"),
    ("weights", "xy", "dot, and in reverse the weight gradient of a block of products as one"),
    ("terms", "", "a sum of scalars and of products of two, from left to right"),
)

WIDE: tuple[Wide, ...] = tuple(
    Wide(FIRST_WIDE + i, name, operands, row, doc)
    for i, (name, operands, row, doc) in enumerate([
        *((name, operands, None, doc) for name, operands, doc in OTHERS),
        *((row.name, row.operands, row, row.doc) for row in TABLE if row.kind not in STRUCTURE),
    ])
)
WIDE_CODES: dict[str, int] = {w.name: w.code for w in WIDE}

# What a kernel of a wide instruction answers when it did not succeed.
PAUSE = 1  # a call: Python must execute it
BAD_INDEX = 2  # an index outside its array
FLIPPED = 3  # a guard: Python would now take another branch than when recorded
NO_LANES = 4  # a sweep over packs of lanes met an operation on arrays

# The frame of a sweep: addresses of the columns it works on (see _jit), by position.  `m` is the
# pool of integers, `scratch` 64 words for loop counters; the next four are tables of kernels, a
# word for each of WIDE; `status` is a word of its own, what the last kernel answered; `blas` is the
# table that kernels.blas_table makes for `dot`; `loops` has its own length,
# and then the block of each call that is a loop, by its number (0: Python must look).
FRAME = ("op", "out", "a", "b", "c", "k", "v", "g", "t", "h", "mark", "m", "scratch",
         "forward", "reverse", "tangent", "second", "status", "blas", "loops")
KERNELS = ("forward", "reverse", "tangent", "second")
# Packs meet no kernels.  For them, words about these say where the adjoints of results and operands
# lie, which need not be where the values do.
APART = {"at": "m", "ga": "scratch", "gb": "forward", "gc": "reverse"}

# Words of a plan, which is all that a fast call of a traced function needs to know: addresses of
# the sweeps (reverse 0 for values alone) and of the frame, how many inputs there are and at which
# instruction to begin, the end, the instruction and slot of the result, all slots, where the
# numbers for the caller begin and how many they are, a count of the calls that came to the end, and
# the address of a count of all calls that use these numbers; the sweeps of second derivatives.
PLAN = ("forward", "reverse", "frame", "inputs", "known", "end", "top", "root", "slots", "first",
        "count", "runs", "calls", "tangent", "second")  # fmt: skip
PLAN_LIMIT = len(PLAN)  # behind them: the count of calls from which on Python is asked

# What a row of a loop's plan asks for (loops/schedules.py): run the body over steps a..b, without
# or with keeping their numbers; store or restore a state; go backwards over steps b..a.
ADVANCE, TAPE, STORE, RESTORE, REVERSE = range(5)

# Words of a loop's block: the function that runs it; which sweep is asked for, and how far it is;
# the plan under way, and where in it; limits and counts; where operands, ys and bodies are listed;
# counts of slots; addresses of the result, of the body's numbers, of what is kept, and of adjoints
# of the carry; whose numbers are kept; the sweeps; plans: without tangents, with them, and for
# tangents alone.
LOOP = ("run", "ready", "kind", "stage", "why",
        "plan", "actions", "action", "step", "at", "phase", "tried", "tangents", "writes",
        "limit", "budget", "evaluations",
        "steps", "backwards", "operands", "given", "xs", "ys", "outputs",
        "bodies", "variant", "variants", "captured", "carry", "row",
        "z", "w", "zt", "wt", "v", "g", "t", "h", "kept", "taken", "snapshots", "next",
        "carry_g", "carry_h", "first_kept",
        "stamp", "stamps", "kept_tangents",
        "forward", "tangent", "reverse", "second", "plans")  # fmt: skip
# Of a body: its frame, its first instruction behind the inputs, its end, its slots, and the list of
# what it gives: for each, the slot, the size, and the place in the carry or -1 - a number of ys.
BODY = ("frame", "lo", "hi", "slots", "results", "count")
RESULT_WORDS = 3
# Of an operand or of a leaf of ys: addresses of v, g, t, h (0: not wanted), its slots (of one step,
# if it has steps), and the slot that it begins with outside, -1 for plain numbers; for ys, how far
# it is behind the beginning of the result.
SPAN_WORDS = 6
# Of a plan: forward and reverse, each with its rows; whether reverse leaves what forward left.
PLANS_WORDS = 5
NOT_STARTED = -1  # in the words `step` and `at`
RETRY = -2  # in `at`: the next body, on the inputs that are there
MORE = 8  # a loop pauses: its budget of steps is used up
RESUME = (1 << 64) - 1  # in the place of a sweep: go on where it paused


def table_hash() -> str:
    """Twelve digits that change whenever a row does."""
    return hashlib.sha256(repr((TABLE, WIDE, FRAME)).encode()).hexdigest()[:12]
