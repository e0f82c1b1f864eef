"""The sample that starts a pass, and the weights of a model."""

import keras
import numpy as np

from tfdeep.initializers.auto_init.propagation import to_numpy
from tfdeep.initializers.auto_init.signal import Signal, measure

VALUES = 2**19  # How many numbers of an input are sampled.
UNKNOWN_SIZE = 32


def arrays(x):
    """NumPy arrays of data: an array, a list or dict of them, or a data set."""
    if hasattr(x, "take") and hasattr(x, "element_spec"):
        parts = [_images(batch) for batch in x.take(8).as_numpy_iterator()]
        if not parts:
            raise ValueError(
                "`x` came as an empty data set. It gives batches of inputs. "
                "Check the path and the split it was made from."
            )
        return keras.tree.map_structure(lambda *a: np.concatenate(a), *parts)
    return keras.tree.map_structure(np.asarray, x)


def _images(batch):
    return batch[0] if isinstance(batch, tuple) else batch


def sample(model, means, variances, data, seed):
    """A batch of inputs and the signal of each.

    Returns:
        `(inputs, signals)`: the structure that the model takes, and a list.
    """
    specs = keras.tree.flatten(model.inputs)
    size = max(int(np.prod(_shape(spec)[1:])) for spec in specs)
    batch = int(np.clip(VALUES // size, 4, 256))
    rng = np.random.default_rng(seed)
    if data is not None:
        return _from_data(specs, data, batch, rng)
    means, variances = (_each(v, specs) for v in (means, variances))
    values, signals = [], []
    for spec, mean, variance in zip(specs, means, variances, strict=True):
        shape = (batch, *_shape(spec)[1:])
        dtype = keras.backend.standardize_dtype(spec.dtype)
        if "int" in dtype or dtype == "bool":
            x = rng.integers(0, _vocabulary(model), shape).astype(dtype)
            signals.append(measure(x))
        else:
            x = rng.standard_normal(shape)
            x = (x - x.mean()) / x.std() if x.size > 1 else x
            x = (mean + x * variance**0.5).astype("float32")
            second = np.full((1,) * len(shape), mean**2 + variance)
            signals.append(Signal(float(mean), second, gaussian=mean == 0))
        values.append(x)
    return _structure(model, values), signals


def _structure(model, values):
    if len(values) == 1:
        return values[0]
    if isinstance(model.inputs, dict):
        return dict(zip(model.inputs, values, strict=True))
    return values


def _from_data(specs, data, batch, rng):
    flat = keras.tree.flatten(data)
    if len(flat) != len(specs):
        raise ValueError(
            f"`data` came with {len(flat)} inputs. The model has "
            f"{len(specs)}. Give one array for each."
        )
    chosen = rng.permutation(len(flat[0]))[:batch]
    values, signals = [], []
    for array in flat:
        x = np.asarray(array)[chosen]
        values.append(x if "int" in x.dtype.name else x.astype("float32"))
        whole = measure(np.asarray(array))
        signals.append(Signal(whole.mean, np.full((1,) * x.ndim, whole.q)))
    return keras.tree.pack_sequence_as(data, values), signals


def _each(value, specs):
    flat = keras.tree.flatten(value)
    if len(flat) == 1:
        flat = flat * len(specs)
    if len(flat) != len(specs):
        raise ValueError(
            f"Statistics came for {len(flat)} inputs. The model has "
            f"{len(specs)}. Give one number, or one for each."
        )
    return flat


def _shape(spec):
    return [UNKNOWN_SIZE if size is None else size for size in spec.shape]


def _vocabulary(model) -> int:
    """The smallest table that integers look up."""
    sizes = [
        layer.input_dim
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding)
    ]
    return min(sizes, default=2)


class Backup:
    """The values of a model's variables, to be put back."""

    def __init__(self, model):
        self.values = [(v, to_numpy(v).copy()) for v in model.variables]

    def restore(self, keep=()):
        """Put every value back but those of the variables in `keep`."""
        kept = {id(variable) for variable in keep}
        for variable, value in self.values:
            if id(variable) not in kept:
                variable.assign(value)
