"""Whether network slimming works, watched while training."""

import warnings

import keras
import numpy as np
from keras import ops

from tfdeep.keras_internals import layers_of
from tfdeep.pruning.slimming_penalty import is_attached

SMALL = 1e-2
FEW = 0.2  # Below that, half of the channels cannot go without harm.


class SlimmingMonitor(keras.callbacks.Callback):
    """Logs how many scales of batch normalizations are small.

    `Slimming.monitor` makes one. It logs `small_gammas`, the share of the
    scales with |gamma| < 0.01, after every epoch.

    Attributes:
        shares: list of floats, the share after each epoch.
        without_scale: list of the names of batch normalizations without a
            scale, whose channels all stay.

    Raises:
        ValueError: in `fit`, if `Slimming.attach` was not called.
    """

    def __init__(self):
        super().__init__()
        self.shares: list[float] = []
        self.without_scale: list[str] = []

    def on_train_begin(self, logs=None):
        if not self._gammas():
            raise ValueError(
                "`Slimming.attach(model)` must be called before `fit`. "
                f"Received: model={self.model.name!r}, no scale of which is "
                "pulled to zero"
            )
        self.shares = []
        self.without_scale = [
            layer.name
            for layer in layers_of(self.model)
            if isinstance(layer, keras.layers.BatchNormalization)
            and not layer.scale
        ]

    def on_epoch_end(self, epoch, logs=None):
        values = [ops.convert_to_numpy(each) for each in self._gammas()]
        small = np.abs(np.concatenate(values)) < SMALL
        self.shares.append(float(small.mean()))
        if logs is not None:
            logs["small_gammas"] = self.shares[-1]

    def on_train_end(self, logs=None):
        if not self.shares or self.shares[-1] >= FEW:
            return
        without = ""
        if self.without_scale:
            names = ", ".join(self.without_scale)
            without = f" Without a scale, all channels stay in {names}."
        warnings.warn(
            f"Only {self.shares[-1]:.0%} of the scales are below {SMALL}: "
            "pruning many channels would do harm. Train longer, or from "
            "scratch, with a larger `strength` or learning rate, or from a "
            f"smaller `gamma`.{without}",
            stacklevel=2,
        )

    def _gammas(self) -> list:
        """The scales that are pulled to zero."""
        gammas = (
            getattr(layer, "gamma", None) for layer in layers_of(self.model)
        )
        return [gamma for gamma in gammas if is_attached(gamma)]
