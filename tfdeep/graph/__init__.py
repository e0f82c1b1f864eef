"""What a model is made of: its calls, and other models made from them."""

from tfdeep.graph.rewrite import Edited, rewrite
from tfdeep.graph.trace import Call, Graph, graph_of

__all__ = ["Call", "Edited", "Graph", "graph_of", "rewrite"]
