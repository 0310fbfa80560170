"""Cells along sequences: `(state, outputs)` of a whole sequence, in loops that are easy to read.

Any function ``cell(params, state, x) -> state`` will do.  The output of a step is the state, or its
first part where the state is a tuple, such as h of (h, c).  `unroll` is a Python loop, `scan_layer`
the same as one `nt.scan`; `bidirectional` and `stacked` join them, and take as `loop` whichever of
the two it shall be, or your own function of the same arguments.

Sequences are (T, inputs) or (T, batch, inputs), and with `batch_first` (batch, T, inputs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..loops.scan import scan
from ..record.core import user_line
from ..trees import flatten, path_text, unflatten
from .initialisers import Initialiser
from .layers import dropout
from .lengths import active_steps, held, where_active
from .shapes import zero_state

Array: TypeAlias = Any
Tree: TypeAlias = Any
Cell: TypeAlias = Callable[[Any, Any, Any], Any]
Loop: TypeAlias = Callable[..., tuple[Any, Any]]
Inputs: TypeAlias = Callable[[Any, Any], Any]  # of a layer's parameters and a whole sequence


def unroll(
    cell: Cell,
    params: Tree,
    state: Tree,
    xs: Tree,
    *,
    lengths: Any = None,
    reverse: bool = False,
    batch_first: bool = False,
) -> tuple[Tree, Array]:
    """`(state, outputs)` of a cell along a sequence, by a Python loop.

    `state` is the first one; None stands for `zero_state`.  `xs` is an array with the steps along
    its first axis (its second with `batch_first`), or a tree of such arrays; outputs have the same
    axes.  With `reverse` the steps are taken from the last to the first; outputs stay in their
    places.

    `lengths`, whole numbers (batch,), or one number where there is no batch, says how long each
    sequence is: beyond, the state is held and the outputs are 0, so the state that comes back is
    the one at each sequence's own end (its first step with `reverse`).  Derivatives through the
    padding are exactly 0, whatever numbers stand there, nan included.

    Raises `ShapeError` where shapes do not fit or a length is not within 0 ... T, `ArgumentError`
    for lengths that are not whole numbers.

    >>> import numpy as np, ndtape as nt
    >>> def total(params, state, x):
    ...     return state + params * x
    >>> state, outputs = nt.nn.unroll(total, 2.0, np.zeros(1), np.array([[1.0], [2.0], [5.0]]))
    >>> outputs.ravel().tolist()
    [2.0, 6.0, 16.0]
    >>> xs = np.array([[[1.0], [1.0]], [[2.0], [2.0]]])
    >>> state, outputs = nt.nn.unroll(total, 1.0, np.zeros((2, 1)), xs, lengths=[1, 2])
    >>> state.ravel().tolist(), outputs[..., 0].tolist()
    ([1.0, 3.0], [[1.0, 1.0], [0.0, 3.0]])
    """
    state, xs, structure, steps = _prepared(params, state, xs, lengths, batch_first)
    step = _step(cell, params, lengths is not None)
    outputs: list[Any] = [None] * steps
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        state, outputs[t] = step(state, unflatten(structure, [x[t] for x in xs]))
    return state, _joined(outputs, state, batch_first)


def scan_layer(
    cell: Cell,
    params: Tree,
    state: Tree,
    xs: Tree,
    *,
    lengths: Any = None,
    reverse: bool = False,
    batch_first: bool = False,
    checkpoint: Any = None,
) -> tuple[Tree, Array]:
    """`unroll` as one `nt.scan`: the cell is recorded once, and the loop runs in compiled code.

    Results and derivatives are the same.  `checkpoint`, a schedule of `nt.schedules`, says which
    values are kept for the reverse sweep, as in `nt.scan`.

    Raises what `unroll` and `nt.scan` raise.

    >>> import numpy as np, ndtape as nt
    >>> rng = np.random.default_rng(0)
    >>> params = nt.nn.lstm_init(rng, 3, 4)
    >>> (h, c), outputs = nt.nn.scan_layer(nt.nn.lstm_cell, params, None, np.ones((5, 2, 3)))
    >>> h.shape, outputs.shape, bool((outputs[-1] == h).all())
    ((2, 4), (5, 2, 4), True)
    """
    state, xs, structure, _ = _prepared(params, state, xs, lengths, batch_first)
    state, outputs = scan(
        _step(cell, params, lengths is not None),
        state,
        unflatten(structure, xs),
        reverse=reverse,
        checkpoint=checkpoint,
    )
    return state, _mapped(_turned, outputs) if batch_first else outputs


def bidirectional(
    cell: Cell,
    params: dict[str, Any],
    state: dict[str, Any] | None,
    xs: Tree,
    *,
    lengths: Any = None,
    batch_first: bool = False,
    loop: Loop = scan_layer,
    inputs: Inputs | None = None,
) -> tuple[dict[str, Any], Array]:
    """Two layers over one sequence, one of them from its end, with outputs side by side.

    `params` and `state` (or None) are dicts with the keys "forward" and "backward", and so is the
    state that comes back.  With `lengths` the backward layer begins at each sequence's own end.
    `inputs(params, xs)`, such as `project`, makes of a whole sequence what each layer's cell takes.

    Raises what `unroll` raises, and `ArgumentError` where a key is missing.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.bidirectional_init(nt.nn.gru_init, np.random.default_rng(0), 3, 4)
    >>> state, outputs = nt.nn.bidirectional(nt.nn.gru_cell, params, None, np.ones((5, 3)))
    >>> outputs.shape, bool((outputs[0, 4:] == state["backward"]).all())
    ((5, 8), True)

    Source: M. Schuster, K. K. Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal
    Process. 45 (1997).
    """
    for name, tree in (("params", params), ("state", state)):
        if tree is not None and not _two_ways(tree):
            raise ArgumentError(
                f"bidirectional: {name} must be a dict with the keys 'forward' and 'backward', as "
                f"bidirectional_init makes it [{user_line()}]"
            )
    ends, outputs = {}, []
    for name in ("forward", "backward"):
        ends[name], found = loop(
            cell,
            params[name],
            None if state is None else state[name],
            xs if inputs is None else inputs(params[name], xs),
            lengths=lengths,
            batch_first=batch_first,
            reverse=name == "backward",
        )
        outputs.append(found)
    return ends, np.concatenate(outputs, axis=-1)


def stacked(
    cell: Cell,
    params: Sequence[Any],
    state: Sequence[Any] | None,
    xs: Tree,
    *,
    masks: Sequence[Any] | None = None,
    lengths: Any = None,
    batch_first: bool = False,
    loop: Loop = scan_layer,
    inputs: Inputs | None = None,
) -> tuple[list[Any], Array]:
    """Layers one upon the other: each takes the outputs of the one below.

    `params` and `state` (or None) are lists with an entry a layer, which for a bidirectional layer
    is a dict as in `bidirectional`.  `masks`, one fewer than the layers, multiply what goes from
    one layer to the next: dropout (see `dropout_mask`), with a mask of the outputs' shape for every
    step its own, or of shape (batch, hidden) for all steps the same ((batch, 1, hidden) with
    `batch_first`), or None for none.  `inputs` is as in `bidirectional`: with `project` and a step
    such as `lstm_step` all products with inputs stand ahead of the loops.

    Gives the list of the last states and the outputs of the last layer.  Raises what `unroll`
    raises, and `ArgumentError` where the lists do not fit together.

    >>> import numpy as np, ndtape as nt
    >>> rng = np.random.default_rng(0)
    >>> params = nt.nn.stacked_init(nt.nn.gru_init, rng, 3, 4, layers=2)
    >>> masks = [nt.nn.dropout_mask(rng, (5, 4), rate=0.5)]
    >>> state, outputs = nt.nn.stacked(nt.nn.gru_cell, params, None, np.ones((5, 3)), masks=masks)
    >>> len(state), outputs.shape
    (2, (5, 4))
    """
    _same_number("params", params, "state", state, 0)
    _same_number("params", params, "masks", masks, 1)
    ends = []
    for i, layer in enumerate(params):
        first = None if state is None else state[i]
        options: dict[str, Any] = {"lengths": lengths, "batch_first": batch_first}
        if _two_ways(layer):
            end, xs = bidirectional(cell, layer, first, xs, loop=loop, inputs=inputs, **options)
        else:
            xs = xs if inputs is None else inputs(layer, xs)
            end, xs = loop(cell, layer, first, xs, **options)
        ends.append(end)
        if masks is not None and i < len(masks):
            xs = dropout(xs, masks[i])
    return ends, xs


def bidirectional_init(
    init: Callable[..., Any], rng: np.random.Generator, inputs: int, hidden: int, **options: Any
) -> dict[str, Any]:
    """Weights of `bidirectional`: two draws of ``init(rng, inputs, hidden, **options)``.

    >>> import numpy as np, ndtape as nt
    >>> sorted(nt.nn.bidirectional_init(nt.nn.rnn_init, np.random.default_rng(0), 3, 4))
    ['backward', 'forward']
    """
    return {name: init(rng, inputs, hidden, **options) for name in ("forward", "backward")}


def stacked_init(
    init: Initialiser,
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    layers: int,
    *,
    bidirectional: bool = False,
    **options: Any,
) -> list[Any]:
    """Weights of `stacked`, a list: each layer has as many inputs as the one below has outputs.

    Raises `ArgumentError` unless there is at least one layer.

    >>> import numpy as np, ndtape as nt
    >>> rng = np.random.default_rng(0)
    >>> params = nt.nn.stacked_init(nt.nn.lstm_init, rng, 3, 4, layers=2, bidirectional=True)
    >>> [layer["forward"]["Wx"].shape for layer in params]
    [(3, 16), (8, 16)]
    """
    if layers < 1:
        raise ArgumentError(f"stacked_init: a stack of {layers} layers [{user_line()}]")
    params: list[Any] = []
    for _ in range(layers):
        if bidirectional:
            params.append(bidirectional_init(init, rng, inputs, hidden, **options))
        else:
            params.append(init(rng, inputs, hidden, **options))
        inputs = 2 * hidden if bidirectional else hidden
    return params


# --- shared parts --------------------------------------------------------------------------------


def _prepared(
    params: Tree, state: Tree, xs: Tree, lengths: Any, batch_first: bool
) -> tuple[Tree, list[Any], Any, int]:
    """The first state, and the leaves of the sequence with its steps in front."""
    leaves, structure = flatten(xs)
    shapes = [np.shape(x) if not hasattr(x, "shape") else x.shape for x in leaves]
    axis = 1 if batch_first else 0
    for path, shape in zip(structure.paths(), shapes, strict=True):
        if len(shape) <= axis or shape[axis] != shapes[0][axis]:
            need = "(batch, T, ...)" if batch_first else "(T, ...)"
            raise ShapeError(
                f"xs{path_text(path)} has shape {shape} and must have {need}, with one T for all "
                f"of xs {shapes} [{user_line()}]"
            )
    if not leaves:
        raise ArgumentError(f"a sequence without arrays [{user_line()}]")
    steps = shapes[0][axis]
    if batch_first:
        leaves = [_turned(x) for x in leaves]
        shapes = [(s[1], s[0], *s[2:]) for s in shapes]
    if state is None:
        state = zero_state(params, shapes[0][1] if len(shapes[0]) > 2 else None)
    if lengths is not None:
        leaves, structure = flatten(
            (unflatten(structure, leaves), active_steps(lengths, steps, shapes))
        )
    return state, leaves, structure, steps


def _step(cell: Cell, params: Tree, masked: bool) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The body of the loop: (state, x) -> (state, output), or with (x, active)."""

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        state = cell(params, state, x)
        return state, _output(state)

    def masked_step(state: Any, x_active: Any) -> tuple[Any, Any]:
        x, active = x_active
        state = held(active, cell(params, state, x), state)
        return state, _mapped(lambda y: where_active(active, y, _zeros(y.shape, y)), _output(state))

    return masked_step if masked else step


def _output(state: Any) -> Any:
    return state[0] if isinstance(state, tuple) else state


def _joined(outputs: list[Any], state: Any, batch_first: bool) -> Tree:
    """Outputs of all steps as one array (or a tree of them), also where there is no step."""
    if outputs:
        _, structure = flatten(outputs[0])
        columns = zip(*[flatten(y)[0] for y in outputs], strict=True)
        found = unflatten(structure, [np.stack(column) for column in columns])
    else:
        found = _mapped(lambda y: _zeros((0, *y.shape), y), _output(state))
    return _mapped(_turned, found) if batch_first else found


def _mapped(f: Callable[[Any], Any], tree: Tree) -> Tree:
    leaves, structure = flatten(tree)
    return unflatten(structure, [f(x) for x in leaves])


def _zeros(shape: tuple[int, ...], like: Array) -> Array:
    return np.zeros(shape, np.dtype(like.dtype))


def _turned(x: Array) -> Array:
    return np.swapaxes(x, 0, 1)


def _two_ways(tree: Any) -> bool:
    return isinstance(tree, dict) and {"forward", "backward"} <= set(tree)


def _same_number(name: str, one: Any, other: str, two: Any, fewer: int) -> None:
    if not isinstance(one, (list, tuple)):
        raise ArgumentError(
            f"stacked: {name} must be a list with an entry a layer, as stacked_init makes it, not "
            f"{type(one).__name__} [{user_line()}]"
        )
    if two is not None and (not isinstance(two, (list, tuple)) or len(two) != len(one) - fewer):
        found = f"{len(two)} of them" if isinstance(two, (list, tuple)) else type(two).__name__
        raise ArgumentError(
            f"stacked: {other} must be a list of {len(one) - fewer} for {len(one)} layers, not "
            f"{found} [{user_line()}]"
        )
