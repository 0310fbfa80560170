"""What does not fit into memory is refused before it is allocated, with the figures."""

import resource
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import ndtape as nt
from ndtape import memory
from ndtape.memory import Available
from ndtape.run import Workspace

PLENTY = 1 << 50


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Stand-ins for /proc and /sys/fs/cgroup: writes a file by its path and text."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return put


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes there are, and counts who asked."""
    asked = []

    def say(count):
        monkeypatch.setattr(memory, "SMALL", 1)
        monkeypatch.setattr(
            memory,
            "available",
            lambda: asked.append(1) or Available(count, "of 1 kB on this machine"),
        )
        return asked

    return say


# --- what there is --------------------------------------------------------------------------------


def test_this_machine():
    there = memory.available()
    assert there is None or (there.bytes > 0 and there.limit)


def test_the_machine(files):
    files("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable:   500 kB\nSwapFree: 20 kB\n")
    assert list(memory.of_machine()) == [(520 * 1024, "of 1.0 MB on this machine")]


@pytest.mark.parametrize("inside", [False, True])
def test_control_groups(files, inside):
    """Inside a container only the root of its groups is to be seen."""
    files("proc/self/cgroup", "0::/jobs/one\n")
    files("groups/memory.max", "9000\n" if inside else "max\n")
    files("groups/memory.current", "1000\n")
    if not inside:
        files("groups/jobs/memory.max", "7000\n")
        files("groups/jobs/memory.current", "5000\n")
        files("groups/jobs/memory.stat", "anon 1\ninactive_file 1500\n")
        files("groups/jobs/one/memory.max", "max\n")
        files("groups/jobs/one/memory.current", "1000\n")
    (found,) = memory.of_groups()
    limit, free = ("9.0 kB", 8000) if inside else ("7.0 kB", 3500)
    assert found == (free, f"the control group of this process has {limit}")


def test_control_groups_of_the_first_version(files):
    files("proc/self/cgroup", "3:cpuset:/\n4:memory:/a\nnonsense\n0::/\n")
    files("groups/memory/a/memory.limit_in_bytes", "2000")
    files("groups/memory/a/memory.usage_in_bytes", "2500")
    files("groups/memory/memory.limit_in_bytes", str((1 << 63) - 4096))
    files("groups/memory/memory.usage_in_bytes", "1")
    assert [x.bytes for x in memory.of_groups()] == [0]


def test_limits_of_the_process(files, monkeypatch):
    files("proc/self/status", "Name: x\nVmSize:\t  10 kB\nVmData:\t 2 kB\n")
    limits = {resource.RLIMIT_AS: 50_240, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], PLENTY))
    assert list(memory.of_process()) == [(40_000, "RLIMIT_AS allows this process 50.2 kB")]


def test_nothing_known(files, monkeypatch):
    monkeypatch.setattr(memory, "of_process", lambda: iter(()))
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.available() is None
    memory.check(PLENTY, "a sweep needs", "buy some")


# --- what is refused ------------------------------------------------------------------------------


def chain(n):
    x = nt.var(1.0)
    with nt.Tape() as tape:
        y = x
        for _ in range(n):
            y = nt.sin(y)
    return tape.whole(), y


def test_a_gradient_is_refused_before_its_forward_sweep(free):
    tape, y = chain(1000)
    work = Workspace(tape)
    free(10_000)
    with pytest.raises(nt.TapeFullError) as info:
        work.reverse({y.slot: 1.0})
    assert str(info.value) == (
        "the values and adjoints of a tape with 1001 instructions and 1001 slots need 16.0 kB, and "
        "there are 10.0 kB (of 1 kB on this machine): put parts of the function into "
        "nt.checkpoint, or its loop into nt.scan with a schedule"
    )
    assert not work.arrays and work.swept == 0
    work.forward()  # values alone fit
    with pytest.raises(nt.TapeFullError, match=r"the adjoints of a tape .* need 8\.0 kB"):
        free(8_000)
        work.reverse({y.slot: 1.0})
    free(9_000)
    assert work.reverse({y.slot: 1.0})[0] != 0.0


def test_second_derivatives_need_four_buffers(free):
    tape, y = chain(100)
    free(3 * 808)
    with pytest.raises(nt.TapeFullError, match="values and tangents and adjoints and tangents of"):
        Workspace(tape).second(y.slot, {0: 1.0})


def test_lanes(free):
    tape, _ = chain(100)
    free(16 * 808 - 1)
    with pytest.raises(nt.TapeFullError, match=r"101 slots, 16 side by side.*without nt\.vmap"):
        Workspace(tape, 16).forward()


def test_gradients_of_users(free):
    f = nt.function(lambda x: np.sum(np.sin(x) * x))
    free(100)
    with pytest.raises(nt.TapeFullError, match="need"):
        nt.grad(f)(np.ones(50))
    free(PLENTY)
    assert np.all(np.isfinite(nt.grad(f)(np.ones(50))))


def test_loops_name_their_schedule(free):
    def total(x):
        return nt.scan(lambda c, _: (nt.sin(c), c), x, None, length=200)[0]

    free(1000)
    with pytest.raises(nt.TapeFullError, match=r"a loop keeps .*=nt\.schedules\.sqrt"):
        nt.grad(total)(1.0)


def test_small_buffers_are_not_looked_at(free, monkeypatch):
    asked = free(PLENTY)
    monkeypatch.setattr(memory, "SMALL", 1 << 26)
    tape, y = chain(50)
    Workspace(tape).reverse({y.slot: 1.0})
    assert not asked


def test_under_a_real_limit():
    """A process that may have 2 GB more than it has asks for 8."""
    program = """
        import resource, numpy as np, ndtape as nt
        from ndtape import memory
        from ndtape.run import Workspace
        used = memory._fields(memory.PROC / "self" / "status").get("VmSize", 0)
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), resource.RLIM_INFINITY))
        tape = nt.Tape()
        x = np.broadcast_to(0.0, 1)
        for _ in range(2):
            slot = tape.append_wide(nt.ops.WIDE_CODES["skip"], 0, 0, (1 << 29, 0, 0, 0, 0))
        try:
            Workspace(tape.whole()).array("v")
        except nt.TapeFullError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert "need 8.6 GB" in done.stdout and "RLIMIT_AS allows this process" in done.stdout


# --- figures --------------------------------------------------------------------------------------


def test_stats_say_what_a_gradient_needs():
    tape, _ = chain(999)
    stats = tape.stats()
    assert stats.values == 8000
    words = tape.mn  # those of earlier tapes, which a new one knows
    assert stats.gradient == 1000 * 18 + 8 * (stats.constants + words) + 2 * 8000
    assert f"a gradient needs {memory.text(stats.gradient)}" in str(stats)
