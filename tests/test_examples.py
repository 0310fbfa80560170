"""Every example runs, and shows the numbers that it is there to show.

The walk-throughs hold their own numbers to the digits printed; this file has some of them a second
time, so that an example whose sections were skipped or whose checks were loosened fails here.
"""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"

WALKTHROUGHS = {
    "a_graphs": {
        "a1: a ** 2: de/da de/db[0]": 4,
        "a1: de/da at a = -2": -4,
        "a2: c": 0.270905788308,
        "a2: dc/dx": -9.62605866314,
        "a3: a=1: total": 2.540302305868,
        "a4: df/da df/db df/dc[2]": 5,
        "a5: seed b: dc dd de[2]": 8,
        "a5: de/da de/db[1]": 8,
        "a6: dy/dx": 1.926038125032,
        "a7: df/dz": 0.196611933241,
        "a8: second derivative at 2": 4 / 9,
        "a8: d arccoth(x²+1) at 1": -2 / 3,
        "a9: Horner, n=6: dy/dx": 201,
        "a9: Newton, x=1e+06: steps": 14,
        "a10: dz/ds": 2.223244275484,
        "a11: derivative": 1.24363811358e-4,
        "a12: d(a·b) = b, a[0]": 3,
        "a13: gradient": 2**60,
        "a13: reverse steps": 60,
    },
    "c_losses": {
        "sigmoid: slope at 1": 0.196611933241,
        "sigmoid: slope at -1000": 0,
        "relu: slope at -1 0 1[1]": 0,
        "relu: with 1 at 0: slope[1]": 1,
        "tanh: slope at 1": 0.419974341614,
        "logistic_loss: slope at (2, -1)": 0.880797077978,
        "logistic_loss: loss, slope at (1000, -1)[0]": 1000,
        "regularisation: slope[2]": 0.6,
        "squared_error: loss, slope at (4.5, 3)[1]": 3,
        "cross_entropy: by class: loss": 0.867500567705,
        "cross_entropy: by one-hot, with 0·log 0: slope[1]": 0,
        "softmax_section: log-softmax there[2]": -2000,
        "softmax_cross_entropy_section: (1000,0,-1000), class 2: slope[2]": -1,
    },
    "s_statements": {
        "s1: nodes above c": 5,
        "s2: y": 3.259729679293,
        "s3: dz/dx": 4.506761534987,
        "s4: dc/dx = 2x·y² + 2x·y": 36,
        "s5: inputs on the tape": 1,
        "s7: d (x·slope) at 2": 173,
    },
    "h1_one_file": {
        "graph_of_two_paths: d(c·x)/dx": -47.8593875274,
        "sixty_forks: gradient": 2**60,
        "matrix_product: Xᵀ·V[2]": 12,
        "broadcasting: mul, (2, 1)[1]": 15,
        "losses: its slope, one-hot[5]": -1.666666666667,
        "losses_on_logits: its slope[2]": -1,
    },
    "h2_under_the_hood": {
        "side_by_side: operations": 11,
        "side_by_side: the loss": 0.622010720071,
        "inputs_too: d loss/dw": 0.283617311969,
        "user_rules: tanh'' at 1": -0.639700008449,
    },
    "a2_quiz": {"solution: dc_dx": -9.62605866314},
}
HELPERS = {"walkthrough", "stopwatch", "showing", "pydoc_text"}
TESTED_ELSEWHERE = {"moons", "demo", "b_jacobians", "d_network", "e_arm", "e_models", "e_real_data"}
TESTED_ELSEWHERE |= {"branches", "logistic_errors", "option_greeks", "rosenbrock", "stiff_kinetics"}
TESTED_ELSEWHERE |= {"scalar_neurons", "f_recurrent", "char_lstm", "row_digits", "long_memory"}
TESTED_ELSEWHERE |= {"sunspots", "beside_pytorch", "pictures", "many_returns", "where_time_goes"}
TESTED_ELSEWHERE |= {"garch", "advection", "double_pendulum", "kalman"}
TESTED_ELSEWHERE |= {"monte_carlo", "boundary_value", "cart_pole"}


def test_every_example_is_run():
    files = {path.stem for path in EXAMPLES.glob("*.py")}
    assert files == set(WALKTHROUGHS) | HELPERS | TESTED_ELSEWHERE


@pytest.mark.parametrize("name", WALKTHROUGHS)
def test_walkthrough(name, capsys):
    numbers = importlib.import_module(name).main()
    expected = WALKTHROUGHS[name]
    assert {key: numbers[key] for key in expected} == pytest.approx(expected, rel=1e-11, abs=0)
    assert f"{len(numbers)} numbers shown" in capsys.readouterr().out


def test_a_walkthrough_runs_as_a_script():
    script = [sys.executable, "-W", "error", str(EXAMPLES / "a2_quiz.py"), "solve"]
    shown = subprocess.run(script, capture_output=True, text=True, check=False)
    said = [line for line in shown.stderr.splitlines() if not line.startswith("ndtape: compiling")]
    assert (shown.returncode, said) == (0, [])  # a cold cache has its one line
    assert "dc/dx = dc/da · 2x    = -9.62605866314" in shown.stdout


@pytest.mark.parametrize(
    ("number", "printed", "agrees"),
    [
        (0.2709057883079, "0.270905788308", True),
        (0.270905788309, "0.270905788308", False),
        (5.0000000001e-4, "5.00000000000e-4", False),
        (1.0 + 2**-52, "1", False),
        (float("nan"), "nan", True),
        (float("nan"), "0.5", False),
        (float("inf"), "1.0", False),
    ],
)
def test_a_walkthrough_notices_a_wrong_digit(number, printed, agrees):
    walkthrough = importlib.import_module("walkthrough")
    assert walkthrough.agrees(number, printed) is agrees
