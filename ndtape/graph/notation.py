"""Formulas as text and as LaTeX, and numbers as both write them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape import SYMBOLS
from .symbols import Node, literal

DIGITS = 6
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
SUM, PRODUCT, PREFIX, POWER, ATOM = range(5)  # how tightly a piece of text holds together
Piece = tuple[str, int]

GREEK = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "
         "tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi "
         "Omega").split()  # fmt: skip
LATEX_FUNCTIONS = {"sin", "cos", "tan", "exp", "log", "sinh", "cosh", "tanh", "arcsin", "arccos",
                   "arctan", "max", "min"}  # fmt: skip
TEXT_SIGNS = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "&": "∧", "|": "∨", "%": "mod"}
LATEX_SIGNS = {"<=": r"\le", ">=": r"\ge", "==": "=", "!=": r"\ne", "&": r"\wedge",
               "|": r"\vee", "%": r"\bmod", "//": r"\mathbin{//}"}  # fmt: skip
SPECIAL = str.maketrans({
    "\\": r"\backslash ", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "$": r"\$", "#": r"\#",
    "&": r"\&", "^": r"\hat{}", "~": r"\sim ", "′": "'", "ᵀ": "^\\mathsf{T}",
})  # fmt: skip


# --- numbers --------------------------------------------------------------------------------------


def numeral(x: float, digits: int = DIGITS) -> str:
    """A number with a real minus sign; whole numbers in full."""
    x = float(x)
    whole = math.isfinite(x) and x == int(x) and abs(x) < 10 ** max(digits, 9)
    return (str(int(x)) if whole else f"{x:.{digits}g}").replace("-", "−")


def numerals(x: Any, digits: int = DIGITS, most: int = 6) -> str:
    """A number, or the first few of an array in brackets, row by row."""
    x = np.asarray(x)
    if not x.ndim:
        return numeral(float(x), digits)
    if x.size <= most and x.ndim > 1:
        return f"[{', '.join(numerals(row, digits, most) for row in x)}]"
    flat = x.ravel()[:most].tolist()
    more = ", …" if x.size > most else ""
    return f"[{', '.join(numeral(v, digits) for v in flat)}{more}]"


def grouped(n: int) -> str:
    """A count with its thousands apart: ``9 900``."""
    return f"{n:,}".replace(",", " ")


def shape_text(shape: tuple[int, ...]) -> str:
    """``2×3``, and ``3`` for a vector."""
    return "×".join(map(str, shape))


def latex_numeral(text: str) -> str:
    """What `numeral` or `numerals` has written, for LaTeX."""
    text = re.sub(r"e\+?([−]?)0*(\d+)", r"\\cdot 10^{\1\2}", text)
    for plain, command in (("inf", r"\infty"), ("nan", r"\mathrm{nan}"), ("…", r"\dots")):
        text = text.replace(plain, command)
    return text.replace("−", "-")


# --- text -----------------------------------------------------------------------------------------


class Writer:
    """Writes expressions; the two kinds differ in the signs for the same things."""

    latex = False
    times, minus, outer = "·", "−", " ⊗ "

    def __init__(self, digits: int = DIGITS) -> None:
        self.digits = digits

    def name(self, text: str) -> str:
        return text

    def sign(self, operator: str) -> str:
        return TEXT_SIGNS.get(operator, operator)

    def numeral(self, x: float) -> str:
        return numeral(x, self.digits)

    def numerals(self, x: Any) -> str:
        """A number, or the first few of an array."""
        return numerals(x, self.digits)

    def function(self, name: str, args: list[Node]) -> Piece:
        inside = ", ".join(map(self.write, args))
        if len(args) == 1 and self._plain(args[0]) and name.isidentifier():
            return f"{self.head(name)} {inside}", PREFIX
        return f"{self.head(name)}{self.brackets(inside)}", ATOM

    def quotient(self, left: Node, right: Node) -> Piece:
        return f"{self._factor(left)}/{self._factor(right, POWER)}", PRODUCT

    def power(self, base: Node, exponent: Node) -> Piece:
        x, n = self.within(base, ATOM), literal(exponent)
        if n is not None and n == int(n) and abs(n) < 1000:
            return x + str(int(n)).translate(SUPERSCRIPT), ATOM
        return f"{x}^{self.within(exponent, ATOM)}", POWER

    def root(self, x: Node) -> Piece:
        return f"√{self.within(x, ATOM)}", ATOM

    def size(self, x: Node) -> Piece:
        return f"|{self.write(x)}|", ATOM

    def kron(self, x: Node, y: Node) -> Piece:
        return f"{self.within(x, ATOM)}{self.outer}{self.within(y, ATOM)}", SUM

    def diagonal(self, x: Node) -> Piece:
        return f"{self.head('diag')}{self.brackets(self.write(x))}", ATOM

    def write(self, node: Node) -> str:
        return self._piece(node)[0]

    def _plain(self, node: Node) -> bool:
        value = literal(node)
        return isinstance(node, ast.Name) or (value is not None and not value < 0)

    def within(self, node: Node, level: int) -> str:
        """The text, in brackets where it holds together less than that."""
        text, holds = self._piece(node)
        return text if holds >= level else f"({text})"

    def _piece(self, node: Node) -> Piece:
        value = literal(node)
        if value is not None:
            return self.numeral(value), SUM if value < 0 else ATOM
        if isinstance(node, ast.Name):
            return self.name(node.id), ATOM
        if isinstance(node, ast.UnaryOp):
            return f"{self.minus}{self.within(node.operand, PRODUCT)}", SUM
        if isinstance(node, ast.BinOp):
            return self._pair(node)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return self._call(node.func.id, node.args)

    def _pair(self, node: ast.BinOp) -> Piece:
        left, right = node.left, node.right
        if isinstance(node.op, ast.Div):
            return self.quotient(left, right)
        if isinstance(node.op, ast.Mult):
            return f"{self._factor(left)}{self.times}{self._factor(right)}", PRODUCT
        if isinstance(node.op, ast.Add):
            return f"{self.write(left)} + {self.within(right, PRODUCT)}", SUM
        return f"{self.write(left)} {self.minus} {self.within(right, PRODUCT)}", SUM

    def _factor(self, node: Node, level: int = PRODUCT) -> str:
        """One that others may follow: ``cos(a)``, not ``cos a``."""
        text, holds = self._piece(node)
        if holds == PREFIX:
            return self._in_brackets(node)
        return text if holds >= level else f"({text})"

    def _in_brackets(self, node: Node) -> str:
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return f"{self.head(node.func.id)}{self.brackets(', '.join(map(self.write, node.args)))}"

    def head(self, function: str) -> str:
        return function

    def brackets(self, text: str) -> str:
        return f"({text})"

    def _call(self, name: str, args: list[Node]) -> Piece:
        special: dict[str, Callable[..., Piece]] = {
            "power": self.power, "sqrt": self.root, "abs": self.size, "fabs": self.size,
            "kron": self.kron, "diag": self.diagonal,
        }  # fmt: skip
        if name in special:
            return special[name](*args)
        if name in SYMBOLS and len(args) == 2:
            left, right = (self.within(x, PREFIX) for x in args)
            return f"{left} {self.sign(SYMBOLS[name])} {right}", SUM
        return self.function(name, args)


class LatexWriter(Writer):
    latex = True
    times, minus, outer = r" \cdot ", "-", r" \otimes "

    def name(self, text: str) -> str:
        return latex_name(text)

    def numeral(self, x: float) -> str:
        return latex_numeral(numeral(x, self.digits))

    def numerals(self, x: Any) -> str:
        return latex_numeral(numerals(x, self.digits))

    def head(self, function: str) -> str:
        if function in LATEX_FUNCTIONS:
            return f"\\{function}"
        return rf"\operatorname{{{function.translate(SPECIAL)}}}"

    def brackets(self, text: str) -> str:
        return rf"\left({text}\right)"

    def sign(self, operator: str) -> str:
        return LATEX_SIGNS.get(operator, operator.translate(SPECIAL))

    def quotient(self, left: Node, right: Node) -> Piece:
        return rf"\frac{{{self.write(left)}}}{{{self.write(right)}}}", ATOM

    def power(self, base: Node, exponent: Node) -> Piece:
        return f"{self.within(base, ATOM)}^{{{self.write(exponent)}}}", POWER

    def root(self, x: Node) -> Piece:
        return rf"\sqrt{{{self.write(x)}}}", ATOM

    def size(self, x: Node) -> Piece:
        return rf"\left|{self.write(x)}\right|", ATOM


def latex_name(text: str) -> str:
    r"""``theta1`` as ``\theta_{1}``, ``W_h`` as ``W_{h}``, ``loss`` as ``\mathrm{loss}``."""
    if text == "1ᵀ":  # a row of ones
        return r"\mathbf{1}^\mathsf{T}"
    found = re.fullmatch(r"([A-Za-z]+?)_?(\d*|(?<=_)\w+)(?:\[(.*)\])?(ᵀ?)", text)
    if found is None:
        return rf"\mathrm{{{text.translate(SPECIAL)}}}"
    stem, number, index, transposed = found.groups()
    head = stem
    if stem in GREEK:
        head = f"\\{stem}"
    elif len(stem) > 1:
        head = rf"\mathrm{{{stem}}}"
    below = ", ".join(part.translate(SPECIAL) for part in (number, index) if part)
    above = r"^\mathsf{T}" if transposed else ""
    return head + (f"_{{{below}}}" if below else "") + above


TEXT, LATEX = Writer(), LatexWriter()
