"""What a gradient costs, for the examples of compiled functions: a table of three rows."""

import time
from statistics import median


def seconds(call, budget=0.2):
    """The median time of a call, over as many as fit the budget, after one that is not counted."""
    call()
    taken, end = [], time.perf_counter() + budget
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 1000):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)


def compare(**calls):
    """Print the time of each call, and its ratio to the one named `compiled`; the times."""
    times = {name: seconds(call) for name, call in calls.items()}
    print(f"{'':24s}{'ms a call':>12s}{'compiled = 1':>16s}")
    for name, taken in times.items():
        ratio = taken / times["compiled"]
        print(f"{name.replace('_', ' '):24s}{1e3 * taken:12.4f}{ratio:16.1f}")
    return times
