"""Random programs for passes: everything that a tape can have, and plenty that passes look for.

A program is Python text, a function `f(a, b, x, q)` of two numbers, an array of four and a matrix,
drawn statement by statement.  The statements of `branching` (guards, loops, in-place writes) stand
beside what a pass finds: identities, the same thing computed twice, dead code, sums of products,
layers of scalars and of arrays, spans in float32, custom derivatives and scans.
"""

from __future__ import annotations

import random

import branching
import numpy as np

import ndtape as nt

# --- what the programs call -----------------------------------------------------------------------


@nt.custom_vjp
def wave(x, y):
    return nt.sin(x) * y


wave.defvjp(
    lambda x, y: (wave(x, y), (x, y)),
    lambda kept, w: (nt.cos(kept[0]) * kept[1] * w, nt.sin(kept[0]) * w),
)


@nt.custom_jvp
def soft(x):
    return np.log(1.0 + np.exp(x))


soft.defjvps(lambda t, value, x: (1.0 - np.exp(-value)) * t)

RNG = np.random.default_rng(11)  # numbers whose products never cancel, which relu would notice
NAMES = {
    "wave": wave, "soft": soft, "f32": np.float32,
    "C": RNG.normal(size=(4, 4)) / 2, "ROWS": (RNG.normal(size=(3, 4)) / 2).tolist(),
    "U": RNG.normal(size=(12, 12)) / 4, "DATA": RNG.normal(size=(11, 4)).tolist(),
}  # fmt: skip

# --- statements -----------------------------------------------------------------------------------

IDENTITIES = [
    "{0} * 1.0", "1.0 * {0}", "{0} / 1.0", "{0} - 0.0", "{0} + 0.0", "0.0 + {0}", "-(-{0})",
    "{0} * -1.0", "0.0 - {0}", "{0} * 2.0 / 4.0", "{0} / 8.0", "{0} / 3.0", "{0} - {0} + {1}",
    "{0} * 0.0 + {1}", "abs(abs({0}))", "nt.maximum({0}, {0})", "nt.where({1} < 0.1, {0}, {0})",
    "{0} ** 2 * 0.3", "{0} ** 1.0", "nt.sqrt({0} * {0} + 0.5)", "0.5 * ({0} + {0})",
    "1.0 / (1.0 + {0} * {0})", "0.25 + ({0} + 0.5)", "0.5 * (0.3 * {0})", "-({0} * -0.5)",
    "{0} - -{1}", "{0} + -{1}", "-{0} + {1}", "0.3 * (-{0}) * (-{1})", "{0} - ({0} - {1})",
    "nt.exp(nt.log({0} * {0} + 1.0)) * 0.2", "nt.floor(nt.floor({0}))", "{0} / (2.0 + {1} * {1})",
    "(1.0 if {0} * 0.0 == 0.0 else 2.0) * {1}", "nt.tanh({0} / 2.0)",
    "nt.where(1.0 < 2.0, {0}, {1})",
]  # fmt: skip
TWICE = [  # the same number, computed twice
    ("{0} * {1}", "{1} * {0}"), ("{0} + {1}", "{1} + {0}"), ("nt.sin({0})", "nt.sin({0})"),
    ("nt.maximum({0}, {1})", "nt.maximum({1}, {0})"), ("{0} - {1}", "-({1} - {0})"),
    ("{0} * {1} * 0.5", "0.5 * ({1} * {0})"), ("nt.hypot({0}, {1})", "nt.hypot({1}, {0})"),
    ("{0} * 0.7", "0.7 * {0}"), ("nt.exp(-{0} * {0})", "nt.exp(-({0} * {0}))"),
]  # fmt: skip
TERMS = [
    "{s} {0}", "{s} {0} * {1}", "{s} {0} * {1}", "{s} 0.5 * {0}", "{s} {0} * -0.25", "{s} 0.75",
    "{s} x[{i}] * {0}", "{s} q[{i}, {j}] * x[{j}]", "{s} C[{i}, {j}] * x[{i}]",
]  # fmt: skip
ARRAYS = [
    "np.tanh(q @ {0} + {1})", "np.tanh({0} @ q.T)", "nt.sigmoid(C @ {0} + q @ {1})", "{0} * 1.0",
    "nt.relu(q @ {0} - 0.1)", "(q[:2] @ np.stack([{0}, {1}], 1)).ravel()", "{0} + {1} * 0.5",
    "np.tanh(np.stack([{0}, {1}]) @ q + {0}).sum(0)", "np.concatenate([{0}[:2], {1}[2:]])",
    "np.cumsum({0}) * 0.4", "q[1] * {0} + q[:, 2]", "np.stack([{2}, {2}, 0.5, {0}[1]])",
    "{0}[[2, 0, 2, 1]] * {1}", "np.tanh(np.outer({0}, {1}) @ {0}) ", "soft({0}) * 0.3",
    "wave({0}, {1})", "np.where({0} > {1}, {0} * {1}, {1})", "np.exp(-{0} * {0}) - 0.0",
    "({0}.astype(f32) * f32(0.5) + {1}.astype(f32)).astype(float)",
    "np.tanh(q.astype(f32) @ {0}.astype(f32) + {1}.astype(f32)).astype(float)",
    "np.broadcast_to({2}, 4) * {0}", "np.maximum({0}, {1}).copy()",
]  # fmt: skip
SCALARS = [
    "wave({0}, {1})", "soft({0}) * 0.5", "{a}.sum() * 0.25", "{a} @ {e} * 0.3", "np.max({a}) * 0.5",
    "({a}.astype(f32) * f32({1}.__class__ is None)).sum() + {0} * 0.5", "{a}[1] * {e}[2]",
    "np.sum({a} * {e} * {0}) * 0.2", "({a} @ q @ {e}) * 0.1", "np.prod(1.0 + 0.1 * {a}) * 0.3",
    "(lambda h: h.mean() * {0})({a}.astype(f32) * {e}.astype(f32))",
]  # fmt: skip


def identity(text):
    branching._set(text, text.rng.choice(IDENTITIES).format(*text.some(2)))


def twice(text):
    one, other = (form.format(*operands) for operands in [text.some(2)]
                  for form in text.rng.choice(TWICE))  # fmt: skip
    name = text.fresh()
    text.add(f"{name} = {one}")
    branching._set(text, f"0.5 * ({other}) + 0.3 * {name}")


def dead(text):
    text.add(f"_ = {text.rng.choice(IDENTITIES).format(*text.some(2))}")
    if text.rng.random() < 0.5:
        text.add(f"_ = {text.rng.choice(text.arrays)} * _")


def terms(text):
    """A sum with signs, of numbers, products and constants."""
    rng, parts = text.rng, []
    for k in range(rng.randint(2, 9)):
        sign = rng.choice("+-") if k else rng.choice(["", "", "-"])
        p, q = text.some(2)
        form = rng.choice(TERMS)
        parts.append(form.format(p, q, s=sign, i=rng.randrange(4), j=rng.randrange(4)))
    branching._set(text, f"0.3 * ({' '.join(parts)})")


def layer(text):
    """Neurons written number by number; sometimes two layers, or for several rows of data."""
    rng = text.rng
    act = rng.choice(["nt.tanh", "nt.relu", "nt.sigmoid", "", "nt.sin"])
    weights = rng.choice(["ROWS", "q[1:]", "C[:3]"])
    start = rng.choice(["", "", f", {text.some()}", ", 0.25"])
    given = rng.choice([rng.choice(text.arrays), f"[{', '.join(text.some(4))}]"])
    width = "" if weights != "ROWS" or rng.random() < 0.5 else "[:3]"
    names = [text.fresh() for _ in range(3)]
    text.add(
        f"{', '.join(names)} = [{act}(sum((w * e for w, e in zip(row{width}, {given})){start}))"
        f" for row in {weights}]"
    )
    if text.depth == 1:
        text.scalars += names
    else:
        branching._set(text, f"0.5 * {names[0]} - 0.25 * {names[2]}")


def batch(text):
    """A network of scalars for eleven rows of data, as long as a user would write it."""
    if text.nets:
        return layer(text)
    text.nets += 1
    rng = text.rng
    act, last = (rng.choice(["nt.tanh", "nt.relu", "nt.sigmoid", ""]) for _ in range(2))
    given = rng.choice(["DATA", "DATA", f"[[e * {text.some()} for e in p] for p in DATA]"])
    start = rng.choice(["", f", {text.some()}", ", x[1]"])
    text.add(f"g = {given}")
    text.add(f"g = [[{act}(sum((w * e for w, e in zip(row, p)){start})) for row in q] for p in g]")
    if rng.random() < 0.6:
        text.add(f"g = [[{last}(sum(w * e for w, e in zip(row, p))) for row in C] for p in g]")
    branching._set(text, f"0.1 * total([p[0] * p[3] - {text.some()} * p[1] for p in g])")
    return None


def array(text):
    rng = text.rng
    form = rng.choice(ARRAYS).format(rng.choice(text.arrays), rng.choice(text.arrays), text.some())
    if text.depth == 1 and len(text.arrays) < 6:
        name = text.fresh()
        text.add(f"{name} = {form}")
        text.arrays.append(name)
    elif len(text.arrays) > 1:
        text.add(f"{rng.choice(text.arrays[1:])} = {form}")


def scalar(text):
    a, e = text.rng.choice(text.arrays), text.rng.choice(text.arrays)
    branching._set(text, text.rng.choice(SCALARS).format(*text.some(2), a=a, e=e))


def network(text):
    """A recurrent cell of twelve numbers, some steps long: weights that many products share."""
    if text.nets:
        return array(text)
    text.nets += 1
    cell = text.rng.choice([
        "np.tanh(U @ h + u)", "np.tanh(m @ h)", "nt.sigmoid(h @ m + 0.1 * U[2]) - 0.3",
        "np.tanh(m @ h + U @ u)",
    ])  # fmt: skip
    given = ", ".join(text.rng.choice(text.arrays) for _ in range(3))
    text.add(f"u = np.concatenate([{given}])")
    text.add("m = U + u * 0.1")
    text.add("h = u")
    text.add(f"for _ in range({text.rng.choice([3, 20])}):")
    text.add(f"    h = {cell}")
    branching._set(text, f"h.sum() * 0.2 + {text.some()} * h[3]")
    return None


BODIES = [
    "(nt.sin(c * {0} + e), c * e)", "(0.5 * c + e * {0}, c)", "(nt.tanh(c + {0}) * e, 1.0 * c)",
    "(c * 0.7 + {0} * e if c < e else e - 0.5 * c * {0}, c * c)",
    "(c * 0.7 + e if c < e else e - 0.5 * c * {0}, c * c)", "(wave(c, e) + 0.1 * {0}, e * 1.0)",
    "(nt.tanh(0.3 * c + 0.2 * e * {0} - 0.5 * c * e) / 1.0, c - 0.0)",
]  # fmt: skip


def scan(text):
    if text.scans:
        return scalar(text)
    text.scans += 1
    body = text.rng.choice(BODIES).format(text.some())
    turned = text.rng.choice(["", ", reverse=True"])
    one, other = text.fresh(), text.fresh()
    text.add(f"{one}, {other} = nt.scan(lambda c, e: {body}, {text.some()}, "
             f"{text.rng.choice(text.arrays)}{turned})")  # fmt: skip
    branching._set(text, f"0.5 * {one} + 0.2 * {other}.sum()")
    return None


# Kinds of statements by name, for programs with some of them only.
KINDS = {
    "identities": [identity], "repeats": [twice], "dead": [dead], "terms": [terms],
    "layers": [layer, layer, batch], "arrays": [array, scalar], "networks": [network],
    "scans": [scan], "branches": [branching.statement],
}  # fmt: skip
STRAIGHT = ("identities", "repeats", "dead", "terms", "layers", "arrays", "networks")
EVERYTHING = (*KINDS, "branches", "branches", "identities", "terms")


def source(seed, length, kinds=EVERYTHING):
    """The text of a program of that many statements at the outer level."""
    text = branching.Text(random.Random(seed), False)
    text.nets = text.scans = 0
    text.add("y = x * 1.0")
    text.arrays.append("y")
    for _ in range(length):
        text.rng.choice(KINDS[text.rng.choice(kinds)])(text)
    chosen = [name for name in text.scalars if text.rng.random() < 0.7]
    terms = [f"{0.3 + 0.1 * k:.1f} * {name}" for k, name in enumerate(chosen)]
    terms += [f"total({name} * WEIGHTS) * 0.2" for name in text.arrays[-3:]]
    text.add("return " + " + ".join(terms))
    return "\n".join(["def f(a, b, x, q):", *text.lines, ""])


def compiled(text):
    f = branching.compiled(text)
    f.__globals__.update(NAMES)
    return f


def points(seed, count):
    """Arguments, of which some turn branches the other way."""
    rng, found = np.random.default_rng(seed), []
    for k in range(count):
        a, b = rng.uniform(-2, 2, 2).round(2).tolist()
        found.append((a, b, rng.uniform(-1.5, 1.5, 4).round(2), rng.normal(size=(4, 4))))
        if k % 2:
            found.append((-a, b, found[-1][2][::-1].copy(), found[-1][3].T.copy()))
    return found
