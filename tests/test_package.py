"""Wheel and sdist hold what they must and nothing else; `make packages` tries them for good.

The wheel is built from the unpacked sdist, which shows that the sdist is whole.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ndtape

ROOT = Path(__file__).parent.parent
BUILD = (
    "import sys, setuptools.build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
)
FILES = ("CHANGELOG.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml")
FOLDERS = (".ci", "docs", "examples", "ndtape", "perf", "tests")
LEFT = shutil.ignore_patterns(
    "__pycache__", ".ipynb_checkpoints", "_build", "output", "*.nb[ci]", "*.py[cod]"
)


def built(kind, source, into):
    """The path of an sdist or a wheel, built where setuptools may write."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(into)],
        cwd=source, check=True, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return into / done.stdout.splitlines()[-1]


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what git has."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=LEFT)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    """The unpacked sdist."""
    before = names(checkout)
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built("sdist", checkout, folder)) as archive:
        archive.extractall(folder, filter="data")
    (found,) = [path for path in folder.iterdir() if path.is_dir()]
    return before, found


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(built("wheel", sdist[1], folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_sdist_is_the_checkout(sdist):
    checkout, unpacked = sdist
    made = {"PKG-INFO", "setup.cfg"}
    found = {name for name in names(unpacked) if not name.startswith("ndtape.egg-info/")}
    assert found - made == checkout


def test_the_wheel_is_the_package(wheel):
    package = {f"ndtape/{name}" for name in names(ROOT / "ndtape") if "__pycache__" not in name}
    found = names(wheel)
    assert {name for name in found if name.startswith("ndtape/")} == package
    assert {"ndtape/py.typed", "ndtape/_sweeps.py", "ndtape/_maps.py"} <= package
    others = {name for name in found if not name.startswith("ndtape/")}
    assert {name.partition("/")[0] for name in others} == {f"ndtape-{ndtape.__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in others)


def test_the_wheel_says_what_it_needs(wheel):
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    head = metadata.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in head if "Requires-Dist" in line]
    always = {line.partition(">")[0] for line in needed if "extra ==" not in line}
    assert always == {"numba", "numpy", "optree", "scipy"}
    assert f"Version: {ndtape.__version__}" in head
    assert "License-Expression: MIT" in head


def test_it_is_imported_from_the_wheel(wheel):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import ndtape; print(ndtape.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(wheel)],
        cwd="/", check=True, text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert Path(done.stdout.strip()).is_relative_to(wheel)
