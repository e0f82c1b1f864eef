"""Units that learn whether they have to be nonlinear.

    y = x  where x > 0,  a x elsewhere        a = 0: ReLU,  a = 1: linear

    penalty = strength * sum_i (1 - a_i)^power      over the units that are not
                                                    yet linear, a < 1 - threshold

A unit whose slope comes closer to 1 than the threshold, or crosses 1, is
linear from then on.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_number


def sloped(x, slopes):
    """x where it is positive, slope times x elsewhere.

    Not max(x, 0) + a min(x, 0), whose gradient at 0 is another one on each
    backend.
    """
    return ops.where(x > 0, x, slopes * x)


def linearity_penalty(slopes, free, power: float, threshold: float):
    """The sum of (1 - a)^power over free units with a < 1 - threshold.

    Args:
        slopes: tensor, one for each unit.
        free: boolean tensor of that shape, the units that count.
        power: float above 0.
        threshold: float in (0, 1).

    Returns:
        A scalar; its gradient is finite for all slopes.
    """
    counts = ops.logical_and(free, slopes < 1 - threshold)
    # Where nothing counts there is no distance, whose power has no gradient.
    distance = ops.where(counts, 1 - slopes, ops.ones_like(slopes))
    found = ops.power(distance, power)
    return ops.sum(ops.where(counts, found, ops.zeros_like(found)))


class _Penalty(keras.regularizers.Regularizer):
    """The penalty of a layer; a function will not do for Keras 3.13."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer.penalty(x)


@keras.saving.register_keras_serializable(package="tfdeep")
class SparsePReLU(keras.layers.Layer):
    """A ReLU that training may turn into the identity, channel by channel.

    Use it to find out how many nonlinear units a trained net needs. It begins
    as a ReLU, or as a leaky one, and learns a slope for each unit:

        y = x where x > 0, else a x
        loss += strength * sum over units of (1 - a)^power

    A unit with a >= 1 - threshold is linear: it returns its input, its slope
    is not trained, and it counts no longer. So is one that crosses 1 in one
    step. Without a strength this is a PReLU.

    What is frozen is kept in weights that training does not change and a call
    reads: momentum moves no frozen unit, and nothing is compiled once more.
    `freeze` fixes all units as they are. Linear ones are linear for good;
    `release` lets the others train. `tfdeep.callbacks.LinearizationScheduler`
    calls both while a model is trained, and
    `tfdeep.linearization.linearize` puts the layer in the place of all ReLUs.

    Weight decay pulls slopes towards ReLU. `linearize` and the scheduler
    exclude them; elsewhere say
    `optimizer.exclude_from_weight_decay([layer.slopes])`.

    In `Repeat` the penalty is that of the `strength` given here, and nothing
    can be frozen: `tfdeep.models.unstack` makes plain layers of it.

    Reference:
        Mehmeti-Goepel and Disselhoff, "Nonlinear Advantage: Trained Networks
        Might Not Be As Complex as You Think", 2023. That the penalty is a sum
        over units, that slopes beyond 1 are linear, and that frozen units keep
        their slopes are choices of this package.

    Args:
        strength: float from 0, the weight of the penalty.
        power: float above 0, the p of the penalty.
        threshold: float in (0, 1), how close to 1 a slope is linear.
        negative_slope: float below `1 - threshold`, the slopes to begin with.
            0 is ReLU.
        shared_axes: `"spatial"`, one slope for each entry of the last axis;
            or a list of the axes that share a slope, counted from 1 as in
            `keras.layers.PReLU`: `[2, 3]` for images whose channels come
            first. An empty list or `None` is a slope for each entry.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        `(batch, ...)`; the axes that are not shared have known sizes.

    Output shape:
        The shape of the input.

    Attributes:
        slopes: the trainable slopes, in the shape of an example, 1 on axes
            that share them.
        frozen: a weight of that shape, 1 for units that do not train.
        kept: a weight of that shape, the slopes of frozen units.
        strength_now: a scalar weight, the strength that is in force.

    Raises:
        ValueError: on arguments outside these ranges, for shared axes that
            the input does not have, and for unknown sizes.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.SparsePReLU()
        >>> x = np.array([[-1.0, 2.0, -3.0]], "float32")
        >>> (np.array(layer(x)) == np.maximum(x, 0.0)).tolist()
        [[True, True, True]]
        >>> _ = layer.slopes.assign([0.0, 0.0, 1.1])
        >>> layer.freeze()
        >>> (np.array(layer(x)) == x).tolist(), layer.active_units
        ([[False, True, True]], 2)
    """

    def __init__(
        self,
        strength: float = 0.0,
        power: float = 0.5,
        threshold: float = 0.01,
        negative_slope: float = 0.0,
        shared_axes: str | Sequence[int] | None = "spatial",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_number("strength", strength, 0.0)
        check_number("power", power, 0.0, 0.5)
        check_number("threshold", threshold, 0.0, 0.01)
        check_number("negative_slope", negative_slope, example=0.0)
        if power == 0:
            raise ValueError(
                "`power` must be above 0. Received: power=0. Without a power "
                "nothing draws a slope to 1; pass for example 0.5."
            )
        if not 0 < threshold < 1:
            raise ValueError(
                "`threshold` must be in (0, 1). Received: "
                f"threshold={threshold}. Pass for example 0.01."
            )
        if negative_slope >= 1 - threshold:
            raise ValueError(
                "`negative_slope` must be below 1 - threshold, where units "
                f"are linear. Received: negative_slope={negative_slope}, "
                f"threshold={threshold}. Pass for example 0.0."
            )
        self.strength = float(strength)
        self.power = float(power)
        self.threshold = float(threshold)
        self.negative_slope = float(negative_slope)
        self.shared_axes = _axes(shared_axes)
        self.supports_masking = True

    def build(self, input_shape):
        self.slopes = self.add_weight(
            name="slopes",
            shape=self._shape(input_shape),
            initializer=keras.initializers.Constant(self.negative_slope),
            regularizer=_Penalty(self),
            autocast=False,  # In half precision 1 - threshold is no number.
        )
        self.frozen = self._state("frozen", self.slopes.shape, 0.0)
        self.kept = self._state("kept", self.slopes.shape, self.negative_slope)
        self.strength_now = self._state("strength", (), self.strength)

    def _state(self, name: str, shape: tuple, value: float):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
        )

    def _shape(self, input_shape) -> tuple:
        """The shape of the slopes, without the batch."""
        shape = list(input_shape[1:])
        shared = self.shared_axes
        if shared == "spatial":
            shared = list(range(1, len(shape)))
        for axis in shared or ():
            if not 1 <= axis <= len(shape):
                raise ValueError(
                    "`shared_axes` must be axes of the input, from 1. "
                    f"Received: shared_axes={self.shared_axes}, for an input "
                    f"of shape {tuple(input_shape)}"
                )
            shape[axis - 1] = 1
        if not shape or None in shape:
            raise ValueError(
                f"{type(self).__name__} must know the size of each axis that "
                "has its own slopes. Received: an input of shape "
                f"{tuple(input_shape)}, shared_axes={self.shared_axes}. Give "
                "the sizes in the model's Input, or share the axes."
            )
        return tuple(shape)

    def free_units(self):
        """Which units train, a boolean tensor in the shape of the slopes."""
        caught = ops.logical_and(
            self.strength_now.value > 0,
            self.slopes.value >= 1 - self.threshold,
        )
        return ops.logical_not(ops.logical_or(self.frozen.value > 0.5, caught))

    def slopes_in_force(self):
        """What negative inputs are multiplied with; 1 where it is linear."""
        free, kept = self.slopes.value, self.kept.value
        held = ops.where(self.frozen.value > 0.5, kept, ops.ones_like(kept))
        return ops.where(self.free_units(), free, held)

    def penalty(self, slopes):
        """The term that the slopes add to the loss.

        Args:
            slopes: the slopes, or other values in their place.

        Returns:
            A scalar tensor, of the dtype of Keras' losses.
        """
        found = self.strength_now.value * linearity_penalty(
            ops.convert_to_tensor(slopes),
            ops.logical_not(self.frozen.value > 0.5),
            self.power,
            self.threshold,
        )
        return ops.cast(found, keras.config.floatx())

    def call(self, inputs):
        slopes = ops.cast(self.slopes_in_force(), inputs.dtype)
        return sloped(inputs, slopes)

    @property
    def active(self) -> np.ndarray:
        """Which units are nonlinear now, in the shape of the slopes."""
        return ops.convert_to_numpy(self.slopes_in_force()) != 1.0

    @property
    def active_units(self) -> int:
        """How many units are nonlinear now."""
        return int(self.active.sum())

    def freeze(self) -> None:
        """Fix all units as they are; those close to 1 or beyond are linear."""
        slopes = ops.convert_to_numpy(self.slopes_in_force())
        linear = slopes >= 1 - self.threshold
        self.kept.assign(np.where(linear, 1.0, slopes))
        self.frozen.assign(np.ones_like(slopes))

    def release(self) -> None:
        """Let all units train that are not linear, from where they are."""
        slopes = ops.convert_to_numpy(self.slopes_in_force())
        linear = slopes == 1.0
        self.slopes.assign(slopes)
        self.kept.assign(slopes)
        self.frozen.assign(linear.astype(slopes.dtype))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "strength": self.strength,
            "power": self.power,
            "threshold": self.threshold,
            "negative_slope": self.negative_slope,
            "shared_axes": self.shared_axes,
        }


def _axes(shared_axes):
    """`"spatial"`, or a list of whole numbers."""
    if shared_axes is None or shared_axes == "spatial":
        return "spatial" if shared_axes else []
    if isinstance(shared_axes, str) or not isinstance(
        shared_axes, (int, list, tuple)
    ):
        raise ValueError(
            "`shared_axes` must be 'spatial', a list of axes, or None. "
            f"Received: shared_axes={shared_axes!r}. Pass for example [1, 2]."
        )
    axes = [shared_axes] if isinstance(shared_axes, int) else list(shared_axes)
    if not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        raise ValueError(
            "`shared_axes` must be whole numbers from 1. Received: "
            f"shared_axes={shared_axes!r}. Pass for example [1, 2]."
        )
    return axes
