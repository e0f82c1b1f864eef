"""A model compiled as another one is."""

from typing import Any

import keras
from keras import tree

from tfdeep.graph.slots import Source, exclude_alike, hand_over
from tfdeep.keras_internals import compiled_with


def compile_like(
    model: keras.Model,
    new: keras.Model,
    sources: dict[int, Source],
    keep: bool,
) -> list[str]:
    """Compile a model with the losses and metrics of another.

    Metrics are new ones, and so is the optimizer, of the same settings and
    learning rate.

    Args:
        model: a compiled model.
        new: a built model with the same outputs.
        sources: where the weights of the new one come from, by their `id`.
        keep: boolean, whether the optimizer keeps what it knows of weights.

    Returns:
        The paths of weights for which the optimizer starts from zero.
    """
    settings = compiled_with(model)
    settings["optimizer"] = optimizer_like(
        model.optimizer, new.trainable_variables
    )
    for key in ("metrics", "weighted_metrics"):
        settings[key] = tree.map_structure(_new_metric, settings.get(key))
    new.compile(**settings)
    if model.optimizer is not None:
        weights = new.trainable_variables
        exclude_alike(model.optimizer, new.optimizer, weights, sources)
    built = getattr(model.optimizer, "built", False)
    if not (built and new.trainable_variables):
        return []
    new.optimizer.build(new.trainable_variables)
    if not keep:
        return []
    return hand_over(model.optimizer, new.optimizer, sources)


def optimizer_like(optimizer: Any, weights: list | None = None) -> Any:
    """A new optimizer of the same settings, not yet built.

    Args:
        optimizer: the optimizer, or `None`.
        weights: what it is going to train, if that is known: wrappers that
            do not fit them are left out.
    """
    if optimizer is None:
        return None
    config = optimizer.get_config()
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None and weights is not None:
        inside = optimizer_like(inner, weights)
        if not getattr(optimizer, "fits", _always)(weights):
            return inside
        name = "optimizer" if "optimizer" in config else "inner_optimizer"
        config[name] = keras.optimizers.serialize(inside)
    return type(optimizer).from_config(config)


def _always(weights: list) -> bool:
    return True


def _new_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    return type(metric).from_config(metric.get_config())
