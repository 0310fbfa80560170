"""Put the tables of the reports in `results` into docs/benchmarks.md, a summary into README.md.

The tables of `chain.json` go between <!-- perf:chain --> and <!-- /perf:chain -->, and so on, the
summary of all between <!-- perf:summary --> and <!-- /perf:summary -->.

python perf/table.py            rewrite both
python perf/table.py --check    only say whether they agree with the reports (exit status)
"""

import argparse
import json
import sys
from pathlib import Path

import summary
from compiled_report import readme_tables as compiled_tables
from dlstm_report import readme_tables as dlstm_tables
from lanes_report import readme_tables as lanes_tables
from parallel_report import readme_tables as parallel_tables
from passes_report import readme_tables as passes_tables
from peers import RECORD, REPLAY
from problems import PROBLEMS
from replay_report import readme_tables as replay_tables
from report import TITLES, gradient_table, markdown
from rnn_report import readme_tables as rnn_tables
from small_report import readme_tables
from sparse_report import readme_tables as sparse_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE, README = HERE.parent / "docs" / "benchmarks.md", HERE.parent / "README.md"
SHOWN = [("circle", RECORD), ("circle", REPLAY), ("wide", REPLAY)]


def conditions(report):
    """One line on where and how the figures were taken."""
    machine = report["machine"]
    threads = "one thread a process" if "workers" in report else "one thread"
    libraries = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return (
        f"Measured {machine['date']} on {machine['processor']} ({machine['logical cores']} logical "
        f"cores, {machine['system']}), {threads}, CPython {machine['python']}; {libraries}. "
        f"{report['how'].capitalize()}."
    )


def chain_tables(report):
    parts = []
    for problem, task in SHOWN:
        header, lines = gradient_table(report, problem, task)
        if lines:
            title = PROBLEMS[problem].title
            parts.append(f"**{title}**: {TITLES[task]}\n\n{markdown(header, lines)}")
    return parts


# By the name of the report.
TABLES = {
    "chain": chain_tables,
    "replay": replay_tables,
    "compiled": compiled_tables,
    "small_tensors": readme_tables,
    "rnn": rnn_tables,
    "dlstm": dlstm_tables,
    "passes": passes_tables,
    "lanes": lanes_tables,
    "sparse": sparse_tables,
    "parallel": parallel_tables,
}


def section(name, report):
    """The text between the two comments."""
    return "\n\n".join([*TABLES[name](report), conditions(report)])


def with_section(text, name, body):
    """The page with `body` between its comments; says what is wrong if they are not there."""
    start, end = f"<!-- perf:{name} -->", f"<!-- /perf:{name} -->"
    before, opened, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        sys.exit(f"the page needs the comments {start} and {end}, in this order")
    return f"{before}{start}\n\n{body}\n\n{end}{after}"


def put(path, sections, check):
    """Write the sections, name -> body, into a page; or only see whether they stand there."""
    current = path.read_text(encoding="utf-8")
    wanted = current
    for name, body in sections.items():
        wanted = with_section(wanted, name, body)
    if check and current != wanted:
        sys.exit(f"{path.name} does not show the figures of the reports: run python perf/table.py")
    if not check:
        path.write_text(wanted, encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    parser.add_argument("--report", type=Path, nargs="+", help="these only, and no summary")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    known = [path for name in TABLES if (path := RESULTS / f"{name}.json").exists()]
    paths = options.report or known
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    put(options.page, {name: section(name, r) for name, r in reports.items()}, options.check)
    if not options.report:
        body = f"{summary.table(reports)}\n\n{summary.conditions(reports)}"
        put(README, {"summary": body}, options.check)


if __name__ == "__main__":
    main()
