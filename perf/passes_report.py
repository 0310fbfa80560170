"""The tables of `passes.py`, and what must hold of them."""

from report import figure, markdown
from rnn_report import print_titled, print_wanted, shown_line

DEFAULT = "level 2"
MARKS = ("11", "30", "100", "1000")
SLOWER = 1.05  # by which cumulative times on a shared machine may differ


def of(report, **wanted):
    """The rows that have these entries."""
    return [r for r in report["rows"] if all(r[key] == x for key, x in wanted.items())]


def one(report, **wanted):
    found = of(report, **wanted)
    return found[0] if found else None


def programs(report):
    """Name and title of each program."""
    return {row["program"]: row["title"] for row in report["rows"]}


def change(before, after):
    """100 → 80 for two figures, one of them where they are the same."""
    shown = [figure(x) for x in (before, after)]
    return shown[0] if shown[0] == shown[1] else " → ".join(shown)


def level_table(report):
    """The default level: a program a line, before and after."""
    lines = []
    for name, title in programs(report).items():
        line = [title]
        for task in ("gradient", "values"):
            before = one(report, program=name, task=task, variant="recorded")
            after = one(report, program=name, task=task, variant=DEFAULT)
            if task == "gradient":
                line.append(change(before["instructions"], after["instructions"]))
            line.append(change(before["bytes"] / 1e3, after["bytes"] / 1e3))
            line.append(change(before["value"], after["value"]))
            line.append(f"{after['over recorded']:.2f}×")
            if task == "gradient":
                line.append(figure(after["passes, ms"]))
                line.append("never" if after["pays after"] is None else figure(after["pays after"]))
        lines.append(line)
    header = ["", "instructions", "kB of a gradient", "gradient, µs", "ratio", "passes, ms"]
    header += ["pay after replays", "kB of values", "values, µs", "ratio"]
    return header, lines


def calls_table(report):
    """All replays up to a mark, the default level against level 0."""
    lines = []
    for row in report["calls"]:
        marks = [row.get(mark) for mark in MARKS]
        lines.append([row["title"], *("" if m is None else f"{m['ratio']:.3f}" for m in marks)])
    return ["", *(f"{mark} replays" for mark in MARKS)], lines


def pass_tables(report):
    """For each pass alone: where it finds something, what it takes away."""
    for known in report["passes"]:
        lines = []
        for name, title in programs(report).items():
            line = [title]
            for task in ("gradient", "values"):
                before = one(report, program=name, task=task, variant="recorded")
                after = one(report, program=name, task=task, variant=known["name"])
                if after is None:
                    line += [""] * 4
                    continue
                line.append(change(before["instructions"], after["instructions"]))
                line.append(change(before["bytes"] / 1e3, after["bytes"] / 1e3))
                line.append(f"{after['over recorded']:.2f}×")
                line.append(figure(after["passes, ms"]))
            if any(line[1:]):
                lines.append(line)
        header = ["", "gradient: instructions", "kB", "time", "pass, ms"]
        yield known["name"], [*header, "values: instructions", "kB", "time", "pass, ms"], lines


def levels_table(report):
    """Gradient and values at each level over level 0."""
    lines = []
    for name, title in programs(report).items():
        line = [title]
        for task in ("gradient", "values"):
            for level in (1, 2, 3):
                row = one(report, program=name, task=task, variant=f"level {level}")
                line.append(f"{row['over recorded']:.2f}×")
        lines.append(line)
    header = ["", *(f"{task}, level {k}" for task in ("gradient", "values") for k in (1, 2, 3))]
    return header, lines


def nested_table(report):
    lines = []
    for name in dict.fromkeys(row["program"] for row in report["nested"]):
        zero, default = (row for row in report["nested"] if row["program"] == name)
        cells = [figure(1e3 * row["value"]) for row in (zero, default)]
        lines.append([name, *cells, f"{default['over level 0']:.2f}×"])
    return ["", "level 0, ms", "default, ms", "ratio"], lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    yield "the default level against what was recorded", *level_table(report)
    yield "all replays so far, passes included: default level over level 0", *calls_table(report)
    yield "replays at each level over what was recorded", *levels_table(report)
    for name, header, lines in pass_tables(report):
        yield f"the pass {name} alone", header, lines
    yield "derivatives within loops, all of the program", *nested_table(report)


def print_tables(report, out):
    print_titled((table for table in tables(report) if table[2]), out)


def figures_wanted(report):
    """(what, found, relation, limit)."""
    rows = of(report, variant=DEFAULT)
    # What a neighbour on the machine adds is no property of the passes: medians or shortest times.
    worst = max((min(r["over recorded"], r["least over recorded"]) for r in rows), default=None)
    yield "replays at the default level over level 0, the slowest", worst, "<=", SLOWER
    for mark in MARKS:
        found = [row[mark] for row in report["calls"] if row.get(mark)]
        ratios = [min(one["ratio"], one["least"]) for one in found]
        what = f"all of {mark} replays over level 0, the slowest"
        yield what, max(ratios, default=None), "<=", SLOWER


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, (header, lines) in (
        ("The default level", level_table(report)),
        ("All replays so far, passes included, over those of level 0", calls_table(report)),
    ):
        yield f"**{title}**\n\n{markdown(header, lines)}"
    summary = pass_summary(report)
    yield f"**Each pass alone**\n\n{markdown(*summary)}"


def pass_summary(report):
    """A pass a line: where it finds something, and the best that it does."""
    lines = []
    for known in report["passes"]:
        rows = of(report, variant=known["name"])
        if not rows:
            continue
        found = list(dict.fromkeys(row["program"] for row in rows))
        best = {}
        for task in ("gradient", "values"):
            mine = [row for row in rows if row["task"] == task]
            best[task] = min(mine, key=lambda row: row["over recorded"], default=None)
        cells = [
            f"{row['over recorded']:.2f}× ({row['title']})" if row else "" for row in best.values()
        ]
        fewer = [share(report, row, "instructions") for row in rows]
        less = [share(report, row, "bytes") for row in rows]
        each = [1e6 * row["passes, ms"] / before(report, row)["instructions"] for row in rows
                if before(report, row)["instructions"] > 1000]  # fmt: skip
        lines.append([known["name"], str(known["level"]), known["doc"], str(len(found)),
                      f"{min(fewer):.2f}×", f"{min(less):.2f}×", *cells,
                      figure(sorted(each)[len(each) // 2]) if each else ""])  # fmt: skip
    header = ["", "level", "", "programs", "instructions, best", "bytes, best"]
    return [*header, "gradient, best", "values, best", "ns an instruction"], lines


def before(report, row):
    return one(report, program=row["program"], task=row["task"], variant="recorded")


def share(report, row, what):
    return row[what] / before(report, row)[what]
