"""Builds wheel and sdist and tries each in an empty environment: `python tests/packages.py`.

Arguments are interpreters, each with the newest or (`python3.10:oldest`) the oldest dependencies
that pyproject.toml allows; without arguments it is this interpreter with both.  Needs a package
index.  What is tried is `smoke.py`, in a folder and with a compile cache of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, **options)


def environment(interpreter, folder):
    """The interpreter of a new, empty environment."""
    run(interpreter, "-m", "venv", folder)
    return folder / "bin" / "python"


def built(folder):
    """[sdist, wheel]; the wheel is built from the sdist, as an index would."""
    python = environment(sys.executable, folder / "builder")
    run(python, *PIP, "install", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT, stdout=subprocess.DEVNULL)
    return sorted((folder / "dist").iterdir(), key=lambda path: path.suffix)


def oldest():
    """The dependencies of pyproject.toml, each at the oldest version that it allows."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[(.*)\]$", text, re.M)
    assert found is not None
    return re.findall(r'"([^"]*)"', found[1].replace(">=", "=="))


def tried(interpreter, versions, package, folder):
    """Install the package into an empty environment and run the smoke test outside the checkout."""
    python = environment(interpreter, folder / "env")
    run(python, *PIP, "install", package, *(oldest() if versions == "oldest" else ()))
    shutil.copy(ROOT / "tests" / "smoke.py", folder)
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    run(python, "-I", "smoke.py", cwd=folder, env=variables)
    shutil.rmtree(folder)


def main(arguments):
    wanted = arguments or [sys.executable, f"{sys.executable}:oldest"]
    with tempfile.TemporaryDirectory() as name:
        packages = built(Path(name))
        for number, argument in enumerate(wanted):
            interpreter, _, versions = argument.partition(":")
            package = packages[number % 2]
            start = time.perf_counter()
            print(f"{package.name} with {interpreter}, {versions or 'newest'} dependencies:")
            tried(interpreter, versions, package, Path(name) / str(number))
            print(f"  {time.perf_counter() - start:.0f} s in all, installation and compiling too")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    main(sys.argv[1:])
