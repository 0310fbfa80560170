"""From which size on BLAS is faster than ndtape's own loops, for products and matrix @ vector.

    python perf/crossover.py            # prints a table, a minute

The figures stand beside `BLAS_WORK` in ndtape/kernels/blas.py.  Both ways run inside the same
kernel, called from compiled code, on operands that stay in the cache where they fit; `dgemv`, which
kernels do not use, is called directly.
"""

import ctypes
import time

import numba
import numpy as np
from numba.extending import get_cython_function_address

from ndtape import kernels, nest, ops
from ndtape._jit import call_at, u8
from ndtape.kernels.blas import WORK
from ndtape.tape import address_of

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512)
ROUNDS, SHORTEST = 9, 1e-3


@numba.njit
def repeated(kernel, frame, times):
    """Call a kernel on the first instruction of a frame."""
    for _ in range(times):
        call_at(u8(kernel), u8(frame), u8(0), u8(1))


class Product:
    """One matrix product, (m, k) @ (k, n), in a frame of its own."""

    def __init__(self, m, n, k, turned=False):
        y_strides = (1, k) if turned else (n, 1)
        loops = [(m, n, k, 0, 0), (n, 1, 0, y_strides[1], 0), (k, 0, 1, y_strides[0], 0)]
        self.table = kernels.blas_table().copy()
        self.arrays = {
            "out": np.array([m * k + k * n], np.uint32),
            "a": np.zeros(1, np.uint32),
            "b": np.array([m * k], np.uint32),
            "c": np.zeros(1, np.uint32),
            "v": np.random.default_rng(0).standard_normal(m * k + k * n + m * n),
            "m": np.array(nest.descriptor(m * n, nest.collapsed(loops)), np.int64),
            "scratch": np.zeros(64, np.int64),
            "blas": self.table,
        }
        self.frame = np.zeros(len(ops.FRAME), np.uint64)
        for name, array in self.arrays.items():
            self.frame[ops.FRAME.index(name)] = address_of(array)

    def nanoseconds(self, blas_from):
        """The least time of one call when BLAS is used from so many multiplications on."""
        self.table[WORK] = blas_from
        where, frame = kernels.dot_forward.address, address_of(self.frame)
        times, samples = 1, []
        while len(samples) < ROUNDS:
            start = time.perf_counter()
            repeated(where, frame, times)
            spent = time.perf_counter() - start
            if spent < SHORTEST:
                times *= 2
            else:
                samples.append(spent / times)
        return 1e9 * min(samples)


def vector_nanoseconds(n):
    """The least time of an n by n matrix times a vector: (own loops, dgemv)."""
    own = Product(n, 1, n).nanoseconds(1 << 62)
    address = get_cython_function_address("scipy.linalg.cython_blas", "dgemv")
    dgemv = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 11)(address)

    @numba.njit
    def repeated_dgemv(times, letter, size, step, one, a, x, y):
        for _ in range(times):
            dgemv(letter.ctypes, size.ctypes, size.ctypes, one.ctypes, a.ctypes, size.ctypes,
                  x.ctypes, step.ctypes, one.ctypes, y.ctypes, step.ctypes)  # fmt: skip

    letter, one = np.frombuffer(b"T", np.uint8).copy(), np.ones(1)
    size, step = np.array([n], np.int32), np.ones(1, np.int32)
    a, x, y = np.ones((n, n)), np.ones(n), np.zeros(n)
    repeated_dgemv(1, letter, size, step, one, a, x, y)
    times, best = max(10, 4_000_000 // (n * n + 400)), np.inf
    for _ in range(ROUNDS):
        start = time.perf_counter()
        repeated_dgemv(times, letter, size, step, one, a, x, y)
        best = min(best, (time.perf_counter() - start) / times)
    return own, 1e9 * best


def main():
    for title, shape in (
        ("matrix @ matrix", lambda n: (n, n, n)),
        ("matrix @ matrix.T", lambda n: (n, n, n, True)),
        ("8 rows @ matrix", lambda n: (8, n, n)),
    ):
        print(f"{title:>18s}  own loops   BLAS (ns)   Gflop/s  Gflop/s   own/BLAS")
        for n in SIZES:
            product = Product(*shape(n))
            own, blas = product.nanoseconds(1 << 62), product.nanoseconds(0)
            m, columns, depth = shape(n)[:3]
            flops = 2 * m * columns * depth
            print(
                f"{n:18d} {own:10.0f} {blas:11.0f} {flops / own:9.1f} {flops / blas:8.1f}"
                f" {own / blas:9.2f}",
                flush=True,
            )
    print("   matrix @ vector  own loops  dgemv (ns)  own/dgemv")
    for n in (4, 16, 32, 64, 128, 256, 512):
        own, blas = vector_nanoseconds(n)
        print(f"{n:18d} {own:10.0f} {blas:11.0f} {own / blas:10.2f}", flush=True)


if __name__ == "__main__":
    main()
