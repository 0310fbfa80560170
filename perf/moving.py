"""Programs of docs/guides/from_autograd.md: HIPS autograd, moved as they are, and with nt.function.

python perf/moving.py             print the table
python perf/moving.py --update    and put it into the guide
"""

import argparse
import contextlib
import datetime
import io
import re
import statistics
import time
from importlib.metadata import version
from pathlib import Path

GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "from_autograd.md"
PAIR = re.compile(
    r"^## (?P<title>[^\n]*)\n(?P<prose>(?:(?!^## |```).)*)"
    r"```py\n(?P<before>.*?)```\n+```python\n(?P<after>.*?)```\n+```text\n(?P<printed>.*?)```",
    re.S | re.M,
)
LINE = re.compile(
    r"^\| (?P<title>[^|]*) \| `(?P<old>[^|]*)` \| `(?P<new>[^|]*nt\.function.*)` \|$", re.M
)
PLACE = re.compile(r"(<!-- perf:moving -->\n).*?(<!-- /perf:moving -->)", re.S)


def programs(text):
    """By title: the program before, after, and (where there is one) with nt.function."""
    traced = {m["title"]: (m["old"], m["new"]) for m in LINE.finditer(text)}
    found = {}
    for m in PAIR.finditer(text):
        old, new = traced.pop(m["title"], ("", ""))
        assert m["after"].count(old) == 1 or not old, m["title"]
        faster = "import ndtape as nt\n" + m["after"].replace(old, new) if old else None
        found[m["title"]] = m["before"], m["after"], faster, m["printed"]
    assert not traced, f"no program is called {', '.join(traced)}"
    return found


def run(program):
    """What a program prints, and the seconds that it takes."""
    out, start = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return out.getvalue(), time.perf_counter() - start


def measured(rounds):
    rows = []
    for title, (*forms, printed) in programs(GUIDE.read_text(encoding="utf-8")).items():
        seconds = [[] for _ in forms]
        for i in range(rounds + 1):
            for form, times in zip(forms, seconds, strict=True):
                if form is not None:
                    shown, spent = run(form)
                    assert shown == printed, title
                    if i:  # the first one compiles and fills caches
                        times.append(spent)
        rows.append((title, *[statistics.median(t) if t else None for t in seconds]))
    return rows


def table(rows):
    lines = ["| program | autograd | moved | with `nt.function` |", "|---|---:|---:|---:|"]
    for title, *seconds in rows:
        lines.append(
            f"| {title} | " + " | ".join("" if s is None else f"{s:.3g}" for s in seconds) + " |"
        )
    return "\n".join([
        *lines, "",
        f"Measured {datetime.date.today()}, medians of interleaved rounds; autograd "
        f"{version('autograd')}, numpy {version('numpy')}, scipy {version('scipy')}.",
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    text = table(measured(options.rounds))
    print(text)
    if options.update:
        page = GUIDE.read_text(encoding="utf-8")
        GUIDE.write_text(PLACE.sub(rf"\1{text}\n\2", page), encoding="utf-8")
