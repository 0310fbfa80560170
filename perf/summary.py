"""The table of the README: a line from each kind of program, lost ones among them."""

from libraries import LIBRARIES, best
from report import figure, markdown

# What is measured; unit; report; which of its rows.
LINES = [
    ("record a chain of 10⁴ scalar operations afresh, gradient", "ns an operation", "chain",
     {"problem": "circle", "operations": 10_000, "task": "record + gradient"}),
    ("the same chain, replayed", "ns an operation", "chain",
     {"problem": "circle", "operations": 10_000, "task": "replay"}),
    ("Rosenbrock's function, n = 100", "µs", "replay",
     {"problem": "rosenbrock_100", "task": "value and gradient"}),
    ("predator and prey, an ODE fitted, scalar code", "µs", "replay",
     {"problem": "lynx_hare", "task": "value and gradient"}),
    ("Gaussian mixture, 2 dimensions, 5 parts", "µs", "replay",
     {"problem": "gmm_d2_K5", "task": "value and gradient"}),
    ("Gaussian mixture, 20 dimensions, 25 parts", "µs", "replay",
     {"problem": "gmm_d20_K25", "task": "value and gradient"}),
    ("GARCH(1,1), 10⁴ returns, compiled by nt.jit", "µs", "compiled",
     {"problem": "garch_10000", "task": "value and gradient"}),
    ("network 64-32-10 on digits, batch 16", "µs", "small_tensors",
     {"operation": "network 64-32-10", "size": 16, "task": "forward and backward"}),
    ("RNN, 16 units, a step of 100", "µs", "rnn", {"row": "rnn_H16_B1_T100_float64"}),
    ("LSTM, 64 units, batch 8, a step of 100", "µs", "rnn", {"row": "lstm_H64_B8_T100_float64"}),
    ("the same in float32", "µs", "rnn", {"row": "lstm_H64_B8_T100_float32"}),
    ("16 000 rows by nt.vmap, 10³ operations each", "ns an operation", "lanes",
     {"row": "arithmetic_n1000_gradient"}),
    ("sparse Jacobian of 10⁵ unknowns", "ms", "sparse", {"row": "tridiagonal_100000_jacobian"}),
]  # fmt: skip
TIMES = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds(unit):
    """The factor of a unit such as 'ns/op' or 'µs a step' to seconds."""
    return TIMES[unit.replace("/", " ").split()[0]]


def line(title, unit, report, wanted):
    """library -> time in `unit`, of the rows that are meant."""
    rows = [r for r in report["rows"] if all(r.get(key) == value for key, value in wanted.items())]
    if not rows:
        raise ValueError(f"no row of the report is meant by {title!r}: {wanted}")
    factor = seconds(rows[0]["unit"]) / seconds(unit)
    return {name: value * factor for name, value in best(rows).items()}


def bold_if_least(name, times):
    text = figure(times.get(name))
    return f"**{text}**" if text and times[name] == min(times.values()) else text


def table(reports):
    """Markdown; `reports` are the reports by name, lines of those that are missing are left out."""
    lines = []
    for title, unit, name, wanted in LINES:
        if name in reports:
            times = line(title, unit, reports[name], wanted)
            lines.append([title, unit, *(bold_if_least(each, times) for each in LIBRARIES)])
    text = markdown(["value and gradient", "", *LIBRARIES], lines)
    return text.replace("| --- | ---: |", "| --- | --- |", 1)


def conditions(reports):
    """Where and when."""
    machines = [report["machine"] for report in reports.values()]
    dates = sorted(machine["date"] for machine in machines)
    found = {(machine["processor"], machine["logical cores"]) for machine in machines}
    ((processor, cores),) = found
    return (
        f"Each library in the form that suits the program best, the fastest in bold, all on one "
        f"thread, in double precision unless said otherwise; recorded, traced or compiled before, "
        f"except in the first line. Measured {dates[0]} to {dates[-1]} on {processor} ({cores} "
        f"logical cores)."
    )
