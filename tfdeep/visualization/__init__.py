"""Pictures of results, drawn with matplotlib's object interface.

matplotlib is imported when something is drawn, and no global state of it is
touched: no window, no current figure, no changed style.
"""

from tfdeep.visualization.comparison import comparison
from tfdeep.visualization.curves import learning_curves
from tfdeep.visualization.figure import save
from tfdeep.visualization.signal_propagation import signal_propagation

__all__ = ["comparison", "learning_curves", "save", "signal_propagation"]
