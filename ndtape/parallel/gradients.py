"""`value`, `grad`, `value_and_grad` and `hessian` of sums over shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..bars import Progress
from ..errors import ArgumentError, UnsupportedError
from ..passes import checked_level
from ..record.arrays import moves
from ..traced.captures import MOST, Captures
from ..transforms.evaluation import Argnums, positions_of
from ..trees import flatten, unflatten
from .carrying import Failure
from .engines import Engine, engine_of, is_future, results
from .reduction import Partial, Sum
from .shards import Block, Shards, blocks_of, listed
from .work import Options, Work, packed, run_block, traced


class Summed:
    """A value or derivative of a loss, summed over shards; made by functions of `nt.parallel`."""

    def __init__(
        self, loss: Callable[..., Any], options: Options, engine: Engine, mean: bool,
        progress: str | None,
    ) -> None:  # fmt: skip
        self.loss, self.options, self.engine = loss, options, engine
        self.work = Work(traced(loss, options.level), options)
        self.mean, self.progress = mean, progress
        self.captures: Captures | None = None
        self.known: set[Any] = set()  # kinds of arguments for which the loss was recorded
        self.job: Any = None
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        name = getattr(self.loss, "__qualname__", type(self.loss).__name__)
        how = "mean" if self.mean else "sum"
        return f"<{self.options.kind} of {name}, {how} over shards {self.engine.where}>"

    def __call__(self, *args: Any) -> Any:
        """The sum for these arguments, of which the last is the shards."""
        if len(args) < 2 and not (args and self.options.kind == "value"):
            raise ArgumentError(
                "a sum over shards is called with the arguments of the loss, the last of which is "
                "the list of shards in the place of a shard"
            )
        *given, shards = args
        if any(map(moves, flatten(given)[0])):
            raise UnsupportedError(
                "nt.parallel takes plain numbers, not recording values: workers have tapes of "
                "their own. A transform around it cannot see into them"
            )
        placed = shards if isinstance(shards, Shards) else None
        if placed is not None and type(placed.engine) is not type(self.engine):
            raise ArgumentError(f"{placed!r} are not where this function works: {self!r}")
        if self.options.kind != "value" and len(given) in positions_of(
            self.options.argnums, len(args)
        ):
            raise ArgumentError("the shards have no derivative: it could not be summed")
        if placed is not None:
            sources, blocks = placed.sources, placed.blocks
        else:
            sources = listed(shards)
            blocks = blocks_of(sources, self.engine.level(sources))
        job = self._job(tuple(given), sources[0], len(sources))
        total = self._sum(job, tuple(given), len(sources), blocks)
        return self._result(total, len(sources))

    # --- what workers get -------------------------------------------------------------------------

    def _job(self, given: tuple[Any, ...], source: Any, count: int) -> Any:
        """The work as it is sent, recorded here with the first shard; sent anew where what the
        loss captures has changed."""
        if self.engine.local:
            return self.work
        with self.lock:
            kinds = _kinds(given)
            known = self.captures
            if known is None or len(known.entries) >= MOST or known.changed():
                self.known.clear()
            if kinds not in self.known:
                first = source.result() if is_future(source) else source
                found = run_block(self.work, given, 0, [first])
                if isinstance(found, Failure):
                    raise found.exception(count)
                self.captures = Captures(getattr(self.loss, "py_func", self.loss))
                self.job = packed(self.loss, self.work)
                self.known.add(kinds)
            return self.job

    # --- what comes back --------------------------------------------------------------------------

    def _sum(self, job: Any, given: tuple[Any, ...], count: int, blocks: list[Block]) -> Partial:
        """The sum over all shards, block by block as they come."""
        total, own = Sum(count), {b.first: (b.first, b.shards) for b in blocks}
        sizes = {block.first: block.size for block in blocks}

        found = results(self.engine, run_block, (job, given), own)
        with ExitStack() as stack:
            bar: Progress[Any] = Progress(None, self.progress or "", count)
            if self.progress is not None:
                stack.enter_context(bar)
            for first, part in found:
                if isinstance(part, Failure):
                    found.close()  # calls off what is left
                    raise part.exception(count)
                total.add(first, part, (sizes[first] - 1).bit_length())
                bar.advance(sizes[first])
        return total.total()

    def _result(self, total: Partial, count: int) -> Any:
        leaves = [x / count for x in total.leaves] if self.mean else total.leaves
        tree = unflatten(total.structure, leaves)
        if not self.options.has_aux:
            return tree
        if self.options.kind == "value_and_grad":
            return (tree[0], total.aux), tree[1]
        return tree, total.aux


def _kinds(given: tuple[Any, ...]) -> Any:
    """What a tape is recorded for, of the arguments that all shards share."""
    leaves, structure = flatten(given)
    arrays = [(x.shape, x.dtype.str) if isinstance(x, np.ndarray) else type(x) for x in leaves]
    return structure, tuple(arrays)


# --- what users call ------------------------------------------------------------------------------


def value_and_grad(
    loss: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    engine: Any = None,
    reduce: str = "sum",
    has_aux: bool = False,
    threads: int = 1,
    optimize: int = 1,
    timeout: float | None = None,
    progress: str | None = None,
) -> Summed:
    """Value and gradient of a sum of losses over shards of data, by the workers of an engine.

    `value_and_grad(loss)(params, shards)` is the sum of `nt.value_and_grad(loss)(params, shard)`
    over the shards.  The last argument of `loss` is its shard, those before it are the same for
    all, and `argnums` names some of these.  A shard is a tree of arrays (`split` cuts them), a
    callable without arguments that makes one where it is needed, or a future of Dask; `scatter`
    sends shards to the workers once, for many calls.

    `engine` is a Dask client or "dask" for the present one, "joblib" or a `joblib.Parallel`, an
    executor of `concurrent.futures`, or None for this process.  The loss is recorded here, with the
    first shard, and sent once a worker; so are the arguments, at each call.

    Results are added in an order that the number of shards alone decides: they are the same bits
    for every engine and any number of workers of one kind of machine.  `reduce="mean"` divides by
    the number of shards.  With `has_aux` the loss returns (value, aux), and the answer is
    ((value, list of aux, one a shard), gradient).  A shard uses one thread, or `threads`.
    `optimize` is the level of the passes (docs/passes.md): from level 2 on bits may depend on which
    worker did what.  `progress` is the text of a bar (`nt.progress`) over the shards of a call.

    An exception in a shard comes out as it is, with a `ShardError` as its cause that has the number
    of the shard and the traceback.  Dask and joblib make up for workers that are lost; where a pool
    cannot, or a shard takes its workers down again and again, `ShardError` is raised.
    `TimeoutError` is raised where no block of shards is done for `timeout` seconds, `ArgumentError`
    for arguments that do not fit.

    >>> import numpy as np, ndtape as nt
    >>> def loss(p, shard):
    ...     return np.sum((p["w"] * shard["x"] + p["b"] - shard["y"]) ** 2)
    >>> data = {"x": np.arange(6.0), "y": 2.0 * np.arange(6.0)}
    >>> gradient = nt.parallel.value_and_grad(loss)
    >>> gradient({"w": 1.0, "b": 0.0}, nt.parallel.split(data, 3))
    (55.0, {'w': -110.0, 'b': -30.0})
    >>> gradient
    <value_and_grad of loss, sum over shards in this process>
    """
    options = _options("value_and_grad", argnums, has_aux, threads, optimize)
    return _summed(loss, options, engine, reduce, timeout, progress)


def grad(loss: Callable[..., Any], argnums: Argnums = 0, **options: Any) -> Summed:
    """The gradient alone; see `value_and_grad`, whose keywords it takes.

    With `has_aux` the answer is (gradient, list of aux).

    >>> import numpy as np, ndtape as nt
    >>> nt.parallel.grad(lambda w, x: np.sum((w * x) ** 2))(3.0, [np.ones(2), np.ones(3)])
    30.0
    """
    return _of("grad", loss, argnums, options)


def value(loss: Callable[..., Any], **options: Any) -> Summed:
    """The value alone, of any function whose results can be added; see `value_and_grad`.

    >>> import numpy as np, ndtape as nt
    >>> sums = nt.parallel.value(lambda w, x: {"n": len(x), "sum": np.sum(w * x)})
    >>> sums(2.0, [np.ones(2), np.ones(3)])
    {'n': 5, 'sum': 10.0}
    """
    return _of("value", loss, 0, options)


def hessian(loss: Callable[..., Any], argnums: Argnums = 0, **options: Any) -> Summed:
    """The matrix of second derivatives, as `nt.hessian` gives it; see `value_and_grad`.

    >>> import numpy as np, ndtape as nt
    >>> shards = [np.ones(2), np.ones(3)]
    >>> nt.parallel.hessian(lambda w, x: np.sum((w * x) ** 3))(2.0, shards)
    60.0
    """
    return _of("hessian", loss, argnums, options)


def _of(kind: str, loss: Callable[..., Any], argnums: Argnums, given: dict[str, Any]) -> Summed:
    known = {"has_aux": False, "threads": 1, "optimize": 1}
    chosen = {name: given.pop(name, default) for name, default in known.items()}
    rest = {"engine": None, "reduce": "sum", "timeout": None, "progress": None} | given
    return _summed(loss, _options(kind, argnums, **chosen), **rest)


def _options(kind: str, argnums: Argnums, has_aux: bool, threads: int, optimize: int) -> Options:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ArgumentError(f"threads must be a positive whole number, not {threads!r}")
    numbers = tuple(argnums) if isinstance(argnums, Sequence) else argnums
    return Options(kind, numbers, bool(has_aux), threads, checked_level(optimize))


def _summed(
    loss: Callable[..., Any], options: Options, engine: Any, reduce: str, timeout: float | None,
    progress: str | None,
) -> Summed:  # fmt: skip
    if not callable(loss):
        raise ArgumentError(f"nt.parallel takes a function, not {loss!r:.60}")
    if reduce not in ("sum", "mean"):
        raise ArgumentError(f'reduce must be "sum" or "mean", not {reduce!r}')
    return Summed(loss, options, engine_of(engine, timeout), reduce == "mean", progress)
