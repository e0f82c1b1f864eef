"""What an optimizer around an optimizer is tested by, whatever it adds.

Give it a `Case`, and add that to `CASES`: `test_wrapper.py` runs all of them,
and the contract finds an export that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops, optimizers

from tests.helpers import arrays
from tfdeep.optimizers import OptimizerWrapper
from tfdeep.pruning import TaylorPruning

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


@dataclass(frozen=True)
class Case:
    """An optimizer around another.

    Args:
        make: function of the optimizer inside that makes it, and takes `name`.
        neutral: the same, set so that it changes nothing, if that can be.
        bound: boolean, whether it is made for the weights of `net()` alone.
    """

    make: Callable[..., OptimizerWrapper]
    neutral: Callable[..., OptimizerWrapper] | None = None
    bound: bool = False

    def weights(self) -> list:
        """Weights that it can be built on."""
        if self.bound:
            return net().trainable_variables
        return [keras.Variable([2.0, -1.0]), keras.Variable([[3.0]])]


@keras.saving.register_keras_serializable("tests")
class Masking(OptimizerWrapper):
    """Sets the smallest weights to zero, and says how much each matters.

    What a pruning optimizer does: (g w)^2 of the whole batch at each of them,
    masks after each update. `kept` of 1 masks nothing.
    """

    def __init__(self, optimizer, kept=0.5, **kwargs):
        super().__init__(optimizer, **kwargs)
        self.kept = kept

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.masks = self.add_optimizer_variables(
            variables, "mask", initializer="ones"
        )
        self.importance = self.add_optimizer_variables(variables, "importance")

    def before_update(self, gradients, variables):
        everything = self.summed(gradients)
        rows = zip(self.importance, everything, variables, strict=True)
        for importance, gradient, weight in rows:
            if gradient is not None:
                importance.assign(importance + (gradient * weight) ** 2)
        return gradients

    def after_update(self, variables):
        for mask, weight in zip(self.masks, variables, strict=True):
            if self.kept < 1:
                least = ops.quantile(ops.abs(weight), 1 - self.kept)
                large = ops.cast(ops.abs(weight) >= least, mask.dtype)
                mask.assign(ops.minimum(mask, large))
            weight.assign(weight * mask)

    def get_config(self):
        return {**super().get_config(), "kept": self.kept}


@keras.saving.register_keras_serializable("tests")
class Slow(OptimizerWrapper):
    """Each second update goes half the way back (Zhang et al., 2019).

    A slow copy of the weights, and a count of its own.
    """

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.count = self.add_variable((), "zeros", "int32", name="count")
        self.slow = self.add_copies(variables, "slow")

    def after_update(self, variables):
        self.count.assign(self.count + 1)
        second = self.count % 2 == 0
        for slow, weight in zip(self.slow, variables, strict=True):
            middle = (slow + weight) / 2
            slow.assign(ops.where(second, middle, slow.value))
            weight.assign(ops.where(second, middle, weight.value))


def taylor(inner, channels=3, **kwargs):
    """Masks a channel of `net()` at each update."""
    return TaylorPruning(
        *(inner, net()),
        channels=channels,
        channels_per_step=1,
        frequency=1,
        form="weight",
        **kwargs,
    )


CASES: dict[str, Case] = {
    "OptimizerWrapper": Case(OptimizerWrapper, OptimizerWrapper),
    "Masking": Case(
        Masking, lambda inner, **kwargs: Masking(inner, 1.0, **kwargs)
    ),
    "Slow": Case(Slow),
    "TaylorPruning": Case(
        taylor, lambda inner, **kwargs: taylor(inner, 0, **kwargs), bound=True
    ),
}


def net(policy: str = "float32") -> keras.Model:
    """A small model, the same each time."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, "tanh", name="low", dtype=policy),
            layers.Dense(2, name="high", dtype="float32"),
        ]
    )
    model.dtype_policy = policy  # By this, Keras scales the loss.
    return model


def trained(optimizer, model=None, epochs: int = 2, **kwargs) -> dict[str, Any]:
    """Fit two batches an epoch, and say where everything has come to."""
    model = net() if model is None else model
    compiled = {
        key: kwargs.pop(key)
        for key in ("jit_compile", "run_eagerly")
        if key in kwargs
    }
    if not getattr(model, "compiled", False):
        model.compile(optimizer, "mse", **compiled)
    fitted = model.fit(
        X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **kwargs
    )
    return {
        "model": model,
        "weights": arrays(model.weights),
        "state": arrays(model.optimizer.variables),
        "logs": fitted.history,
    }


def inner_state(run: dict) -> list:
    """What the optimizer inside has come to."""
    return arrays(run["model"].optimizer.inner_optimizer.variables)


def equal(ours: list, theirs: list) -> None:
    """Assert that two lists of arrays are the same bit for bit."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


INNER = {
    "SGD": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: optimizers.Adam(0.1, use_ema=True, global_clipnorm=0.1),
    "AdamW": lambda: optimizers.AdamW(0.1, weight_decay=0.1, clipnorm=0.5),
    "decayed SGD": lambda: optimizers.SGD(0.1, 0.9, weight_decay=0.1),
    "Adafactor": lambda: optimizers.Adafactor(0.1),
    "Nadam": lambda: optimizers.Nadam(0.1, gradient_accumulation_steps=2),
    "Lion": lambda: optimizers.Lion(0.01, loss_scale_factor=4.0),
    "Schedule": lambda: optimizers.RMSprop(
        optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    ),
}
