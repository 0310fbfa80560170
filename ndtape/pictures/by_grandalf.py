"""Places by grandalf: Sugiyama's layers in pure Python, for machines without Graphviz.

grandalf ranks the rectangles, orders each layer so that few links cross, and finds abscissas.  What
it does not promise is settled here: rectangles of a layer are moved apart where they would overlap,
and links are curves in the bands between the layers, which no rectangle reaches into.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from .layout import Link, Point, Size

BETWEEN, BAND, LANE = 20.0, 30.0, 8.0  # rectangles of a layer, layers, width of a passing link
APART = 30.0  # between components


def place(
    sizes: dict[str, Size], links: list[Link], through: set[str]
) -> tuple[dict[str, Point], list[list[Point]]]:
    """Centres of the rectangles, and a way for each link; y points down."""
    from grandalf.graphs import Edge, Graph, Vertex

    vertices = {key: Vertex(key) for key in sizes}
    for key, vertex in vertices.items():
        vertex.view = _View(*sizes[key])
    edges = [Edge(vertices[tail], vertices[head], data=i) for i, (tail, head) in enumerate(links)]
    places: dict[str, Point] = {}
    ways: list[list[Point]] = [[] for _ in links]
    left = 0.0
    for component in Graph(list(vertices.values()), edges).C:
        layers, chains = _layers(component)
        left = _spread(layers, left) + APART
        _pile(layers)
        places |= {v.data: v.view.xy for layer in layers for v in layer if v.data is not None}
        for i, way in _ways(layers, chains, links, through).items():
            ways[i] = way
    return places, ways


class _View:
    """What grandalf asks of a vertex."""

    def __init__(self, w: float, h: float) -> None:
        self.w, self.h, self.xy = w, h, (0.0, 0.0)


def _layers(component: Any) -> tuple[list[list[Any]], dict[int, list[Any]]]:
    """Vertices by layer, from left to right, and the vertices that each link passes, downwards."""
    from grandalf.layouts import SugiyamaLayout

    def empty() -> _View:
        return _View(LANE, 0.0)

    layout = SugiyamaLayout(component)
    layout.dw, layout.dh, layout.xspace = LANE, 0.0, BETWEEN
    layout.init_all(optimize=True)
    if component.order() > 1:
        layout.draw(3)
    ranks = layout.grx
    chains = {}
    for edge in component.E():
        ends = sorted(edge.v, key=lambda v: ranks[v].rank)
        inner = layout.ctrls.get(edge)
        chains[edge.data] = [inner[r] for r in sorted(inner)] if inner else ends
    for layer in layout.layers:
        for vertex in layer:
            vertex.data = getattr(vertex, "data", None)
    return [list(layer) for layer in layout.layers], chains


def _spread(layers: list[list[Any]], left: float) -> float:
    """Move the vertices of each layer apart where they overlap; returns the right end."""
    for layer in layers:
        wanted = [vertex.view.xy[0] for vertex in layer]
        for vertex, x in zip(layer, _apart(wanted, [v.view.w for v in layer]), strict=True):
            vertex.view.xy = x, 0.0
    start = min(v.view.xy[0] - v.view.w / 2 for layer in layers for v in layer)
    for layer in layers:
        for vertex in layer:
            vertex.view.xy = vertex.view.xy[0] - start + left, 0.0
    return float(max(v.view.xy[0] + v.view.w / 2 for layer in layers for v in layer))


def _apart(wanted: list[float], widths: list[float]) -> list[float]:
    """Abscissas in this order without overlap, as near to the wanted ones as can be.

    Pool adjacent violators: neighbours that push each other stand as one block around their mean.

    >>> _apart([0.0, 10.0, 100.0], [30.0, 30.0, 30.0])
    [-20.0, 30.0, 100.0]
    """
    offsets, end = [], 0.0
    for i, wide in enumerate(widths):
        end += (widths[i - 1] + wide) / 2 + BETWEEN if i else 0.0
        offsets.append(end)
    blocks: list[tuple[float, int]] = []  # mean of what its vertices want for their first, count
    for x, offset in zip(wanted, offsets, strict=True):
        mean, count = x - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, number = blocks.pop()
            mean, count = (mean * count + other * number) / (count + number), count + number
        blocks.append((mean, count))
    starts = [mean for mean, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _pile(layers: list[list[Any]]) -> None:
    """Layers below each other, as high as their highest rectangle."""
    top = 0.0
    for layer in layers:
        high = max(vertex.view.h for vertex in layer)
        for vertex in layer:
            vertex.view.xy = vertex.view.xy[0], top + high / 2
            vertex.view.band = top, top + high
        top += high + BAND


def _ways(
    layers: list[list[Any]], chains: dict[int, list[Any]], links: list[Link], through: set[str]
) -> dict[int, list[Point]]:
    """A way for each link from its tail to its head."""
    below, above = _ports(chains, through)
    found = {}
    for i, chain in chains.items():
        way = _way(chain, below[i], above[i], through)
        found[i] = way if chain[0].data == links[i][0] else way[::-1]
    return found


def _ports(
    chains: dict[int, list[Any]], through: set[str]
) -> tuple[dict[int, float], dict[int, float]]:
    """Abscissas where links leave their upper end and enter the lower one, side by side."""
    result: list[dict[int, float]] = []
    for end, neighbour in ((0, 1), (-1, -2)):
        at: dict[str, list[tuple[float, int]]] = {}
        for i, chain in chains.items():
            at.setdefault(chain[end].data, []).append((chain[neighbour].view.xy[0], i))
        ports = {}
        for arriving in at.values():
            view = chains[arriving[0][1]][end].view
            for number, (_, i) in enumerate(sorted(arriving)):
                share = (number + 1) / (len(arriving) + 1) - 0.5
                ports[i] = view.xy[0] + share * 0.8 * view.w
        result.append(ports)
    return result[0], result[1]


def _way(chain: list[Any], leaving: float, entering: float, through: set[str]) -> list[Point]:
    """Straight down within a layer, and an S in each band between two."""
    first, last = chain[0].view, chain[-1].view
    way = [(leaving, first.xy[1] + (0.0 if chain[0].data in through else first.h / 2))]
    for i, (upper, lower) in enumerate(pairwise(chain)):
        x0 = leaving if i == 0 else upper.view.xy[0]
        x1 = entering if i == len(chain) - 2 else lower.view.xy[0]
        top, bottom = upper.view.band[1], lower.view.band[0]
        _straight(way, (x0, top))
        middle = (top + bottom) / 2
        way += [(x0, middle), (x1, middle), (x1, bottom)]
    _straight(way, (entering, last.xy[1] - (0.0 if chain[-1].data in through else last.h / 2)))
    return way


def _straight(way: list[Point], to: Point) -> None:
    """A straight line to a point, unless it is there already."""
    if way[-1] != to:
        way += [way[-1], to, to]
