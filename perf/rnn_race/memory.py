"""Peak memory of one value and gradient through `nt.scan`, a fresh process for each schedule.

A batch that runs on by itself, h ← tanh(h Whᵀ + b), with a loss at each step that the carry sums
up: no inputs and no outputs for each step, so that all that grows with the steps is the schedule's.
"""

import time
from pathlib import Path

import numpy as np

from .fresh import printed_by

H, B = 64, 8
WARM = 5  # steps of the call that loads kernels, before memory is looked at
SCHEDULES = {
    "none": "none()",
    "every 10": "every(10)",
    "√T": "sqrt()",
    "binomial, 20 snapshots": "binomial(snapshots=20)",
    "binomial, 1 MB": "binomial(memory=10**6)",
}


def measure(steps, say, names=tuple(SCHEDULES)):
    """A row for each schedule at a number of steps."""
    for name in names:
        say(f"memory: {name}, {steps} steps")
        words = map(float, printed_by("memory", name, steps))
        peak, theory, rows, held, seconds, forward, reverse = words
        yield {
            "schedule": name,
            "T": steps,
            "peak, bytes": int(peak),
            "theory, bytes": int(theory),
            "plan, bytes": int(rows),  # the schedule's own rows, besides
            "locals of a step, bytes": int(held),
            "state, bytes": state_bytes(),
            "evaluations": [int(forward), int(reverse)],
            "s": round(seconds, 3),
        }


def state_bytes():
    """The carry: the states of the batch and the loss so far."""
    return 8 * (H * B + 1)


def measured(name, steps):
    """In a fresh process: bytes at the peak, in theory, of the plan, of a step's locals; seconds,
    evaluations of steps forwards and in reverse.
    """
    from ndtape.loops import schedules

    schedule, asked = eval(SCHEDULES[name], vars(schedules)), sizes_asked(schedules.Schedule)
    call, weights = program(schedule), start()
    call(WARM)(weights)
    run = call(steps)
    before = now("VmRSS") if forget_peak() else now("VmHWM")
    begin = time.perf_counter()
    value, gradient = run(weights)
    seconds = time.perf_counter() - begin
    peak = now("VmHWM") - before
    assert np.isfinite(value) and all(np.any(part) for part in gradient)
    sizes = asked[-1]
    plan = schedule.plan(steps, *sizes)
    rows = plan.forward.nbytes + plan.reverse.nbytes
    return peak, plan.bytes(*sizes), rows, sizes[1], seconds, *plan.evaluations


def sizes_asked(kind):
    """A list to which each plan that is made adds the bytes of a state and of a step's locals."""
    asked, plan = [], kind.plan

    def spy(schedule, length, state_bytes=8, locals_bytes=8):
        asked.append((state_bytes, locals_bytes))
        return plan(schedule, length, state_bytes, locals_bytes)

    kind.plan = spy
    return asked


def start():
    generator = np.random.default_rng(0)
    Wh, _ = np.linalg.qr(generator.normal(size=(H, H)))
    return Wh, 0.1 * generator.normal(size=H)


def program(schedule):
    """A function that gives, for a number of steps, value and gradient by the weights."""
    import ndtape as nt

    h = 0.1 * np.random.default_rng(1).normal(size=(B, H))

    def call(steps):
        def loss(parameters):
            Wh, b = parameters

            def step(carry, _):
                h, total = carry
                h = np.tanh(h @ Wh.T + b)
                return (h, total + np.sum(h**2)), None

            (_, total), _ = nt.scan(step, (h, 0.0), length=steps, checkpoint=schedule)
            return total

        return nt.value_and_grad(loss)

    return call


# --- what the operating system says ---------------------------------------------------------------


def now(key):
    """VmRSS, resident bytes, or VmHWM, the most there were."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f"this system's /proc does not know {key}")


def forget_peak():
    """VmHWM begins again at what is resident now; not everybody may."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
