"""The tables of `lanes.py` and what must hold of them."""

from report import figure, markdown, power
from rnn_report import (
    named,
    print_titled,
    print_wanted,
    rows_of,
    shown_line,
    without_empty,
)

ONE, TWO = "ndtape, 1 thread", "ndtape, 2 threads"
IN_ORDER = [ONE, TWO, "NumPy by hand", "JAX", "CasADi", "PyTorch"]
ASIAN = "asian_d12_p10000_mean"
IN_CACHE, BEYOND = "arithmetic_n1000_gradient", "arithmetic_n100000_gradient"


# --- finding figures ------------------------------------------------------------------------------


def place(contestant):
    return next(k for k, word in enumerate([*IN_ORDER, ""]) if contestant.startswith(word))


def contestants_of(rows):
    return sorted(dict.fromkeys(row["contestant"] for row in rows), key=place)


def title_of(row):
    if row["kind"] == "asian":
        return f"{row['dates']} dates, {power(row['rows'])} paths"
    return f"{row['kind']}, {power(row['operations'])} operations, {row['rows']} lanes"


def of_kind(report, is_asian, task):
    return [
        row
        for row in report["rows"]
        if (row["kind"] == "asian") == is_asian and row["task"] == task
    ]


def found(report, name, contestant, key="value", section="rows"):
    """The figure of a contestant whose name is this, or None."""
    rows = [r for r in rows_of(report, name, section) if r["contestant"] == contestant]
    return rows[0].get(key) if rows else None


def least(report, name, beginning, key="value", section="rows"):
    """The smallest figure of those whose names begin so, or None."""
    rows = named(rows_of(report, name, section), beginning)
    return min((row[key] for row in rows if key in row), default=None)


def over(a, b):
    return None if a is None or b is None else a / b


# --- tables ---------------------------------------------------------------------------------------


def matrix(rows, key="value"):
    """A problem a line, a contestant a column."""
    names, lines = contestants_of(rows), []
    for name in dict.fromkeys(row["row"] for row in rows):
        own = {row["contestant"]: row for row in rows if row["row"] == name}
        cells = [figure(own[c][key]) if c in own else "" for c in names]
        lines.append([title_of(next(iter(own.values()))), *cells])
    return without_empty(["", *names], lines)


def first_table(report):
    lines = [
        [row["contestant"], figure(row["value"]), figure(row.get("fresh, s"))]
        for row in sorted(report["first"], key=lambda row: place(row["contestant"]))
    ]
    return without_empty(["", "in a warm process, ms", "in a fresh process, s"], lines)


TASKS = {
    (False, "value"): "values of many rows, ns an operation a lane",
    (False, "gradient"): "value and gradient of every row, ns an operation a lane",
    (True, "mean"): "Asian call, price and six greeks of the mean, ms",
    (True, "paths"): "Asian call, price and six greeks of every path, ms",
}


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    for (is_asian, task), title in TASKS.items():
        rows = of_kind(report, is_asian, task)
        if rows:
            yield title, *matrix(rows)
            said = "price and greeks" if is_asian else task
            yield (
                f"first {said}, from recording, or tracing and compiling, on, ms",
                *matrix(rows, "first, ms"),
            )
    if report["first"]:
        first = report["first"][0]
        yield f"Asian call, {title_of(first)}: first price and greeks", *first_table(report)


def print_tables(report, out):
    print_titled(tables(report), out)


# --- what must hold -------------------------------------------------------------------------------


def figures_wanted(report):
    """(what, found, relation, limit): found is None where the report lacks a figure."""
    for name, limit in ((IN_CACHE, 0.9), (BEYOND, 2.0)):
        yield f"{name}: ns an operation a lane, one thread", found(report, name, ONE), "<=", limit
    for name, limit in ((IN_CACHE, 1.8), (BEYOND, 1.8), (ASIAN, None)):
        faster = over(found(report, name, ONE), found(report, name, TWO))
        yield f"{name}: times faster on two threads", faster, ">=" if limit else "", limit
    steady = over(least(report, ASIAN, "JAX"), found(report, ASIAN, ONE))
    first = over(least(report, ASIAN, "JAX", section="first"),
                 found(report, ASIAN, ONE, section="first"))  # fmt: skip
    yield f"{ASIAN}: times faster than JAX, compiled before", steady, ">=", 1.0
    yield f"{ASIAN}: times faster than JAX, with recording or compiling", first, ">=", 3.0
    fresh = over(least(report, ASIAN, "JAX", "fresh, s", "first"),
                 found(report, ASIAN, ONE, "fresh, s", "first"))  # fmt: skip
    yield f"{ASIAN}: times faster than JAX, from the start of Python", fresh, "", None


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, header, lines in tables(report):
        if "from recording" not in title:
            yield f"**{title[0].upper()}{title[1:]}**\n\n{markdown(header, lines)}"
    lines = [line for line in lines_of(report) if line[1]]
    if lines:
        yield markdown(["what must hold", "found", "wanted", ""], lines)
