"""A stiff model of a cell fitted to measurements: estimates, standard errors, what stays unknown.

STAT5A and STAT5B are phosphorylated in the cytoplasm when a cell meets the hormone Epo; they pair
up, the pairs enter the nucleus and come back. Some of the pairs enter within a millisecond, and
four hours are observed: rates that span eight decades, which take an implicit method.

Model and data: Boehm et al., J. Proteome Res. 13, 5685 (2014), mass spectrometry of BaF3 cells, as
in the benchmark collection of Hass et al., Bioinformatics 35, 3073 (2019), whose best fit has a
negative log-likelihood of 138.22197.

    python examples/stiff_kinetics.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import ndtape as nt

OUTPUT = Path(__file__).parent / "output"

# Minutes after the hormone was added, and three percentages at each of them.
MINUTES = np.array([0, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 160, 200, 240])
MEASURED = {
    "phosphorylated STAT5A": [
        7.90107, 66.36349, 81.17132, 94.73031, 95.11648, 91.44172, 91.25710, 93.67230,
        88.75423, 85.26970, 81.13240, 76.13593, 65.24806, 42.59966, 25.15780, 15.43018,
    ],
    "phosphorylated STAT5B": [
        4.59653, 29.63455, 46.04381, 81.97473, 80.57161, 79.03572, 75.67238, 71.62472,
        69.06286, 67.14738, 60.89948, 54.80926, 43.98129, 29.77146, 20.08902, 10.96185,
    ],
    "share of STAT5A": [
        14.72317, 33.76234, 36.79985, 49.71760, 46.92812, 47.83657, 46.92873, 40.59775,
        43.78366, 44.45739, 41.32716, 41.06273, 39.23583, 36.61945, 34.89371, 32.21108,
    ],
}  # fmt: skip
DATA = np.array(list(MEASURED.values()))

SPECIES = ["A", "B", "AB", "AA", "BB", "nuclear AB", "nuclear AA", "nuclear BB", "Epo"]
REACTIONS = {  # what is used up, what comes of it
    "phosphorylation AA": ({"A": 2}, {"AA": 1}),
    "phosphorylation AB": ({"A": 1, "B": 1}, {"AB": 1}),
    "phosphorylation BB": ({"B": 2}, {"BB": 1}),
    "import AA": ({"AA": 1}, {"nuclear AA": 1}),
    "import AB": ({"AB": 1}, {"nuclear AB": 1}),
    "import BB": ({"BB": 1}, {"nuclear BB": 1}),
    "export AA": ({"nuclear AA": 1}, {"A": 2}),
    "export AB": ({"nuclear AB": 1}, {"A": 1, "B": 1}),
    "export BB": ({"nuclear BB": 1}, {"B": 2}),
    "decay of Epo": ({"Epo": 1}, {}),
}
CYTOPLASM, NUCLEUS = 1.4, 0.45  # volumes
TOTAL, SHARE_A = 207.6, 0.693  # concentration of STAT5 at the start, how much of it is STAT5A
EPO = 1.25e-7  # concentration of the hormone at the start
SEEN_A = 0.107  # weight of STAT5A in what the spectrometer sees, STAT5B has the rest

# The published estimates: rates by the minute, and errors of measurement in %.
PUBLISHED = {
    "Epo decay": 0.0269825,
    "phosphorylation": 15766.507,
    "import AB": 0.0163679,
    "export AA": 0.00617023,
    "export AB": 1.00068e-5,
    "import AA": 97749.4,
    "error pA": 3.85261,
    "error pB": 6.59148,
    "error share": 3.15271,
}
ERRORS = ["error pA", "error pB", "error share"]
UNITS = {"phosphorylation": "1/(min·concentration²)"}
# The data say of these two only that one is small and the other large: they stay at the bounds of
# the published search.
AT_BOUND = {"export AB": 1e-5, "import AA": 1e5}
FREE = [name for name in PUBLISHED if name not in AT_BOUND]


def stoichiometry():
    """What each reaction, in amounts, does to each concentration: shape (species, reactions)."""
    matrix = np.zeros((len(SPECIES), len(REACTIONS)))
    for column, (used, made) in enumerate(REACTIONS.values()):
        for name, count in used.items():
            matrix[SPECIES.index(name), column] -= count
        for name, count in made.items():
            matrix[SPECIES.index(name), column] += count
    volume = [1.0 if s == "Epo" else NUCLEUS if "nuclear" in s else CYTOPLASM for s in SPECIES]
    return matrix / np.array(volume)[:, None]


STOICHIOMETRY = stoichiometry()


def reaction_rates(y, k):
    """The rates of the reactions at concentrations y; phosphorylation is of second order."""
    a, b, ab, aa, bb, nuclear_ab, nuclear_aa, nuclear_bb, epo = y
    meet = CYTOPLASM * k["phosphorylation"] * epo
    fast, slow = CYTOPLASM * k["import AA"], CYTOPLASM * k["import AB"]
    out, out_ab = NUCLEUS * k["export AA"], NUCLEUS * k["export AB"]
    return nt.array(
        [
            meet * a * a,
            meet * a * b,
            meet * b * b,
            fast * aa,
            slow * ab,
            fast * bb,
            out * nuclear_aa,
            out_ab * nuclear_ab,
            out * nuclear_bb,
            k["Epo decay"] * epo,
        ]
    )


def velocity(y, k):
    return STOICHIOMETRY @ reaction_rates(y, k)


def rosenbrock_step(y, h, k):
    """One step of RODAS3 (Sandu et al. 1997): order 3, L-stable, four stages and no iteration.

    The Jacobian of the velocity is `nt.jacobian`'s, inside a program that is itself differentiated.
    """
    jacobian = STOICHIOMETRY @ nt.jacobian(reaction_rates)(y, k)
    inverse = np.linalg.inv(2 / h * np.eye(len(SPECIES)) - jacobian)
    slope = velocity(y, k)
    u1 = inverse @ slope
    u2 = inverse @ (slope + 4 / h * u1)
    u3 = inverse @ (velocity(y + 2 * u1, k) + (u1 - u2) / h)
    u4 = inverse @ (velocity(y + 2 * u1 + u3, k) + (u1 - u2 - 8 / 3 * u3) / h)
    return y + 2 * u1 + u3 + u4


def start():
    y = np.zeros(len(SPECIES))
    y[:2] = TOTAL * SHARE_A, TOTAL * (1 - SHARE_A)
    y[-1] = EPO
    return y


def concentrations(k, substeps=8):
    """The solution at the minutes of the data, shape (16, species)."""
    y = start()
    states = [y]
    for h in np.diff(MINUTES) / substeps:
        for _ in range(substeps):
            y = rosenbrock_step(y, h, k)
        states.append(y)
    return np.stack(states)


def percentages(states):
    """What the spectrometer sees, shape (3, 16): phosphorylated A and B, share of A."""
    a, b, ab, aa, bb = states.T[:5]
    pairs_a, pairs_b = ab + 2 * SEEN_A * aa, ab + 2 * (1 - SEEN_A) * bb
    all_a, all_b = pairs_a + SEEN_A * a, pairs_b + (1 - SEEN_A) * b
    return 100 * np.stack([pairs_a / all_a, pairs_b / all_b, all_a / (all_a + all_b)])


@nt.function
def negative_log_likelihood(logs):
    """Of the data, for decimal logarithms of rates and errors in a dict; errors are normal."""
    k = {name: 10.0**value for name, value in logs.items()}
    error = nt.array([k[name] for name in ERRORS])
    residuals = (DATA - percentages(concentrations(k))) / error[:, None]
    constant = np.log(2 * np.pi) / 2 * DATA.size
    return np.sum(residuals**2) / 2 + len(MINUTES) * np.sum(np.log(error)) + constant


def logarithms(values):
    return {name: float(np.log10(value)) for name, value in values.items()}


@nt.function
def free_likelihood(free):
    """The same as a function of what the data determine: an array in the order of FREE."""
    return negative_log_likelihood(dict(zip(FREE, free, strict=True)) | logarithms(AT_BOUND))


def accuracy(k):
    """Largest difference from SciPy's Radau in percentages; slowest and fastest |λ| per minute."""
    precise = nt.solve_ivp(
        lambda t, y, k: velocity(y, k),
        (0, MINUTES[-1]),
        start(),
        "Radau",
        t_eval=MINUTES,
        args=(k,),
        rtol=1e-9,
        atol=1e-16,
    )
    states = np.asarray(concentrations(k))
    error = np.max(np.abs(percentages(states) - percentages(precise.y.T)))
    speeds = np.abs(np.linalg.eigvals(nt.jacobian(velocity)(precise.y[:, 2], k)))
    speeds = speeds[speeds > 1e-4]  # two totals are conserved: zeros, but for rounding
    return float(error), (float(speeds.min()), float(speeds.max()))


def fit():
    """From a guess a factor of 2 to 10 away, by a trust region with the exact Hessian."""
    guess = {"Epo decay": 0.01, "phosphorylation": 1e4, "import AB": 0.05, "export AA": 0.02}
    guess |= dict.fromkeys(ERRORS, 10.0)
    free = np.log10([guess[name] for name in FREE])
    return nt.minimize(free_likelihood, free, method="trust-exact", options={"gtol": 1e-6})


def report(found):
    """Estimates with their standard errors, and what the data do not tell."""
    logs = np.asarray(found.x)
    deviation = np.sqrt(np.diag(np.linalg.inv(nt.hessian(free_likelihood)(logs))))
    print(f"negative log-likelihood {found.fun:.5f} (published 138.22197)")
    print(f"{found.nit} steps of a trust region: {found.nfev} values, ", end="")
    print(f"{found.njev} gradients, {found.nhev} Hessians of {len(FREE)} parameters")
    tape, counters = free_likelihood.tapes[0], free_likelihood.counters
    print(f"recordings {counters.recordings} ({len(tape)} instructions), ", end="")
    print(f"replays {counters.replays}\n")
    print(f"{'':16s}{'estimate':>12s}{'published':>12s}{'95 % interval':>24s}{'s.e. log10':>13s}")
    for name, log, error in zip(FREE, logs, deviation, strict=True):
        low, high = 10 ** (log - 1.96 * error), 10 ** (log + 1.96 * error)
        unit = UNITS.get(name, "%" if name in ERRORS else "1/min")
        print(
            f"{name:16s}{10**log:12.5g}{PUBLISHED[name]:12.5g}{low:11.4g} to{high:10.4g}"
            f"{error:13.4f}  {unit}"
        )
    return deviation


def draw(k, folder=OUTPUT):
    """Save a picture of the model beside the data; the file, or None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture")
        return None
    picture = Figure(figsize=(6, 4), layout="constrained")
    axes = picture.subplots()
    curves = percentages(np.asarray(concentrations(k)))
    for i, (name, values) in enumerate(MEASURED.items()):
        axes.plot(MINUTES, curves[i], color=f"C{i}", label=name)
        axes.plot(MINUTES, values, "o", color=f"C{i}", markersize=4)
    axes.set(xlabel="minutes after the hormone", ylabel="%", title="STAT5 in BaF3 cells")
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "stiff_kinetics.png"
    picture.savefig(file, dpi=120)
    print(f"\nmodel and data: {file}")
    return file


def main():
    """Check the integration, fit, print the table; what was found."""
    print("STAT5 dimers in BaF3 cells: 48 measurements, 7 parameters by maximum likelihood\n")
    error, (slow, fast) = accuracy(PUBLISHED)
    print(f"stiffness: eigenvalues from −{slow:.1e} to −{fast:.1e} per minute")
    print(f"RODAS3 in 120 steps, against Radau at 1e-9: within {error:.4f} of 100 %\n")
    found = fit()
    deviation = report(found)
    fitted = dict(zip(FREE, (10 ** np.asarray(found.x)).tolist(), strict=True)) | AT_BOUND
    slope = nt.grad(negative_log_likelihood)(logarithms(fitted))
    print(
        "\nheld at the bounds of the published search: the likelihood would still rise beyond them"
    )
    for name, value in AT_BOUND.items():
        print(f"{name:16s}{value:12.5g}{PUBLISHED[name]:12.5g}", end="")
        print(f"    slope of −log L by log10 {slope[name]:+.5f}")
    return {"fit": found, "values": fitted, "deviation": deviation, "slope": slope}


if __name__ == "__main__":
    draw(main()["values"], Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
