"""Gradients of sums over shards of data, by many processes: `nt.parallel`.

A loss over data is a sum of losses over shards of them.  Each worker of an engine that is there
already (Dask, joblib, a pool of processes) differentiates some shards, and the results are added
up in an order that the number of shards alone decides: the same bits for every engine and for any
number of workers.  docs/parallel.md tells the rest.
"""

from ..errors import ShardError as ShardError
from .gradients import Summed as Summed
from .gradients import grad as grad
from .gradients import hessian as hessian
from .gradients import value as value
from .gradients import value_and_grad as value_and_grad
from .shards import Shards as Shards
from .shards import scatter as scatter
from .shards import split as split
