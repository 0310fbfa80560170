"""Functions of NumPy's that have no place on a tape, and what to do instead."""

from __future__ import annotations

from .registry import refuse

ADVICE = {
    "angle": "ndtape records real numbers; np.arctan2(y, x) is the angle of a point",
    "i0": "add it with nt.primitive, value scipy.special.i0 and derivative scipy.special.i1",
    "histogram": "counts have no derivative; take x.value, or np.bincount of recorded classes",
    "histogram2d": "counts have no derivative; take x.value",
    "histogramdd": "counts have no derivative; take x.value",
    "histogram_bin_edges": "edges have no derivative; take x.value",
    "trim_zeros": "the shape would depend on the numbers; slice it: x[first:last]",
    "roots": "complex numbers are not recorded; find a real root with Newton's method in a loop",
    "poly": "multiply the factors with np.polymul",
    "polydiv": "divide at points with np.polyval, or add it with nt.primitive",
    "packbits": "bits are no numbers; take x.value",
    "unpackbits": "bits are no numbers; take x.value",
}

for _name, _advice in ADVICE.items():
    refuse(_name, _advice)
