"""What a model is made of: its calls, and other models made from them."""

from tfdeep.graph.rewrite import Edited, Instead, rewrite
from tfdeep.graph.sections import Section
from tfdeep.graph.trace import Call, Graph, graph_of

__all__ = [
    "Call",
    "Edited",
    "Graph",
    "Instead",
    "Section",
    "graph_of",
    "rewrite",
]
