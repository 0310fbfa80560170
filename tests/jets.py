"""Numbers with first and second derivatives that know nothing of ndtape.

Object arrays of them are NumPy's own: views, indexing, writes and promotion are NumPy's, so that a
program written for plain arrays runs on them as it stands and answers with its derivatives.
"""

import math

import numpy as np

NEAR = 1e-9


def operator(function):
    """An operation of two numbers: arrays that hold several are NumPy's business."""

    def between(self, other):
        if isinstance(other, np.ndarray):
            if other.ndim:
                return NotImplemented
            other = other.item() if other.dtype == object else other[()]
        return function(self, other if isinstance(other, Jet) else self.like(other))

    return between


class AtKink(Exception):
    """Rounding decides which side of a kink is taken: nothing to compare."""


class Jet:
    """A value, its gradient and (unless None) its Hessian with respect to all inputs."""

    __slots__ = ("value", "slopes", "bends", "single")

    def __init__(self, value, slopes, bends=None, single=False):
        self.value = float(np.float32(value)) if single else value
        self.slopes, self.bends, self.single = slopes, bends, single

    def chain(self, value, first, second):
        bends = None
        if self.bends is not None:
            bends = first * self.bends + second * np.outer(self.slopes, self.slopes)
        return Jet(value, first * self.slopes, bends, self.single)

    def joined(self, other, value, fx, fy, fxx, fxy, fyy):
        """f(self, other) from its partial derivatives."""
        x, y = self.slopes, other.slopes
        bends = None
        if self.bends is not None:
            cross = np.outer(x, y)
            bends = fx * self.bends + fy * other.bends + fxy * (cross + cross.T)
            bends = bends + fxx * np.outer(x, x) + fyy * np.outer(y, y)
        return Jet(value, fx * x + fy * y, bends, self.single and other.single)

    def like(self, number):
        """A constant; Python's numbers adapt to the precision of the others."""
        bends = None if self.bends is None else np.zeros_like(self.bends)
        single = self.single and not isinstance(number, np.float64)
        return Jet(float(number), np.zeros_like(self.slopes), bends, single)

    def rounded(self):
        return Jet(self.value, self.slopes, self.bends, True)

    def widened(self):
        return Jet(self.value, self.slopes, self.bends, False)

    # --- operators ---

    @operator
    def __add__(self, y):
        return self.joined(y, self.value + y.value, 1.0, 1.0, 0.0, 0.0, 0.0)

    @operator
    def __mul__(self, y):
        return self.joined(y, self.value * y.value, y.value, self.value, 0.0, 1.0, 0.0)

    @operator
    def __sub__(self, y):
        return self.joined(y, self.value - y.value, 1.0, -1.0, 0.0, 0.0, 0.0)

    @operator
    def __truediv__(self, y):
        a, b = self.value, y.value
        return self.joined(y, a / b, 1 / b, -a / b**2, 0.0, -1 / b**2, 2 * a / b**3)

    __radd__, __rmul__ = __add__, __mul__

    @operator
    def __rsub__(self, other):
        return other - self

    @operator
    def __rtruediv__(self, other):
        return other / self

    def __neg__(self):
        return self.chain(-self.value, -1.0, 0.0)

    def __pos__(self):
        return self

    def __pow__(self, n):
        x = self.value
        return self.chain(x**n, n * x ** (n - 1), n * (n - 1) * x ** (n - 2))

    def __abs__(self):
        if abs(self.value) < NEAR:
            raise AtKink
        return self if self.value > 0 else -self

    # --- comparisons ---

    def decided(self, y):
        if abs(self.value - y.value) < NEAR and (
            self.value != y.value
            or (self.slopes != y.slopes).any()
            or (self.bends is not None and (self.bends != y.bends).any())
        ):
            raise AtKink
        return self.value, y.value

    @operator
    def __lt__(self, other):
        x, y = self.decided(other)
        return x < y

    @operator
    def __le__(self, other):
        x, y = self.decided(other)
        return x <= y

    @operator
    def __gt__(self, other):
        x, y = self.decided(other)
        return x > y

    @operator
    def __ge__(self, other):
        x, y = self.decided(other)
        return x >= y

    # --- what NumPy's functions of object arrays call ---

    def sin(self):
        s, c = math.sin(self.value), math.cos(self.value)
        return self.chain(s, c, -s)

    def cos(self):
        s, c = math.sin(self.value), math.cos(self.value)
        return self.chain(c, -s, -c)

    def tanh(self):
        z = math.tanh(self.value)
        return self.chain(z, 1 - z * z, -2 * z * (1 - z * z))

    def exp(self):
        z = math.exp(self.value)
        return self.chain(z, z, z)

    def log(self):
        x = self.value
        return self.chain(math.log(x), 1 / x, -1 / x**2)

    def log1p(self):
        x = 1 + self.value
        return self.chain(math.log1p(self.value), 1 / x, -1 / x**2)

    def sqrt(self):
        z = math.sqrt(self.value)
        return self.chain(z, 0.5 / z, -0.25 / z**3)

    def arctan(self):
        x = self.value
        r = 1 + x * x
        return self.chain(math.atan(x), 1 / r, -2 * x / r**2)

    @operator
    def hypot(self, y):
        a, b = self.value, y.value
        r = math.hypot(a, b)
        return self.joined(y, r, a / r, b / r, b * b / r**3, -a * b / r**3, a * a / r**3)

    def conjugate(self):
        return self

    def __float__(self):
        raise TypeError("a jet is no plain number")

    def __repr__(self):
        return f"Jet({self.value})"


def seeded(arrays, second=False):
    """Object arrays of inputs; the directions are their elements, one array after the other."""
    total, used, made = sum(np.size(a) for a in arrays), 0, []
    for a in arrays:
        a = np.asarray(a)
        out = np.empty(a.shape, object)
        for index in np.ndindex(a.shape):
            slopes = np.zeros(total)
            slopes[used] = 1.0
            used += 1
            bends = np.zeros((total, total)) if second else None
            out[index] = Jet(float(a[index]), slopes, bends, a.dtype == np.float32)
        made.append(out)
    return made


def numbers(x):
    """The values of an object array; what is no jet is a number already."""
    flat = [j.value if isinstance(j, Jet) else float(j) for j in np.ravel(np.asarray(x, object))]
    return np.array(flat).reshape(np.shape(x))
