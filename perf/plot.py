"""The picture of a `chain.py` report: time an operation against length, both axes logarithmic."""

from peers import RECORD, REPLAY
from problems import PROBLEMS

STYLES = {RECORD: "--", REPLAY: "-"}


def curves(report, problem):
    """(contestant, task) -> points, gradients only."""
    found = {}
    for row in report["rows"]:
        if row["problem"] == problem and row["task"] in STYLES:
            key = row["contestant"], row["task"]
            found.setdefault(key, []).append((row["operations"], row["value"]))
    return found


def draw(axes, report, problem):
    names = dict.fromkeys(row["contestant"] for row in report["rows"])
    colours = {name: f"C{k}" for k, name in enumerate(n for n in names if n != "ndtape")}
    for (name, task), points in curves(report, problem).items():
        ours = name == "ndtape"
        axes.plot(
            *zip(*sorted(points), strict=True),
            STYLES[task],
            marker="o",
            markersize=5 if ours else 3.5,
            linewidth=2.6 if ours else 1.2,
            color="black" if ours else colours[name],
            label=f"{name}, {task}",
        )
    axes.set(xscale="log", yscale="log", xlabel="operations", title=PROBLEMS[problem].title)
    axes.grid(which="major", alpha=0.3)


def save_plot(report, path, say):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        say("plot: skipped, matplotlib is not installed")
        return
    problems = list(dict.fromkeys(row["problem"] for row in report["rows"]))
    picture = Figure(figsize=(6.5 * len(problems), 6.0), layout="constrained")
    panels = picture.subplots(1, len(problems), squeeze=False, sharey=True)[0]
    for axes, problem in zip(panels, problems, strict=True):
        draw(axes, report, problem)
    panels[0].set_ylabel("value + gradient, ns an operation")
    handles, labels = panels[0].get_legend_handles_labels()
    for axes in panels[1:]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    picture.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    picture.savefig(path, dpi=130)
