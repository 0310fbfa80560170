"""The tables of `compiled.py`: costs over the plain function, geometric means, compiling."""

from statistics import geometric_mean

from compiled_race import GRADIENT, PRIMAL, RECORD
from report import figure, markdown, power

COMPILED = "ndtape, compiled"
COLUMNS = [  # title, contestant (how its name begins), task
    ("recording", COMPILED, RECORD),
    ("ndtape", COMPILED, GRADIENT),
    ("by hand", "hand Numba", GRADIENT),
    ("replayed tape", "ndtape, replayed", GRADIENT),
    ("eager tape", "ndtape, eager", GRADIENT),
    ("JAX", "JAX", GRADIENT),
    ("XAD", "XAD", GRADIENT),
    ("PyTorch", "PyTorch", GRADIENT),
]
FORMS = [
    ("chains of scalar operations", "chain"),
    ("scalar loops", "scalar loop"),
    ("with arrays", "arrays"),
]
STANDARD = ("total", "product", "log_sum_exp", "normal", "stochastic_volatility")  # FastAD's set


def find(rows, contestant, task):
    return next(
        (r for r in rows if r["contestant"].startswith(contestant) and r["task"] == task), None
    )


def times(value):
    return "" if value is None else f"{figure(value)}×"


def without_empty(header, lines):
    """Header and lines, columns that hold nothing left out."""
    kept = [k for k in range(len(header)) if k == 0 or any(line[k] for line in lines)]
    return [header[k] for k in kept], [[line[k] for k in kept] for line in lines]


def by_problem(report, form):
    """(problem's title, its rows) in the order of the report."""
    rows = [row for row in report["rows"] if row["form"] == form]
    for problem in dict.fromkeys(row["problem"] for row in rows):
        own = [row for row in rows if row["problem"] == problem]
        name, _, size = own[0]["title"].replace(f", {form},", ",").rpartition(", ")
        yield f"{name}, {power(int(size.replace(' ', '')))}", own


def plain_time(rows):
    """Of the plain function that the others are compared with."""
    return min(row["value"] for row in rows if row["task"] == PRIMAL)


def cost_table(report, form):
    """Header and lines: a problem a line, over the plain function a contestant a column."""
    lines = []
    for title, rows in by_problem(report, form):
        found = [find(rows, contestant, task) for _, contestant, task in COLUMNS]
        cells = [times(row and row["over_primal"]) for row in found]
        lines.append([title, figure(plain_time(rows)), *cells])
    return without_empty(["", "plain, µs", *(title for title, _, _ in COLUMNS)], lines)


def chain_table(report):
    """Nanoseconds an operation: the plain function and everybody's gradients."""
    lines = []
    for title, rows in by_problem(report, "chain"):
        found = [find(rows, contestant, task) for _, contestant, task in COLUMNS]
        plain = min(row["ns an operation"] for row in rows if row["task"] == PRIMAL)
        cells = [figure(row["ns an operation"]) if row else "" for row in found]
        lines.append([title, figure(plain), *cells])
    return without_empty(["", "plain", *(title for title, _, _ in COLUMNS)], lines)


# --- geometric means ------------------------------------------------------------------------------


def groups(report):
    """(title, rows): what geometric means are taken over."""
    for where, forms in (("scalar loops", ("scalar loop",)), ("arrays", ("arrays",))):
        rows = [r for r in report["rows"] if r["form"] in forms]
        standard = [r for r in rows if r["program"].startswith(STANDARD)]
        for size in sorted({row["size"] for row in standard}):
            own = [row for row in standard if row["size"] == size]
            yield f"FastAD's set, {where}, {power(size)}", own
        yield f"FastAD's set, {where}", standard
        if len(rows) > len(standard):
            yield f"all programs, {where}", rows
    chains = [r for r in report["rows"] if r["form"] == "chain"]
    yield "chains", chains


def mean_of(rows, contestant, task):
    """The geometric mean of the costs of one contestant, and of how many problems."""
    found = [
        row["over_primal"]
        for row in rows
        if row["contestant"].startswith(contestant) and row["task"] == task
    ]
    return (geometric_mean(found), len(found)) if found else (None, 0)


def mean_table(report):
    """A mean over fewer problems than ours says over how many."""
    lines = []
    for title, rows in groups(report):
        means = [mean_of(rows, contestant, task) for _, contestant, task in COLUMNS]
        count = max((n for _, n in means), default=0)
        if count:
            cells = [times(m) + (f" ({n})" if 0 < n < count else "") for m, n in means]
            lines.append([title, str(count), *cells])
    return without_empty(["", "problems", *(title for title, _, _ in COLUMNS)], lines)


# --- compiling ------------------------------------------------------------------------------------


def compile_table(report):
    header = ["", "plain, s", "gradient, s", "ratio", "new process, s", "cached, s", "no cache, s"]
    keys = ["plain", "primed", "ratio", "new", "warm", "from nothing"]
    lines = [
        [row["title"], *("" if row.get(key) is None else figure(row[key]) for key in keys)]
        for row in report["compile"]
    ]
    ratios = [row["ratio"] for row in report["compile"]]
    if len(ratios) > 1:
        lines.append(["geometric mean", "", "", figure(geometric_mean(ratios)), "", "", ""])
    return without_empty(header, lines)


# --- all of them ----------------------------------------------------------------------------------


def tables(report):
    """Every (title, header, lines) of a report that has lines."""
    found = [("value and gradient of a chain, ns an operation", chain_table(report))]
    found += [(f"cost over the plain function, {what}", cost_table(report, f)) for what, f in FORMS]
    found.append(("geometric means of the cost over the plain function", mean_table(report)))
    found.append(("compiling, seconds", compile_table(report)))
    for title, (header, lines) in found:
        if lines:
            yield title, header, lines


def print_tables(report, out):
    for title, header, lines in tables(report):
        print(f"\n{title}", file=out)
        widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
        for line in [header, *lines]:
            cells = [line[0].ljust(widths[0])]
            cells += [c.rjust(width) for c, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip(), file=out)


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    for title, header, lines in tables(report):
        yield f"**{title[0].upper()}{title[1:]}**\n\n{markdown(header, lines)}"


# --- budgets --------------------------------------------------------------------------------------


def budgets(report):
    """Every (what, found, limit) that the report has figures for, else None for found."""

    def cost(problem, task=GRADIENT, key="over_primal"):
        row = find([r for r in report["rows"] if r["problem"] == problem], COMPILED, task)
        return row and row[key]

    def against(problem, contestant):
        own = [r for r in report["rows"] if r["problem"] == problem]
        row = find(own, contestant, GRADIENT)
        return row and row["ndtape_over_this"]

    longest = 1_000_000
    circle, arithmetic = f"circle_{longest}", f"oscillator_{longest}"
    yield "circle map: recording over plain", cost(circle, RECORD), 1.3
    yield "circle map: value and gradient over plain", cost(circle), 2.5
    yield "arithmetic: recording, ns an operation", cost(arithmetic, RECORD, "ns an operation"), 2.5
    yield "circle map: over the eager tape", against(circle, "ndtape, eager"), 1 / 25
    yield "arithmetic: over the eager tape", against(arithmetic, "ndtape, eager"), 1 / 40
    yield "circle map: over PyTorch", against(circle, "PyTorch"), 1 / 500
    means = dict(groups(report))
    for where, limit in (("scalar loops", 6.0), ("arrays", 4.0)):
        for what in ("FastAD's set", "all programs"):
            own = means.get(f"{what}, {where}", [])
            yield f"{what}, {where}: geometric mean", mean_of(own, COMPILED, GRADIENT)[0], limit
    yield "GARCH, T = 200, µs", cost("garch_200", key="value"), 30.0
    for scheme in ("lax_wendroff", "toon"):
        yield f"{scheme}, scalars in place: over plain", cost(f"{scheme}_loop_2000"), 4.0
        yield f"{scheme}, slices: over JAX", against(f"{scheme}_arrays_2000", "JAX"), 1.0
    ratios = [row["ratio"] for row in report["compile"]]
    yield "compiling: the largest ratio to plain", max(ratios, default=None), 8.0
    thirty = [row["primed"] for row in report["compile"] if row["program"] == "thirty"]
    yield "compiling thirty lines, s", thirty[0] if thirty else None, 2.0


def print_budgets(report, out):
    print("\nbudgets", file=out)
    for what, found, limit in budgets(report):
        if found is not None:
            verdict = "holds" if found <= limit else "MISSED"
            print(f"{what:48s} {found:9.3g}  budget {limit:6.3g}  {verdict}", file=out)
