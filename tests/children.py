"""Traced functions in processes of `multiprocessing`: a script for the tests of the compile cache.

    python children.py method folder

A child computes gradients with an empty compile cache in the folder, before its parent has compiled
anything; then the parent does, and two more children at the same time, with what is in the cache.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import ndtape as nt


@nt.function
def branching(x):
    """Has a tape for each side."""
    return x * x * 3.0 if x > 0.5 else x * 5.0


def scaled(factor):
    return nt.function(lambda x: x * x * factor)


def begin(held):
    global barrier
    barrier = held


def task(traced, x):
    """Gradients of a function that is imported, and of one that is given; tapes of the first."""
    barrier.wait(60)  # for the other child: so each of them has one task
    return nt.grad(branching)(x), nt.grad(traced)(x), len(branching.tapes)


def children(context, *tasks):
    """Starts a child for each task; a function that waits for what they found."""
    pool = context.Pool(len(tasks), begin, (context.Barrier(len(tasks)),))
    found = pool.starmap_async(task, tasks, chunksize=1)

    def wait():
        lines = found.get(timeout=90)
        pool.close()
        pool.join()
        return lines

    return wait


def files(folder):
    return sorted(Path(folder).rglob("*.nb[ci]"))


def main(method, folder):
    os.environ["NUMBA_CACHE_DIR"] = folder  # nobody has read it before
    context = multiprocessing.get_context(method)
    traced = scaled(2.0)
    print("cold", *children(context, (traced, 0.25))())
    kept = files(folder)
    print("parent", nt.grad(branching)(1.0), nt.grad(traced)(1.0))
    wait = children(context, (traced, 1.0), (traced, 0.25))
    print("busy", nt.grad(branching)(2.0), len(branching.tapes))
    print("warm", *wait())
    print("compiled once", files(folder) == kept != [])


if __name__ == "__main__":
    main(*sys.argv[1:])
