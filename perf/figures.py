"""Pictures of the reports in `results`, for docs/benchmarks.md: one file a report.

python perf/figures.py            draw all into docs/benchmarks
python perf/figures.py --check    only say whether they show the reports (exit status)
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

from lanes_report import title_of as lanes_title
from libraries import BY_HAND, LIBRARIES, OURS, best
from problems import PROBLEMS
from replay_race import GRADIENT
from rnn_report import title_of as rnn_title
from sparse_report import title_of as sparse_title

HERE = Path(__file__).parent
RESULTS, PICTURES = HERE / "results", HERE.parent / "docs" / "benchmarks"
COLOURS = {OURS: "black", BY_HAND: "0.6", "CasADi": "C0", "JAX": "C1", "XAD": "C2"}
COLOURS |= {"PyTorch": "C3", "autograd": "C4"}


def title(row):
    return row["title"]


def groups(rows, title, key="value"):
    """Title of a problem -> library -> least time; problems that others have, too."""
    found = {}
    for row in rows:
        found.setdefault(title(row), []).append(row)
    times = {name: best(own, key) for name, own in found.items()}
    return {name: own for name, own in times.items() if OURS in own and len(own) > 1}


def dots(axes, found, label):
    """A line a problem, a mark a library, time to the right."""
    names = list(found)
    for library in reversed(LIBRARIES):
        points = [(times[library], k) for k, times in enumerate(found.values()) if library in times]
        if points:
            style = {"s": 55, "zorder": 4} if library == OURS else {"s": 28, "zorder": 3}
            axes.scatter(*zip(*points, strict=True), color=COLOURS[library], label=library, **style)
    axes.set(xscale="log", xlabel=label, yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticklabels(names, fontsize=8)
    axes.grid(axis="both", alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def lines(axes, points, title):
    """Time against size, a line a library; `points` are library -> [(size, time)]."""
    for library in LIBRARIES:
        if library in points:
            width = 2.5 if library == OURS else 1.2
            xs, ys = zip(*sorted(points[library]), strict=True)
            axes.plot(xs, ys, "o-", ms=3.5, lw=width, color=COLOURS[library], label=library)
    axes.set(xscale="log", yscale="log", title=title)
    axes.grid(alpha=0.25)


def sized(rows, size):
    """library -> [(size, least time)]."""
    found = {}
    for length in dict.fromkeys(row[size] for row in rows):
        for name, value in best([row for row in rows if row[size] == length]).items():
            found.setdefault(name, []).append((length, value))
    return found


def chain(figure, report):
    figure.set_size_inches(9, 4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, problem in zip(panels, ("circle", "wide"), strict=True):
        rows = [r for r in report["rows"] if r["problem"] == problem and r["task"] == "replay"]
        lines(axes, sized(rows, "operations"), PROBLEMS[problem].title)
        axes.set_xlabel("operations")
    panels[0].set_ylabel("value and gradient, replayed, ns an operation")
    panels[0].legend(fontsize=8)


def small_tensors(figure, report):
    figure.set_size_inches(9, 3.6)
    task = "called, values and derivatives"
    panels = figure.subplots(1, 3, sharey=True)
    for axes, operation in zip(panels, ("multiply", "tanh", "matmul"), strict=True):
        rows = [r for r in report["rows"] if r["operation"] == operation]
        swept = [r for r in rows if r["task"] in ("swept, values and derivatives", task)]
        lines(axes, sized(swept, "size"), operation)
        axes.set_xlabel("size")
    panels[0].set_ylabel("values and derivatives, ns")
    panels[0].legend(fontsize=8)


def dotted(wanted, title, label):
    """A drawing of the rows that `wanted` takes."""

    def draw(figure, report):
        found = groups([row for row in report["rows"] if wanted(row)], title)
        figure.set_size_inches(8, 1.3 + 0.24 * len(found))
        dots(figure.subplots(), found, label)

    return draw


def lanes_named(row):
    return f"{lanes_title(row)}: {row['task']}"


def sparse(figure, report):
    """The first matrix from nothing on, and the next ones."""

    def named(row):
        return f"{sparse_title(row)}: {row['task']}"

    first = groups(report["rows"], named, "first, ms")
    following = groups(report["rows"], named)
    figure.set_size_inches(8, 2.0 + 0.24 * (len(first) + len(following)))
    panels = figure.subplots(2, 1)
    dots(panels[0], first, "the first matrix, ms")
    dots(panels[1], following, "a matrix after that, ms")


def is_gradient(row):
    return row["task"] == GRADIENT


def is_compiled(row):
    """Scalar loops, by nt.jit: replays have a picture of their own."""
    return is_gradient(row) and row["form"] != "arrays" and row["contestant"] not in BESIDE


BESIDE = ("ndtape, replayed", "ndtape, eager")
DRAWN = {
    "chain": chain,
    "replay": dotted(is_gradient, title, "value and gradient, replayed, µs"),
    "compiled": dotted(is_compiled, title, "value and gradient, compiled, µs"),
    "rnn": dotted(lambda row: True, rnn_title, "forward and backward, µs a step"),
    "lanes": dotted(
        lambda row: row["unit"] == "ns an operation a lane", lanes_named, "ns an operation a lane"
    ),
    "sparse": sparse,
    "small_tensors": small_tensors,
}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def shown(picture):
    """The digest of the report that a picture shows, '' for none."""
    text = picture.read_text(encoding="utf-8") if picture.exists() else ""
    found = re.search(r"report ([0-9a-f]{16})", text)
    return found[1] if found else ""


def save(path, picture):
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    DRAWN[path.stem](figure, json.loads(path.read_text(encoding="utf-8")))
    picture.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ndtape"}):
        about = {"Date": None, "Description": f"report {digest(path)}"}
        figure.savefig(picture, metadata=about)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="draw nothing, exit 1 if stale")
    options = parser.parse_args(arguments)
    paths = {path: PICTURES / f"{path.stem}.svg" for path in sorted(RESULTS.glob("*.json"))}
    stale = [path for path, picture in paths.items() if path.stem in DRAWN]
    stale = [path for path in stale if shown(paths[path]) != digest(path)]
    if options.check and stale:
        names = ", ".join(path.stem for path in stale)
        sys.exit(f"docs/benchmarks does not show {names}: run python perf/figures.py")
    for path in stale:
        save(path, paths[path])


if __name__ == "__main__":
    main()
