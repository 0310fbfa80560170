"""The pictures of docs/pictures.md: small graphs of lectures, networks, loops, and a quiz.

    python examples/pictures.py [folder, docs/pictures if none is given]

writes them all. Each function returns drawings by name and takes the keywords of `tape.draw`, so
that the tests can lay them out in other ways.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import d_network
import f_recurrent
import numpy as np
from e_models import X, three_layers

import ndtape as nt

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"


def leaves(**values):
    """Recording values with the names of the keywords."""
    return [nt.var(value, name=name) for name, value in values.items()]


def styles(**options):
    """P1. e = a² + 3b: inputs, constants and operations; b as a parameter, if nobody wants de/db"""
    a, b = leaves(a=2.0, b=3.0)
    with nt.Tape() as tape:
        c = a**2
        d = 3 * b
        e = c + d
    names = {"c": c, "d": d, "e": e}
    return {
        "p1_styles": tape.draw(e, names=names, **options),
        "p1_parameter": tape.draw(e, names=names, wrt=a, **options),
    }


def sweeps(**options):
    """P2. c = sin(x² + y): a picture for each sweep"""
    x, y = leaves(x=5.0, y=3.0)
    with nt.Tape() as tape:
        c = nt.sin(nt.square(x) + y)
    return {
        "p2_forward": tape.draw(c, sweep="forward", **options),
        "p2_reverse": tape.draw(c, sweep="reverse", **options),
    }


def forks(**options):
    """P3. fork and join: b = a², c = sin(a), d = b + c, at π/2 and at 1"""

    def at(value):
        (a,) = leaves(a=value)
        with nt.Tape() as tape:
            b = a**2
            c = nt.sin(a)
            d = b + c
        return tape.draw(d, names={"b": b, "c": c, "d": d}, **options)

    return {"p3_fork_at_half_pi": at(math.pi / 2), "p3_fork_at_1": at(1.0)}


def frames(**options):
    """P4. e = (a + b)·(b + 1), a frame a step, forwards and backwards"""
    a, b = leaves(a=3.0, b=2.0)
    with nt.Tape() as tape:
        c = a + b
        d = b + 1
        e = c * d
    names = {"c": c, "d": d, "e": e}
    forward = tape.draw(e, names=names, sweep="forward", **options).frames
    reverse = tape.draw(e, names=names, **options).frames
    return {f"p4_forward_{i}": frame for i, frame in enumerate(forward, 1)} | {
        f"p4_reverse_{i}": frame for i, frame in enumerate(reverse, 1)
    }


def softmax(**options):
    """P5. softmax from primitives: every input reaches every output"""
    xs = leaves(x1=1.0, x2=2.0, x3=3.0)
    with nt.Tape() as tape:
        f1, f2, f3 = (nt.exp(x) for x in xs)
        g = f1 + f2 + f3
        s1, s2, s3 = (f / g for f in (f1, f2, f3))
    names = {"f1": f1, "f2": f2, "f3": f3, "g": g, "s1": s1, "s2": s2, "s3": s3}
    x = nt.var([1.0, 2.0, 3.0], name="x")
    with nt.Tape() as arrays:
        f = np.exp(x)
        s = f * (1 / np.sum(f))
        loss = -np.log(s[1])
    return {
        "p5_softmax": tape.draw(names=names, sweep="forward", **options),
        "p5_softmax_loss": arrays.draw(loss, names={"f": f, "s": s, "loss": loss}, **options),
    }


def relu_net(**options):
    """P5. E4: three layers, weights, biases and x as nodes, shapes of adjoints on the edges"""
    weights, biases = three_layers()
    (x,) = leaves(x=X)
    W1, W2, W3 = leaves(W1=weights[0], W2=weights[1], W3=weights[2])
    b1, b2, b3 = leaves(b1=biases[0], b2=biases[1], b3=biases[2])
    with nt.Tape() as tape:
        z1 = W1 @ x + b1
        h1 = nt.relu(z1)
        z2 = W2 @ h1 + b2
        h2 = nt.relu(z2)
        y = W3 @ h2 + b3
        l = np.sum((y - np.array([1.0, -1.0])) ** 2)  # noqa: E741  the lecture's name
    names = {"z1": z1, "h1": h1, "z2": z2, "h2": h2, "y": y, "l": l}
    return {"p5_relu_net": tape.draw(l, names=names, **options)}


def network(**options):
    """P5. D: sigmoid layer, softmax and mean cross entropy of four points at once"""
    params = {name: nt.var(value, name=name) for name, value in d_network.start().items()}
    with nt.Tape() as tape:
        s1 = d_network.X @ params["theta1"].T + params["beta1"]
        a1 = 1 / (1 + np.exp(-s1))
        s2 = a1 @ params["theta2"].T + params["beta2"]
        f = np.exp(s2)
        a2 = f / np.sum(f, axis=1, keepdims=True)
        L = -np.sum(d_network.Y * np.log(a2)) / 4
    names = {"s1": s1, "a1": a1, "s2": s2, "f": f, "a2": a2, "L": L}
    return {"p5_network": tape.draw(L, names=names, digits=3, **options)}


def unrolled(**options):
    """P5. F1: three steps of a recurrent network; one Wi, Wh and Wo feed every step"""
    Wi, Wh, Wo, h = leaves(
        Wi=f_recurrent.WI, Wh=f_recurrent.WH, Wo=f_recurrent.WO, h0=f_recurrent.H0
    )
    names, losses = {}, []
    with nt.Tape() as tape:
        for t, (x, k) in enumerate(zip(f_recurrent.XS, f_recurrent.CLASSES, strict=True), 1):
            h = nt.expit(Wi @ x + Wh @ h)
            o = Wo @ h
            loss = np.log(np.sum(np.exp(o))) - o[k]
            names |= {f"h{t}": h, f"o{t}": o, f"C{t}": loss}
            losses.append(loss)
        C = losses[0] + losses[1] + losses[2]
    return {"p5_rnn": tape.draw(C, names=names | {"C": C}, digits=3, **options)}


def conventions(**options):
    """P6. f = (a + b)·c: operations as nodes, or on the edges between variables"""
    a, b, c = leaves(a=2.0, b=3.0, c=4.0)
    with nt.Tape() as tape:
        d = a + b
        f = d * c
    names = {"d": d, "f": f}
    return {
        f"p6_{where}_{sweep}": tape.draw(f, names=names, operations=where, sweep=sweep, **options)
        for where in ("nodes", "edges")
        for sweep in ("forward", "reverse")
    }


def quiz(**options):
    """H3. the exercise c = sin(x² + y): the empty graph, then the solution"""
    x, y = leaves(x=5.0, y=3.0)
    with nt.Tape() as tape:
        c = nt.sin(nt.square(x) + y)
    question = tape.draw(c, blank=True, **options)
    return {"h3_quiz": question, "h3_solution": question.solution}


def folded(**options):
    """A loop recorded by nt.scan is one node; a tape of 10⁵ instructions is drawn by source line"""
    w, x = leaves(w=0.9, x0=1.0)

    def step(x, _):
        x = nt.sin(w * x)
        return x, x

    with nt.Tape() as tape:
        last, states = nt.scan(step, x, length=100)
        loss = last**2 + np.sum(states)
    with nt.Tape(lines=True) as long:
        y, total = x, 0.0
        for _ in range(25_000):
            y = y + 2.4 + w * nt.sin(y)
            total = total + y
    with nt.Tape() as plain:
        z = x
        for _ in range(5_000):
            z = z + 2.4 + w * nt.sin(z)
    return {
        "fold_scan": tape.draw(
            loss, names={"last": last, "states": states, "loss": loss}, **options
        ),
        "fold_lines": long.draw(total, **options),
        "fold_runs": plain.draw(z, **options),
    }


SECTIONS = [styles, sweeps, forks, frames, softmax, relu_net, network, unrolled, conventions, quiz,
            folded]  # fmt: skip


def pictures(**options):
    """All drawings by name."""
    return {name: drawing for section in SECTIONS for name, drawing in section(**options).items()}


def main(folder=FOLDER):
    """Write every picture as SVG, and the quiz as a page; the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = pictures()
    files = [drawing.save(folder / f"{name}.svg") for name, drawing in drawings.items()]
    files.append(drawings["h3_quiz"].save(folder / "h3_quiz.html"))
    print(f"{len(files)} files in {folder}")
    return files


if __name__ == "__main__":
    main(*sys.argv[1:])
