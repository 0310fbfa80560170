"""Addresses of SciPy's BLAS, and its calls from kernels.

Fortran takes pointers, also to sizes; kernels lay them out in the frame's scratch words.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from functools import cache
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from .._jit import f8_at, i8_at, u8, u8_at
from .walk import SCRATCH, WORD, part, word

PRODUCTS, DGEMM, WORK = range(3)  # words of the table
# Multiplications from which a product of matrices goes to BLAS.  Own loops against SciPy's
# OpenBLAS, by perf/crossover.py on two cores with AVX-512, microseconds for n by n matrices:
#     n          8     16    32    64    128   192   256   384    512
#     own loops  0.04  0.12  0.72  5.2   40    143   349   1280   3300 and more
#     BLAS       0.12  0.34  1.66  10.9  43    137   321   1020   2500
# BLAS has threads, which pay on idle cores; beside other busy processes each of its calls from
# n = 96 on took 10 to 50 ms there.  So own loops go on while they are within a third of it.
# Rejected: dgemv, which multiplies a matrix with a vector in 1.0 to 1.2 times our time at any n.
BLAS_WORK = 384**3
MODULE = "scipy.linalg.cython_blas"
# What the capsules must say: sizes are 32-bit, not the 64-bit ones of an ILP64 build.
POINTERS = {"dgemm": "void (char *, char *, int *, int *, int *,"}


def _cython_blas() -> ModuleType:
    """SciPy's table of BLAS functions.

    Importing it runs scipy.linalg first, 0.1 s for two addresses: the extension alone takes 4 ms.
    It enters itself into sys.modules, where it must not stay without its package.
    """
    if "scipy.linalg" in sys.modules:
        return importlib.import_module(MODULE)
    package = importlib.util.find_spec("scipy")
    folders = [
        f"{folder}/linalg" for folder in (package and package.submodule_search_locations) or []
    ]
    spec = PathFinder.find_spec(MODULE, folders)
    if spec is None or spec.loader is None:
        return importlib.import_module(MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop(MODULE, None)
    return module


def _address(module: ModuleType, name: str) -> int:
    """Of a function that a Cython module exports; 0 if it is not what kernels expect."""
    capsule = module.__pyx_capi__.get(name)
    api: Any = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    kind = api.PyCapsule_GetName(capsule)
    if not kind.decode().startswith(POINTERS[name]):
        return 0
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, kind))


@cache
def blas_table() -> np.ndarray:
    """What the kernels of `dot` call: addresses, uint64, in the order PRODUCTS, DGEMM, and WORK.

    Without BLAS (another SciPy, or none) the second is 0, and own loops do everything.
    """
    from .contract import products

    table = np.zeros(3, np.uint64)
    table[PRODUCTS], table[WORK] = products.address, BLAS_WORK
    try:
        module = _cython_blas()
        table[DGEMM] = _address(module, "dgemm")
    except (ImportError, AttributeError):
        pass
    return table


def _call_typed(typingctx, address, arguments):
    """Call the function at an address with a tuple of pointers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [p.type for p in pointers])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), pointers)
        return context.get_dummy_value()

    return signature(types.void, types.int64, arguments), codegen


_call: Any = intrinsic(_call_typed)
NO, TRANSPOSED = ord("N"), ord("T")


@part
def _leading(inner, outer, count):
    """The leading dimension of a matrix whose inner stride is 1, 0 if it is none for BLAS."""
    return outer // WORD if inner == WORD and outer >= WORD * count else 0


FIRST_ARGUMENT = 48  # of the scratch words; those before count loops


@part
def gemm(frame, function, z, keep, x, y, m, n, k, zm, xm, xk, yk, yn):
    """z += x @ y for a z with rows side by side; False, and nothing done, if BLAS cannot.

    BLAS has matrices by columns: there it is the transpose of z, y.T @ x.T.
    """
    ldz, ldy, ldx = _leading(WORD, zm, n), _leading(yn, yk, n), _leading(xk, xm, k)
    turned_y = 0 if ldy else _leading(yk, yn, k)
    turned_x = 0 if ldx else _leading(xm, xk, m)
    step_y, step_x = ldy + turned_y, ldx + turned_x
    if ldz == 0 or step_y == 0 or step_x == 0 or max(m, n, k, ldz, step_y, step_x) >> 31:
        return False
    words = i8_at(u8_at(frame)[SCRATCH])
    place = word(frame, SCRATCH) + WORD * FIRST_ARGUMENT
    first = u8(FIRST_ARGUMENT)
    # A letter and a 32-bit integer lie in the low bytes of a word.
    words[first] = TRANSPOSED if turned_y else NO
    words[first + 1] = TRANSPOSED if turned_x else NO
    words[first + 2], words[first + 3], words[first + 4] = n, m, k
    words[first + 5], words[first + 6], words[first + 7] = step_y, step_x, ldz
    factors = f8_at(u8_at(frame)[SCRATCH])
    factors[first + 8], factors[first + 9] = 1.0, float(keep)
    one, kept = place + 64, place + 72
    _call(function, (place, place + 8, place + 16, place + 24, place + 32, one, y, place + 40,
                     x, place + 48, kept, z, place + 56))  # fmt: skip
    return True
