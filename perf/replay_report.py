"""The tables of `replay.py`: a contestant a line, the problems as columns or one by one."""

from replay_race import GRADIENT, PRODUCT, STEP, TRIDIAGONAL
from report import figure, markdown

IN_README = ["rosenbrock_2", "rosenbrock_100", "rosenbrock_10000", "ackley_100", "gmm_d2_K5"]
IN_README += ["gmm_d20_K25", "moons", "lynx_hare", "cascade_100"]
HEADER = [
    "",
    "gradient, µs",
    "Hessian-vector, µs",
    "training step, µs",
    "first call, ms",
    "fresh process, s",
    "instructions",
    "ns an instruction",
    "ndtape's best / this",
]


def best_ratio(row):
    """Of our fastest form to a peer."""
    found = row.get("ndtape_over_this") if row else None
    return f"{min(found.values()):.2g}×" if found else ""


def cell(row, key):
    return figure(row[key]) if row and row.get(key) is not None else ""


def count(row):
    found = row and row.get("instructions")
    return f"{found:,}".replace(",", " ") if found else ""


def problem_table(report, problem):
    """(title, lines): gradient, product and first calls of every contestant of one problem."""
    rows = [row for row in report["rows"] if row["problem"] == problem]
    lines = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        own = {row["task"]: row for row in rows if row["contestant"] == name}
        gradient, product = own.get(GRADIENT), own.get(PRODUCT)
        if gradient is None:
            continue
        lines.append(
            [
                name,
                cell(gradient, "value"),
                cell(product, "value"),
                cell(own.get(STEP), "value"),
                cell(gradient, "first, ms"),
                cell(gradient, "fresh, s"),
                count(gradient),
                cell(gradient, "ns an instruction"),
                best_ratio(gradient),
            ]
        )
    return rows[0]["title"], without_empty(HEADER, lines)


def without_empty(header, lines):
    """Header and lines, columns that hold nothing left out."""
    kept = [k for k in range(len(header)) if k == 0 or any(line[k] for line in lines)]
    return [header[k] for k in kept], [[line[k] for k in kept] for line in lines]


def tridiagonal_table(report):
    rows = [row for row in report["rows"] if row["task"] == TRIDIAGONAL]
    problems = list(dict.fromkeys(row["title"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        own = {row["title"]: row for row in rows if row["contestant"] == name}
        lines.append([name, *(cell(own.get(title), "value") for title in problems)])
    return ["", *(f"{title}, µs" for title in problems)], lines


def optimisation_table(report):
    header = ["", "method", "ms", "with the first call, ms", "evaluations", "minimum found"]
    lines = [
        [
            row["contestant"],
            row["method"],
            figure(1e3 * row["value"]),
            figure(1e3 * row["first"]),
            str(row["evaluations"]),
            f"{row['found']:.2g}",
        ]
        for row in report["optimisations"]
    ]
    return header, lines


def nested_table(report):
    header = ["", "program", "s", "again, s", "tapes", "instructions"]
    lines = [
        [
            row["contestant"],
            row["problem"],
            figure(row["first"]),
            cell(row, "second"),
            str(row.get("tapes") or ""),
            count(row),
        ]
        for row in report["nested"]
    ]
    return header, lines


def tables(report):
    """Every (problem, title, (header, lines)) of a report that has lines."""
    for problem in dict.fromkeys(row["problem"] for row in report["rows"]):
        yield problem, *problem_table(report, problem)
    for name, title, table in (
        ("tridiagonal", "tridiagonal Hessian of Rosenbrock's function", tridiagonal_table),
        ("optimisations", "optimisation of Rosenbrock's function, n = 100", optimisation_table),
        ("nested", "nested derivatives through data-dependent loops", nested_table),
    ):
        header, lines = table(report)
        if lines:
            yield name, title, (header, lines)


def print_tables(report, out):
    for _, title, (header, lines) in tables(report):
        print(f"\n{title}", file=out)
        widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
        for line in [header, *lines]:
            cells = [line[0].ljust(widths[0])]
            cells += [c.rjust(width) for c, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip(), file=out)


# --- README: problems side by side ----------------------------------------------------------------


def matrix(report, task, key, scale=1.0):
    """Header and lines: a contestant a line, a problem a column."""
    wanted = [name for name in IN_README if any(r["problem"] == name for r in report["rows"])]
    rows = {
        (row["problem"], row["contestant"]): row[key] * scale
        for row in report["rows"]
        if row["task"] == task and row.get(key) is not None and "out=" not in row["contestant"]
    }
    titles = {row["problem"]: row["title"] for row in report["rows"]}
    columns = [name for name in wanted if any(problem == name for problem, _ in rows)]
    contestants = sorted({name for _, name in rows}, key=place)
    if key != "value":  # nothing is made ready for what was written by hand
        contestants = [name for name in contestants if "hand" not in name]
    lines = [
        [name, *(figure(rows.get((problem, name))) for problem in columns)] for name in contestants
    ]
    return ["", *(titles[name] for name in columns)], [line for line in lines if any(line[1:])]


def place(contestant):
    """Ours first, then hand-written ones and compilers, then those that record afresh."""
    order = ["ndtape", "hand", "SciPy", "CasADi", "JAX", "PyTorch", "autograd"]
    return order.index(contestant.replace(",", " ").split()[0]), contestant


README = [
    ("gradient of a recorded or compiled program, µs a call", GRADIENT, "value"),
    ("Hessian-vector product, µs a call", PRODUCT, "value"),
    ("first gradient in a warm process (recording, tracing, compiling), ms", GRADIENT, "first, ms"),
    ("first gradient of a fresh process, s", GRADIENT, "fresh, s"),
]


def tape_lines(report):
    """Instructions on our tapes; of scalar ones also nanoseconds for each."""
    header, counts = matrix(report, GRADIENT, "instructions")
    _, times = matrix(report, GRADIENT, "ns an instruction")
    lines = [[f"{name}: instructions", *cells] for name, *cells in counts]
    # An instruction on arrays may be ten thousand operations.
    lines += [[f"{name}: ns an instruction", *cells] for name, *cells in times if "scalar" in name]
    return header, lines


def readme_tables(report):
    """What the README shows of it, as Markdown."""
    shown = [(title, matrix(report, task, key)) for title, task, key in README]
    shown.append(("tapes", tape_lines(report)))
    shown += [
        (title, table)
        for name, title, table in tables(report)
        if name in ("optimisations", "nested")
    ]
    for title, (header, lines) in shown:
        if lines:
            yield f"**{title[0].upper()}{title[1:]}**\n\n{markdown(header, lines)}"
