"""Tapes and traced functions in files: round trips to the last bit, and what files refuse."""

import copy
import io
import json
import pickle
import random
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pass_programs
import pytest
import scan_programs
from fuzz_files import packed, unpacked

import ndtape as nt
from ndtape import files
from ndtape.trees import flatten

Pair = namedtuple("Pair", "left right")


@dataclass
class Params:
    w: Any
    b: Any
    power: int = field(default=2, metadata={"static": True})


class Line:
    def __init__(self, slope, offset):
        self.slope, self.offset = slope, offset


nt.register_tree(Line, lambda x: ((x.slope, x.offset), ("line", 1.5)), lambda _, c: Line(*c))


def again(thing: Any, **results: Any) -> Any:
    """What a file with it gives back; written again, the bytes are the same."""
    data = files.saved_bytes(thing, **results)
    found = files.loads(data)
    assert files.saved_bytes(found) == data
    return found


def equal(one: Any, two: Any) -> bool:
    """Equal trees, to the last bit."""
    (a, s), (b, t) = flatten(one), flatten(two)
    return s == t and all(
        type(x) is type(y) and np.array_equal(x, y, equal_nan=isinstance(x, (float, np.ndarray)))
        for x, y in zip(a, b, strict=True)
    )


# --- tapes ----------------------------------------------------------------------------------------


def test_a_tape_comes_back_with_names_lines_values_and_gradients(tmp_path):
    x, w = nt.var(0.5, name="x"), nt.var(np.float32([[1.0, 2.0], [3.0, 4.0]]), name="w")
    z = nt.var(np.array(3.0))
    with nt.Tape(lines=True) as tape:
        h = np.tanh(w * x) @ nt.array([1.0, z])
        h[0] *= 2.0
        y = h.sum() + nt.sin(x)
    tape.save(tmp_path / "tape.npz", y=y, h=h, path=y, compress=h)
    loaded = nt.load(tmp_path / "tape.npz")
    nt.verify(loaded)
    assert loaded == tape and str(loaded) == str(tape) and "test_files.py" in loaded.where(3)
    assert loaded.listing() == tape.listing()
    assert loaded["y"].value == y.value and equal(loaded["h"].value, h.value)
    assert loaded["w"].dtype == np.float32 and loaded["w"].shape == (2, 2)
    assert equal(loaded.gradient("y", ["x", "w", "r0"]), tape.gradient(y, [x, w, w]))
    assert loaded.tangent("y", "x") == tape.tangent(y, x)
    loaded["y"].backward()
    assert loaded["x"].grad == tape.gradient(y, x)
    assert loaded[:2] == tape[:2]
    assert [path.name for path in tmp_path.iterdir()] == ["tape.npz"]
    with np.load(tmp_path / "tape.npz", allow_pickle=False) as archive:
        assert json.loads(bytes(archive["header"]))["version"] == 1
        assert np.array_equal(archive["op"], tape.columns()["op"])


def test_loaded_values_go_on_recording():
    x = nt.var(2.0, name="x")
    with nt.Tape() as tape:
        y = x * x
    loaded = again(tape, y=y)
    z = nt.sin(loaded["y"]) * loaded["x"]
    assert loaded.gradient(z, "x") == nt.grad(lambda x: nt.sin(x * x) * x)(2.0)
    assert again(loaded)["y"].value == 4.0


def test_names_that_are_not_there():
    with nt.Tape() as tape:
        y = nt.var(1.0, name="x") * 2.0
    with pytest.raises(nt.ArgumentError, match="nothing of the name 'q'; names are x"):
        tape["q"]
    with pytest.raises(nt.ArgumentError, match="r7"):
        tape["r7"]
    assert tape["r1"].value == y.value and tape["x"] is tape.inputs[0][1]


def test_other_tapes():
    assert again(nt.Tape()) == nt.Tape()
    with nt.Tape() as tape:
        x = nt.var([1.0, -2.0])
        y = np.sort(x) @ x
    assert again(nt.tape_of(again(nt.Tape()).columns())) == nt.Tape()
    piece = again(tape[:])
    assert piece == tape[:] == tape and piece["r0"].shape == (2,)
    f = nt.function(lambda x: x * x if x > 0.0 else -x)
    f(2.0), f(-1.0)
    for recorded in f.tapes:
        assert again(recorded) == recorded
    u, v = nt.var(2.0) * 3.0, nt.var(4.0) * 5.0
    first = u.tape
    assert again(first, u=u)["u"].value == 6.0
    w = u * v  # the tapes of u and v are one now
    assert again(first, u=u, w=w)["w"].value == 120.0
    for made in (copy.copy(tape), copy.deepcopy(tape), pickle.loads(pickle.dumps(tape))):
        assert made == tape and equal(
            made.gradient(f"r{made.slots - 1}", "r0"), tape.gradient(y, x)
        )


def test_what_a_tape_cannot_save():
    x = nt.var(2.0)
    with nt.Tape() as tape:
        y = x * x
    with pytest.raises(nt.TapeFileError, match="optimised tape is not saved"):
        nt.optimize(tape, y).save(io.BytesIO())
    with pytest.raises(nt.TapeFileError, match=r"y=3\.0 is no recording value"):
        tape.save(io.BytesIO(), y=3.0)
    with pytest.raises(nt.TapeFileError, match="y is a value of another tape"):
        tape.save(io.BytesIO(), y=nt.var(1.0) * 2.0)
    with pytest.raises(nt.TapeFileError, match="a tape or a traced function"):
        files.save(3.0, io.BytesIO())


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f.npz"
    nt.Tape().save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        with nt.Tape() as tape:
            nt.var(1.0) * 2.0
        tape.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_come_back_bit_for_bit(seed):
    """Guards, loops, calls, rules of one's own, float32, fused code: all that a tape can have."""
    f = nt.function(pass_programs.compiled(pass_programs.source(seed, 7)))
    points = pass_programs.points(seed, 2)
    for point in points:
        f(*point)
    loaded = again(f)
    positions = (0, 1, 2, 3)
    for point in points:
        assert equal(loaded(*point), f(*point))
        one, two = (nt.value_and_grad(g, argnums=positions)(*point) for g in (loaded, f))
        assert equal(one, two)
    for mine, theirs in zip(loaded.tapes, f.tapes, strict=True):
        assert mine.same(theirs, 4, len(theirs))  # but for the numbers of the arguments
        assert not mine.columns()["k"][mine.columns()["a"][:2]].any()


def test_branches_and_what_was_not_recorded():
    @nt.function
    def f(x, n):
        for _ in range(n):
            x = x * 1.5 if x < 10.0 else x - 3.0  # here
        return x

    f(1.0, 9), f(9.0, 9)
    loaded = again(f)
    nt.grad(f)(1.0, 9), nt.grad(loaded)(1.0, 9)
    for x in np.linspace(0.9, 1.05, 40).tolist():  # fast calls, with flips
        assert loaded(x, 9) == f(x, 9) and nt.grad(loaded)(x, 9) == nt.grad(f)(x, 9)
    line = f.f.__code__.co_firstlineno + 3
    with pytest.raises(nt.NotRecordedError, match=rf"test_files.py:{line} that was not taken"):
        loaded(50.0, 9)
    with pytest.raises(nt.NotRecordedError, match=r"saved for the arguments \(float, int\), not"):
        loaded(1.0, 9.0)
    with pytest.raises(nt.NotRecordedError, match="not for"):
        nt.grad(lambda x: loaded(x, x))(1.0)
    assert loaded(1.0, 9) == f(1.0, 9) and "2 tapes for 1 signature" in str(loaded.explain())
    assert repr(loaded).startswith("<loaded nt.function") and loaded.counters.recordings == 0


def test_arguments_and_results_of_all_kinds():
    def f(p, xs, d=None, *, scale=1.0, mode="a"):
        total = p.w * xs[0].left + p.b**p.power + xs[1]["u"] * xs[1]["v"] + xs[2][0] * scale
        total = total + xs[3].slope if mode == "a" else total - xs[3].offset
        if d is not None:
            total = total + d["k"] + d["o"][0]
        return {"y": total, "big": total > 1.0, "n": nt.floor(total), "same": (None, "text", 3),
                "pair": Pair(np.ones(2), total * np.arange(3.0))}  # fmt: skip

    traced = nt.function(f, static_argnames="mode")
    p, line = Params(1.5, 2.5), Line(0.5, 0.25)
    xs = [Pair(2.0, 1), OrderedDict(v=1.0, u=3.0), deque([0.5], maxlen=4), line]
    calls = [
        ((p, xs), {}),
        ((p, xs), {"scale": 2.0}),
        ((p, xs), {"mode": "b"}),
        ((p, xs, defaultdict(float, k=1.0, o=[2.0])), {}),
        ((p, xs, {"o": [2.0], "k": 1.0}), {}),
    ]
    for args, kwargs in calls:
        traced(*args, **kwargs)
    loaded = again(traced)
    for args, kwargs in calls:
        assert equal(loaded(*args, **kwargs), traced(*args, **kwargs))
        a, b = (
            nt.grad(lambda *q, g=g, words=kwargs: g(*q, **words)["y"])(*args)
            for g in (loaded, traced)
        )
        assert equal([a.w, a.b], [b.w, b.b]) and a.power == 2
    with pytest.raises(nt.NotRecordedError):
        loaded(Params(1.5, 2.5, power=3), xs)
    with pytest.raises(nt.NotRecordedError):
        loaded(p, xs, {"k": 1.0, "o": [2.0]})  # a loop over the items would go the other way


def test_keywords_are_not_a_dict_by_position():
    f = nt.function(lambda d=None, a=None: d["a"] * 2.0 if a is None else a * 5.0)
    for g in (f, f, None):
        g = again(f) if g is None else g
        for _ in range(3):
            assert g({"a": 1.0}) == 2.0 and g(a=1.0) == 5.0


def test_transforms_of_a_loaded_function():
    def f(w, x):
        h = np.tanh(w @ x)
        return (h @ x if h[0] > 0.0 else h.sum()) + np.linalg.slogdet(w)[1]

    f = nt.function(f)
    w, x = np.eye(3) + 0.1, np.array([0.5, -0.2, 0.3])
    f(w, x), f(w, -x)
    loaded = again(f)
    for g in (f, loaded):
        g.level = 1
    for make in (
        lambda g: nt.value_and_grad(g, argnums=(0, 1))(w, x),
        lambda g: nt.hessian(g, argnums=1)(w, -x),
        lambda g: nt.jvp(g, (w, x), (w, x)),
        lambda g: nt.hvp(g, (w, x), (w, x)),
        lambda g: nt.vjp(g, w, x)[1](2.0),
        lambda g: nt.vmap(g, in_axes=(None, 0))(w, np.stack([x, -x, 2.0 * x])),
        lambda g: nt.grad(nt.function(lambda a, b: g(a, b) ** 2))(w, -x),
        lambda g: nt.grad(lambda b: nt.grad(g, argnums=1)(w, b).sum())(x),
        lambda g: nt.minimize(lambda b: (g(w, b) - 1.0) ** 2, x).x,
    ):
        assert equal(make(loaded), make(f))
    assert equal(again(loaded)(w, x), f(w, x))
    assert len(loaded.optimize()) == len(f.optimize())
    with nt.no_grad():
        assert loaded(nt.var(w), x) == f(w, x)
    leaf = nt.var(x)
    loaded(w, leaf).backward()
    assert np.allclose(leaf.grad, nt.grad(f, argnums=1)(w, x), 1e-14)


def test_loops():
    """Bodies of all branches, loops inside loops, what they capture, and schedules."""

    def f(w, xs):
        def step(h, x):
            inner, _ = nt.scan(lambda c, e: (c * 0.5 + e * w, None), h[0], np.ones(3))
            h = np.tanh(h * w + x)
            return (h + 0.1 * inner if h[0] > 0.0 else h * 0.5), h.sum()

        h, ys = nt.scan(step, np.zeros(2), xs, checkpoint=nt.schedules.every(2))
        return h.sum() + ys @ ys

    line = f.__code__.co_firstlineno + 4
    f = nt.function(f)
    xs = np.array([[1.0, -1.0], [-2.0, 0.5], [0.3, 0.2], [-0.4, 0.1]])
    f(0.7, xs)
    loaded = again(f)
    for g in (lambda g: nt.value_and_grad(g, argnums=(0, 1)), lambda g: nt.hessian(g)):
        assert equal(g(loaded)(0.7, xs), g(f)(0.7, xs))
    only = nt.function(lambda w, xs: nt.scan(
        lambda h, x: (h + x if x > 0.0 else h - w * x, None), w, xs)[0])  # fmt: skip
    only(0.5, np.array([1.0, 2.0]))
    one_way = again(only)
    assert one_way(0.5, np.array([3.0, 4.0])) == 7.5
    where = rf"test_files.py:{line + 13} that no step had gone"
    with pytest.raises(nt.NotRecordedError, match=where):
        one_way(0.5, np.array([1.0, -2.0]))
    copied = pickle.loads(pickle.dumps(f.tapes[0]))  # tapes with loops are picklable, too
    assert copied == again(f.tapes[0]) == f.tapes[0]


def test_loops_on_several_tapes_know_the_bodies_of_one_another():
    def f(w, xs):
        h, _ = nt.scan(lambda h, x: (h + x if x > 0.0 else h - w * x, None), w, xs)
        return h * 2.0 if h > 3.0 else h

    f = nt.function(f)
    calls = [np.array([3.0, 4.0]), np.array([-1.0, 0.5]), np.array([-0.5, -1.0])]
    for xs in calls:
        f(0.5, xs)
    loaded = again(f)
    for xs in [*calls, *calls[::-1]]:
        assert loaded(0.5, xs) == f(0.5, xs)
        assert equal(nt.grad(loaded, (0, 1))(0.5, xs), nt.grad(f, (0, 1))(0.5, xs))


def test_a_body_that_is_tried_in_vain_need_not_know_all_branches():
    """Of the loop inside: another body of the loop around fits."""
    program = scan_programs.PROGRAMS["branch_inside_a_loop_inside"]
    f = nt.function(program.cost(nt.scan))
    for _ in range(3):
        expected = nt.value_and_grad(f, program.places)(*program.at())
    loaded = again(f)
    for _ in range(3):
        assert equal(nt.value_and_grad(loaded, program.places)(*program.at()), expected)


def test_captured_arrays_that_are_inputs():
    w = np.arange(3.0)
    f = nt.function(lambda x: (w * x).sum())
    f(2.0)
    w[:] = 5.0
    f(2.0)
    loaded = again(f)
    assert loaded(2.0) == f(2.0) == 30.0
    loaded.captured["w"][0] = 0.0
    assert [loaded(2.0) for _ in range(5)] == [20.0] * 5 and nt.grad(loaded)(1.0) == 10.0
    assert nt.grad(nt.grad(lambda x: loaded(x) ** 2))(1.0) == 200.0 and w[0] == 5.0


def test_nothing_to_save():
    f = nt.function(lambda x: x)
    with pytest.raises(nt.TapeFileError, match="has recorded nothing yet: call it once"):
        f.save(io.BytesIO())
    leaf = nt.var(1.0)
    g = nt.function(lambda x: x * leaf)
    g(1.0)
    with pytest.raises(nt.TapeFileError, match="captures values with a gradient"):
        g.save(io.BytesIO())
    h = nt.function(lambda x, thing: x * 2.0)
    h(1.0, object())
    with pytest.raises(nt.TapeFileError, match="knows by its identity"):
        h.save(io.BytesIO())


# --- what calls Python ----------------------------------------------------------------------------

cube = nt.primitive(lambda x: x**3, lambda w, z, x: (3.0 * w * x**2,), name="cube of test_files")


@nt.custom_jvp
def bent(x, y):
    return np.sin(x) * y


@bent.defjvp
def _rule(primals, tangents):
    (x, y), (s, t) = primals, tangents
    return bent(x, y), np.cos(x) * y * s + np.sin(x) * t


def test_primitives_are_found_by_their_names():
    f = nt.function(lambda x: cube(x).sum() + bent(x, 2.0 * x)[0])
    x = np.array([1.0, 2.0])
    f(x)
    data = files.saved_bytes(f)
    assert equal(nt.grad(files.loads(data))(x), nt.grad(f)(x))
    assert equal(nt.hessian(files.loads(data))(x), nt.hessian(f)(x))
    code = "import sys, ndtape as nt; nt.files.loads(sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
    assert b"TapeFileError" in done.stderr
    assert b"the primitive 'cube of test_files', which this process does not know" in done.stderr
    nameless = nt.function(lambda x: nt.primitive(lambda x: x, lambda w, z, x: (w,))(x).sum())
    nameless(x)
    with pytest.raises(nt.TapeFileError, match="no name of its own"):
        files.saved_bytes(nameless)
    kept = nt.function(lambda x: nt.checkpoint(np.tanh)(x).sum())
    kept(x)
    with pytest.raises(nt.TapeFileError, match=r"nt\.checkpoint"):
        files.saved_bytes(kept)


def test_what_a_primitive_raises_on_a_loaded_tape():
    def value(x):
        return {}["nothing"] if x[0] > 1.0 else x

    odd = nt.primitive(value, lambda w, z, x: (w,), name="odd of test_files")
    f = nt.function(lambda x: odd(x).sum())
    f(np.zeros(2))
    loaded = again(f)
    with pytest.raises(nt.TapeFileError, match="odd of test_files, which a loaded tape asks for"):
        loaded(np.ones(2) * 2.0)
    assert loaded(np.ones(2)) == 2.0


# --- damaged and hostile files --------------------------------------------------------------------


def header_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(np.load(io.BytesIO(unpacked(data)["header.npy"]))))
    return found


def with_header(data: bytes, header: Any) -> bytes:
    members, file = unpacked(data), io.BytesIO()
    np.save(file, np.frombuffer(json.dumps(header).encode(), np.uint8))
    return packed({**members, "header.npy": file.getvalue()}, random.Random(1))


@pytest.fixture(scope="module")
def sound():
    f = nt.function(lambda p: nt.scan(lambda c, x: (c * x, c), p["a"], p["x"])[0])
    f({"a": 1.0, "x": np.ones(3)})
    return files.saved_bytes(f)


def refused(data: bytes, sentence: str) -> None:
    with pytest.raises(nt.TapeFileError, match=sentence):
        files.loads(data)


def test_files_of_others(tmp_path, sound):
    with pytest.raises(FileNotFoundError):
        nt.load(tmp_path / "none.npz")
    refused(b"", "damaged, or was not written by ndtape")
    refused(sound[:-40], "damaged")
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    refused(file.getvalue(), "no header of ndtape")
    with pytest.raises(nt.TapeFileError, match=r"x\.npz is damaged"):
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
        nt.load(tmp_path / "x.npz")


def test_versions(sound):
    header = header_of(sound)
    later = {**header, "version": 2, "written_by": "9.9"}
    refused(with_header(sound, later), "by ndtape 9.9 in version 2 of the format.*upgrade")
    refused(with_header(sound, {**header, "version": "1"}), "has no version")
    header["operations"].append([77, "a new one", "vv"])
    refused(with_header(sound, header), "operation a new one .vv., which this version does not")


def test_opcodes_are_found_by_name(sound):
    """A file that another table of operations has written, whose numbers are others."""
    header, members = header_of(sound), unpacked(sound)
    op = np.load(io.BytesIO(members["op.npy"]))
    for row in header["operations"]:
        row[0] += 3
    file = io.BytesIO()
    np.save(file, op + np.uint16(3))
    moved = packed({**members, "op.npy": file.getvalue()}, random.Random(1))
    f, g = files.loads(with_header(moved, header)), files.loads(sound)
    assert f.tapes[0] == g.tapes[0]


def test_announcing_more_than_there_is(sound, tmp_path):
    """Refused by what is said, before memory is taken."""
    members = unpacked(sound)
    head = members["k.npy"][:128].replace(b"(", b"(9000000000000,), '").ljust(128)[:128]
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000000000,), }"
    lying = head[:10] + text.ljust(117) + b"\n" + members["k.npy"][128:]
    seed = random.Random(1)
    refused(packed({**members, "k.npy": lying}, seed), "announces 900000000000 numbers, and has")
    # A directory that says a member unfolds to more than deflate can make of it.
    forged = bytearray(files.saved_bytes(nt.Tape(), True))
    at = forged.rindex(b"PK\x01\x02")
    forged[at + 24 : at + 28] = (4_000_000_000).to_bytes(4, "little")
    refused(bytes(forged), "announces 4.0 GB for .*, more than its .* in the file can hold")
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with archive.open("x9.npy", "w", force_zip64=True) as out:
            for _ in range(140):
                out.write(bytes(1 << 20))
    code = (
        "import resource, sys, ndtape as nt\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 31,) * 2)\n"
        "try: nt.load(sys.argv[1])\n"
        "except nt.TapeFileError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True)
    assert "unfolds to 146.8 MB: checking it needs" in done.stdout, done.stderr


def test_no_code_and_no_objects(sound):
    file = io.BytesIO()
    np.save(file, np.array([print], object), allow_pickle=True)
    data = packed({**unpacked(sound), "x0.npy": file.getvalue()}, random.Random(1))
    refused(data, "no vector of numbers")
    header = header_of(sound)
    header["programs"][0]["arguments"][0][0] = {
        "dataclass": [["a", 0], ["x", 0]], "static": [], "class": "os:system",
    }  # fmt: skip
    refused(with_header(sound, header), "class system of os: import that before loading")
    header["programs"][0]["arguments"][0][0] = {
        "namedtuple": [0, 0], "class": "antigravity:Fly",
    }  # fmt: skip
    refused(with_header(sound, header), "class Fly of antigravity")
    assert "antigravity" not in sys.modules
    deep: Any = 0
    for _ in range(150):
        deep = {"list": [deep]}
    header["programs"][0]["arguments"][0][0] = deep
    refused(with_header(sound, header), "more than 100 containers")


@pytest.mark.parametrize(
    "path, value, sentence",
    [
        ("programs 0 traces 0 tape", 1, "another|used twice|argument|no input|guards"),
        ("programs 0 traces 0 results 0 1", 4000, "lies in slots|which it has not"),
        ("programs 0 traces 0 variables 0 1", "q", "damaged"),
        ("programs 0 traces 0 variables 1 0", [4], "no input of shape"),
        ("programs 0 kinds 0", ["q"], "no kind of argument"),
        ("options 2", 0, "the most tapes"),
        ("tapes 0 calls 0 loop steps", 5, "of 9 slots|operand|slots"),
        ("tapes 0 calls 0 loop steps", 0, "the steps of a loop"),
        ("tapes 0 calls 0 loop bodies", [], "no body"),
        ("tapes 0 calls 0 loop bodies 0 tape", 0, "number of a tape"),
        ("tapes 0 calls 0 loop bodies 0 leading", 1, "other inputs than the loop"),
        ("tapes 0 calls 0 loop schedule 0", "always", "no schedule"),
        ("tapes 0 calls 0 loop carry 0", [[9], "<f8"], "other inputs than the loop|of 9"),
        ("tapes 0 calls 0 shapes 0", [7], "operands of"),
        ("tapes 0 calls 0 loop schedule", ["every", [["k", 1 << 80]]], "an option must be"),
        ("tapes 0 lengths 0", 1, "announce columns"),
        ("places", [], "number of a line|not listed"),
    ],
)  # fmt: skip
def test_headers_that_do_not_fit(sound, path, value, sentence):
    header = header_of(sound)
    *way, last = [int(key) if key.isdigit() else key for key in path.split()]
    holder: Any = header
    for key in way:
        holder = holder[key]
    holder[last] = value
    refused(with_header(sound, header), sentence)


# --- pickles --------------------------------------------------------------------------------------


@nt.function
def decorated(x):
    return x * x if x > 0.0 else -x


def plainly(x):
    return nt.sin(x) * 3.0


traced_plainly = nt.function(plainly, optimize=1)


class Model:
    def __init__(self):
        self.w = np.ones(3)

    @nt.function
    def loss(self, x):
        return (self.w * x).sum()


def test_pickles_of_functions():
    cloudpickle = pytest.importorskip("cloudpickle")

    def sent(f, how=pickle):
        return pickle.loads(how.dumps(f))

    assert sent(decorated) is decorated and sent(traced_plainly) is traced_plainly
    other = copy.copy(decorated)
    other.level = 1
    assert sent(other).level == 1 and sent(other)(-2.0) == 2.0 and sent(other) is sent(other)
    a = np.array([2.0, 3.0])
    f = nt.function(lambda x: (a * x).sum())
    assert f(1.0) == sent(f)(1.0) == 5.0 and sent(f) is sent(f) is not f
    assert copy.deepcopy(f) is not copy.deepcopy(f)
    g = nt.grad(f)
    assert g(1.0) == g(2.0) == sent(g)(2.0) == sent(g, cloudpickle)(3.0) == 5.0

    @nt.function
    def down(x):
        return x if x < 0.0 else up(x - 2.0)

    @nt.function
    def up(x):
        return x if x < -9.0 else down(x - 1.0)

    assert down(7.0) == sent(down)(7.0) == sent(down, cloudpickle)(7.0) == -2.0
    model = Model()
    model.loss(1.0)
    assert sent(model).loss(2.0) == sent(model.loss)(2.0) == 6.0
    loaded = again(f)
    assert sent(loaded)(2.0) == copy.deepcopy(loaded)(2.0) == copy.copy(loaded)(2.0) == 10.0


def test_pickles_of_functions_of_main(monkeypatch):
    """By value, for other machines; by name where that cannot be, for children of this process."""
    pytest.importorskip("cloudpickle")
    lock = threading.Lock()

    def doubled(x):
        return 2.0 * x

    def locked(x):
        with lock:
            return 3.0 * x

    for f in (doubled, locked):
        f.__module__, f.__qualname__ = "__main__", f.__name__
        traced = nt.function(f)
        monkeypatch.setattr(sys.modules["__main__"], f.__name__, traced, raising=False)
        found = pickle.loads(pickle.dumps(traced))
        assert found(1.0) == traced(1.0) and (found is traced) == (f is locked)


def test_without_cloudpickle(monkeypatch):
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(nt.UnsupportedError, match=r'pip install "ndtape\[parallel\]"'):
        pickle.dumps(nt.function(lambda x: x))
    assert pickle.loads(pickle.dumps(decorated)) is decorated
