"""A compiled model back at its beginning with a new seed, without retracing.

Tracing the training step of a deep net takes longer than many a short run.
A new net with the same architecture has the same graph: it is enough to
build it, which is cheap, and to take its values.
"""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def reset(
    model: Any, seed: int, build: Callable[[], Any] | None = None
) -> None:
    """Start `model` again, as if it had been newly built with `seed`.

    Weights, batch statistics, seed generators and the optimizer's state take
    the values of a new model; the traced training and test steps stay. The
    global seeds are set as well, so that a following `fit` shuffles alike:

        keras.utils.set_random_seed(seed)
        model = build()
        keras.utils.set_random_seed(seed)

    leaves the same. (On JAX the very first `fit` of a model draws one batch
    more, so that its later batches are shuffled otherwise.) Initializers and
    layers that were given a seed of their own keep it, as in a new model.

    Args:
        model: the built model, compiled or not.
        seed: integer, the seed of the new start.
        build: function that returns a new model like it, compiled if it is.
            Without it the new model comes from the model's own configuration,
            and its optimizer starts with the *current* learning rate.

    Raises:
        ValueError: if the new model is not like `model`.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential(
        ...     [keras.layers.Input((4,)), keras.layers.Dense(3)])
        >>> reset(model, seed=1); first = model.get_weights()[0]
        >>> reset(model, seed=2); other = model.get_weights()[0]
        >>> reset(model, seed=1); again = model.get_weights()[0]
        >>> bool(np.all(first == again)), bool(np.all(first == other))
        (True, False)
    """
    keras.utils.set_random_seed(seed)
    fresh = rebuilt(model) if build is None else build()
    assign(model.variables, fresh.variables)
    if model.compiled:
        for each in (model, fresh):
            each.optimizer.build(each.trainable_variables)
        assign(model.optimizer.variables, fresh.optimizer.variables)
        model.reset_metrics()
    keras.utils.set_random_seed(seed)


def beginning(model: Any, seed: int) -> Callable[[], None]:
    """Return a function that puts a compiled model back to where it is now.

    For several trainings from the same weights: cheaper than a new model. Each
    shuffles its data alike. Only the seeds of Python and NumPy are set anew, as
    setting TensorFlow's makes it optimize all graphs again; a dataset that is
    new, as in each `fit` of arrays, shuffles by that seed from its beginning.

    Args:
        model: the built and compiled model.
        seed: integer, the global seed, set at once.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.layers.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", "mse")
        >>> restart, first = beginning(model, seed=0), model.get_weights()[0]
        >>> model.set_weights([1 + value for value in model.get_weights()])
        >>> restart()
        >>> bool((model.get_weights()[0] == first).all())
        True
    """
    keras.utils.set_random_seed(seed)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    values = [keras.ops.convert_to_numpy(each) for each in variables]

    def restart() -> None:
        assign(variables, values)
        model.reset_metrics()
        random.seed(seed)
        np.random.seed(seed)

    return restart


def rebuilt(model: Any) -> Any:
    """Return a new model from the configuration of `model`."""
    fresh = keras.models.clone_model(model)
    if model.compiled:
        optimizer = type(model.optimizer)
        config = model.optimizer.get_config()
        fresh.compile(optimizer=optimizer.from_config(config))
    return fresh


def assign(variables: list, values: list) -> None:
    """Give each variable the value of its counterpart.

    Raises:
        ValueError: if the two lists differ in length or shapes.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [tuple(value.shape) for value in values]:
        raise ValueError(
            f"The model has {len(variables)} variables and the new one "
            f"{len(values)}, or their shapes differ. Both must come from the "
            "same architecture. Pass the `build` that built the model."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
