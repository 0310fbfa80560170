"""The generator: are its outputs current, and what it makes of small templates, by exact text."""

import ast
import math
import platform
import re
import shutil

import numba
import pytest

from ndtape import _jit, codegen, ops, run
from ndtape.ops import OPCODES, ROWS, Opcode

# --- outputs -------------------------------------------------------------------------------------


def test_outputs_are_current(capsys):
    """_sweeps.py, functions.py and docs/operations.md are what the table says now."""
    assert codegen.main(["--check"]) == 0, capsys.readouterr().out


def test_stale_outputs_are_named(capsys, monkeypatch):
    monkeypatch.setattr(codegen, "fingerprint", lambda: "0" * 12)
    assert codegen.main(["--check"]) == 1
    assert "_sweeps.py" in capsys.readouterr().out


def test_changed_row_changes_the_fingerprint(monkeypatch):
    before = codegen.fingerprint(), ops.table_hash()
    rows = list(ops.TABLE)
    rows[5] = rows[5]._replace(dx="1 + 0")
    monkeypatch.setattr(ops, "TABLE", tuple(rows))
    after = codegen.fingerprint(), ops.table_hash()
    assert before[0] != after[0] and before[1] != after[1]


def test_changed_mathematics_changes_the_fingerprint(monkeypatch, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    copied = shutil.copytree(codegen.HERE, tmp_path / "ndtape", ignore=ignored)
    monkeypatch.setattr(codegen, "HERE", copied)
    seen = {codegen.fingerprint()}
    mathematics = list(copied.glob("vmath/*.py"))
    assert len(mathematics) > 5
    for path in {*mathematics, *(copied / f"{x}.py" for x in ("templates", "rules", "codegen"))}:
        path.write_bytes(path.read_bytes() + b"\n")
        assert codegen.fingerprint() not in seen, path.name
        seen.add(codegen.fingerprint())


def test_other_table_is_refused(monkeypatch):
    """Rules that differ from the compiled ones are not run in silence."""
    run.sweeps.cache_clear()
    monkeypatch.setattr(run, "table_hash", lambda: "another")
    with pytest.raises(Exception, match="make sweeps"):
        run.sweeps()
    monkeypatch.undo()
    assert run.sweeps()


def test_every_opcode_has_a_branch_in_every_sweep():
    tree = ast.parse(codegen.TARGET.read_text())
    sweeps = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    for name in codegen.PACKED:
        for packs in ("", "_packs"):
            text = ast.unparse(sweeps[name + packs])
            codes = {int(c) for c in re.findall(r"code == (\d+)", text)}
            assert codes == {o.code for o in OPCODES}


# --- one branch ----------------------------------------------------------------------------------

FORWARD = "p = a[i]\nq = b[i]\nx = v[p]\ny = v[q]\nv[r] = Z"
REVERSE = "p = a[i]\nq = b[i]\nx = v[p]\ny = v[q]\nz = v[this]\ng[p] += W_DX\ng[q] += W_DY"
TANGENT = (
    "p = a[i]\nq = b[i]\nx = v[p]\ny = v[q]\nz = v[r]\nxt = t[p]\nyt = t[q]\nt[r] = T_DX + T_DY"
)
SECOND = "p = a[i]\nx = v[p]\nz = v[r]\nxt = t[p]\nzt = t[r]\ng[p] += W_DX\nh[p] += H_DX"


def opcode(name, form):
    return next(o for o in OPCODES if o.row.name == name and o.form == form)


def branch(template, code, packs=False, nonzero="w"):
    made = codegen.Branch(code, packs, nonzero).statements(ast.parse(template).body)
    return "\n".join(ast.unparse(s) for s in made)


def lines(*text):
    return "\n".join(text)


@pytest.mark.parametrize(
    "form, loads, value",
    [
        ("vv", ["x = v[p]", "y = v[q]"], "v[r] = x - y"),
        ("vk", ["x = v[p]", "y = k[q]"], "v[r] = x - y"),
        ("kv", ["x = k[p]", "y = v[q]"], "v[r] = x - y"),
    ],
)
def test_constants_are_read_from_the_pool(form, loads, value):
    expected = lines("p = a[i]", "q = b[i]", *loads, value)
    assert branch(FORWARD, opcode("subtract", form)) == expected


def test_constants_are_splat_in_packs():
    got = branch(FORWARD, opcode("subtract", "vk"), packs=True)
    assert "y = splat(k[q])" in got and "x = v[p]" in got


def test_constants_have_no_adjoint_and_unread_loads_go():
    assert branch(REVERSE, opcode("add", "vv")) == lines(
        "p = a[i]", "q = b[i]", "g[p] += w", "g[q] += w"
    )
    assert branch(REVERSE, opcode("add", "vk")) == lines("p = a[i]", "g[p] += w")
    assert branch(REVERSE, opcode("multiply", "vk")) == lines(
        "p = a[i]", "q = b[i]", "y = k[q]", "g[p] += w * y"
    )
    assert branch(REVERSE, opcode("subtract", "kv")) == lines("q = b[i]", "g[q] += -w")


def test_zero_partials_are_dropped():
    assert branch(REVERSE, opcode("less", "vv")) == "pass"
    assert branch(REVERSE, opcode("copysign", "kv")) == "pass"
    assert "g[q]" not in branch(REVERSE, opcode("copysign", "vv"))


def test_products_with_zero_are_guarded_unless_the_adjoint_is_known():
    code = opcode("multiply", "vv")
    assert "g[p] += w * y" in branch(REVERSE, code)
    assert "g[p] += mz(w, y)" in branch(REVERSE, code, nonzero="")
    assert "g[p] += mz(w, y)" in branch(REVERSE, code, packs=True)
    assert "t[r] = mz(xt, y) + mz(yt, x)" in branch(TANGENT, code, nonzero="")


def test_tangent_of_constants_is_nothing():
    assert branch(TANGENT, opcode("less", "vv")) == "t[r] = NOTHING"
    assert branch(TANGENT, opcode("add", "vk")) == lines("p = a[i]", "xt = t[p]", "t[r] = xt")


def test_repeated_calls_are_computed_once():
    got = branch(SECOND, opcode("sin", "v"), nonzero="")
    assert got.count("sin(x)") == 1 and got.count("cos(x)") == 1
    got = branch(REVERSE, opcode("arctan2", "vv"))
    assert got.count("hypot(x, y)") == 1
    assert re.search(r"^f0 = hypot\(x, y\)$", got, re.M)
    assert got.index("f0 = ") < got.index("g[p]")


def test_second_order_text():
    assert branch(SECOND, opcode("exp", "v"), nonzero="") == lines(
        "p = a[i]", "z = v[r]", "zt = t[r]", "g[p] += mz(w, z)", "h[p] += mz(wt, z) + mz(w, zt)"
    )
    assert branch(SECOND, opcode("negative", "v"), nonzero="") == lines(
        "p = a[i]", "g[p] += -w", "h[p] += -wt"
    )


def test_conditions():
    """Cheap branches are selected without a jump; costly ones are jumped over, but not in packs."""
    relu = Opcode(0, ROWS["relu"], "v")
    unary = "p = a[i]\nx = v[p]\nv[r] = Z"
    assert "v[r] = select(x <= 0.0, 0.0, x)" in branch(unary, relu)
    logit = Opcode(0, ROWS["logit"], "v")
    assert " if fabs(x - 0.5) < 0.25 else " in branch(unary, logit)
    assert " if " not in branch(unary, logit, packs=True)


def test_numbers_are_floats():
    """An integer literal would make Numba compute in integers."""
    for code in OPCODES[1:]:
        text = branch("v[r] = Z", code)
        numbers = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
        assert all(isinstance(x, float) for x in numbers), text


# --- machine code --------------------------------------------------------------------------------


LARGEST_SWITCH = 64  # LLVM merges comparisons into a switch up to this many cases


@pytest.mark.parametrize("name", ["forward", "reverse"])
def test_ladder_is_jump_tables(name):
    """The chain of `if code == ...` compiles to as few dispatches as LLVM allows."""
    sweep = getattr(run.sweeps(), name)
    compiled = numba.cfunc(_jit.SIGNATURE, **_jit.FLAGS)(sweep.function)  # a cached one is opaque
    text = compiled._library.get_llvm_str()
    tables = re.findall(r"switch i\d+ [^\[]*\[(.*?)\]", text, re.S)
    sizes = sorted((table.count("label") for table in tables), reverse=True)
    assert len(sizes) <= math.ceil(len(OPCODES) / LARGEST_SWITCH), f"switches with {sizes} cases"
    empty = sum(branch(REVERSE, o) == "pass" for o in OPCODES) if name == "reverse" else 0
    assert sum(sizes) >= len(OPCODES) - empty - 1, "some opcodes are compared one by one"
    if platform.machine() == "x86_64":
        jumps = re.findall(r"jmpq?\s+\*.*\(.*,8\)", compiled._library.get_asm_str())
        assert len(jumps) == len(sizes)
