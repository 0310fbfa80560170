"""Losses and shards for the tests of `nt.parallel`, in a module that workers can import."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

import ndtape as nt

SCALE = 1.0


def logistic(p, shard):
    """Minus the log likelihood of a logistic regression."""
    return np.sum(nt.softplus(-shard["y"] * (shard["x"] @ p["w"] + p["b"])))


def scaled(w, x):
    return SCALE * np.sum(w * x)


@nt.function
def branching(w, x):
    """Other branches for other shards, some of which only workers meet."""
    total = 0.0
    for number in x:
        total = total + (nt.sin(w * number) if w * number > 0 else w * w * number)
    return total


def parameters():
    return {"w": np.linspace(-0.7, 0.9, 5), "b": 0.1}


def data(seed=0, rows=1003):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    return {"x": x, "y": np.where(x @ np.ones(5) + rng.logistic(size=rows) > 0, 1.0, -1.0)}


class Dying:
    """A shard whose worker is killed while it is differentiated, the first time."""

    def __init__(self, shard, marker, always=False):
        self.shard, self.marker, self.always = shard, str(marker), always

    def __call__(self):
        if self.always or not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.shard


class Odd(Exception):
    """One that cannot be sent."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


def failing(w, x):
    if x < 0:
        raise KeyError("negative")
    if x == 0:
        raise Odd("one", "two")
    return w * x


def same(shard):
    return shard


def slow(seconds):
    time.sleep(seconds)
    return 1.0
