"""Dense training, the penalty, and fine-tuning with what is left."""

from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_number, check_probability, check_whole
from tfdeep.graph.weight_decay import exclude_from_weight_decay
from tfdeep.keras_internals import layers_of
from tfdeep.layers.repeat import Repeat
from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.linearization.path_length import path_length
from tfdeep.report import Report, aligned


class LinearizationScheduler(Report, keras.callbacks.Callback):
    """Makes units linear in some epochs of a `fit`.

    Give it to the `fit` of a model with `SparsePReLU` layers, such as one that
    `tfdeep.linearization.linearize` made:

        epoch < start           units are held: ReLUs stay ReLUs
        start <= epoch < stop   slopes train, with the penalty
        stop <= epoch           units are held: the pattern is frozen, the
                                weights are fine-tuned

    After each epoch of the penalty the units that are close to 1, or beyond,
    are linear for good. Epochs count from 0, those of an earlier `fit` among
    them if `initial_epoch` says so; everything else is in the weights, so
    that a model from a file goes on where it was.

    `active_units` and `active_units/LAYER` go into the logs, and `path_length`
    where it is known; `plot` draws the share of active units as a heat map of
    layers by epochs. No slope decays: they are excluded when training begins.

    Reference:
        Mehmeti-Goepel and Disselhoff, "Nonlinear Advantage: Trained Networks
        Might Not Be As Complex as You Think", 2023. That slopes are held
        outside of the penalty's epochs is a choice of this package.

    Args:
        start: integer from 0, the first epoch with the penalty.
        stop: integer above `start`, the first epoch after it.
        strength: float above 0, the weight of the penalty.
        target: optional float in [0, 1], a share of active units: once there
            are no more, the pattern is frozen, and training goes on.

    Attributes:
        names: the names of the layers with units.

    Raises:
        ValueError: on arguments outside these ranges, and when training
            begins if the model has no `SparsePReLU`, or one in a `Repeat`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(4, "relu"))
        >>> model.add(keras.layers.Dense(1))
        >>> model = tfdeep.linearization.linearize(model)
        >>> model.compile(keras.optimizers.SGD(0.05), "mse")
        >>> x = np.random.default_rng(0).normal(size=(64, 8))
        >>> linear = tfdeep.callbacks.LinearizationScheduler(1, 9, 5.0)
        >>> logs = model.fit(x, x[:, :1], epochs=10, verbose=0,
        ...                  callbacks=[linear]).history
        >>> logs["active_units"][0], logs["active_units"][-1]
        (4.0, 0.0)
    """

    def __init__(
        self,
        start: int,
        stop: int,
        strength: float,
        target: float | None = None,
    ):
        super().__init__()
        check_whole("start", start, 0)
        check_whole("stop", stop, 1)
        check_number("strength", strength, 0.0)
        if stop <= start:
            raise ValueError(
                f"`stop` must be above `start`. Received: start={start}, "
                f"stop={stop}. It is the first epoch after the penalty."
            )
        if strength == 0:
            raise ValueError(
                "`strength` must be above 0. Received: strength=0. Without a "
                "penalty no unit becomes linear; pass for example 0.001."
            )
        if target is not None:
            check_probability("target", target)
        self.start = start
        self.stop = stop
        self.strength = strength
        self.target = target
        self.names: list[str] = []
        self._rows: list = []
        self._units: list[SparsePReLU] = []
        self._measures = True

    @property
    def active_shares(self) -> np.ndarray:
        """The shares so far, an array of shape `(epochs, layers)`."""
        return np.array(self._rows).reshape(len(self._rows), len(self.names))

    def on_train_begin(self, logs=None):
        self._units = units_of(self.model)
        self.names = [unit.name for unit in self._units]
        self._rows = []
        self._measures = True
        exclude_from_weight_decay(
            getattr(self.model, "optimizer", None),
            [unit.slopes for unit in self._units],
        )

    def on_epoch_begin(self, epoch, logs=None):
        linearizing = self.start <= epoch < self.stop and not self._reached()
        for unit in self._units:
            unit.freeze()
            if linearizing:
                unit.release()
            unit.strength_now.assign(self.strength if linearizing else 0.0)

    def on_epoch_end(self, epoch, logs=None):
        for unit in self._units:
            unit.freeze()  # What is close to 1 or beyond, for good.
        active = [unit.active_units for unit in self._units]
        sizes = [unit.active.size for unit in self._units]
        self._rows.append(np.divide(active, sizes))
        if logs is None:
            return
        logs["active_units"] = float(sum(active))
        for name, number in zip(self.names, active, strict=True):
            logs[f"active_units/{name}"] = float(number)
        length = self._path_length()
        if length is not None:
            logs["path_length"] = length

    def _reached(self) -> bool:
        """Whether there are as few active units as was asked for."""
        if self.target is None:
            return False
        active = sum(unit.active_units for unit in self._units)
        return active <= self.target * sum(u.active.size for u in self._units)

    def _path_length(self) -> float | None:
        """The average path length; `None` where there is no rule for a layer."""
        if not self._measures:
            return None
        # A wrapper is a model around the one whose paths are meant.
        model = getattr(self.model, "base", self.model)
        try:
            return float(path_length(model))
        except ValueError:
            self._measures = False
            return None

    def __str__(self) -> str:
        if not self._rows:
            return "No epoch has ended yet."
        rows = [["layer", "first epoch", "last epoch"]]
        first, last = self.active_shares[[0, -1]]
        for name, begin, end in zip(self.names, first, last, strict=True):
            rows.append([name, f"{begin:.3f}", f"{end:.3f}"])
        return aligned(rows, right=(1, 2))

    def _content(self) -> dict[str, Any]:
        return {"names": self.names, "active_shares": self.active_shares}

    def _figure(self) -> Any:
        """The shares of active units as a heat map, layers by epochs."""
        from tfdeep.visualization import heat_map

        if not self._rows:
            return None
        return heat_map({"": self.active_shares}, "active units")


def units_of(model: keras.Model) -> list[SparsePReLU]:
    """The `SparsePReLU` layers of a model.

    Raises:
        ValueError: if there is none, or one in a `Repeat`.
    """
    for layer in layers_of(model):
        if isinstance(layer, Repeat) and any(
            isinstance(part, SparsePReLU)
            for part in layers_of(layer.template.given)
        ):
            raise ValueError(
                "`model` must hold its SparsePReLU layers outside of Repeat, "
                f"where nothing can be frozen. Received: {layer.name!r}. "
                "tfdeep.models.unstack makes plain layers of it"
            )
    found = [x for x in layers_of(model) if isinstance(x, SparsePReLU)]
    if not found:
        raise ValueError(
            "`model` must have SparsePReLU layers. Received: "
            f"model={model.name!r}. tfdeep.linearization.linearize makes a "
            "model that has them"
        )
    return found
