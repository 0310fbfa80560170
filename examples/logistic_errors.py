"""Logistic regression as a statistician reports it: estimates with standard errors.

Is a tumour malignant? Four measurements of 569 tumours (scikit-learn's breast-cancer data), by
maximum likelihood. The log-likelihood is all that is written down: Newton's steps need its
gradient and Hessian, the standard errors the inverse of the Hessian, and the robust ones the score
of every patient, which is one Jacobian. Closed forms stand beside each of them.

    python examples/logistic_errors.py
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import chi2, norm

import ndtape as nt

MEASUREMENTS = ["mean radius", "mean texture", "mean smoothness", "mean concavity"]


def load():
    """(x, y): a column of ones and the measurements in standard deviations; 1 is malignant."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = [list(data.feature_names).index(name) for name in MEASUREMENTS]
    x = data.data[:, columns]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.column_stack([np.ones(len(x)), x]), (data.target == 0).astype(float)


@nt.function
def log_likelihoods(b, x, y):
    """log P(y | x) of every patient, shape (n,): y·s − log(1 + exp(s)) with s = x·b."""
    s = x @ b
    return y * s - nt.softplus(s)


@nt.function
def loss(b, x, y):
    """The negative log-likelihood of all patients."""
    return -np.sum(log_likelihoods(b, x, y))


def newton(x, y, tolerance=1e-10):
    """Newton's method from 0: the estimates and how many steps it took."""
    b = np.zeros(x.shape[1])
    for step in range(1, 50):
        move = np.linalg.solve(nt.hessian(loss)(b, x, y), nt.grad(loss)(b, x, y))
        b = b - move
        if np.max(np.abs(move)) < tolerance:
            return b, step
    raise ArithmeticError("Newton's method did not converge: are the classes separable?")


def covariance(b, x, y):
    """The inverse of the observed information, shape (k, k)."""
    return np.linalg.inv(nt.hessian(loss)(b, x, y))


def robust_covariance(b, x, y):
    """The sandwich H⁻¹ (Σ s sᵀ) H⁻¹ (Huber 1967, White 1982), with s the score of a patient."""
    scores = nt.jacobian(log_likelihoods)(b, x, y)
    bread = covariance(b, x, y)
    return bread @ (scores.T @ scores) @ bread


def closed_forms(b, x, y):
    """Gradient −Xᵀ(y − p), Hessian Xᵀ W X with W = p (1 − p), and the scores (y − p) x."""
    p = expit(x @ b)
    return x.T @ (p - y), (x.T * (p * (1 - p))) @ x, (y - p)[:, None] * x


def fit(x, y):
    """Everything that the report prints, by name."""
    b, steps = newton(x, y)
    error = np.sqrt(np.diag(covariance(b, x, y)))
    z = b / error
    share = y.mean()
    empty = len(y) * (share * np.log(share) + (1 - share) * np.log(1 - share))
    full = -loss(b, x, y)
    return {
        "b": b,
        "steps": steps,
        "error": error,
        "robust": np.sqrt(np.diag(robust_covariance(b, x, y))),
        "z": z,
        "p": 2 * norm.sf(np.abs(z)),
        "low": b - norm.ppf(0.975) * error,
        "high": b + norm.ppf(0.975) * error,
        "log_likelihood": full,
        "empty": empty,
        "ratio_p": chi2.sf(2 * (full - empty), len(b) - 1),
    }


def report(found, patients):
    """The table, as statistics programs print it."""
    width = 100
    print("Logistic regression: P(malignant), measurements in standard deviations")
    print("=" * width)
    print(f"patients {patients}    Newton steps {found['steps']}    ", end="")
    print(f"log-likelihood {found['log_likelihood']:.3f}    without measurements ", end="")
    print(f"{found['empty']:.3f}")
    pseudo = 1 - found["log_likelihood"] / found["empty"]
    print(f"McFadden's R² {pseudo:.4f}    likelihood ratio test P = {found['ratio_p']:.1e}")
    print("-" * width)
    print(f"{'':15s}{'coef':>9s}{'std err':>9s}{'robust':>9s}{'z':>8s}{'P>|z|':>8s}", end="")
    print(f"{'[0.025':>9s}{'0.975]':>9s}{'odds ratio [95 %]':>23s}")
    print("-" * width)
    for i, name in enumerate(["constant", *MEASUREMENTS]):
        row = {key: found[key][i] for key in ("b", "error", "robust", "z", "p", "low", "high")}
        print(
            f"{name:15s}{row['b']:9.4f}{row['error']:9.4f}{row['robust']:9.4f}{row['z']:8.3f}"
            f"{row['p']:8.3f}{row['low']:9.3f}{row['high']:9.3f}",
            end="",
        )
        odds = np.exp([row["b"], row["low"], row["high"]])
        print("" if name == "constant" else f"{odds[0]:8.2f} [{odds[1]:.2f}, {odds[2]:.2f}]")
    print("=" * width)


def relative_difference(found, expected):
    """The largest difference between arrays, relative to the largest entry expected."""
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def checks(b, x, y):
    """How far gradient (at 0: it vanishes at b), Hessian and scores are from their closed forms."""
    zero = np.zeros_like(b)
    return {
        "gradient": relative_difference(nt.grad(loss)(zero, x, y), closed_forms(zero, x, y)[0]),
        "Hessian": relative_difference(nt.hessian(loss)(b, x, y), closed_forms(b, x, y)[1]),
        "scores": relative_difference(
            nt.jacobian(log_likelihoods)(b, x, y), closed_forms(b, x, y)[2]
        ),
    }


def main():
    """Fit, print the table and the checks; what was found."""
    x, y = load()
    found = fit(x, y)
    report(found, len(y))
    print("an odds ratio is for one standard deviation more; robust: sandwich estimator\n")
    found["checks"] = checks(found["b"], x, y)
    said = ", ".join(f"{name} {error:.0e}" for name, error in found["checks"].items())
    print(f"relative difference from the closed forms: {said}")
    return found


if __name__ == "__main__":
    main()
