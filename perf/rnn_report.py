"""The tables of `rnn.py`, what must hold of them, and the pictures."""

from report import figure, markdown
from rnn_race.problems import TITLES

HAND = "hand Numba"
IN_ORDER = ["ndtape", HAND, "JAX", "PyTorch", "autograd"]
RATIOS = {  # titles, and how the names of the contestants begin
    "the better loop by hand": HAND,
    "JAX jit, scan": "JAX jit, scan",
    "PyTorch, unrolled": "PyTorch, unrolled",
    "PyTorch, module": "PyTorch, module",
    "autograd": "autograd",
}
COMPILED = ["ndtape, unrolled", "ndtape, scan", "JAX jit, scan", "JAX jit, unrolled"]


# --- finding figures ------------------------------------------------------------------------------


def named(rows, beginning):
    return [row for row in rows if row["contestant"].startswith(beginning)]


def rows_of(report, name, section="rows"):
    return [row for row in report[section] if row["row"] == name]


def best(rows, beginning):
    """The fastest of those whose contestant's name begins so, or None."""
    return min(named(rows, beginning), key=lambda row: row["value"], default=None)


def ratio(report, name, beginning):
    """Our fastest form's time over the fastest of a peer's, by rounds where there is such a ratio.

    None where a side is missing.
    """
    rows = rows_of(report, name)
    ours, theirs = best(rows, "ndtape"), best(rows, beginning)
    if not (ours and theirs):
        return None
    return theirs["ndtape_over_this"].get(ours["contestant"])


# --- tables ---------------------------------------------------------------------------------------


def title_of(row):
    return f"{TITLES[row['cell']]}, H = {row['H']}, B = {row['B']}, T = {row['T']}, {row['dtype']}"


def place(contestant):
    words = [k for k, word in enumerate(IN_ORDER) if contestant.startswith(word)]
    return words[0] if words else len(IN_ORDER)


def contestants_of(rows):
    return sorted(dict.fromkeys(row["contestant"] for row in rows), key=place)


def matrix(report, key, names=None):
    """A row of the report a line, a contestant a column."""
    names = names or contestants_of(report["rows"])
    lines = []
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        rows = rows_of(report, name)
        found = {row["contestant"]: row for row in rows}
        cells = [figure(found[c][key]) if c in found else "" for c in names]
        lines.append([title_of(rows[0]), *cells])
    return without_empty(["", *names], lines)


def ratio_table(report):
    """Our faster form over each of the others, of the two loops by hand over the faster."""
    lines = []
    for name in dict.fromkeys(row["row"] for row in report["rows"]):
        found = [ratio(report, name, beginning) for beginning in RATIOS.values()]
        cells = ["" if r is None else f"{r:.2g}×" for r in found]
        lines.append([title_of(rows_of(report, name)[0]), *cells])
    return without_empty(["", *RATIOS], lines)


def without_empty(header, lines):
    """Header and lines, columns that hold nothing left out."""
    kept = [k for k in range(len(header)) if k == 0 or any(line[k] for line in lines)]
    return [header[k] for k in kept], [[line[k] for k in kept] for line in lines]


def first_table(report):
    lines = [
        [row["contestant"], figure(row["value"]), figure(row.get("fresh, s"))]
        for row in sorted(report["first"], key=lambda row: place(row["contestant"]))
    ]
    return without_empty(["", "in a warm process, ms", "in a fresh process, s"], lines)


def size(count):
    """Bytes, as MB."""
    return f"{count / 1e6:.3g}"


def memory_table(report):
    """A schedule a line: measured peak and theory at each number of steps, and evaluations."""
    steps = sorted({row["T"] for row in report["memory"]})
    lines = []
    for name in dict.fromkeys(row["schedule"] for row in report["memory"]):
        own = {row["T"]: row for row in report["memory"] if row["schedule"] == name}
        cells = []
        for T in steps:
            row = own.get(T)
            cells.append(
                f"{size(row['peak, bytes'])} / {size(row['theory, bytes'])}" if row else ""
            )
        longest = own[max(own)]
        again = f"{longest['evaluations'][1] / longest['T']:.3g}"
        lines.append([name, *cells, size(longest["plan, bytes"]), again, figure(longest["s"])])
    header = ["", *(f"T = {T}" for T in steps)]
    header += ["plan's rows, longest", "steps run again / T, longest", "s, longest"]
    return header, lines


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    if report["rows"]:
        yield "forward and backward, µs a step", *matrix(report, "value")
        yield "time of ndtape's faster form over that of", *ratio_table(report)
        yield (
            "first gradient in a warm process: recording, or tracing and compiling, ms",
            *matrix(report, "first, ms", COMPILED),
        )
    if report["first"]:
        yield f"first gradient, {title_of(report['first'][0])}", *first_table(report)
    if report["memory"]:
        yield (
            "peak memory over that before the call / theory, MB, by schedule of checkpoints",
            *memory_table(report),
        )


def print_tables(report, out):
    print_titled(tables(report), out)


def print_titled(tables, out):
    for title, header, lines in tables:
        print(f"\n{title}", file=out)
        widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
        for line in [header, *lines]:
            cells = [line[0].ljust(widths[0])]
            cells += [c.rjust(width) for c, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip(), file=out)


# --- what must hold -------------------------------------------------------------------------------


def figures_wanted(report):
    """(what, found, relation, limit): found is None where the report lacks a figure."""

    def slower(name, peer):
        return ratio(report, name, peer)

    def faster(name, peer):
        found = ratio(report, name, peer)
        return None if found is None else 1.0 / found

    for H, limit in ((4, 1.6), (16, 1.2), (32, 1.2), (64, 1.2)):
        name = f"rnn_H{H}_B1_T100_float64"
        yield f"{name}: time over the better hand loop", slower(name, HAND), "<=", limit
    for H, limit in ((4, 1.5), (16, 2.0), (32, 1.6)):
        name = f"rnn_H{H}_B1_T100_float64"
        yield f"{name}: times faster than JAX jit, scan", faster(name, "JAX jit, scan"), ">=", limit
    for H in (4, 16, 32, 64):
        name = f"rnn_H{H}_B1_T100_float64"
        for peer, limit in (("PyTorch, unrolled", 15.0), ("PyTorch, module", 10.0)):
            yield f"{name}: times faster than {peer}", faster(name, peer), ">=", limit
    name = "rnn_H128_B32_T100_float64"
    for peer in ("JAX jit, scan", "PyTorch, module", "PyTorch, unrolled"):
        yield f"{name}: times faster than {peer}", faster(name, peer), ">=", 1.0
    name = "lstm_H64_B8_T100_float64"
    for peer, limit in (("PyTorch, module", 2.0), ("JAX jit, scan", 1.2)):
        yield f"{name}: times faster than {peer}", faster(name, peer), ">=", limit
    name = "lstm_H64_B8_T100_float32"
    for peer in ("PyTorch, module", "JAX jit, scan"):
        yield f"{name}: times faster than {peer}", faster(name, peer), "", None
    yield "first gradient of the unroll: times sooner than JAX jit's", sooner(report), ">=", 500.0
    yield from root_growth(report)


def sooner(report):
    ours = best(named(report["first"], "ndtape, unrolled"), "ndtape")
    theirs = best(report["first"], "JAX jit, unrolled")
    return theirs["value"] / ours["value"] if ours and theirs else None


def root_growth(report):
    """How the memory with √T checkpoints grows from the middle number of steps to the largest."""
    rows = sorted((r for r in report["memory"] if r["schedule"] == "√T"), key=lambda r: r["T"])
    if len(rows) < 2:
        yield "memory with √T checkpoints: growth over √T's", None, "<=", 1.2
        return
    before, last = rows[-2:]
    grown = last["peak, bytes"] / before["peak, bytes"]
    what = f"memory with √T checkpoints, T = {before['T']} to {last['T']}: growth over √T's"
    yield what, grown / (last["T"] / before["T"]) ** 0.5, "<=", 1.2
    what = f"memory with √T checkpoints, T = {last['T']}: peak, MB"
    yield what, last["peak, bytes"] / 1e6, "", None
    what = f"memory with √T checkpoints, T = {last['T']}: peak over theory"
    yield what, last["peak, bytes"] / last["theory, bytes"], "<=", 1.5


def verdict(found, relation, limit):
    if found is None:
        return "not measured"
    if not relation:
        return "stated"
    holds = {"<=": found <= limit, "<": found < limit, ">=": found >= limit}
    return "met" if holds[relation] else "NOT met"


def shown_line(what, found, relation, limit):
    """What a reader is told: the figure, what it must be, and whether it is."""
    shown = "" if found is None else f"{found:.3g}"
    wanted = f"{relation} {limit:g}" if relation else ""
    return [what, shown, wanted, verdict(found, relation, limit)]


def lines_of(report):
    """What must hold, as (what, found, wanted, verdict)."""
    return [shown_line(*line) for line in figures_wanted(report)]


def print_lines(report, out):
    print_wanted(lines_of(report), out)


def print_wanted(lines, out):
    """Those that have a figure."""
    print("\nwhat must hold", file=out)
    for what, found, wanted, said in lines:
        if found:
            print(f"{what:76s} {found:>8s}  {wanted:>7s}  {said}", file=out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, header, lines in tables(report):
        yield f"**{title[0].upper()}{title[1:]}**\n\n{markdown(header, lines)}"
    lines = [line for line in lines_of(report) if line[1]]
    if lines:
        yield markdown(["what must hold", "found", "wanted", ""], lines)


# --- pictures -------------------------------------------------------------------------------------


def save_plots(report, path, say):
    """`<name>.png` beside the report: time a step against H, and memory against T."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        say("plots: skipped, matplotlib is not installed")
        return
    shown = ((draw_steps, drawn_rows(report)), (draw_memory, report["memory"]))
    panels = [draw for draw, rows in shown if rows]
    if not panels:
        return
    picture = Figure(figsize=(6.5 * len(panels), 5.5), layout="constrained")
    for axes, draw in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, report)
    picture.savefig(path.with_suffix(".png"), dpi=130)


def drawn_rows(report):
    """RNN, one sequence, a hundred steps, float64."""
    kind = ("rnn", 1, 100, "float64")
    return [r for r in report["rows"] if (r["cell"], r["B"], r["T"], r["dtype"]) == kind]


def draw_steps(axes, report):
    rows = drawn_rows(report)
    for k, name in enumerate(contestants_of(rows)):
        points = sorted((r["H"], r["value"]) for r in rows if r["contestant"] == name)
        ours = name.startswith("ndtape")
        axes.plot(
            *zip(*points, strict=True),
            "-" if not name.endswith("scan") else "--",
            marker="o",
            linewidth=2.4 if ours else 1.2,
            color="black" if ours else f"C{k}",
            label=name,
        )
    axes.set(xscale="log", yscale="log", xlabel="H", ylabel="forward + backward, µs a step")
    axes.set_title("RNN, one sequence, T = 100, float64")
    axes.grid(which="major", alpha=0.3)
    axes.legend(fontsize=8)


def draw_memory(axes, report):
    for k, name in enumerate(dict.fromkeys(row["schedule"] for row in report["memory"])):
        rows = sorted((r for r in report["memory"] if r["schedule"] == name), key=lambda r: r["T"])
        steps = [row["T"] for row in rows]
        axes.plot(steps, [r["peak, bytes"] / 1e6 for r in rows], "o-", color=f"C{k}", label=name)
        axes.plot(steps, [r["theory, bytes"] / 1e6 for r in rows], ":", color=f"C{k}")
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="peak memory of a gradient, MB")
    axes.set_title("checkpoints: measured, and theory (dotted)")
    axes.grid(which="major", alpha=0.3)
    axes.legend(fontsize=8)
