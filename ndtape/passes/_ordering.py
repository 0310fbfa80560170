"""Compiled: walks over a graph of instructions, with the list of those whose results each reads."""

from __future__ import annotations

import ctypes

import numpy as np

from .._jit import Sweep, i8_at, u8_at
from .._version import __version__

STATE = ("nodes", "edges", "readers", "sources", "first", "next", "listed", "weight", "depth",
         "todo", "asked", "stack", "mark", "order", "emitted")  # fmt: skip
(NODES, EDGES, READERS, SOURCES, FIRST, NEXT, LISTED, WEIGHT, DEPTH, TODO, ASKED, STACK, MARK,
 ORDER, EMITTED) = range(len(STATE))  # fmt: skip
WAITING, DONE = 1, 2  # marks of nodes: on the stack, in the order


def _walk(state, lo, hi):  # type: ignore[no-untyped-def]
    """Depths of all nodes (lo = 0), or an order in which sources come first (lo = 1).

    `state` is the address of words in the order of STATE: numbers of nodes and edges; addresses of
    the edges, unordered, which are sorted by their readers first, of room for that (`first` is
    zeros, a word a node and one more); and of what is asked for.  The depth of a node, whose
    sources have smaller numbers here, is the largest of its sources' and its own weight.  The order
    begins with `asked` nodes of `todo`, each behind all that it needs and that is not marked.
    Answers 1 where nodes need one another.
    """
    s, answer = u8_at(state), i8_at(state)
    nodes, edges = answer[NODES], answer[EDGES]
    readers, sources, first = i8_at(s[READERS]), i8_at(s[SOURCES]), i8_at(s[FIRST])
    after, listed = i8_at(s[NEXT]), i8_at(s[LISTED])
    for e in range(edges):
        first[readers[e] + 1] += 1
    for node in range(nodes):
        first[node + 1] += first[node]
        after[node] = first[node]
    for e in range(edges):
        reader = readers[e]
        listed[after[reader]] = sources[e]
        after[reader] += 1
    if lo == 0:
        weight, depth = i8_at(s[WEIGHT]), i8_at(s[DEPTH])
        for node in range(nodes):
            deepest = 0
            for e in range(first[node], first[node + 1]):
                deepest = max(deepest, depth[listed[e]])
            depth[node] = deepest + weight[node]
        return 0
    todo, stack, mark, order = i8_at(s[TODO]), i8_at(s[STACK]), i8_at(s[MARK]), i8_at(s[ORDER])
    for node in range(nodes):
        after[node] = first[node]
    emitted = 0
    for t in range(answer[ASKED]):
        if mark[todo[t]] != 0:
            continue
        stack[0] = todo[t]
        mark[todo[t]] = 1
        top = 1
        while top > 0:
            node = stack[top - 1]
            if after[node] < first[node + 1]:
                source = listed[after[node]]
                after[node] += 1
                if mark[source] == 0:
                    mark[source] = 1
                    stack[top] = source
                    top += 1
                elif mark[source] == 1:
                    return 1
            else:
                mark[node] = 2
                order[emitted] = node
                emitted += 1
                top -= 1
    answer[EMITTED] = emitted
    return 0


walk = Sweep(_walk, __version__)
KIND = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 3)


def _walked(nodes: int, edges: tuple[np.ndarray, np.ndarray], lo: int, **more: np.ndarray) -> int:
    """Call `walk`; the number of nodes in the order, or -1."""
    readers, sources = (np.ascontiguousarray(e, np.int64) for e in edges)
    room = {name: np.zeros(nodes + 1, np.int64) for name in ("first", "next", "stack")}
    room |= {"readers": readers, "sources": sources, "listed": np.empty_like(sources), **more}
    state = np.zeros(len(STATE), np.int64)
    for name, array in room.items():
        state[STATE.index(name)] = array.ctypes.data
    state[NODES], state[EDGES] = nodes, len(readers)
    state[ASKED] = len(more.get("todo", ()))
    status = KIND(walk.address)(state.ctypes.data, lo, 0)
    return -1 if status else int(state[EMITTED])


def depths(edges: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The largest weight of a way to each node, itself included; sources have smaller numbers."""
    depth = np.zeros(len(weight), np.int64)
    _walked(len(weight), edges, 0, weight=np.ascontiguousarray(weight, np.int64), depth=depth)
    return depth


def ordered(
    nodes: int, edges: tuple[np.ndarray, np.ndarray], todo: np.ndarray, known: int
) -> np.ndarray | None:
    """The nodes of `todo` and what they need, sources first; None where they need one another.

    The first `known` nodes are there already.
    """
    mark, order = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    mark[:known] = DONE
    todo = np.ascontiguousarray(todo, np.int64)
    count = _walked(nodes, edges, 1, todo=todo, mark=mark, order=order)
    return None if count < 0 else order[:count]
