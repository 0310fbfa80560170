"""Damaged and hostile files, thousands of them: `python tests/fuzz_files.py 100000`.

Each file is made from a sound one by a seed: bytes flipped, cut, spliced or put in, before and
after compression; numbers of columns and values of the header replaced, so that only our own checks
stand between a file and the sweeps.  What is accepted is swept in all four ways.  A child process
does the work with 2 GiB of address space; whatever it dies of, and every exception that is none of
ndtape's, is reported with the seed that shows it again: `python tests/fuzz_files.py --seed 4711`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ndtape as nt
from ndtape import files
from ndtape.run import Flip, Workspace
from ndtape.traced.hot import cost
from ndtape.trees import flatten, unflatten

MEMORY = 2 << 30
SECONDS = 20  # that one file may take
LONGEST = 0.05  # seconds of a sweep by estimate; longer ones are not taken
NUMBERS = (0, 1, 2, 3, 5, 7, 8, 16, 63, 64, 255, 256, 511, 512, 1 << 16, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 2, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, -1, -2, -5,
           -(1 << 31), -(1 << 63))  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e300, -1e300, 5e-324, np.nan, np.inf, -np.inf, 3.0)
WORDS = ("", "x", "input", "|u1", "<f8", "<f4", "wide", "tape", "function", "tuple", "dict", "f",
         "ndtape:solve", "ndtape:argsort", "none", "sqrt", "0x1p+1", "a" * 300)  # fmt: skip


# --- sound files ----------------------------------------------------------------------------------


@nt.custom_vjp
def bent(x):
    return nt.sin(x)


bent.defvjp(lambda x: (bent(x), x), lambda x, w: (w * nt.cos(x),))


def scalars(x, n):
    y = 1.0
    for _ in range(n):
        y = y * x if y < 3.0 else nt.arctan2(y, x) + bent(y)
    return {"y": y, "z": (x > 0.5, 7, "text", None)}


def arrays(p, x):
    h = np.tanh(p["W"] @ x + p["b"])
    h[1] = h[0] * x[2]
    parts = np.concatenate([h[::-1], x * p["s"]])
    picked = parts[np.argsort(parts)][[0, 2, 2]]
    return picked.sum() + np.cumsum(parts)[-1] * np.max(h) - np.sum(p["W"] * p["W"])


def single(x):
    return (np.exp(x.astype(np.float32)) * np.float32(2.0)).sum()


def loops(w, xs):
    def step(h, x):
        inner, _ = nt.scan(lambda c, e: (c * 0.5 + e * w, None), h[0], np.ones(2))
        h = np.tanh(h * w + x)
        return (h + 0.1 * inner if h[0] > 0.0 else h), h.sum()

    h, ys = nt.scan(step, np.zeros(2), xs, checkpoint=nt.schedules.sqrt())
    return h.sum() + ys @ ys


def taped() -> Any:
    """A tape with a value that has a name."""
    x, w = nt.var(0.5, name="x"), nt.var([[0.1, 0.2], [0.3, 0.4]], name="w")
    with nt.Tape(lines=True) as tape:
        y = nt.sin(x) * np.linalg.det(w) + (w * x).sum() ** 2
    return nt.load(io.BytesIO(files.saved_bytes(tape, y=y)))


def linear(a, b):
    return np.linalg.solve(a, b).sum() + np.linalg.slogdet(a)[1]


RNG = np.random.default_rng(3)
P = {"W": RNG.normal(size=(3, 3)), "b": RNG.normal(size=3), "s": 0.5}
CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    (scalars, (0.5, 5)), (scalars, (1.5, 6)), (scalars, (2.5, 6)),
    (arrays, (P, RNG.normal(size=3))), (single, (RNG.normal(size=4),)),
    (loops, (0.7, RNG.normal(size=(5, 2)))), (linear, (np.eye(3) + 0.1, np.ones(3))),
]  # fmt: skip


def corpus() -> list[bytes]:
    """Files of all kinds, compressed and not."""
    made: dict[Any, Any] = {None: taped()}
    for f, args in CALLS:
        made.setdefault(f, nt.function(f))(*args)
    return [files.saved_bytes(x, compress) for x in made.values() for compress in (True, False)]


# --- damage ---------------------------------------------------------------------------------------


def damaged(rng: random.Random, sound: list[bytes]) -> bytes:
    """A file made from a sound one, or from two."""
    data = rng.choice(sound)
    way = rng.choices((raw, inside, told), (2, 4, 5))[0]
    return way(rng, data, sound)


def raw(rng: random.Random, data: bytes, sound: list[bytes]) -> bytes:
    """Bytes of the file itself."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 50))):
        if not made:
            break
        i, n = rng.randrange(len(made)), rng.choice((1, 2, 4, 30, 300))
        kind = rng.randrange(6)
        if kind == 0:
            made[i] ^= 1 << rng.randrange(8)
        elif kind == 1:
            made[i] = rng.randrange(256)
        elif kind == 2:
            del made[i:]
        elif kind == 3:
            del made[i : i + n]
        elif kind == 4:
            other = rng.choice(sound)
            j = rng.randrange(len(other))
            made[i : i + n] = other[j : j + n]
        else:
            made[i:i] = rng.randbytes(n) if rng.random() < 0.5 else bytes(n)
    return bytes(made)


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(members: dict[str, bytes], rng: random.Random) -> bytes:
    """A zip of these members, with sums that are right."""
    file = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def inside(rng: random.Random, data: bytes, sound: list[bytes]) -> bytes:
    """Contents of members: numbers of columns, bytes of anything, members of other files."""
    members = unpacked(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        name = rng.choice(list(members))
        kind = rng.randrange(8)
        if kind == 0:
            members[name] = raw(rng, members[name], sound)
        elif kind == 1:
            other = unpacked(rng.choice(sound))
            members[name] = other.get(name, members[name])
        elif kind == 2 and len(members) > 1:
            del members[name]
        else:
            name = rng.choice([n for n in members if n != "header.npy"] or [name])
            members[name] = renumbered(rng, members[name])
    return packed(members, rng)


def renumbered(rng: random.Random, content: bytes) -> bytes:
    """Numbers of a vector replaced by other ones of it, their neighbours, and extreme ones."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:  # NumPy has many for what is damaged
        return content
    array = array.copy()
    if not array.size or array.ndim != 1:
        return content
    for _ in range(rng.choice((1, 1, 2, 3, 10))):
        i = rng.randrange(len(array))
        if array.dtype.kind == "f":
            array[i] = rng.choice((*FLOATS, float(array[rng.randrange(len(array))])))
            continue
        number = rng.choice((
            rng.choice(NUMBERS), int(array[rng.randrange(len(array))]), int(array[i]) + 1,
            int(array[i]) - 1, rng.randrange(20), len(array),
        ))  # fmt: skip
        array[i] = np.array(number & (1 << 64) - 1, np.uint64).astype(array.dtype)
    if rng.random() < 0.1:
        array = array[: rng.randrange(len(array) + 1)]
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def told(rng: random.Random, data: bytes, sound: list[bytes]) -> bytes:
    """Values of the header replaced; at times numbers of the columns as well."""
    members = unpacked(data)
    header = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        changed(rng, header)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    file = io.BytesIO()
    np.save(file, text)
    members["header.npy"] = file.getvalue()
    if rng.random() < 0.3:
        name = rng.choice([n for n in members if n != "header.npy"])
        members[name] = renumbered(rng, members[name])
    return packed(members, rng)


def changed(rng: random.Random, header: Any) -> None:
    """Replace, drop, double or swap one value somewhere in the header."""
    holder, key = rng.choice(list(places(header)))
    below = holder[key]
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    kind = rng.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(below)))
    elif kind == 2:
        other = rng.choice(keys)
        holder[key], holder[other] = holder[other], holder[key]
    elif kind < 6 and isinstance(below, int):
        holder[key] = below + rng.choice((-1, 1, 1, 2, 8))
    else:
        holder[key] = rng.choice((
            None, True, False, [], {}, 0.5, [0], [[1]], {"tuple": [0]}, rng.choice(NUMBERS),
            rng.choice(NUMBERS), rng.choice(WORDS), rng.randrange(12),
        ))  # fmt: skip


def places(x: Any) -> Any:
    """Every value inside a value of JSON, as its holder and its key."""
    for key in list(x) if isinstance(x, dict) else range(len(x)):
        yield x, key
        if isinstance(x[key], (dict, list)):
            yield from places(x[key])


# --- one file -------------------------------------------------------------------------------------


class Swept(NamedTuple):
    """What became of a file."""

    kind: str  # "refused", "accepted" or "failed"
    told: str


def tried(data: bytes) -> Swept:
    """Load a file, and sweep all that is accepted."""
    try:
        thing = nt.load(io.BytesIO(data))
    except nt.TapeFileError as error:
        return Swept("refused", str(error))
    except BaseException:
        return Swept("failed", traceback.format_exc())
    try:
        swept(thing)
    except (nt.TapeError, Flip) as error:
        return Swept("accepted", f"{type(error).__name__}: {error}")
    except BaseException:
        return Swept("failed", traceback.format_exc())
    return Swept("accepted", "")


def swept(thing: Any) -> None:
    """All sweeps over all tapes, and what users do with them."""
    if isinstance(thing, nt.Tape):
        nt.verify(thing)
        str(thing)
        over(thing, thing.work, 0)
        for name in thing.results:
            thing.gradient(name, [leaf.name for _, leaf in thing.inputs if leaf.name])
        return
    assert isinstance(thing, nt.Function)
    repr(thing), str(thing.explain())
    for program in thing.all_programs():
        for trace in program.traces:
            nt.verify(trace.tape)
            for seed in (1, 2):  # a file has no inputs; a guard may send some of them away
                work = trace.borrow()
                work.set_inputs(np.random.default_rng(seed).normal(size=trace.leading[1]))
                with suppress(Flip):
                    over(trace.tape, work, trace.leading[1])
                    trace.output.read(work.array("v"))
    if all(map(short, thing.tapes)):
        thing.optimize()
        for f, args in CALLS:
            if thing.name == f.__name__:
                called(thing, args)


def called(thing: nt.Function, args: tuple[Any, ...]) -> None:
    """As its user would: plainly, with recording values, under transforms."""
    leaves, structure = flatten(args)
    recording = [nt.var(x) if isinstance(x, (float, np.ndarray)) else x for x in leaves]

    def total(*given: Any) -> Any:
        parts = [x for x in flatten(thing(*given))[0] if isinstance(x, (float, nt.Var, nt.Array))]
        return sum([nt.sin(x) if isinstance(x, (float, nt.Var)) else x.sum() for x in parts], 0.0)

    for call in (
        lambda: thing(*args),
        lambda: str(thing(*unflatten(structure, recording))),
        lambda: nt.grad(thing)(*args),
        lambda: nt.grad(nt.function(total))(*args),
    ):
        with suppress(nt.TapeError):
            call()


def short(tape: Any) -> bool:
    slots = tape.slots < 1 << 20 and len(tape) < 1 << 20
    loops = [call.loop for call in tape.calls if call.loop is not None]
    small = all(loop.steps < 1 << 12 and all(short(b.tape) for b in loop.bodies) for loop in loops)
    return slots and small and cost(tape) < LONGEST


def over(tape: Any, work: Workspace, inputs: int) -> None:
    if not len(tape) or not short(tape):
        return
    with np.errstate(all="ignore"):
        work.forward()
        root = tape.slots - 1
        work.reverse({root: 1.0})
        seeds = dict.fromkeys(range(min(max(inputs, 1), 8)), 1.0)
        work.tangent(seeds)
        work.second(root, seeds)


# --- many files -----------------------------------------------------------------------------------


def limited() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def worked(first: int, last: int, told_at: str) -> None:
    """The child: seeds first..last; the one under way stands in a file, failures on stdout."""
    sound = corpus()
    for data in sound:
        result = tried(data)
        assert result == ("accepted", ""), result
    limited()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    counts: Counter[str] = Counter()
    with open(told_at, "r+b", 0) as place:
        for seed in range(first, last):
            place.seek(0)
            place.write(b"%-20d" % seed)
            signal.alarm(SECONDS)
            result = tried(damaged(random.Random(seed), sound))
            signal.alarm(0)
            counts[result.kind] += 1
            counts["swept to an error of ndtape"] += result.kind == "accepted" and bool(result.told)
            if result.kind == "failed":
                print(json.dumps({"seed": seed, "told": result.told}), flush=True)
    print(json.dumps({"counts": counts}), flush=True)


def fuzzed(count: int, start: int = 0, children: int = 1) -> tuple[Counter[str], list[str]]:
    """So many files; counts, and a text for each failure."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    share = -(-count // children)
    parts = [(start + j * share, min(start + (j + 1) * share, start + count))
             for j in range(children)]  # fmt: skip
    running = [begun(*part) for part in parts]
    while running:
        child, place, last = running.pop(0)
        with child:
            for line in child.stdout or ():
                found = json.loads(line)
                counts.update(found.get("counts", {}))
                if "seed" in found:
                    failures.append(f"seed {found['seed']}: {found['told']}")
        code, seed = child.returncode, int(place.read_text().split()[0])
        if code:
            failures.append(f"seed {seed}: the process died with {code}")
            if seed + 1 < last:
                running.append(begun(seed + 1, last))
        place.unlink()
    return counts, failures


def begun(first: int, last: int) -> tuple[subprocess.Popen[str], Path, int]:
    handle, name = tempfile.mkstemp(prefix="fuzz_files_")
    os.close(handle)
    place = Path(name)
    place.write_text(f"{first} (not begun)")
    call = [sys.executable, __file__, "--child", str(first), str(last), str(place)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, text=True), place, last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=int, nargs="?", default=1000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--seed", type=int, help="one file, in this process")
    parser.add_argument("--child", nargs=3, metavar=("FIRST", "LAST", "PLACE"))
    given = parser.parse_args()
    if given.child:
        worked(int(given.child[0]), int(given.child[1]), given.child[2])
    elif given.seed is not None:
        print(*tried(damaged(random.Random(given.seed), corpus())), sep="\n")
    else:
        start = time.perf_counter()
        counts, failures = fuzzed(given.files, given.start, given.children)
        print(*failures, sep="\n")
        print(f"{given.files} files in {time.perf_counter() - start:.0f} s: {dict(counts)}, "
              f"{len(failures)} failures")  # fmt: skip
        sys.exit(bool(failures))


if __name__ == "__main__":
    main()
