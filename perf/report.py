"""The tables that `chain.py` prints and that `table.py` puts into the README, from one report."""

from peers import RECORD, REPLAY
from problems import PROBLEMS

TITLES = {
    RECORD: "record + gradient, from Python, ns an operation",
    REPLAY: "value + gradient of a recorded or compiled program, ns an operation",
}


def power(operations):
    """10^5 for about 100 000."""
    exponent = len(str(round(operations * 1.01))) - 1
    return f"10^{exponent}" if abs(operations / 10**exponent - 1) < 0.05 else f"{operations}"


def figure(value):
    """Three significant digits, thin spaces in thousands."""
    if value is None:
        return ""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")
    return f"{value:.3g}"


def lengths(report, problem):
    return sorted({row["operations"] for row in report["rows"] if row["problem"] == problem})


def gradient_table(report, problem, task):
    """Header and lines: a contestant a line, a length a column, then two ratios of ours to it."""
    columns = lengths(report, problem)
    rows = [r for r in report["rows"] if r["problem"] == problem and r["task"] == task]
    header = [
        "",
        *(power(n) for n in columns),
        "ndtape's time / this, longest",
        "prepare, ns an operation",
    ]
    lines = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        own = {row["operations"]: row for row in rows if row["contestant"] == name}
        longest = own[max(own)]
        ratio = None if name == "ndtape" else longest["ndtape_over_this"]
        lines.append(
            [name]
            + [figure(own[n]["value"]) if n in own else "" for n in columns]
            + ["" if ratio is None else f"{ratio:.2g}×"]
            + [figure(longest["prepare"]) if longest["prepare"] else ""]
        )
    return header, lines


def sweep_table(report, problem):
    """Our own figures: recording, each sweep, packs, bytes."""
    columns = lengths(report, problem)
    rows = [
        r
        for r in report["rows"]
        if r["problem"] == problem and r["task"] not in TITLES and r["contestant"] == "ndtape"
    ]
    header = ["ndtape", *(power(n) for n in columns)]
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = {row["operations"]: row for row in rows if row["task"] == task}
        unit = next(iter(own.values()))["unit"]
        cells = [figure(own[n]["value"]) if n in own else "" for n in columns]
        lines.append([f"{task}, {unit}", *cells])
    tapes = {t["operations"]: t for t in report["tapes"] if t["problem"] == problem}
    if not tapes:
        return header, lines
    for label, key in (
        ("memory, bytes/op", "bytes_per_operation"),
        ("share of non-zero adjoints", "share_of_nonzero_adjoints"),
    ):
        lines.append([label, *(figure(tapes[n][key]) if n in tapes else "" for n in columns)])
    return header, lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    for problem in dict.fromkeys(row["problem"] for row in report["rows"]):
        title = PROBLEMS[problem].title
        for task, what in TITLES.items():
            header, lines = gradient_table(report, problem, task)
            if lines:
                yield f"{title}: {what}", header, lines
        header, lines = sweep_table(report, problem)
        if lines:
            yield f"{title}: recording and sweeps", header, lines


def print_tables(report, out):
    for title, header, lines in tables(report):
        print(f"\n{title}", file=out)
        widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
        for line in [header, *lines]:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip(), file=out)


def markdown(header, lines):
    rows = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
