"""Imports point downwards: a layer of the design uses itself and what lies below, nothing above."""

import ast
from pathlib import Path

import pytest

import ndtape

PACKAGE = Path(ndtape.__file__).parent

# From the bottom.  Files of one layer may import each other, and so may those of a package that
# stands here by its name; `record` has an order of its own.
LAYERS = [
    {
        "errors",
        "_version",
        "_jit",
        "_replays",
        "ops",
        "nest",
        "vmath",
        "trees",
        "memory",
        "named",
        "notices",
        "bars",
    },
    {
        "tape",
        "rules",
        "emit",
        "spans",
        "reach",
        "_callbacks",
        "batch._rows",
        "_sweeps",
        "_maps",
        "kernels",
    },
    {
        "verify",
        "verify_wide",
        "verify_affine",
        "verify_terms",
        "verify_weights",
        "verify_places",
        "passes",
    },
    {"run", "looping"},
    {"threads", "patterns"},
    {"record.core"},
    {"record.values", "record.scopes"},
    {"record.storage"},
    {"record.arrays", "record.lifetime", "record.lookup"},
    {"record.operators", "record.operands", "record.tracing"},
    {"record.fast"},
    {"record.elementwise"},
    {"record.wide"},
    {"record.adjoint", "record.calls", "record.indexing"},
    {"record.backward", "record.graph", "record.protocol"},
    {"record.methods"},
    {"record"},  # imports what installs itself
    {"functions", "reference"},
    {"traced.captures"},
    {"traced.parameters", "traced.twins"},
    {"traced.program"},
    {"traced.signature"},
    {"traced.explain", "traced.recording", "traced.lean"},
    {"traced.pieces"},
    {"traced.hot", "traced.packing", "traced.choosing", "traced.plans"},
    {"traced.replay"},
    {"traced.function"},
    {"traced"},
    {"transforms"},
    {"transforms.evaluation", "batch.lanes", "batch.forms", "batch.unrolled"},
    {"transforms.tangents", "transforms.gradients", "transforms.directions"},
    {"transforms.outputs"},
    {
        "transforms.jacobians",
        "transforms.sparse",
        "transforms.linear_maps",
        "transforms.closures",
        "transforms.custom",
        "transforms.checkpoints",
        "losses",
        "optim",
        "numpy",
    },
    {"primitives"},
    {"vectors"},
    {"solvers"},
    {"scipy"},
    {"batch"},
    {"batch.rows", "batch.vmap", "batch.gradients"},
    {"loops"},
    {"nn"},
    {"check", "lowlevel", "optimising", "config", "elsewhere"},
    {"files"},
    {"graph"},
    {"explain"},
    {"pictures"},
    {"profile"},
    {"compiled"},
    {"parallel"},
    {"autograd"},
    {"__init__", "__main__"},
]
PACKAGES = (
    "autograd",
    "compiled",
    "explain",
    "files",
    "profile",
    "graph",
    "passes",
    "patterns",
    "pictures",
    "loops",
    "nn",
    "vmath",
    "kernels",
    "numpy",
    "primitives",
    "scipy",
    "solvers",
    "parallel",
)
DEVELOPMENT = {"codegen", "map_codegen", "templates"}  # read the package, are read by none of it
# Names that a module may ask for only inside functions: a lower layer reaches up for a service.
LATE: set[tuple[str, str]] = {
    ("tape", "explain"),
    ("tape", "files"),
    ("tape", "passes.difference"),
    ("tape", "pictures.tapes"),
    ("tape", "profile"),
    ("traced.function", "files"),
    ("traced.function", "files.travel"),
    ("traced.function", "profile"),
}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(p): p for p in sorted(PACKAGE.rglob("*.py"))}


def layer(name):
    package = name.partition(".")[0]
    if package in PACKAGES:
        name = package
    for level, names in enumerate(LAYERS):
        if name in names:
            return level
    raise AssertionError(f"ndtape/{name}.py stands in no layer: say in LAYERS where it belongs")


def imports(name):
    """Modules of the package that a module imports, at its top or in functions; not for typing."""
    tree = ast.parse(MODULES[name].read_text())
    is_package = MODULES[name].name == "__init__.py"
    here = [] if name == "__init__" else name.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(a.name.split(".")[0] == "ndtape" for a in node.names), (
                "import relatively"
            )
        if isinstance(node, ast.ImportFrom) and node.level:
            up = node.level - is_package
            base = here[: len(here) - up] if up > 0 else here
            stem = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = ".".join([*stem, alias.name])
                target = full if full in MODULES else ".".join(stem) or "__init__"
                yield target


@pytest.mark.parametrize("name", [n for n in MODULES if n not in DEVELOPMENT])
def test_imports_point_downwards(name):
    for target in imports(name):
        assert target not in DEVELOPMENT, f"{name} imports {target}, which is for development"
        if target == "__init__":  # only for __version__
            assert name == "__main__"
            continue
        if (name, target) not in LATE:
            assert layer(target) <= layer(name), f"{name} imports {target} from a layer above"


def test_tape_knows_no_sweep_and_sweeps_know_no_tape():
    assert not {"_sweeps", "run", "_jit"} & set(imports("tape"))
    assert not {"tape", "run"} & set(imports("_sweeps"))


def test_only_run_calls_compiled_code():
    for name in MODULES:
        # Passes fold constants and find what is dead by sweeps over code of their own; show_config
        # says which BLAS kernels call.
        known = name in ("run", "codegen", "passes._walking", "config")
        if not known and name.partition(".")[0] != "kernels":
            assert not {"_sweeps", "_maps", "kernels"} & set(imports(name)), name


def test_late_imports_are_late():
    """They stand inside functions: importing the package meets no circle."""
    for name, target in LATE:
        tree = ast.parse(MODULES[name].read_text())
        top = ast.Module([n for n in tree.body if isinstance(n, ast.ImportFrom)], [])
        last = target.rpartition(".")[2]
        assert not any(last == node.module for node in top.body), (name, target)
        assert target in imports(name), f"{name} imports {target} no more: forget it in LATE"


def test_import_is_light():
    """Numba is loaded with the first sweep and not with the package."""
    import subprocess
    import sys

    code = (
        "import sys, ndtape; print(sorted({'numba', 'scipy', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
