"""Who a contestant of a report belongs to: the columns of the summary and the colours of plots."""

OURS = "ndtape"
BY_HAND = "by hand"
LIBRARIES = [OURS, BY_HAND, "CasADi", "JAX", "XAD", "PyTorch", "autograd"]
APART = ("ndtape, swept", "ndtape, 2 threads")  # less than a call, and more than the others get
WRITTEN_OUT = ("hand", "NumPy", "SciPy", "Numba")  # no derivatives by machine


def library(contestant):
    """'JAX' for 'JAX jit, scan'."""
    first = contestant.replace(",", " ").split()[0]
    return BY_HAND if first in WRITTEN_OUT else first


def best(rows, key="value"):
    """library -> the least value of its contestants: each in the form that suits it."""
    found = {}
    for row in rows:
        if row.get(key) is not None and row["contestant"] not in APART:
            name = library(row["contestant"])
            found[name] = min(row[key], found.get(name, row[key]))
    return found
