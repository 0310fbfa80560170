"""The tables of `small_tensors.py`, a contestant a line and a size a column, and its budgets."""

from report import figure, markdown
from tensors import CALLED, CALLED_GRADIENT, RECORDED, STEP, SWEPT, SWEPT_GRADIENT

FIRST = ["ndtape", "hand Numba", "NumPy", "PyTorch", "JAX jit", "autograd"]
TABLES = [
    ("values, ns an operation", [SWEPT, CALLED]),
    ("values and derivatives, ns an operation", [SWEPT_GRADIENT, CALLED_GRADIENT, RECORDED]),
]
SHOWN = [  # in the README: operation, table
    ("add", 0),
    ("multiply", 1),
    ("tanh", 0),
    ("matmul", 0),
]
NETWORK, AFRESH = "network 64-32-10", "recorded afresh"
HOW = {SWEPT: "swept", SWEPT_GRADIENT: "swept", RECORDED: "recorded afresh"}


def title_of(row):
    """ndtape comes twice and says which; the others have one way for a table."""
    how = HOW.get(row["task"])
    return f"ndtape, {how}" if row["contestant"] == "ndtape" else row["contestant"]


def reference_of(row):
    """The time of ndtape that a row is compared with: afresh for those that record, else swept."""
    if row["task"] == STEP:
        return f"ndtape, swept, {STEP}"
    if row["task"] == RECORDED:
        return f"ndtape, {RECORDED}"
    return f"ndtape, {SWEPT if row['task'] in (SWEPT, CALLED) else SWEPT_GRADIENT}"


def ratio(row):
    found = row["ndtape_over_this"].get(reference_of(row)) if row else None
    return "" if found is None else f"{found:.2g}×"


def lines_of(rows, title, sizes, compared, scale=1.0):
    """A line for each title: times by size, then ratios at the sizes `compared`."""
    for name in dict.fromkeys(title(row) for row in rows):
        own = {row["size"]: row for row in rows if title(row) == name}
        times = [figure(own[n]["value"] * scale) if n in own else "" for n in sizes]
        ours = name.startswith("ndtape")
        yield [name, *times, *("" if ours else ratio(own.get(n)) for n in compared)]


def operation_table(report, operation, tasks):
    """Header and lines; PyTorch and autograd are compared with recording afresh where they do."""
    rows = [r for r in report["rows"] if r["operation"] == operation and r["task"] in tasks]
    sizes = sorted({row["size"] for row in rows})
    rows.sort(key=lambda row: (FIRST.index(row["contestant"]), tasks.index(row["task"])))
    compared = [n for n in (16, sizes[-1]) if n in sizes] if sizes else []
    header = ["", *map(str, sizes), *(f"ndtape / this, {n}" for n in compared)]
    return header, list(lines_of(rows, title_of, sizes, compared))


def network_table(report):
    """Microseconds by batch, then the time of ndtape's sweeps over each."""
    rows = [row for row in report["rows"] if row["task"] == STEP]
    batches = sorted({row["size"] for row in rows})
    header = ["", *(f"batch {b}" for b in batches), *(f"swept / this, {b}" for b in batches)]
    return header, list(lines_of(rows, lambda row: row["contestant"], batches, batches, 1e-3))


def tables(report):
    """Every (title, header, lines) of a report."""
    operations = dict.fromkeys(r["operation"] for r in report["rows"] if r["task"] != STEP)
    for operation in operations:
        for title, tasks in TABLES:
            header, lines = operation_table(report, operation, tasks)
            if lines:
                yield f"{operation}: {title}", header, lines
    header, lines = network_table(report)
    if lines:
        yield "network 64-32-10 on digits: forward and backward, µs", header, lines


def print_tables(report, out):
    for title, header, lines in tables(report):
        print(f"\n{title}", file=out)
        widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
        for line in [header, *lines]:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip(), file=out)


def readme_tables(report):
    """What the README shows of it: (title, Markdown)."""
    wanted = {f"{operation}: {TABLES[k][0]}" for operation, k in SHOWN}
    for title, header, lines in tables(report):
        if title in wanted or title.startswith("network"):
            name, _, what = title.partition(": ")
            yield f"**{name}**: {what}\n\n{markdown(header, lines)}"


# --- budgets --------------------------------------------------------------------------------------

ARITHMETIC, TRANSCENDENTAL = ("add", "multiply"), ("exp", "tanh", "sigmoid", "sin")
LIBM = {"exp": 1 / 4, "tanh": 1 / 5, "sigmoid": 1 / 5}


def budgets(report):
    """Every (what, found, limit) of the design that the report has figures for."""
    rows = {
        (row["operation"], row["size"], row["contestant"], row["task"]): row
        for row in report["rows"]
    }

    def over(operation, size, contestant, task):
        row = rows.get((operation, size, contestant, task))
        return row and row["ndtape_over_this"].get(reference_of(row))

    for name in (*ARITHMETIC, *TRANSCENDENTAL):
        own = rows.get((name, 4, "ndtape", SWEPT))
        if name in ARITHMETIC:
            yield f"{name}, 4 elements, swept, ns", own and own["value"], 7.0
        for size in (16, 64, 256, 1024):
            found = over(name, size, "hand Numba", SWEPT)
            yield f"{name}, {size} elements, over a hand loop", found, 1.5
    for name in ARITHMETIC:
        for size in (1, 4, 16):
            yield f"{name}, {size} elements, over NumPy", over(name, size, "NumPy", CALLED), 1 / 30
    for name in TRANSCENDENTAL:
        yield f"{name}, 64 elements, over NumPy", over(name, 64, "NumPy", CALLED), 1 / 4
    for name, limit in LIBM.items():
        yield f"{name}, 1024 elements, over libm", over(name, 1024, "hand Numba", SWEPT), limit
    for batch, contestant, limit in (
        (1, "swept", 1 / 20),
        (1, AFRESH, 1 / 4),
        (128, "swept", 2 / 3),
    ):
        row = rows.get((NETWORK, batch, "PyTorch", STEP))
        found = row and row["ndtape_over_this"].get(f"ndtape, {contestant}, {STEP}")
        yield f"network, batch {batch}, {contestant}, over PyTorch", found, limit


def print_budgets(report, out):
    print("\nbudgets", file=out)
    for what, found, limit in budgets(report):
        if found is not None:
            verdict = "holds" if found <= limit else "MISSED"
            print(f"{what:48s} {found:9.3g}  budget {limit:6.3g}  {verdict}", file=out)
