"""What tests of threads share: a race, and a program whose derivative is known."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import ndtape as nt


def in_threads(f, count):
    """f(0) ... f(count - 1) at once; their results, or the first exception."""
    start = threading.Barrier(count)

    def held(k):
        start.wait()
        return f(k)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(held, range(count)))


def circle_map(x, steps):
    for _ in range(steps):
        x = x + 2.39996 + 0.5 * nt.sin(x)
    return x


def slope(x, steps):
    result = 1.0
    for _ in range(steps):
        result *= 1.0 + 0.5 * math.cos(x)
        x = x + 2.39996 + 0.5 * math.sin(x)
    return result
