"""What is inside a model: where Keras has no public word, it is said here."""

from typing import Any

import keras


def layers_of(layer: keras.Layer) -> list:
    """The layer itself and all layers in it, at any depth, each once."""
    return list(layer._flatten_layers())


def keeps(layer: keras.Layer, other: keras.Layer) -> bool:
    """Whether a layer holds another for good, even if it is no longer used.

    A Sequential model keeps the graphs that it had before `add` and `pop`.
    """
    return layer._tracker.is_in_store("layers", other)


def is_graph(model: Any) -> bool:
    """Whether it is a Functional or Sequential model with known inputs."""
    return isinstance(model, keras.Model) and bool(
        getattr(model, "inputs", None)
    )


def without_names(config: Any) -> Any:
    """A configuration without the names and seeds in it, at any depth."""
    if isinstance(config, (list, tuple)):
        return [without_names(part) for part in config]
    if not isinstance(config, dict):
        return config
    return {
        key: without_names(value)
        for key, value in sorted(config.items())
        if key not in ("name", "seed")
    }
