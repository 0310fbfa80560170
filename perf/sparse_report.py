"""The tables of `sparse.py` and what must hold of them."""

from lanes_report import found, over
from report import figure, markdown
from rnn_report import print_titled, print_wanted, rows_of, shown_line, without_empty
from sparse_race.problems import TITLES

OURS = "ndtape"
IN_ORDER = [OURS, "CasADi", "JAX jit, dense"]
SWEEPS = ("entries", "detection sweeps", "tangent sweeps", "reverse sweeps")
SYSTEM = "tridiagonal_100000_jacobian"
TASKS = {"jacobian": "Jacobian", "hessian": "Hessian"}


def title_of(row):
    return TITLES[row["kind"]].format(row["size"])


def counted(n):
    return f"{n:,}".replace(",", " ")


# --- tables ---------------------------------------------------------------------------------------


def times_table(rows):
    """A problem a line; first matrix and the next ones, a contestant a column each."""
    names = [name for name in IN_ORDER if any(row["contestant"] == name for row in rows)]
    lines = []
    for name in dict.fromkeys(row["row"] for row in rows):
        own = {row["contestant"]: row for row in rows if row["row"] == name}
        cells = [
            figure(own[c][key]) if c in own else "" for key in ("first, ms", "value") for c in names
        ]
        lines.append([title_of(next(iter(own.values()))), *cells])
    header = ["", *(f"first: {c}" for c in names), *(f"next: {c}" for c in names)]
    return without_empty(header, lines)


def sweeps_table(rows):
    lines = []
    for row in rows:
        if row["contestant"] == OURS:
            cells = [counted(row["unknowns"]), *(counted(row[key]) for key in SWEEPS)]
            lines.append([title_of(row), *cells])
    return ["", "unknowns", *SWEEPS], lines


def detection_table(rows):
    lines = [
        [
            f"{TASKS[row['task']]}, {title_of(row)}",
            figure(row["recording, s"]),
            figure(row["s"]),
            figure(row["peak, bytes"] / 1e6),
            figure(row["grown by, bytes"] / 1e6),
            counted(row["detection sweeps"]),
            counted(row["evaluation sweeps"]),
        ]
        for row in rows
    ]
    header = ["", "recording, s", "pattern, s", "peak of the process, MB", "more than before, MB"]
    return [*header, "detection sweeps", "evaluation sweeps"], lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    for task, title in TASKS.items():
        rows = [row for row in report["rows"] if row["task"] == task]
        if rows:
            yield (
                f"{title}: the first matrix from nothing on, and the next ones, ms",
                *times_table(rows),
            )
            yield f"{title}: entries, and sweeps to find and to compute them", *sweeps_table(rows)
    if report["detection"]:
        yield (
            "recording a function, and finding its pattern and colours",
            *detection_table(report["detection"]),
        )


def print_tables(report, out):
    print_titled(tables(report), out)


# --- what must hold -------------------------------------------------------------------------------


def figures_wanted(report):
    """(what, found, relation, limit): found is None where the report lacks a figure."""
    sweeps = found(report, SYSTEM, OURS, "evaluation sweeps")
    yield f"{SYSTEM}: evaluation sweeps", sweeps, "<=", 5
    for row in report["detection"]:
        yield f"{row['row']}: pattern found in, s", row["s"], "<", 2.0
        yield f"{row['row']}: peak memory, MB", row["peak, bytes"] / 1e6, "<", 500
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        wanted = (">=", 1.0) if rows_of(report, name)[0]["task"] == "hessian" else ("", None)
        if theirs := found(report, name, "CasADi", "first, ms"):
            sooner = over(theirs, found(report, name, OURS, "first, ms"))
            yield f"{name}: first matrix, times sooner than CasADi's", sooner, *wanted
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        if theirs := found(report, name, "CasADi"):
            faster = over(theirs, found(report, name, OURS))
            yield f"{name}: next matrices, times faster than CasADi's", faster, "", None


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, header, lines in tables(report):
        yield f"**{title}**\n\n{markdown(header, lines)}"
    lines = [line for line in lines_of(report) if line[1] and line[3] != "stated"]
    if lines:
        yield markdown(["what must hold", "found", "wanted", ""], lines)
