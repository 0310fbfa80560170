"""The generator: are its outputs current, and what it makes of small templates, by exact text."""

import ast
import math
import platform
import re
import shutil

import numba
import pytest

from ndtape import _jit, codegen, map_codegen, ops, run
from ndtape.ops import BINARY, FIRST_WIDE, FRAME, OPCODES, ROWS, STRUCTURE, WIDE, Op, Opcode

# --- outputs -------------------------------------------------------------------------------------


def test_outputs_are_current(capsys):
    """_sweeps.py, _maps.py, functions.py and docs/operations.md are what the table says now."""
    assert codegen.main(["--check"]) == 0, capsys.readouterr().out


def test_stale_outputs_are_named(capsys, monkeypatch):
    for module in (codegen, map_codegen):
        monkeypatch.setattr(module, "fingerprint", lambda: "0" * 12)
    assert codegen.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "_sweeps.py" in said and "_maps.py" in said


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
    for path in {*mathematics, *(copied / name for name in codegen.SOURCES)}:
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


def test_operations_on_arrays_go_to_their_kernels():
    """The last branch of each ladder, through the table of its sweep; packs refuse."""
    text = codegen.TARGET.read_text()
    tree = ast.parse(text)
    sweeps = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    tables = dict(zip(codegen.PACKED, ("forward", "reverse", "tangent", "second"), strict=True))
    for name, table in tables.items():
        for packs in ("", "_packs"):
            source = ast.unparse(sweeps[name + packs])
            _, _, branch = source.partition(
                f"elif {FIRST_WIDE} <= code < {FIRST_WIDE + len(WIDE)}:"
            )
            kernel = (
                f"call_at(u8_at(f[{FRAME.index(table)}])[code - {FIRST_WIDE}], frame, i, i + ONE)"
            )
            status = branch.split()[2:]
            assert " ".join(status).startswith("NO_LANES if" if packs else f"{kernel} if")
            assert source.count("call_at(") == (0 if packs else 1)


def test_a_span_is_alive_whatever_its_first_adjoint():
    """The sweeps that skip what has no adjoint look at one slot: wide instructions are no part."""
    text = codegen.TARGET.read_text()
    for test in ("not w != 0.0", "not any_lane(w != 0.0)"):
        assert f"if {test} and op[i] < {FIRST_WIDE}:" in text


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


# --- kernels on spans ----------------------------------------------------------------------------


def kernels(name):
    """The four kernels of a row, by the sweep they belong to."""
    return kernels_of(ROWS[name])


def kernels_of(row):
    tree = ast.parse(map_codegen.kernels(row))
    name = row.name
    return {node.name.removeprefix(f"{name}_"): node for node in tree.body}


def test_text_of_kernels():
    made = kernels("multiply")
    assert ast.unparse(made["forward"]) == lines(
        "@forward('')", "def multiply_forward(x, y):", "    return x * y"
    )
    assert ast.unparse(made["reverse"]) == lines(
        "@reverse('xy')", "def multiply_reverse(x, y, w):", "",
        "    def dx():", "        return mz(w, y)", "",
        "    def dy():", "        return mz(w, x)",
        "    return (dx, dy)",
    )  # fmt: skip
    assert ast.unparse(made["second"].body[0]) == lines(
        "def dx():", "    return (mz(w, y), mz(wt, y) + mz(w, yt))"
    )


def test_kernels_read_only_what_they_use():
    made = kernels("exp")
    parameters = {name: ast.unparse(node.args) for name, node in made.items()}
    assert parameters == {
        "forward": "x", "reverse": "z, w", "tangent": "z, xt", "second": "z, zt, w, wt"
    }  # fmt: skip


def test_functions_that_operands_share_are_computed_once():
    """What both need before either; what one needs, when it is asked for."""
    reverse = ast.unparse(kernels("arctan2")["reverse"])
    assert reverse.count("hypot(") == 1 and reverse.index("hypot(") < reverse.index("def dx")
    second = kernels("sin")["second"]
    (dx, _) = second.body
    assert [ast.unparse(s) for s in dx.body[:1]] == ["f0 = cos(x)"]


def test_kernels_of_a_row_do_not_share_names():
    """What was computed once for `reverse` has other names in `second`."""
    for row in [r for r in ROWS.values() if r.kind not in STRUCTURE]:
        for kernel in ast.parse(map_codegen.kernels(row)).body:
            if isinstance(kernel, ast.FunctionDef):
                names = [n for n in ast.walk(kernel) if isinstance(n, ast.Name)]
                stored = [n.id for n in names if isinstance(n.ctx, ast.Store)]
                used = {n.id for n in names if re.fullmatch(r"f\d", n.id)}
                assert sorted(stored) == sorted(used), row.name
    betaln = Op("betaln", BINARY, "gammaln(x) + gammaln(y) - gammaln(x + y)",
                "digamma(x) - digamma(x + y)", "digamma(y) - digamma(x + y)")  # fmt: skip
    text = ast.unparse(kernels_of(betaln)["second"])
    name = re.search(r"(f\d) = digamma\(x \+ y\)", text)[1]
    assert re.search(rf"mz\(w, f\d - {name}\)", text)


def test_operands_without_derivative_get_no_function():
    made = kernels("where")
    assert ast.unparse(made["reverse"].decorator_list[0]) == "reverse('yu')"
    assert map_codegen.kernels(ROWS["floor"]).count("def ") == 1
    assert "floor_reverse = nothing" in map_codegen.kernels(ROWS["floor"])


def test_order_of_polygamma_is_constant():
    assert ast.unparse(kernels("polygamma")["reverse"].decorator_list[0]) == "reverse('y')"


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
