"""The base of optimizers that are put around another optimizer."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from tfdeep import backend
from tfdeep.keras_internals import (
    averages_of,
    places_of,
    take_weights,
    weights_of,
)


class _OfInner:
    """A setting that is that of the optimizer inside."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        inner = vars(wrapper).get("inner_optimizer")
        return getattr(inner, self.name, None)

    def __set__(self, wrapper, value):
        # Keras sets its defaults before there is an optimizer inside.
        inner = vars(wrapper).get("inner_optimizer")
        if inner is not None:
            setattr(inner, self.name, value)


@keras.saving.register_keras_serializable(package="tfdeep")
class OptimizerWrapper(keras.optimizers.Optimizer):
    """An optimizer around an optimizer, which it leaves to make the updates.

    By itself it changes nothing: updates are those of the optimizer inside,
    bit for bit. Subclass it for what comes before and after an update, such as
    a mask on weights, statistics of gradients, or a slow copy of the weights:

    - `before_update(gradients, variables)` returns the gradients that the
      optimizer inside is given;
    - `after_update(variables)` assigns to weights;
    - `build(variables)` makes what is kept for each weight, unless `built`,
      after `super().build(variables)`: by `add_optimizer_variables`, or by
      `add_copies`.

    What a subclass can rely on:

    ======================  ===================================================
    variables               all weights, in the order in which they were given
                            to `build`; a gradient is `None` where there is
                            none, and may be `tf.IndexedSlices` of an
                            `Embedding`
    learning rate           callbacks and schedules act on that of the
                            optimizer inside
    clipping, weight decay  done inside, after `before_update`
    accumulation            `before_update` sees each batch, `after_update` is
                            called after updates alone; `iterations` counts
                            them
    averaged weights        kept inside, of the weights before `after_update`;
                            a subclass that bounds weights overrides
                            `finalize_variable_values`, too
    float16                 Keras puts its `LossScaleOptimizer` around the
                            wrapper: gradients are scaled back, and nothing is
                            called in a step that it leaves out
    several devices         under `tf.distribute` gradients are those of one
                            device, and are summed inside; `summed(gradients)`
                            are those of all. What is assigned must be the same
                            on all of them
    JAX                     `stateless_apply` calls the same methods. Assign by
                            `variable.assign`, on every backend
    files                   variables of the wrapper are saved with those of
                            the optimizer inside
    ======================  ===================================================

    Args:
        optimizer: a Keras optimizer, or its name. Settings such as `clipnorm`
            are its own.
        **kwargs: `name` of the wrapper.

    Attributes:
        inner_optimizer: the optimizer inside.

    Raises:
        TypeError: if `optimizer` is no Keras optimizer.
        ValueError: if it is a `LossScaleOptimizer`, or a setting is given that
            is one of the optimizer inside.

    Example:
        >>> import keras, tfdeep
        >>> class Bounded(tfdeep.optimizers.OptimizerWrapper):
        ...     def after_update(self, variables):
        ...         for weight in variables:
        ...             weight.assign(keras.ops.clip(weight, -1.0, 1.0))
        >>> optimizer = Bounded(keras.optimizers.SGD(1.0))
        >>> weight = keras.Variable([0.5, -0.5])
        >>> optimizer.apply([keras.ops.array([2.0, 0.25])], [weight])
        >>> [float(value) for value in weight.numpy()]
        [-1.0, -0.75]
        >>> optimizer.learning_rate = 0.5
        >>> float(optimizer.inner_optimizer.learning_rate)
        0.5
    """

    weight_decay = _OfInner()
    clipnorm = _OfInner()
    global_clipnorm = _OfInner()
    clipvalue = _OfInner()
    use_ema = _OfInner()
    ema_momentum = _OfInner()
    ema_overwrite_frequency = _OfInner()
    loss_scale_factor = _OfInner()
    gradient_accumulation_steps = _OfInner()

    def __init__(self, optimizer, **kwargs):
        optimizer = _checked(optimizer)
        others = sorted(set(kwargs) - {"name"})
        if others:
            raise ValueError(
                f"`{others[0]}` must be set on the optimizer inside. "
                f"Received: {others[0]}={kwargs[others[0]]!r}. Write "
                f"{type(self).__name__}(keras.optimizers."
                f"{type(optimizer).__name__}({others[0]}=...))"
            )
        super().__init__(learning_rate=0.0, **kwargs)
        self.inner_optimizer = optimizer

    def before_update(self, gradients: list, variables: list) -> list:
        """The gradients that the optimizer inside is given.

        Args:
            gradients: list of tensors of a batch, `None` for weights that have
                none; on several devices, those of this device.
            variables: the weights, as they were when the gradients were taken.
        """
        return gradients

    def after_update(self, variables: list) -> None:
        """Assign to weights, which the optimizer inside has just updated.

        Args:
            variables: the weights.
        """

    def fits(self, variables: Iterable) -> bool:
        """Whether it can be built on these weights.

        A model that is made from another one is compiled without a wrapper
        that does not fit it, with what is inside.

        Args:
            variables: the trainable weights of a model.
        """
        return True

    def summed(self, gradients: list) -> list:
        """Gradients as dense tensors, summed over the devices of a batch."""
        given = [each for each in gradients if each is not None]
        found = iter(backend.sum_over_replicas(given))
        return [None if g is None else next(found) for g in gradients]

    def add_copies(self, variables: list, name: str) -> list:
        """Variables that begin with the values of weights, one for each.

        To be called in `build`, where assigning would become part of the step
        that TensorFlow traces.
        """
        return [
            self.add_variable_from_reference(weight, name, _value_of(weight))
            for weight in variables
        ]

    def build(self, variables):
        if not self.built:
            self.inner_optimizer.build(variables)
            take_weights(self, variables)

    @property
    def variables(self):
        """Those of the wrapper, then those of the optimizer inside."""
        return [*super().variables, *self.inner_optimizer.variables]

    def apply(self, grads, trainable_variables=None):
        """Make an update; see `keras.optimizers.Optimizer.apply`."""
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        elif not self.built:
            raise ValueError(
                "`trainable_variables` must be given, or the optimizer built "
                "on them first. Received: trainable_variables=None. Call "
                "`optimizer.build(variables)`"
            )
        weights = weights_of(self)
        places = list(range(len(weights)))
        if trainable_variables is not None:
            places = places_of(self, trainable_variables)
        if len(grads) != len(places):
            raise ValueError(
                "`grads` must have one gradient, or None, for each weight. "
                f"Received: {len(grads)} gradients for {len(places)} weights"
            )
        gradients: list = [None] * len(weights)
        for place, gradient in zip(places, grads, strict=True):
            gradients[place] = gradient
        gradients = list(self.before_update(gradients, weights))
        before = self._updates()
        self.inner_optimizer.apply(
            [gradients[place] for place in places], trainable_variables
        )
        if before is None:
            self.after_update(weights)
        else:
            updated = ops.not_equal(before, self._updates())
            self._after_update_if(updated, weights)

    def _updates(self):
        """How many updates there were, if not every batch makes one."""
        if not self.gradient_accumulation_steps:
            return None
        return ops.convert_to_tensor(self.iterations)

    def _after_update_if(self, updated, weights: list) -> None:
        """Assign what `after_update` does, where there was an update."""
        every = [*weights, *self.variables]
        before = [variable.value for variable in every]
        mapping = list(zip(every, before, strict=True))
        with keras.StatelessScope(mapping) as scope:
            self.after_update(weights)
            after = [scope.get_current_value(variable) for variable in every]
        for variable, old, new in zip(every, before, after, strict=True):
            if new is not old:
                variable.assign(ops.where(updated, new, old))

    @property
    def iterations(self):
        """The number of updates of the optimizer inside."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        """That of the optimizer inside."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    @property
    def _model_variables_moving_average(self):
        return averages_of(self.inner_optimizer)  # `SwapEMAWeights` reads it.

    def set_weights(self, weights):
        """Set all variables, those of the optimizer inside among them."""
        own = len(super().variables)
        super().set_weights(weights[:own])
        self.inner_optimizer.set_weights(weights[own:])

    def get_config(self):
        inner = keras.optimizers.serialize(self.inner_optimizer)
        return {"name": self.name, "optimizer": inner}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        inner = keras.optimizers.deserialize(
            config["optimizer"], custom_objects
        )
        return cls(**{**config, "optimizer": inner})


def _value_of(weight: keras.Variable):
    """An initializer that gives the value of a weight."""

    def value(shape, dtype=None):
        with backend.outside_of_traces():
            return ops.copy(weight)

    return value


def _checked(optimizer: Any) -> keras.optimizers.Optimizer:
    """The optimizer that is meant, if one can be put around it."""
    if isinstance(optimizer, str):
        return keras.optimizers.get(optimizer)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            "`optimizer` must be a Keras optimizer, or its name. Received: "
            f"optimizer={optimizer!r} of type {type(optimizer).__name__}"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "`optimizer` must leave the scale of the loss to Keras, which "
            "puts a LossScaleOptimizer around everything where a model "
            "computes in float16. Received: a LossScaleOptimizer. Give the "
            "optimizer that is inside of it"
        )
    return optimizer


def innermost(optimizer: Any) -> Any:
    """The optimizer inside all that is put around it, itself if nothing is."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer
