"""Pictures of results, drawn with matplotlib's object interface.

matplotlib is imported when something is drawn, and no global state of it is
touched: no window, no current figure, no changed style.
"""

from tfdeep.visualization.comparison import comparison
from tfdeep.visualization.curves import learning_curves
from tfdeep.visualization.depth import accuracy_by_path_length
from tfdeep.visualization.figure import save
from tfdeep.visualization.heat_map import heat_map
from tfdeep.visualization.image_rows import image_rows
from tfdeep.visualization.reach import reach_chart
from tfdeep.visualization.signal_propagation import signal_propagation

__all__ = [
    "accuracy_by_path_length",
    "comparison",
    "heat_map",
    "image_rows",
    "learning_curves",
    "reach_chart",
    "save",
    "signal_propagation",
]
