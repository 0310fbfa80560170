"""One program in three worlds, step by step: plain NumPy, NumPy on jets, and recording arrays.

Decisions (keys, operands, shapes) are made from numbers that hypothesis draws and from the plain
world's shapes, never from values, so that a program is the same for all inputs.
"""

import random
from functools import wraps

import jets
import numpy as np
from hypothesis import reject


class Cell:
    """The same array in the worlds that take part; None where one does not."""

    def __init__(self, plain, jet, tape):
        self.plain, self.jet, self.tape = plain, jet, tape

    @property
    def worlds(self):
        return [w for w in (self.plain, self.jet, self.tape) if w is not None]

    @property
    def shape(self):
        return np.shape(self.plain)


def each(function, *cells):
    """`function` of the cells, in every world.

    Results are copied to C order in NumPy's worlds, where recorded results are in C order always:
    whether a reshape of them is a view depends on it.
    """

    def made(x):
        return np.array(x, order="C") if isinstance(x, np.ndarray) else x

    plain = made(function(*[c.plain for c in cells]))
    jet = None
    if all(c.jet is not None for c in cells):
        jet = made(function(*[c.jet for c in cells]))
    tape = None
    if all(c.tape is not None for c in cells):
        tape = function(*[c.tape for c in cells])
    return Cell(plain, jet, tape)


def view(function, cell):
    """A view in every world: no copies."""
    return Cell(*[None if w is None else function(w) for w in (cell.plain, cell.jet, cell.tape)])


def cast(x, dtype, like):
    """Numbers and jets as an object array of that dtype would hold them: jets, all of them."""
    if not isinstance(x, np.ndarray):
        x = np.array(x, object)
    out = np.empty(x.shape, object)
    for index in np.ndindex(x.shape):
        jet = x[index] if isinstance(x[index], jets.Jet) else like.like(np.float64(x[index]))
        out[index] = jet.rounded() if dtype == np.float32 else jet.widened()
    return out


# --- keys ----------------------------------------------------------------------------------------


def a_slice(rng, n):
    """Any slice of an axis, of either direction; mostly not empty."""
    step = rng.choice([None, 1, 2, -1, -2, 3])
    ends = [None, *range(-n - 1, n + 2)]
    for _ in range(3):
        s = slice(rng.choice(ends), rng.choice(ends), step)
        if len(range(*s.indices(n))):
            return s
    return s


def basic_key(rng, shape):
    """Numbers, slices, newaxis and Ellipsis."""
    key = []
    for n in shape[: rng.randint(0, len(shape))]:
        kind = rng.random()
        if n and kind < 0.3:
            key.append(rng.randrange(-n, n))
        else:
            key.append(a_slice(rng, n) if kind < 0.8 else slice(None))
    if rng.random() < 0.2:
        key.insert(rng.randint(0, len(key)), None)
    if rng.random() < 0.2:
        key.append(Ellipsis)
    return key[0] if len(key) == 1 and rng.random() < 0.5 else tuple(key)


def array_key(rng, shape, repeats):
    """Integer arrays and plain masks, mixed with slices; without repeats where writes go."""
    if not shape:
        return ()
    if rng.random() < 0.25:
        mask = np.array([rng.random() < 0.5 for _ in range(int(np.prod(shape)))], bool)
        return mask.reshape(shape)
    axes = sorted(rng.sample(range(len(shape)), rng.randint(1, min(2, len(shape)))))
    count = rng.randint(1, 3)
    if not all(shape[a] for a in axes) or (not repeats and any(shape[a] < count for a in axes)):
        return (slice(None),) * len(shape)
    key = [slice(None)] * len(shape)
    for a in axes:
        n = shape[a]
        found = [rng.randrange(n) for _ in range(count)] if repeats else rng.sample(range(n), count)
        found = [i - n if rng.random() < 0.3 else i for i in found]
        key[a] = found if rng.random() < 0.3 else np.array(found)
    return tuple(key)


VIEWS = [
    lambda rng, x: x[basic_key(rng, x.shape)],
    lambda rng, x: x.T,
    lambda rng, x: x[::-1],
    lambda rng, x: x.reshape(-1),
    lambda rng, x: np.expand_dims(x, rng.randint(0, x.ndim)),
    lambda rng, x: np.squeeze(x) if x.size > 1 else x[..., None],
    lambda rng, x: np.flip(x),
    lambda rng, x: np.swapaxes(x, 0, x.ndim - 1),
    lambda rng, x: np.moveaxis(x, 0, -1),
    lambda rng, x: x[..., None],
    lambda rng, x: np.diagonal(x) if x.ndim > 1 else x[1:],
    lambda rng, x: np.broadcast_to(x, (2, *x.shape)),
]


def a_view(seed, cell):
    """A random view of an array with axes."""
    make = VIEWS[seed % len(VIEWS)]
    return view(lambda x: make(random.Random(seed), x), cell)


def weighed(cells):
    """A number to which every element of every array contributes by another weight."""

    def total(arrays):
        sums = []
        for j, x in enumerate(arrays):
            size = int(np.prod(np.shape(x), dtype=int))
            weights = np.cos(1.0 + j + np.arange(size)).reshape(np.shape(x))
            if size:
                sums.append(np.sum(x * weights))
        return sum(sums)

    return total(cells)


# --- comparing -----------------------------------------------------------------------------------


def apart_from_kinks(test):
    """Leaves out programs where rounding decides."""

    @wraps(test)
    def wrapped(*args, **kwargs):
        try:
            test(*args, **kwargs)
        except jets.AtKink:
            reject()

    return wrapped


def flat(gradients):
    return np.concatenate([np.ravel(g) for g in gradients])


def close(found, expected, tolerance=1e-12):
    scale = 1.0 + np.abs(expected).max(initial=0.0)
    return np.allclose(found, expected, rtol=tolerance, atol=tolerance * scale)
