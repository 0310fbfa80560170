"""Operations with rules of their own: linear algebra, Fourier transforms, sorting, products.

Each is a value function of NumPy and SciPy with derivative rules that are NumPy programs: the same
text runs on plain arrays in a sweep and on recording arrays when derivatives nest.  Importing this
package registers the functions with the NumPy protocol of recording arrays.
"""

from __future__ import annotations

from . import fft, linalg, products, sorting

__all__ = ["fft", "linalg", "products", "sorting"]
