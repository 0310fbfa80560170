"""Put the tables of `results/chain.json` into README.md, between its two `perf:chain` comments.

python perf/table.py            rewrite README.md
python perf/table.py --check    only say whether README.md agrees with the report (exit status)
"""

import argparse
import json
import sys
from pathlib import Path

from peers import RECORD, REPLAY
from problems import PROBLEMS
from report import TITLES, gradient_table, markdown

HERE = Path(__file__).parent
START, END = "<!-- perf:chain -->", "<!-- /perf:chain -->"
SHOWN = [("circle", RECORD), ("circle", REPLAY), ("wide", REPLAY)]


def conditions(report):
    """One line on where and how the figures were taken."""
    machine = report["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return (
        f"Measured {machine['date']} on {machine['processor']} ({machine['logical cores']} logical "
        f"cores, {machine['system']}), one thread, CPython {machine['python']}; {libraries}. "
        f"{report['how'].capitalize()}."
    )


def section(report):
    """The text between the two comments."""
    parts = []
    for problem, task in SHOWN:
        header, lines = gradient_table(report, problem, task)
        if lines:
            title = PROBLEMS[problem].title
            parts.append(f"**{title}**: {TITLES[task]}\n\n{markdown(header, lines)}")
    return "\n\n".join([*parts, conditions(report)])


def with_section(text, body):
    """The README with `body` between its comments; says what is wrong if they are not there."""
    before, opened, rest = text.partition(START)
    _, closed, after = rest.partition(END)
    if not (opened and closed):
        sys.exit(f"the README needs the comments {START} and {END}, in this order")
    return f"{before}{START}\n\n{body}\n\n{END}{after}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    parser.add_argument("--report", type=Path, default=HERE / "results" / "chain.json")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    options = parser.parse_args(arguments)
    current = options.readme.read_text(encoding="utf-8")
    wanted = with_section(current, section(json.loads(options.report.read_text(encoding="utf-8"))))
    if options.check and current != wanted:
        sys.exit("README.md does not show the figures of the report: run python perf/table.py")
    if not options.check:
        options.readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
