"""Recording arrays: shape and strides over a storage, and what users ask an array.

An `Array` is (storage, offset, shape, strides), as in NumPy, with strides in elements.  Views share
their storage and record nothing.  Operators and functions come from elementwise.py, indexing.py
and the NumPy layer; they are installed here by `method` and found by NumPy through `implements`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import ArgumentError, GradientLostError, ShapeError, UnsupportedError
from ..nest import contiguous
from . import core
from .core import Recorder
from .storage import ArrayLeaf, Storage
from .values import Boolean, Integer, Leaf, Result, Var, as_number, constant, result

FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)
INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
KINDS = {"b": BOOL, "i": INT64, "u": INT64}
LARGEST_WHOLE = 2**53  # integers live in float64 slots

FIXED = {"storage", "offset", "shape", "strides", "dtype"}

IMPLEMENTATIONS: dict[Any, Callable[..., Any]] = {}  # NumPy's function -> ours


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: what NumPy calls in place of `functions` when an argument is recording."""

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        IMPLEMENTATIONS.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


class Bare:
    """The attributes of an `Array`, before it becomes one: they are then no longer assigned."""

    __slots__ = ("storage", "offset", "shape", "strides", "dtype", "__weakref__")
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements, not in bytes
    dtype: np.dtype[Any]


class Array(Bare):
    """A recording array: a leaf made by `nt.var`, a result, or plain numbers (`nt.zeros(3)`).

    Behaves as a NumPy array of float64, float32, int64 or bool: indexing, slices that are views,
    writes in place, operators, NumPy's functions and the methods of `ndarray`.  `.value` is a
    fresh NumPy array; gradients come by `.backward()` and `.grad`, or by `Tape.gradient`.

    >>> import ndtape as nt
    >>> x = nt.var([1.0, 2.0, 3.0])
    >>> y = x * x
    >>> y[0] = 10.0 * x[2]
    >>> y.sum().backward()
    >>> x.grad
    array([ 0.,  4., 16.])
    """

    __slots__ = ()

    if TYPE_CHECKING:  # installed by elementwise.py, indexing.py, backward.py and the NumPy layer

        def backward(self, seed: Any = None, retain_graph: bool = False) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, key: Any) -> Any: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Array: ...
        def __sub__(self, other: Any) -> Array: ...
        def __mul__(self, other: Any) -> Array: ...
        def __truediv__(self, other: Any) -> Array: ...
        def __pow__(self, other: Any) -> Array: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Array: ...
        def __rsub__(self, other: Any) -> Array: ...
        def __rmul__(self, other: Any) -> Array: ...
        def __rtruediv__(self, other: Any) -> Array: ...
        def __neg__(self) -> Array: ...

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise UnsupportedError(
                f"the {name} of a recording array is not assigned: use x = x.reshape(shape), "
                f"x = x.astype(dtype) [{core.user_line()}]"
            )
        object.__setattr__(self, name, value)

    # --- shape ------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over an array without axes")
        return (self[i] for i in range(self.shape[0]))

    def layout(self) -> np.ndarray:
        """A NumPy array of the same shape and strides on the storage's dummy."""
        return np.ndarray(self.shape, np.int8, self.storage.dummy, self.offset, self.strides)

    def seen_as(self, layout: np.ndarray) -> Array:
        """The view of this storage that a view of `layout()` describes."""
        offset = 0
        if layout.size:
            address = layout.__array_interface__["data"][0]
            offset = address - self.storage.dummy.__array_interface__["data"][0]
        return view(self.storage, offset, layout.shape, layout.strides, self.dtype)

    def places(self) -> np.ndarray:
        """The position in the storage of every element."""
        first = np.arange(self.storage.size)
        return np.lib.stride_tricks.as_strided(
            first[self.offset :], self.shape, [8 * s for s in self.strides], writeable=False
        )

    def is_whole(self) -> bool:
        """Whether the elements are all of the storage, in order."""
        return self.strides == contiguous(self.shape) and self.size == self.storage.size

    # --- numbers ----------------------------------------------------------------------------------

    @property
    def value(self) -> np.ndarray:
        """The numbers, a fresh NumPy array of this shape and dtype."""
        storage = self.storage
        if storage.tape is not None and storage.tape.traced is not None:
            storage.tape.traced.read(".value")
        if storage.map is None and self.is_whole():
            numbers = storage.numbers(slice(None)).reshape(self.shape)
        else:
            numbers = storage.numbers(self.places())
        return numbers if self.dtype is FLOAT64 else numbers.astype(self.dtype)

    @value.setter
    def value(self, value: Any) -> None:
        self[...] = value

    def item(self, *index: int) -> Any:
        """The number of an array with one element, or the number at an index."""
        self._refuse_trace("x.item()")
        return self.value.item(*index)

    def tolist(self) -> Any:
        self._refuse_trace("x.tolist()")
        return self.value.tolist()

    def numpy(self) -> np.ndarray:
        """The numbers, as in PyTorch; the same as `.value`."""
        self._refuse_trace("x.numpy()")
        return self.value

    def _refuse_trace(self, what: str) -> None:
        tape = self.storage.tape
        if tape is not None and tape.traced is not None:
            tape.traced.refuse(what)

    @property
    def needs_grad(self) -> bool:
        """Whether anything can depend on gradients here: False for plain numbers."""
        storage = self.storage
        return storage.tape is not None or type(storage) is ArrayLeaf

    @property
    def is_leaf(self) -> bool:
        return type(self.storage) is ArrayLeaf

    @property
    def name(self) -> str:
        return self.storage.name if isinstance(self.storage, ArrayLeaf) else ""

    def detach(self) -> Array:
        """The same numbers without a gradient."""
        tape = self.storage.tape
        if tape is not None and tape.traced is not None:
            return core_functions["stop"](self)  # type: ignore[no-any-return]
        return plain(self.value)

    # --- gradients --------------------------------------------------------------------------------

    @property
    def grad(self) -> np.ndarray | None:
        """What `backward` added up for a leaf, or for a result that asked with `retain_grad()`.

        None before; assign None or an array to reset it.  A view of a leaf shows its part.
        """
        storage = self.storage
        if isinstance(storage, ArrayLeaf):
            total = storage._grad
        elif storage.tape is None:
            return None
        else:
            core.resolve(storage)
            total = storage.tape.retained.get(self._retained_slot())
        if total is None or (total.shape == self.shape and self.is_whole()):
            return total
        part: np.ndarray = np.ascontiguousarray(total).ravel()[self.places()]
        return part

    @grad.setter
    def grad(self, value: Any) -> None:
        if not isinstance(self.storage, ArrayLeaf) or not self.is_whole():
            raise ArgumentError("only a whole leaf can be given a gradient")
        if value is not None:
            value = np.array(value, self.dtype)
            if value.shape != self.storage.shape:
                raise ShapeError(
                    f"a gradient of shape {value.shape} for a leaf of shape {self.storage.shape}"
                )
        self.storage._grad = value

    def zero_grad(self) -> None:
        """Forget the gradient: `x.grad = None`."""
        self.grad = None

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in the next `backward`."""
        if not self.is_leaf and self.needs_grad:
            core.resolve(self.storage)
            self.storage.tape.retained.setdefault(self._retained_slot(), None)

    def _retained_slot(self) -> int:
        if self.storage.map is not None or not self.is_whole():
            raise UnsupportedError("retain_grad() of a view, or of an array that was written into")
        return self.storage.slot

    # --- printing ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        tape = self.storage.tape
        if tape is not None and tape.traced is not None:
            return tape.traced.text(lambda: np.array2string(self.value, separator=", "))  # type: ignore[no-any-return]
        kind = "var" if self.is_leaf else "array" if self.needs_grad else "constant"
        text = np.array2string(self.value, separator=", ", prefix=f"{kind}(")
        extra = "" if self.dtype == FLOAT64 else f", dtype={self.dtype}"
        return f"{kind}({text}{extra})"

    def __str__(self) -> str:
        tape = self.storage.tape
        if tape is not None and tape.traced is not None:
            return repr(self)
        return str(self.value)

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse_trace(f"format(x, {spec!r})")
        if spec and self.size == 1:
            return format(self.item(), spec)
        return format(str(self), spec)

    # --- plain numbers: the gradient would end there ----------------------------------------------

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"the truth value of an array of shape {self.shape} is ambiguous: use np.any(x), "
                f"np.all(x), or nt.where for a choice by element [{core.user_line()}]"
            )
        return bool(self._element())

    def _element(self) -> Any:
        """The only element: a recorded one, which leaves a guard, where a function is traced."""
        tape = self.storage.tape
        if tape is not None and tape.traced is not None:
            return self[(0,) * self.ndim]
        return self.value.item()

    def _lose(self, what: str) -> NoReturn:
        raise GradientLostError(
            f"{what} would drop its gradient; use nt.sin and the like or NumPy's functions, and "
            f"x.value or x.item() where no gradient is wanted [{core.user_line()}]"
        )

    def __float__(self) -> float:
        if self.needs_grad and self.dtype.kind == "f":
            self._lose("float() of a recording array")
        return float(self.item())

    def __int__(self) -> int:
        if self.needs_grad and self.dtype.kind == "f":
            self._lose("int() of a recording array")
        return int(self._element())

    def __index__(self) -> int:
        if self.dtype.kind == "f" or self.size != 1:
            raise UnsupportedError("only an integer array with one element is an index")
        return int(self._element())

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        if not self.needs_grad:
            return np.asarray(self.value, *args)
        if self.dtype.kind in "ib":
            raise GradientLostError(
                f"plain arrays and functions take no recorded {self.dtype.name} numbers, also not "
                "as an index: nt.array(a)[i] and np.take(nt.array(a), i) follow the numbers, "
                f"a[i.value] takes them as they are now [{core.user_line()}]"
            )
        function = core.foreign_function()
        if function:
            raise GradientLostError(
                f"{function} cannot see recording arrays and would drop their gradient; of SciPy, "
                "ufuncs with a row in nt.table() are recorded, and nt.linalg (expm, "
                "solve_triangular ...), nt.logsumexp, nt.softmax and np.convolve replace others; "
                "nt.primitive(value, vjp) adds your own, and x.value gives plain numbers "
                f"[{core.user_line()}]"
            )
        raise GradientLostError(
            "a plain NumPy array was asked to hold a recording array, which would drop its "
            "gradient. For an array that is filled step by step use nt.zeros(shape) or "
            "np.zeros_like(x); to stack values nt.array([...]) or np.stack; for the plain numbers "
            f"x.value [{core.user_line()}]"
        )

    # Lists of arrays are stacked by nt.array; the hash is by identity, as == is elementwise.
    def __hash__(self) -> int:
        return object.__hash__(self)

    def __copy__(self) -> Array:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: Any) -> Array:
        if self.is_leaf:
            twin = leaf(self.value, self.name)
            twin.grad = self.grad
            return twin
        if not self.needs_grad:
            return plain(self.value)
        raise TypeError(
            "the result of an operation belongs to its tape and cannot be copied deeply or "
            "pickled; take x.copy(), x.value or x.detach()"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.is_leaf:
            return _restored, (self.value, self.name, self.grad)
        if not self.needs_grad:
            return plain, (self.value,)
        self.__deepcopy__(None)


def _restored(value: np.ndarray, name: str, grad: np.ndarray | None) -> Array:
    twin = leaf(value, name)
    twin.grad = grad
    return twin


def method(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """Install a function as a method of `Array`."""
    setattr(Array, name or function.__name__, function)
    return function


# --- making ---------------------------------------------------------------------------------------


def view(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any] = FLOAT64,
) -> Array:
    """An array over a storage."""
    x: Any = object.__new__(Bare)
    x.storage = storage
    x.offset = offset
    x.shape = shape
    x.strides = strides
    x.dtype = dtype
    x.__class__ = Array
    return x  # type: ignore[no-any-return]


def retyped(x: Any, dtype: np.dtype[Any]) -> Any:
    """The same elements, which are known to be numbers of another dtype."""
    return view(x.storage, x.offset, x.shape, x.strides, dtype) if isinstance(x, Array) else x


def private(x: Array) -> Array:
    """An array with the same elements whose writes nobody else sees; records nothing.

    Not of a leaf, whose copy would be numbers without a gradient: `x.copy()` records one.
    """
    old, storage = x.storage, Storage(x.storage.size)
    assert not isinstance(old, ArrayLeaf)
    with core.growth:  # no compaction while the copy is half made
        storage.map = None if old.map is None else old.map.copy()
        storage.data = None if old.data is None else old.data.copy()
        storage.tape, storage.slot = old.tape, old.slot
    return view(storage, x.offset, x.shape, x.strides, x.dtype)


def normal(data: Any) -> np.ndarray:
    """Plain numbers as an array of a dtype that ndtape knows; refuses everything else."""
    array = np.asarray(data)
    if array.dtype == FLOAT64 or array.dtype == FLOAT32:
        return array
    if array.dtype.kind in KINDS:
        if array.dtype.kind != "b" and array.size and np.abs(array).max() > LARGEST_WHOLE:
            raise UnsupportedError("integers above 2**53 cannot be recorded exactly")
        return array.astype(KINDS[array.dtype.kind], copy=False)
    if array.dtype.kind == "c":
        raise UnsupportedError(
            f"ndtape records real numbers only, not a complex array of shape {array.shape}; "
            "keep real and imaginary parts in arrays of their own"
        )
    if array.dtype == object:
        raise UnsupportedError(
            f"an object array of shape {array.shape} holds no numbers that NumPy knows; "
            "nt.array([...]) builds an array from recording values"
        )
    raise UnsupportedError(
        f"arrays of dtype {array.dtype} are not recorded; use float64 or float32"
    )


def plain(data: Any) -> Array:
    """A writable array of plain numbers, a copy of `data`."""
    array = normal(data)
    storage = Storage.plain(array.astype(np.float64).ravel())
    return view(storage, 0, array.shape, contiguous(array.shape), array.dtype)


def leaf(data: Any, name: str = "") -> Array:
    """A leaf that holds a copy of `data`."""
    array = normal(data)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    numbers = array.astype(np.float64).ravel()
    storage = ArrayLeaf(numbers, array.shape, array.dtype, name)
    return view(storage, 0, array.shape, contiguous(array.shape), array.dtype)


def of_span(
    tape: Recorder, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any] = FLOAT64
) -> Any:
    """The result of an instruction: an array, or a scalar value where the shape is ()."""
    if not shape:
        kind = {"b": Boolean, "i": Integer}.get(dtype.kind, Result)
        return result(tape, slot, kind)
    storage = Storage.span(tape, slot, math.prod(shape))
    return view(storage, 0, shape, contiguous(shape), dtype)


def finished(numbers: np.ndarray, recording_operands: bool) -> Any:
    """A computed result in the user's terms: plain numbers, or a constant of our classes."""
    if not recording_operands:
        return numbers if numbers.shape else numbers.item()
    if numbers.shape:
        return plain(numbers)
    return constant(numbers.item()) if numbers.dtype.kind == "f" else numbers.item()


# --- arguments ------------------------------------------------------------------------------------


def recording(x: Any) -> bool:
    """Whether x is one of our values, with or without a gradient."""
    return isinstance(x, (Array, Var))


def moves(x: Any) -> bool:
    """Whether x has a place on a tape, or will have one."""
    return isinstance(x, (Array, Var)) and x.needs_grad


def escaped(x: Any) -> bool:
    """Whether x was recorded by a traced function that has returned: it stands for nothing."""
    tape = x.storage.tape if isinstance(x, Array) else x.tape
    traced = getattr(tape, "traced", None)
    return traced is not None and bool(tape.ended)


def storages(values: Sequence[Any]) -> list[Any]:
    """What `common_tape` looks at: storages on a tape, and scalar results."""
    found: list[Any] = []
    for x in values:
        if isinstance(x, Array):
            if x.storage.tape is not None:
                found.append(x.storage)
        elif isinstance(x, Result):
            found.append(x)
    return found


def plain_value(x: Any) -> Any:
    """Plain numbers of anything; recording values lose nothing but their place on a tape."""
    if isinstance(x, (Array, Var)):
        return x.value
    return x if isinstance(x, (int, float, bool)) else normal(x)


def as_array(x: Any) -> Array:
    """Any array-like as an `Array`: recording scalars in nested lists are collected."""
    if isinstance(x, Array):
        return x
    if isinstance(x, (Leaf, Result)):
        return scalar_view(x)
    if isinstance(x, (list, tuple)) and _holds_recording(x):
        return core_functions["stacked"](x)  # type: ignore[no-any-return]
    return plain(x)


def scalar_dtype(x: Var) -> np.dtype[Any]:
    """The dtype of a scalar value, as NumPy has it."""
    return BOOL if isinstance(x, Boolean) else INT64 if isinstance(x, Integer) else FLOAT64


def scalar_view(x: Var) -> Array:
    """An array of shape () over the slot of a scalar."""
    if not x.needs_grad:
        return plain(np.float64(x.value))
    if isinstance(x, Leaf):
        return core_functions["copied"](x)  # type: ignore[no-any-return]
    dtype = scalar_dtype(x)
    with core.growth:  # a compaction in another thread must find the storage
        core.resolve(x)
        return view(Storage.span(x.tape, x.slot, 1), 0, (), (), dtype)


def _holds_recording(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_recording, x))
    return recording(x)


core_functions: dict[str, Callable[..., Any]] = {}  # of the files above, which import this one


def var(value: Any, name: str = "") -> Any:
    """A leaf: a number, or an array of numbers, that gradients are taken with respect to.

    `value` is a real number, a NumPy array or a nested list of any shape; float32 arrays stay
    float32, everything else becomes float64.  The numbers are copied.  `name` is shown in listings.
    Raises `UnsupportedError` for complex, object and other arrays, and for recording values.

    >>> import ndtape as nt
    >>> x = nt.var(2.0)
    >>> y = x * x + nt.sin(x)
    >>> y.backward()
    >>> round(x.grad, 6)
    3.583853
    >>> w = nt.var([[1.0, 2.0], [3.0, 4.0]], name="w")
    >>> (w @ [1.0, -1.0]).sum().backward()
    >>> w.grad
    array([[ 1., -1.],
           [ 1., -1.]])
    """
    if isinstance(value, (Array, Var)) or _holds_recording(value):
        raise UnsupportedError("nt.var of a recording value; use x.detach() or x.value for a leaf")
    if isinstance(value, (list, tuple, np.ndarray)):
        try:
            return leaf(value, name)
        except ValueError as error:
            raise UnsupportedError(f"nt.var takes numbers: {error}") from None
    try:
        return Leaf(as_number(value), name)
    except UnsupportedError as error:
        raise UnsupportedError(f"nt.var takes real numbers: {error}") from None
