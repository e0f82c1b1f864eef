"""What the loss loses with a channel, measured."""

import keras
import numpy as np

from tfdeep.checks import check_positive
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria.batches import batches, check_mode, loss_function
from tfdeep.pruning.criteria.gates import Gates
from tfdeep.pruning.criteria.scores import Scores


class Oracle:
    """What the loss loses with a channel, measured by removing it.

        s_c = | L - L without c |

    per mini-batch, then the mean: one forward pass for each channel and
    mini-batch, with a progress bar. It is what the other criteria estimate.

    Reference:
        Molchanov et al., "Importance Estimation for Neural Network Pruning",
        2019, eq. 3. Deviation: absolute as in the authors' code, where the
        paper has a square.

    Args:
        max_channels: optional integer: only so many channels, evenly spread,
            are measured; the score of others is infinite, so that they stay.
        verbose: boolean, whether a progress bar is shown. Defaults to `True`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((2,))])
        >>> model.add(keras.layers.Dense(3, "relu", name="low"))
        >>> model.add(keras.layers.Dense(1))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> x, y = np.ones((8, 2)), np.zeros((8, 1))
        >>> oracle = tfdeep.pruning.Oracle(verbose=False)
        >>> oracle.scores(graph, x, y, loss="mse")["low"].shape
        (3,)
    """

    def __init__(self, max_channels: int | None = None, verbose: bool = True):
        if max_channels is not None:
            check_positive("max_channels", max_channels)
        self.max_channels = max_channels
        self.verbose = verbose

    def scores(
        self,
        graph: ChannelGraph,
        x=None,
        y=None,
        *,
        loss=None,
        batch_size: int = 32,
        training: bool = False,
    ) -> Scores:
        """The scores of the free groups; see `Taylor.scores`."""
        check_mode(training)
        data = batches(x, y, batch_size)
        gates = Gates(graph, loss_function(graph.model, loss), training)
        measure = gates.value()
        chosen = np.arange(gates.channels, dtype=float)
        if self.max_channels is not None:
            count = min(self.max_channels, gates.channels)
            chosen = np.linspace(0, gates.channels - 1, count).round()
        bar = keras.utils.Progbar(
            len(data) * len(chosen), verbose=int(self.verbose)
        )
        found = np.zeros((len(data), gates.channels))
        found[:] = np.inf
        for number, batch in enumerate(data):
            whole = measure(gates.values(), *batch)
            for channel in chosen.astype(int):
                z = gates.values()
                z[channel] = 0
                found[number, channel] = abs(whole - measure(z, *batch))
                bar.add(1)
        return Scores(gates.by_group(found.mean(0)))
