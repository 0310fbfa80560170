"""The tables of `dlstm.py` and what must hold of them."""

from report import figure, markdown
from rnn_report import (
    best,
    named,
    place,
    print_titled,
    print_wanted,
    shown_line,
    without_empty,
)

EASIEST = "dlstm_l2_c1024"  # where there is a line to win


def title_of(row):
    return f"D-LSTM, {row['layers']} layers, {row['T']} steps, {row['dtype']}"


def of(report, section, name):
    return [row for row in report[section] if row["row"] == name]


def size_table(report, name):
    """A contestant a line: a gradient, first gradients, instructions, and ours over it."""
    rows, first = of(report, "rows", name), of(report, "first", name)
    ours = best(rows, "ndtape")
    lines = []
    for row in sorted(rows, key=lambda row: place(row["contestant"])):
        start = next((r for r in first if r["contestant"] == row["contestant"]), {})
        count, over = row.get("instructions"), row.get("ndtape_over_this", {})
        each = count and row["contestant"] == "ndtape, unrolled"  # a scan is one instruction
        ratio = over.get(ours["contestant"]) if ours else None
        lines.append(
            [
                row["contestant"],
                figure(row["value"]),
                figure(start.get("value")),
                figure(start.get("fresh, s")),
                f"{count:,}".replace(",", " ") if count else "",
                figure(1e6 * row["value"] / count) if each else "",
                "" if ratio is None else f"{ratio:.2g}×",
            ]
        )
    header = ["", "gradient, ms", "first, warm process, ms", "first, fresh process, s"]
    header += ["instructions", "ns an instruction", "ndtape's best / this"]
    return without_empty(header, lines)


def short_table(report):
    rows = sorted(report["short"], key=lambda row: place(row["contestant"]))
    lines = [[row["contestant"], figure(row["value"])] for row in rows]
    return ["", "first, warm process, ms"], lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        yield title_of(of(report, "rows", name)[0]), *size_table(report, name)
    if report["short"]:
        yield f"{title_of(report['short'][0])}: first gradient", *short_table(report)


def print_tables(report, out):
    print_titled(tables(report), out)


def figures_wanted(report):
    """(what, found, relation, limit) at the size that is to be won."""
    rows, first = (of(report, section, EASIEST) for section in ("rows", "first"))
    steady, warm = best(rows, "ndtape"), best(first, "ndtape")
    fresh = [row["fresh, s"] for row in named(first, "ndtape") if "fresh, s" in row]
    yield "gradient in the steady state, ms", steady and steady["value"], "<=", 5.0
    yield "first gradient in a fresh process, warm cache, s", min(fresh, default=None), "<", 0.8
    yield "first gradient in a warm process, s", warm and 1e-3 * warm["value"], "<", 0.1
    for peer in ("JAX jit, scan", "PyTorch, unrolled", "autograd"):
        theirs = best(rows, peer)
        over = theirs and steady and theirs["ndtape_over_this"].get(steady["contestant"])
        yield f"times faster than {peer}", over and 1.0 / over, "", None


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, header, lines in tables(report):
        yield f"**{title}**\n\n{markdown(header, lines)}"
