"""How much of a batch each layer tells apart, watched while training."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.checks import check_positive
from tfdeep.report import Report, aligned
from tfdeep.training.entropy_layers import EntropyLayers, Layers
from tfdeep.training.taps import Interior
from tfdeep.training.wrapper import TrainingWrapper


class BatchEntropyMonitor(Report, keras.callbacks.Callback):
    """Logs the batch entropy of the layers of any model, epoch by epoch.

    Use it to see where a deep net loses its signal. After every epoch the
    model is called on the same data, at inference; `entropy` (the mean) and
    `entropy/LAYER` go into the logs, and from there into the history and
    into TensorBoard, if its callback comes after this one. It prints as a
    table, and `plot` draws all of it as a heat map of layers by epochs.

    A layer whose entropy is 0 returns the same for every sample: nothing
    flows past it, and what lies in front of it learns nothing. The first
    such layer is named. Nothing is changed in the model or its training.

    Reference:
        Peer et al., "Improving the Trainability of Deep Neural Networks
        through Layerwise Batch-Entropy Regularization", 2022.

    Args:
        data: inputs as the model takes them, an array or a structure of
            arrays with at least two samples; or a data set of batches, of
            which the first is used, its labels left out.
        layers: `"hidden"`, a list of names or paths, or a function of a
            layer, as in `tfdeep.training.BatchEntropyRegularizer`.
        samples: integer, at most so many samples are used.
        threshold: float, an entropy up to this counts as 0.
        verbose: 0 or 1, whether to print the first layer that is dead.

    Attributes:
        names: list of the layers' names, in the model's order.
        dead: name of the first layer of entropy 0 after the last epoch, or
            `None`.

    Raises:
        ValueError: if there are fewer than two samples, or a layer is
            unknown.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> from tfdeep.callbacks import BatchEntropyMonitor
        >>> model = keras.Sequential([keras.Input((2,))])
        >>> model.add(keras.layers.Dense(4, "relu", name="alive"))
        >>> model.add(keras.layers.Dense(4, "relu", name="dead",
        ...                              kernel_initializer="zeros"))
        >>> model.add(keras.layers.Dense(1))
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(8, 2))
        >>> monitor = BatchEntropyMonitor(x)
        >>> history = model.fit(x, x[:, :1], verbose=0, callbacks=[monitor])
        Epoch 1: nothing flows past layer 2, 'dead'.
        >>> monitor.entropies.shape
        (1, 2)
    """

    def __init__(
        self,
        data: Any,
        layers: Layers = "hidden",
        samples: int = 256,
        threshold: float = 1e-6,
        verbose: int = 1,
    ):
        super().__init__()
        check_positive("samples", samples)
        self.layers = layers
        self.threshold = threshold
        self.verbose = verbose
        self.names: list[str] = []
        self.dead: str | None = None
        self._rows: list = []
        self._inputs = inputs_of(data, samples)
        self._interior: Interior | None = None
        self._watched: EntropyLayers | None = None

    @property
    def entropies(self) -> np.ndarray:
        """The entropies so far, an array of shape `(epochs, layers)`."""
        return np.array(self._rows).reshape(len(self._rows), len(self.names))

    def on_train_begin(self, logs=None):
        model = self.model
        if isinstance(model, TrainingWrapper):
            model = model.plain()
        if self._interior is None or self._interior.model is not model:
            shapes = shapes_of(self._inputs)
            interior = Interior(model, shapes, training=False)
            self._watched = EntropyLayers(interior, self.layers)
            interior.open(interior.at(set(self._watched.paths)))
            self.names = list(self._watched.names)
            self._interior = interior
            self._measured()  # What is wrong with the data is said now.
        self._rows = []

    def on_epoch_end(self, epoch, logs=None):
        if self._interior is None:
            return
        found = self._measured()
        self._rows.append(found)
        self._name_the_dead(epoch, found)
        if logs is not None:
            logs["entropy"] = float(np.mean(found))
            named = zip(self.names, found, strict=True)
            logs.update({f"entropy/{name}": float(h) for name, h in named})

    def _measured(self) -> np.ndarray:
        interior: Any = self._interior
        watched: Any = self._watched
        tapped = interior.run(self._inputs, watched.reported, training=False)
        return ops.convert_to_numpy(watched.entropies(tapped))

    def _name_the_dead(self, epoch: int, found: np.ndarray) -> None:
        before, self.dead = self.dead, None
        (dead,) = np.nonzero(~(found > self.threshold))
        if len(dead):
            self.dead = self.names[dead[0]]
        if self.verbose and self.dead != before:
            past = f"layer {dead[0] + 1}, {self.dead!r}" if len(dead) else ""
            what = f"nothing flows past {past}" if past else "all layers flow"
            print(f"Epoch {epoch + 1}: {what}.")

    def __str__(self) -> str:
        if not self._rows:
            return "No epoch has ended yet."
        first, last = self.entropies[0], self.entropies[-1]
        rows = [["layer", "first epoch", "last epoch"]]
        for name, begin, end in zip(self.names, first, last, strict=True):
            rows.append([name, f"{begin:.4g}", f"{end:.4g}"])
        return aligned(rows, right=(1, 2))

    def _content(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "entropies": self.entropies,
            "dead": self.dead,
        }

    def _figure(self) -> Any:
        """The entropies as a heat map, layers by epochs."""
        from tfdeep.visualization import heat_map

        if not self._rows:
            return None
        return heat_map({"": self.entropies}, "batch entropy")


def shapes_of(inputs: Any) -> Any:
    """The shape of each array, for batches of any size."""
    return tree.map_structure(lambda a: (None, *a.shape[1:]), inputs)


def inputs_of(data: Any, samples: int) -> Any:
    """The first samples of arrays, or of the first batch of a data set.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    arrays = tree.flatten(data)
    batches = isinstance(data, list) and data and isinstance(data[0], tuple)
    if batches or not all(hasattr(array, "shape") for array in arrays):
        data = next(iter(data))
        data = data[0] if isinstance(data, tuple) else data
    inputs = tree.map_structure(
        lambda array: np.asarray(ops.convert_to_numpy(array))[:samples], data
    )
    for array in tree.flatten(inputs):
        if not array.ndim or len(array) < 2:
            raise ValueError(
                "`data` must have two samples: an entropy over the batch "
                f"needs them. Received: an array of shape {array.shape}. Pass "
                "more data, and let `samples` be at least 2."
            )
    return inputs
