"""A layer as a pure function of its weights, its state and its inputs.

`keras.Layer.stateless_call` runs `call` alone; going through `__call__`
keeps what Keras does around it: mixed precision, masks, activity losses.
"""

import keras


def read_variables(layer):
    """Return the values of a layer's (trainable, other) variables."""
    return (
        [v.value for v in layer.trainable_variables],
        [v.value for v in state_of(layer)],
    )


def write_variables(layer, state) -> None:
    """Assign new values to the state of a layer; `None` where it stays."""
    for variable, value in zip(state_of(layer), state, strict=True):
        if value is not None:
            variable.assign(value)


def state_of(layer) -> list:
    """What a call may assign to: metrics inside count in it, too."""
    return [*layer.non_trainable_variables, *layer.metrics_variables]


def stateless_call(layer, trainable, state, inputs, **kwargs):
    """Call a built layer on given variable values, without side effects.

    Returns:
        `(outputs, new_state, losses)`: the new values of the state and the
        losses that were added during the call.
    """
    variables = state_of(layer)
    mapping = [
        *zip(layer.trainable_variables, trainable, strict=True),
        *zip(variables, state, strict=True),
    ]
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        outputs = layer(inputs, **kwargs)
    new_state = [scope.get_current_value(v) for v in variables]
    return outputs, new_state, scope.losses
