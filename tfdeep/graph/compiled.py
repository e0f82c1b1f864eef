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
    settings["optimizer"] = optimizer_like(model.optimizer)
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


def optimizer_like(optimizer: Any) -> Any:
    """A new optimizer of the same settings, not yet built."""
    if optimizer is None:
        return None
    return type(optimizer).from_config(optimizer.get_config())


def _new_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    return type(metric).from_config(metric.get_config())
