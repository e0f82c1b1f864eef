"""A companion classifier: what is put on a hidden layer in training."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfdeep.checks import check_number
from tfdeep.training.hinge import L2SVM

POOLING = {
    3: keras.layers.GlobalAveragePooling1D,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}
Schedule = Callable[[int, int], float]


def companion_objective(loss, penalty, alpha, gamma: float | None):
    """alpha [penalty + loss - gamma]_+; without gamma never cut off."""
    whole = penalty + loss
    return alpha * (whole if gamma is None else ops.relu(whole - gamma))


@keras.saving.register_keras_serializable(package="tfdeep")
def paper_decay(epoch: int, epochs: int) -> float:
    """0.1 (1 - t/N), the factor of alpha at epoch t of N, from t = 0."""
    return 0.1 * (1 - epoch / epochs)


@keras.saving.register_keras_serializable(package="tfdeep")
class Head:
    """The settings of a companion objective, for `DeepSupervision`.

        alpha(t) [||w||^2 + l(y, head(x)) - gamma]_+

    with x the output of a hidden layer. The penalty ||w||^2 is whatever
    regularizers the weights of `layer` have; the default has none.

    Args:
        layer: a Keras layer from x to scores; it is copied. By default
            global average pooling and a `Dense` with as many units as the
            model's output, without an activation.
        loss: a Keras loss, its name, or a function. Defaults to `L2SVM`,
            the paper's squared hinge.
        alpha: float of at least 0, the weight. 0 is the plain model.
        gamma: float of at least 0, the value below which the objective
            vanishes, or `None` for no such value. The hinge of the paper's
            code is without; a value of 0 changes only losses that can be
            negative.
        schedule: a function `(epoch, epochs) -> factor` of alpha, epochs
            counted from 0; or `"decay"` for the paper's 0.1 (1 - t/N).
        target: the key, index or name of the output whose targets this head
            learns, for a model with several outputs.

    Raises:
        TypeError: if `layer` or `schedule` is of another kind.
        ValueError: if a number is out of range, or the loss expects
            probabilities of the default layer, which gives scores.

    Example:
        >>> head = Head(alpha=0.3, schedule="decay")
        >>> [round(head.factor(epoch, 4), 3) for epoch in range(4)]
        [0.1, 0.075, 0.05, 0.025]
    """

    def __init__(
        self,
        layer: keras.layers.Layer | None = None,
        loss: Any = None,
        alpha: float = 1.0,
        gamma: float | None = None,
        schedule: str | Schedule | None = None,
        target: str | int | None = None,
    ):
        check_number("alpha", alpha, least=0)
        if gamma is not None:
            check_number("gamma", gamma, least=0)
        _check_kinds(layer, schedule)
        self.layer = layer
        self.loss = L2SVM() if loss is None else keras.losses.get(loss)
        self.alpha = float(alpha)
        self.gamma = None if gamma is None else float(gamma)
        self.schedule: Any = paper_decay if schedule == "decay" else schedule
        self.target = target
        if layer is None and _wants_probabilities(self.loss):
            raise ValueError(
                "`loss` must take scores where the head is the default one, "
                f"which gives them. Received: loss={loss!r}, which expects "
                "probabilities. Pass a loss with from_logits=True, or a "
                "`layer` with an activation."
            )

    def factor(self, epoch: int, epochs: int) -> float:
        """What the schedule makes of alpha in an epoch, counted from 0."""
        if self.schedule is None:
            return 1.0
        return float(self.schedule(epoch, epochs))

    def make(self, name: str, shape: tuple, output_shape: tuple):
        """A new, built layer.

        Args:
            name: the path of the hidden layer.
            shape: the shape of its output.
            output_shape: the shape of the model's output.
        """
        if self.layer is None:
            layer = _pooled_dense(name, shape, output_shape)
        else:
            layer = type(self.layer).from_config(self.layer.get_config())
        if not layer.built:
            layer(keras.Input(batch_shape=shape))
        if self.layer is not None and self.layer.built:
            layer.set_weights(self.layer.get_weights())
        return layer

    def mean_loss(self, y, scores, sample_weight=None):
        """The mean loss over the batch, in float32."""
        loss = self.loss
        if not isinstance(loss, keras.losses.Loss):
            loss = Averaged(loss)
        return loss(y, ops.cast(scores, "float32"), sample_weight)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "layer": serialize(self.layer),
            "loss": serialize(self.loss),
            "alpha": self.alpha,
            "gamma": self.gamma,
            "schedule": serialize(self.schedule),
            "target": self.target,
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        read = {key: deserialize(config[key]) for key in ("layer", "schedule")}
        loss = keras.losses.deserialize(config["loss"])
        return cls(**{**config, **read, "loss": loss})


class Averaged(keras.losses.Loss):
    """The mean of a loss that is a function."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def _wants_probabilities(loss: Any) -> bool:
    if isinstance(loss, keras.losses.Loss):
        return getattr(loss, "from_logits", None) is False
    return getattr(loss, "__name__", "").endswith("crossentropy")


def _check_kinds(layer: Any, schedule: Any) -> None:
    if layer is not None and not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            "`layer` must be a Keras layer, or None. Received: "
            f"layer={layer!r}. Pass for example keras.layers.Dense(10)."
        )
    known = schedule is None or callable(schedule)
    if not known and not (isinstance(schedule, str) and schedule == "decay"):
        raise TypeError(
            "`schedule` must be 'decay', a function of epoch and epochs, or "
            f"None. Received: schedule={schedule!r}. Pass one of these."
        )


def _pooled_dense(name: str, shape: tuple, output_shape: tuple):
    """Global average pooling and a Dense layer in float32."""
    units = output_shape[-1] if len(output_shape) == 2 else None
    if units is None or not (len(shape) == 2 or len(shape) in POOLING):
        raise ValueError(
            "The default head must make one row of scores of each sample. "
            f"Received: {name!r} of shape {tuple(shape)}, in a model that "
            f"returns {tuple(output_shape)}. Give the head a `layer`."
        )
    dense = keras.layers.Dense(units, dtype="float32")
    pooling = [POOLING[len(shape)]()] if len(shape) > 2 else []
    head = keras.Sequential([*pooling, dense])
    # The pooling reads a mask, and it ends there. Keras would say it is lost.
    head.supports_masking = True
    head.compute_mask = lambda inputs, previous_mask: None
    return head
