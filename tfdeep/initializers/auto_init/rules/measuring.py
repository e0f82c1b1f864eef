"""What has no rule of its own: it is computed, and measured."""

import keras
from keras import layers

from tfdeep.initializers.auto_init.rules.registry import axis_of, first
from tfdeep.initializers.auto_init.signal import measure
from tfdeep.initializers.auto_init.tensors import is_tensor, to_numpy


def computed(state, layer, call, args, kwargs):
    """Make the call; what its parts leave unknown is measured."""
    seen = len(state.records)
    outputs = call(*args, **kwargs)
    if len(state.records) == seen and unknown(layer):
        state.probed.append(layer.name)
        state.note("no rule: measured on a sample")
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if is_tensor(x)]
    for tensor in keras.tree.flatten(outputs):
        if is_tensor(tensor) and not state.knows(tensor):
            measured(state, layer, tensor, inputs)
    return outputs


def measured(state, layer, tensor, inputs):
    """The signal of a tensor that depends on whatever was drawn so far."""
    values = to_numpy(tensor)
    signal = measure(values, axis_of(layer, values.ndim))
    before = [state.signal(x) for x in inputs]
    state.know(
        tensor,
        signal.replace(
            draws=state.all_draws(),
            sensitivity=max((b.sensitivity for b in before), default=1.0),
            scatter=max((b.scatter for b in before), default=0.0),
        ),
    )


def followed(**changes):
    """A rule: measured as a whole, of the same kind of law as the input."""

    def apply(state, layer, call, args, kwargs):
        before = state.signal(first(args, kwargs))
        y = state.whole(*args, **kwargs)
        values = to_numpy(y)
        signal = measure(values, axis_of(layer, values.ndim))
        state.know(
            y,
            before.replace(mean=signal.mean, second=signal.second, **changes),
        )
        return y

    return apply


def unknown(layer) -> bool:
    """Whether the layer is neither Keras', nor ours, nor made of layers."""
    if not isinstance(layer, layers.Layer):
        return False
    return type(layer).__module__.split(".")[0] not in ("keras", "tfdeep")
