"""A tape as a graph of nodes and edges, for pictures, explanations and whoever wants to look."""

from .building import graph_of as graph_of
from .model import Edge as Edge
from .model import Graph as Graph
from .model import Node as Node
