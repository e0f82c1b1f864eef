"""What is inside a model: where Keras has no public word, it is said here."""

from typing import Any

import keras


def layers_of(layer: keras.Layer) -> list:
    """The layer itself and all layers in it, at any depth, each once."""
    return list(layer._flatten_layers())


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
