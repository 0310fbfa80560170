"""Where the time of a gradient goes: a profile of an LSTM that is unrolled over a sequence.

The cell is written by hand, a line a gate, so that the table says what each gate costs. The plot is
an SVG: functions, their lines, and the operations of each line.

    python examples/where_time_goes.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import ndtape as nt

HIDDEN, STEPS = 32, 40
OUTPUT = Path(__file__).parent / "output"


def cell(w, u, c):
    i = nt.sigmoid(w["i"] @ u)
    f = nt.sigmoid(w["f"] @ u)
    o = nt.sigmoid(w["o"] @ u)
    z = np.tanh(w["z"] @ u)
    c = f * c + i * z
    return o * np.tanh(c), c


@nt.function
def loss(w, xs):
    h, c = np.zeros(HIDDEN), np.zeros(HIDDEN)
    for t in range(STEPS):
        u = np.concatenate([xs[t], h])
        h, c = cell(w, u, c)
    return np.sum(h**2)


def weights(rng):
    return {gate: 0.3 * rng.normal(size=(HIDDEN, HIDDEN + 1)) for gate in "ifoz"}


def main(folder: Path = OUTPUT):
    rng = np.random.default_rng(0)
    profile = loss.profile(weights(rng), rng.normal(size=(STEPS, 1)))
    print(profile)
    stretches = " and ".join(f"{100 * part:.0f} %" for part in profile.stretches)
    print(f"\nforward and reverse, timed in stretches, are {stretches} of the whole")
    folder.mkdir(exist_ok=True)
    profile.plot().save(folder / "lstm.svg")
    return profile


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
