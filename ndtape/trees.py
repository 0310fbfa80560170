"""Nested containers of scalars, through optree, a kept library; the only file that names it."""

from __future__ import annotations

from typing import Any

import optree


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree of dicts, lists, tuples and named tuples, and its structure."""
    leaves, structure = optree.tree_flatten(tree)
    return leaves, structure


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The tree of that structure with other leaves."""
    return optree.tree_unflatten(structure, leaves)
