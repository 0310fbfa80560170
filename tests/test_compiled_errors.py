"""Errors of compiled functions: the user's line, the construct, what to do, and no more.

Wrong programs are functions with a mark on the line that the message must name.
"""

from __future__ import annotations

import functools
import inspect
import math
import subprocess
import sys
import textwrap
import threading

import numba
import numpy as np
import pytest

import ndtape as nt

DATA = np.arange(3.0)
LEAF = nt.var(2.0)
TABLE = {"a": 1.0}
MARK = "# !"
X = np.array([1.0, 2.0])


class Model:
    rate = 1.0

    def cost(self, x):
        return x * self.rate


MODEL = Model()
WRONG: list[tuple] = []


def wrong(*words, args=(1.0,), plain=False):
    """Decorator: this program fails with these words; `plain`: for plain numbers, too."""

    def register(f):
        WRONG.append((f, args, words, plain))
        return f

    return register


# --- writing --------------------------------------------------------------------------------------


@wrong("a recording float cannot be written into counts", "array of whole numbers", "np.zeros")
def into_integers(x):
    counts = np.zeros(3, np.int64)
    counts[0] = x  # !
    return x


@wrong("DATA is a global array", "argument", plain=True)
def into_global(x):
    DATA[0] = x  # !
    return x


@wrong("a recording float cannot be written into s, a list of floats", "np.zeros")
def into_list_of_floats(x):
    s = [1.0, 2.0]
    s[0] = x  # !
    return s[0]


@wrong("cannot be written into t, a tuple", plain=True)
def into_tuple(x):
    t = (x, x)
    t[0] = x  # !
    return x


@wrong("x", "a string", plain=True, args=(X,))
def into_array_a_string(x):
    x[0] = "a"  # !
    return x[1]


# --- variables ------------------------------------------------------------------------------------


@wrong("y is a float in one place and a plain 1-dimensional array", plain=True)
def two_kinds(x):
    y = x
    if x > 0:
        y = np.zeros(3)  # !
    return y


@wrong("the function returns a", "results are of one kind", plain=True)
def two_results(x):
    if x > 0:
        return x
    return np.zeros(2)  # !


@wrong("the list s", plain=True)
def empty_list(x):
    s = []  # !
    return x + len(s)


@wrong("name no_such_name is not defined", plain=True)
def undefined(x):
    return x + no_such_name  # !  # noqa: F821


@wrong("LEAF is a recording value from outside", "argument", plain=True)
def captured_leaf(x):
    return x * LEAF  # !


@wrong("cannot use TABLE, a dict from outside", "arguments", plain=True)
def captured_dict(x):
    return x * TABLE["a"]  # !


@wrong("cannot use MODEL, a Model from outside", plain=True)
def captured_object(x):
    return x * MODEL.rate  # !


@wrong("cannot use Model, the class Model", plain=True)
def makes_object(x):
    model = Model()  # !
    return x * model.rate


# --- functions and operators ----------------------------------------------------------------------


@wrong("Numba does not support `+` of a float and a string", plain=True)
def adds_string(x):
    return x + "a"  # !


@wrong("the recorder does not support `*` of a recording float and a complex number")
def complex_number(x):
    return x * 1j  # !


@wrong("`@` of a float and a float", plain=True)
def product_of_scalars(x):
    return x @ x  # !


@wrong("the recorder does not support np.unique() of a recording 1-dimensional array", args=(X,))
def unsupported_function(x):
    y = 2.0 * x
    return np.unique(y)[0]  # !


@wrong("np.linalg.eigvals() of a recording 2-dimensional array", args=(np.eye(2),))
def unsupported_linalg(x):
    return np.linalg.eigvals(x)[0]  # !


@wrong("there is no np.foo", plain=True)
def missing_function(x):
    return np.foo(x)  # !


@wrong("Numba does not know np.fft.rfft", args=(X,), plain=True)
def unknown_to_numba(x):
    return np.fft.rfft(x)[0]  # !


@wrong("math.sin() of a float and a float", plain=True)
def too_many_operands(x):
    return math.sin(x, x)  # !


@wrong("x is a float, not a function", plain=True)
def calls_float(x):
    return x(1.0)  # !


@wrong("range() of a recording float", "int(...)")
def range_of_float(x):
    s = x
    for _ in range(x):  # !
        s += x
    return s


@wrong("iterating over a float", plain=True)
def iterates_float(x):
    for y in x:  # !
        x = y
    return x


@wrong("indexing a plain 1-dimensional array of floats by a float", args=(X,), plain=True)
def float_index(x):
    return x[x[0]]  # !


@wrong("by a string", args=(X,), plain=True)
def string_index(x):
    return x["a"]  # !


@wrong("the attribute .value of a float", plain=True)
def attribute(x):
    return x.value  # !


@wrong("the attribute .item of a recording float")
def method(x):
    return x.item()  # !


@wrong("isinstance() of a recording float")
def asks_type(x):
    return x if isinstance(x, float) else 2 * x  # !


@wrong("helper(): missing a required argument: 'b'", plain=True)
def calls_with_too_few(x):
    return helper(x)  # !


def helper(a, b):
    return a * b


# --- statements -----------------------------------------------------------------------------------


@wrong("`except Exception`", plain=True)
def catches_one(x):
    try:
        y = x * 2
    except ValueError:  # !
        y = x
    return y


@wrong("`with`", plain=True)
def with_file(x):
    with open("a") as f:  # !
        f.close()
    return x


@wrong("yield", plain=True)
def generator_expression(x):
    s = 0.0
    for v in (x * i for i in range(3)):  # !
        s += v
    return s


@wrong("format spec", plain=True)
def formats(x):
    return x * len(f"{x:.3f}")  # !


@wrong("a set of a recording float and a whole number")
def makes_set(x):
    s = {x, 1}  # !
    return x * len(s)


@wrong("the attribute .rate of a float cannot be set", plain=True)
def sets_attribute(x):
    x.rate = 1.0  # !
    return x


@wrong("nt.grad does not work inside", plain=True)
def gradient_inside(x):
    return nt.grad(helper)(x, 1.0)  # !


@wrong("Cannot capture the non-constant value", plain=True)
def functions_in_a_list(x):
    k = [lambda y: y * x, lambda y: y]  # !
    return k[0](x)


@wrong("classes made inside", plain=True)
def class_inside(x):
    class Inner:  # !
        pass

    return x


@wrong("imports inside", plain=True)
def import_inside(x):
    import os  # !  # noqa: F401

    return x


@wrong("writing a global variable", plain=True)
def writes_global(x):
    global COUNT
    COUNT = 3  # !
    return x


@wrong("a starred name", plain=True)
def starred(x):
    a, *_ = (x, x, x)  # !
    return a


@wrong("calls itself", plain=True)
def endless(x):
    return endless(x - 1)  # !


@wrong("a result is", "a list of recording floats")
def returns_list(x):  # !
    return [x, x]


@wrong("a result is", "or None")
def returns_nothing_sometimes(x):  # !
    if x > 0:
        return x


# --- in other functions ---------------------------------------------------------------------------


def deepest(x):
    return x.bit_length()


@numba.njit
def deeper(x):
    return deepest(x) + 1.0


@nt.jit
def deep(x):
    return deeper(2.0 * x)


def expected_line(f):
    lines, first = inspect.getsourcelines(f)
    return first + next(i for i, line in enumerate(lines) if MARK in line)


@nt.jit
def right(x):
    return math.sin(x) * x


def works():
    assert nt.grad(right)(1.0) == math.cos(1.0) + math.sin(1.0)
    assert right(1.0) == math.sin(1.0)


def failure(call, *args) -> str:
    with pytest.raises(nt.CompileError) as caught:
        call(*args)
    assert isinstance(caught.value, TypeError)
    assert caught.value.__cause__ is None
    return str(caught.value)


def check(text, f, line, words):
    where, *rest = text.split("\n")
    assert where.startswith(f"{inspect.getsourcefile(f)}:{line}, in {f.__name__}: ")
    source = inspect.getsource(sys.modules[f.__module__]).split("\n")[line - 1]
    assert where.endswith(source.strip())
    assert len(rest) == 2 and len(rest[0]) < 200 and "NDTAPE_NUMBA_ERRORS=1" in rest[1]
    for word in words:
        assert word in rest[0]


@pytest.mark.parametrize("program", WRONG, ids=lambda p: p[0].__name__)
def test_wrong_programs(program):
    f, args, words, plain = program
    made = nt.jit(f, cache=False)
    for _ in range(2):
        check(failure(nt.grad(made), *args), f, expected_line(f), words)
    if plain:
        check(failure(made, *args), f, expected_line(f), words)
    else:
        made(*args)
    works()


@pytest.mark.parametrize("f", [complex_number, undefined, class_inside, method, asks_type])
def test_the_same_on_a_tape_of_instructions(f):
    words = next(words for g, _, words, _ in WRONG if g is f)
    made = nt.jit(f, cache=False)
    x = nt.var(1.0)
    for call in (lambda: made(x), lambda: nt.function(made)(1.0), lambda: nt.hessian(made)(1.0)):
        check(failure(call), f, expected_line(f), words)
    y = right(x) * 2.0
    y.backward()
    assert x.grad == 2.0 * (math.cos(1.0) + math.sin(1.0))


def test_in_a_function_called_by_a_function():
    line = inspect.getsourcelines(deepest)[1] + 1
    check(failure(nt.grad(deep), 1.0), deepest, line, ["attribute .bit_length of a float"])
    check(failure(deep, 1.0), deepest, line, ["attribute .bit_length of a float"])


def test_math_of_an_array():
    f = nt.jit(lambda x: math.sin(x))
    text = failure(f, X)
    assert "math.sin() of a plain 1-dimensional array of floats; of arrays take np.sin" in text


def test_a_function_without_source():
    space = {"np": np}
    exec("def f(x):\n    y = np.zeros(2, np.int64)\n    y[0] = x\n    return x", space)
    text = failure(nt.grad(nt.jit(space["f"])), 1.0)
    assert text.startswith("<string>:3, in f: ")
    assert "cannot be written into y" in text


def test_the_whole_report(monkeypatch):
    made = nt.jit(into_integers, cache=False)
    with pytest.raises(nt.CompileError) as caught:
        nt.grad(made)(1.0)
    assert "No implementation of function" in caught.value.report
    monkeypatch.setenv("NDTAPE_NUMBA_ERRORS", "1")
    with pytest.raises(nt.CompileError) as caught:
        nt.grad(made)(1.0)
    assert isinstance(caught.value.__cause__, numba.core.errors.TypingError)
    assert "No implementation of function" in str(caught.value.__cause__)


def test_what_a_terminal_shows(tmp_path):
    """No page: the traceback of the user's call and our lines."""
    script = tmp_path / "model.py"
    script.write_text(
        textwrap.dedent("""
        import ndtape as nt

        @nt.jit
        def f(x):
            return x @ x

        nt.grad(f)(1.0)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert "model.py:6, in f: return x @ x" in done.stderr
    assert "numba/core" not in done.stderr
    assert len(done.stderr.split("\n")) < 20


# --- arguments ------------------------------------------------------------------------------------


@nt.jit
def scaled(x, p):
    return x * p


@pytest.mark.parametrize(
    ("p", "words"),
    [
        ({"a": 1.0}, "argument p is a dict"),
        (MODEL, "argument p is a Model"),
        (np.ones(2, object), "argument p is an array of object"),
        (math.sin, "argument p is a function"),
        ([], "argument p is a list"),
        ("a", "`*` of a float and a string"),
        (None, "`*` of a float and None"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_arguments_of_other_kinds(p, words):
    for call in (scaled, nt.grad(scaled), lambda x, p: scaled(nt.var(x), p)):
        assert words in failure(call, 1.0, p)
    assert nt.grad(scaled)(1.0, 3.0) == 3.0


def test_functions_as_arguments():
    apply = nt.jit(lambda f, x: f(x))
    assert apply(right, 1.0) == math.sin(1.0)
    assert "argument f is a function" in failure(apply, helper, 1.0)
    assert "compiled function, which records only" in failure(nt.grad(apply, 1), right, 1.0)


def test_complex_arrays_do_not_record():
    assert scaled(1.0, np.ones(2) * 1j)[0] == 1j
    text = failure(nt.grad(scaled), 1.0, np.ones(2) * 1j)
    assert "a recording float and a plain 1-dimensional array of complex numbers" in text


def test_recording_values_in_other_containers():
    x = nt.var(1.0)
    assert "argument x is a dict" in failure(scaled, {"a": x}, 1.0)
    assert "argument x is a list" in failure(nt.grad(scaled), [1.0, 2.0], 1.0)


def test_differentiated_arguments_must_be_numbers():
    for bad in ("a", 1j, np.ones(2, object)):
        with pytest.raises(nt.UnsupportedError):
            nt.grad(scaled)(bad, 1.0)
    with pytest.raises(nt.UnsupportedError, match="str"):
        nt.grad(scaled, 1)(1.0, "a")


@pytest.mark.parametrize("argnums", [2, -3, (0, 2), (0, 0)])
def test_argnums_that_do_not_fit(argnums):
    with pytest.raises(nt.ArgumentError, match="argnums"):
        nt.grad(scaled, argnums)(1.0, 2.0)


def test_wrong_number_of_arguments():
    x = nt.var(1.0)
    for call in (scaled, nt.grad(scaled), nt.hessian(scaled)):
        for args in ((1.0,), (1.0, 2.0, 3.0)):
            with pytest.raises(TypeError, match="argument"):
                call(*args)
    for args in ((x,), (x, 2.0, 3.0)):
        with pytest.raises(TypeError, match=r"scaled\(\): .*argument"):
            scaled(*args)
    with pytest.raises(TypeError, match="'p'"):
        scaled(1.0, z=2.0)


def test_results_that_are_no_scalar():
    made = {
        "array": nt.jit(lambda x: x * np.ones(3)),
        "aux": nt.jit(lambda x: (x, x)),
        "NoneType": nt.jit(lambda x: None),
    }
    for word, f in made.items():
        for gradient in (nt.grad(f), nt.grad(nt.function(f)), nt.value_and_grad(f)):
            with pytest.raises(nt.ArgumentError, match=f"must return a scalar.*{word}"):
                gradient(1.0)


# --- what nt.jit takes ----------------------------------------------------------------------------


def yields(x):
    yield x


async def waits(x):
    return x


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Model, "a class"),
        (MODEL.cost, "a method"),
        (yields, "a generator"),
        (waits, "a coroutine"),
        (math.sin, "lambda"),
        (np.sin, "lambda"),
        (functools.partial(helper, 1.0), "lambda"),
        (nt.function(helper), "lambda"),
        (3, "lambda"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_what_is_no_function(given, words):
    with pytest.raises(nt.ArgumentError, match=f"nt.jit takes a Python function.*{words}"):
        nt.jit(given)


def test_what_is_compiled_already():
    assert nt.grad(nt.jit(numba.njit(helper)))(1.0, 2.0) == 2.0
    assert nt.grad(nt.jit(nt.jit(helper)))(1.0, 2.0) == 2.0


# --- the program's own errors ---------------------------------------------------------------------


@nt.jit
def careful(x, way):
    y = math.sin(x)
    if way == 1:
        raise ValueError("x is too large", 3)
    if way == 2:
        s = [y]
        return s[5]
    if way == 3:
        return np.zeros(1 << 50)[0] * y
    if way == 4:
        raise TypeError("my own")
    if way == 5:
        raise AssertionError("not so")  # pytest rewrites `assert`
    return y


OWN = {1: ValueError, 2: IndexError, 3: MemoryError, 4: TypeError, 5: AssertionError}
CALLS = [
    careful,
    nt.grad(careful),
    nt.value_and_grad(careful),
    nt.hessian(careful),
    nt.grad(nt.grad(careful)),
    nt.grad(nt.function(careful)),
    lambda x, way: careful(nt.var(x), way),
]


@pytest.mark.parametrize("way", OWN)
def test_own_errors_come_through(way):
    for call in CALLS:
        for _ in range(3):
            with pytest.raises(OWN[way]) as caught:
                call(1.0, way)
            assert type(caught.value) is OWN[way]
        if way == 1:
            assert caught.value.args == ("x is too large", 3)
    assert nt.grad(careful)(1.0, 0) == math.cos(1.0)
    x = nt.var(1.0)
    with pytest.raises(OWN[way]):
        careful(x, way)
    (careful(x, 0) * x).backward()
    assert x.grad == math.cos(1.0) + math.sin(1.0)


@nt.jit
def talks(x):
    a = np.zeros(2)
    a[0] = x
    print("x =", x, a, (x, 1))
    if x > 2.0:
        raise ValueError("too large", x)
    return x


def test_recording_values_printed_and_in_errors(capfd):
    for call in (talks, nt.grad(talks), nt.hessian(talks)):
        call(1.0)
        assert capfd.readouterr().out == "x = 1.0 [1. 0.] (1.0, 1)\n"
        with pytest.raises(ValueError) as caught:
            call(3.0)
        assert caught.value.args == ("too large", 3.0)
        capfd.readouterr()


def test_division_by_zero_is_infinite():
    inverse = nt.jit(lambda x: 1.0 / x)
    assert inverse(0.0) == math.inf
    assert nt.grad(inverse)(0.0) == -math.inf


def test_errors_in_one_thread_leave_the_others_alone():
    nt.grad(careful)(1.0, 0)
    found, errors = [], []

    def good():
        found.extend(nt.grad(careful)(float(i), 0) for i in range(200))

    def bad():
        for _ in range(200):
            try:
                nt.grad(careful)(1.0, 1)
            except ValueError as error:
                errors.append(error)

    threads = [threading.Thread(target=t) for t in (good, bad, good, bad)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(errors) == 400
    np.testing.assert_allclose(sorted(found), sorted(2 * [math.cos(i) for i in range(200)]))


def test_compile_errors_in_threads():
    """Two threads that meet errors at once, each its own."""
    texts: dict[str, str] = {}

    def fail(f):
        texts[f.__name__] = failure(nt.grad(nt.jit(f, cache=False)), 1.0)

    threads = [threading.Thread(target=fail, args=(f,)) for f in (attribute, adds_string)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert "return x.value" in texts["attribute"]
    assert 'return x + "a"' in texts["adds_string"]
