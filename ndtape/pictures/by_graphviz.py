"""Places by Graphviz: `dot` is given rectangles and answers with centres and Bézier curves."""

from __future__ import annotations

import json
from typing import Any

from .layout import Link, Point, Size

POINTS = 72.0  # dot takes inches, and answers in points; a point is a pixel here


def place(
    sizes: dict[str, Size], links: list[Link], through: set[str]
) -> tuple[dict[str, Point], list[list[Point]]]:
    """Centres of the rectangles, and a way for each link; y points down."""
    numbers = {key: i for i, key in enumerate(sizes)}
    answer = _ask(_program(sizes, links, through, numbers))
    height = float(answer["bb"].split(",")[3])

    def point(text: str) -> Point:
        x, y = text.split(",")[-2:]
        return float(x), height - float(y)

    found = {node["name"]: point(node["pos"]) for node in answer.get("objects", [])}
    ways: list[list[Point]] = [[] for _ in links]
    for edge in answer.get("edges", []):
        ways[int(edge["id"])] = [point(text) for text in edge["pos"].split()]
    return {key: found[f"n{i}"] for key, i in numbers.items()}, ways


def _program(
    sizes: dict[str, Size], links: list[Link], through: set[str], numbers: dict[str, int]
) -> str:
    lines = ['digraph { nodesep=0.28 ranksep=0.26 node [shape=box fixedsize=true label=""]'
             " edge [arrowhead=none]"]  # fmt: skip
    for key, i in numbers.items():
        wide, high = sizes[key]
        lines.append(f"n{i} [width={wide / POINTS:.4f} height={high / POINTS:.4f}]")
    for i, (tail, head) in enumerate(links):
        clip = (" tailclip=false" if tail in through else "") + (
            " headclip=false" if head in through else "")  # fmt: skip
        lines.append(f"n{numbers[tail]} -> n{numbers[head]} [id={i}{clip}]")
    return "\n".join([*lines, "}"])


def _ask(program: str) -> Any:
    import graphviz

    return json.loads(graphviz.Source(program).pipe(format="json", encoding="utf-8"))
