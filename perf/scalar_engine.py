"""A scalar gradient engine in plain Python, of the kind that tutorials build: an object for every
number, with its parents and local derivatives, and a walk back over a sorted list. It is what
"plain Python" means in `moons.py`."""


class Number:
    __slots__ = ("data", "edges", "grad")

    def __init__(self, data, edges=()):
        self.data = data
        self.edges = edges  # (parent, local derivative)
        self.grad = 0.0

    def __add__(self, other):
        if isinstance(other, Number):
            return Number(self.data + other.data, ((self, 1.0), (other, 1.0)))
        return Number(self.data + other, ((self, 1.0),))

    def __mul__(self, other):
        if isinstance(other, Number):
            return Number(self.data * other.data, ((self, other.data), (other, self.data)))
        return Number(self.data * other, ((self, other),))

    def __rsub__(self, other):
        return Number(other - self.data, ((self, -1.0),))

    def __gt__(self, other):
        return self.data > other

    __radd__ = __add__
    __rmul__ = __mul__


def relu(x):
    return Number(x.data, ((x, 1.0),)) if x.data > 0 else Number(0.0, ((x, 0.0),))


def in_order(root):
    """Every number that `root` was computed from, parents first; no recursion, any depth."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.edges)
    return order


def backward(root):
    root.grad = 1.0
    for node in reversed(in_order(root)):
        for parent, slope in node.edges:
            parent.grad += slope * node.grad
