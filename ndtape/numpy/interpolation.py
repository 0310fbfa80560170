"""np.interp with recording points, abscissas and ordinates."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array
from ..record.elementwise import elementwise
from .arguments import Array, cast, fail, finish, invalid, reshaped, static
from .registry import function


@function("interp")
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Piecewise linear interpolation; x, xp and fp may be recording, xp is in increasing order.

    At a corner the derivative with respect to x is that of the piece on its right.
    """
    places, heights = cast(xp, np.float64), cast(fp, np.float64)
    if places.ndim != 1 or places.shape != heights.shape or not places.size:
        fail(f"np.interp: xp and fp of shapes {places.shape} and {heights.shape}; "
             "they are vectors of one length, and not empty")  # fmt: skip
    given = cast(x, np.float64)
    points = reshaped(given, [given.size])
    if period is not None:
        points, places, heights = _periodic(points, xp, heights, period)
        left = right = None
    left = heights[0] if left is None else left
    right = heights[-1] if right is None else right
    n = places.size
    if n == 1:
        z = elementwise("where", points < places[0], left, heights[0])
        z = elementwise("where", points > places[0], right, z)
        z = elementwise("where", np.isnan(points), points, z)
        return finish(reshaped(z, given.shape))
    found = np.searchsorted(places, points, side="right")
    piece = np.clip(found - 1, 0, n - 2)
    x0, y0 = places[piece], heights[piece]
    slope = (heights[piece + 1] - y0) / (places[piece + 1] - x0)
    z = slope * (points - x0) + y0
    z = elementwise("where", points == places[-1], heights[-1], z)
    z = elementwise("where", points < places[0], left, z)
    return finish(reshaped(elementwise("where", points > places[-1], right, z), given.shape))


def _periodic(points: Array, xp: Any, heights: Array, period: Any) -> tuple[Array, Array, Array]:
    """Everything within one period, with one more point at each end."""
    xp, period = static("interp", **{"xp with period": xp, "period": period})
    period = abs(float(period))
    if not period:
        invalid("np.interp: period is 0")
    places = np.asarray(xp, np.float64) % period
    order = np.argsort(places)
    places, heights = places[order], heights[order]
    places = np.concatenate([places[-1:] - period, places, places[:1] + period])
    heights = np.concatenate([heights[-1:], heights, heights[:1]])
    return as_array(elementwise("mod", points, period)), as_array(places), as_array(heights)
