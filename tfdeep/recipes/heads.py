"""Where recipes put heads, and how well a layer tells the classes apart."""

from __future__ import annotations

from typing import Any

# Of the mean square of the features.
RIDGE = 0.1


def hidden_names(net: Any) -> list[str]:
    """The names of the activations of a net but the last, in order."""
    import keras

    kinds = (keras.layers.Activation, keras.layers.ReLU)
    found = [each.name for each in net.layers if isinstance(each, kinds)]
    return found[:-1]


def evenly(names: list[str], count: int) -> list[str]:
    """The ends of all but the last of `count + 1` equal parts."""
    return [
        names[round((index + 1) * len(names) / (count + 1)) - 1]
        for index in range(count)
    ]


def head_settings(alpha: float, **settings: Any) -> Any:
    """A head with a crossentropy on scores."""
    import keras

    from tfdeep.training import Head

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Head(loss=loss, alpha=alpha, **settings)


def probe_error(net: Any, name: str, train: Any, test: Any) -> float:
    """The test error of a linear classifier of a layer's features.

    It is fitted to the training set by least squares on one-hot targets, with
    a small ridge. It depends on the features alone: on nothing that was
    trained on top of them.

    Args:
        net: the plain model.
        name: name of the layer.
        train: training images and labels.
        test: test images and labels.
    """
    import keras
    import numpy as np

    view = keras.Model(net.input, net.get_layer(name).output)

    def features(images):
        parts = [images[i : i + 512] for i in range(0, len(images), 512)]
        values = [keras.ops.convert_to_numpy(view(part)) for part in parts]
        flat = np.concatenate(values).reshape(len(images), -1)
        return flat.astype("float64")

    seen, labels = features(train[0]), np.asarray(train[1]).ravel()
    center = seen.mean(0)
    seen = seen - center
    targets = np.eye(labels.max() + 1)[labels]
    products = seen @ seen.T
    ridge = RIDGE * np.trace(products) / len(seen)
    weights = np.linalg.solve(products + ridge * np.eye(len(seen)), targets)
    scores = (features(test[0]) - center) @ (seen.T @ weights)
    guessed = (scores + targets.mean(0)).argmax(-1)
    return float(np.mean(guessed != np.asarray(test[1]).ravel()))
