"""One training step of the moons example (about 66 000 scalar operations), library against library.

Every contestant runs the functions of `examples/moons.py` on its own kind of number: loss, gradient
of all 337 parameters, update. Each is held to the same second loss before its time counts.

    python perf/moons.py [--peers all|none|torch,autograd,python]
"""

import argparse
import importlib.util
import json
from pathlib import Path

import scalar_engine
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions

import ndtape as nt

HERE = Path(__file__).parent
SECOND_LOSS = 1.723590533697202
RATE = 1.0


def load_program():
    """The example as a module; by path, because this file has the same name."""
    path = HERE.parent / "examples" / "moons.py"
    specification = importlib.util.spec_from_file_location("moons_example", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def with_ndtape(moons, points, labels):
    network = moons.make_network(nt.var)
    leaves = moons.parameters(network)

    def step():
        loss, _ = moons.loss_and_scores(network, points, labels, nt.relu)
        loss.backward()
        with nt.no_grad():
            for p in leaves:
                p -= RATE * p.grad
                p.zero_grad()
        return loss.value

    return step


def with_torch(moons, points, labels):
    import torch

    torch.set_num_threads(1)
    network = moons.make_network(lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True))
    leaves = moons.parameters(network)

    def step():
        loss, _ = moons.loss_and_scores(network, points, labels, torch.relu)
        loss.backward()
        with torch.no_grad():
            for p in leaves:
                p -= RATE * p.grad
                p.grad = None
        return loss.item()

    return step


def with_autograd(moons, points, labels):
    import autograd.numpy as anp
    from autograd import value_and_grad

    network = moons.make_network(float)
    values = moons.parameters(network)

    def loss(*values):  # separate arguments: indexing a traced list would be recorded every time
        supply = iter(values)
        boxed = [[[next(supply) for _ in neuron] for neuron in layer] for layer in network]
        return moons.loss_and_scores(boxed, points, labels, lambda x: anp.maximum(x, 0.0))[0]

    differentiate = value_and_grad(loss, argnum=tuple(range(len(values))))

    def step():
        value, gradient = differentiate(*values)
        values[:] = [p - RATE * g for p, g in zip(values, gradient, strict=True)]
        return float(value)

    return step


def with_plain_python(moons, points, labels):
    network = moons.make_network(scalar_engine.Number)
    leaves = moons.parameters(network)

    def step():
        loss, _ = moons.loss_and_scores(network, points, labels, scalar_engine.relu)
        scalar_engine.backward(loss)
        for p in leaves:
            p.data -= RATE * p.grad
            p.grad = 0.0
        return loss.data

    return step


CONTESTANTS = {
    "ndtape": with_ndtape,
    "torch": with_torch,
    "autograd": with_autograd,
    "python": with_plain_python,
}


def gather(names):
    """Ready steps by name; each must reach the second loss, and a missing library is skipped."""
    moons = load_program()
    steps = {}
    for name in names:
        points, labels = moons.make_points()  # seeds the generators, so every network is the same
        try:
            steps[name] = CONTESTANTS[name](moons, points, labels)
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            continue
        steps[name]()
        second = steps[name]()
        if abs(second - SECOND_LOSS) > 1e-9:
            raise AssertionError(f"{name} reaches {second}, not {SECOND_LOSS}, in its second step")
    return steps


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", default="all")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of timing")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "moons.json")
    options = parser.parse_args(arguments)
    peers = {"all": list(CONTESTANTS)[1:], "none": []}.get(options.peers)
    steps = gather(["ndtape", *(options.peers.split(",") if peers is None else peers)])
    samples = timed_rounds(list(steps.values()), options.budget)
    report = {"machine": describe_machine(), "versions": versions([*steps, "numba"]), "rows": []}
    for name, seconds in zip(steps, samples, strict=True):
        middle, low, high = (round(1e3 * t, 2) for t in spread(seconds))
        ratio = round(paired_ratio(samples[0], seconds), 5)
        row = {"contestant": name, "value": middle, "quartiles": [low, high], "unit": "ms/step"}
        report["rows"].append(row | {"rounds": len(seconds), "ndtape_over_this": ratio})
        print(f"{name:10s} {middle:9.1f} ms a step ({low} to {high}); ndtape takes {ratio:.3g}×")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
