"""The tables of `parallel.py` and what must hold of them."""

from report import figure, markdown
from rnn_report import print_titled, print_wanted, shown_line

ALONE = "one process"
LOADS = ("returns", "regression")  # programs whose work is not the engine's


def counted(n):
    return f"{n:,}".replace(",", " ")


# --- tables ---------------------------------------------------------------------------------------


def program_table(rows):
    """An engine a line."""
    lines = [
        [
            row["contestant"],
            figure(row["value"]),
            "" if row["contestant"] == ALONE else f"{row['times faster']:.2f}",
            figure(row["first, ms"]),
            counted(row["sent, bytes"]) if row["sent, bytes"] else "",
            "yes" if row["same bits"] else "NO",
        ]
        for row in rows
    ]
    header = ["", "a gradient, ms", "times faster", "the first, with its data, ms"]
    return [*header, "tape and code, bytes", "same bits"], lines


def kills_table(rows):
    lines = [
        [
            str(k + 1),
            figure(row["undisturbed, s"]),
            figure(row["killed, s"]),
            "yes" if row["same bits"] else "NO",
        ]
        for k, row in enumerate(rows)
    ]
    return ["", "undisturbed, s", "a worker killed in it, s", "same bits"], lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["row"] == name]
        yield rows[0]["title"], *program_table(rows)
    if report["kills"]:
        title = f"GARCH again, Dask with {report['workers']} workers, one of them killed each time"
        yield title, *kills_table(report["kills"])


def print_tables(report, out):
    print_titled(tables(report), out)


# --- what must hold -------------------------------------------------------------------------------


def figures_wanted(report):
    """(what, found, relation, limit)."""
    rows = [*report["rows"], *report["kills"]]
    if rows:
        yield (
            "answers with other bits than one process",
            sum(not r["same bits"] for r in rows),
            "<=",
            0,
        )
    for row in report["rows"]:
        if row["row"] in LOADS and row["contestant"].endswith("2 workers"):
            what = f"{row['row']}: times faster than one process, {row['contestant']}"
            yield what, row["times faster"], ">=" if row["row"] == "returns" else "", 1.5


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def readme_tables(report):
    """What the page of benchmarks shows of it, as Markdown."""
    for title, header, lines in tables(report):
        yield f"**{title}**\n\n{markdown(header, lines)}"
    lines = [line for line in lines_of(report) if line[1] and line[3] != "stated"]
    if lines:
        yield markdown(["what must hold", "found", "wanted", ""], lines)
