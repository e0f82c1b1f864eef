"""What a call may not do, if the loss of an example is to be its own."""

import contextlib
from collections.abc import Iterator

import keras


class NotPrivateError(ValueError):
    """Raised where training would only look private."""

    # By this TensorFlow knows that it may raise it again from a graph.
    __init__ = Exception.__init__


def check_pure(variables, before, after, losses) -> None:
    """Raise unless a call changed nothing but streams and added no loss.

    Args:
        variables: those that may not change.
        before: their values before the call.
        after: their values after it.
        losses: what the call added to the loss.
    """
    changed = [
        variable.path
        for variable, old, new in zip(variables, before, after, strict=True)
        if old is not new
    ]
    if changed:
        raise NotPrivateError(
            f"The call changed {', '.join(changed)}. What is computed from a "
            "batch and kept is released without noise, and lets examples act "
            "on each other. Use layers that keep nothing, such as "
            "GroupNormalization, or freeze these."
        )
    if losses:
        raise NotPrivateError(
            f"The call added {len(losses)} losses (`add_loss`, or an activity "
            "regularizer). They are losses of the batch, not of an example, "
            "and no clip would bound them. Put the term into the compiled "
            "loss."
        )


@contextlib.contextmanager
def pure_call(model, trainable, state, seeds) -> Iterator:
    """A scope for a call on given values, checked when it ends.

    Args:
        model: the model.
        trainable: values of its trainable variables.
        state: values of its other variables.
        seeds: which of the latter may change.
    """
    mapping = [
        *zip(model.trainable_variables, trainable, strict=True),
        *zip(model.non_trainable_variables, state, strict=True),
    ]
    kept = [
        variable
        for index, variable in enumerate(model.non_trainable_variables)
        if index not in seeds
    ]
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        before = [scope.get_current_value(v) for v in kept]
        yield scope
        after = [scope.get_current_value(v) for v in kept]
    check_pure(kept, before, after, scope.losses)
