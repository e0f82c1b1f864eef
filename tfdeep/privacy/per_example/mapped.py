"""Any other layer: its gradients per example, by running it on one at a time.

Only the layer itself is run again, on what came in; the gradient by what went
out is known. A layer that draws random numbers would draw others.
"""

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.keras_internals import layers_of
from tfdeep.privacy.per_example.gradients import Instances
from tfdeep.privacy.per_example.mapping import map_examples
from tfdeep.privacy.per_example.rules import Rule

# What TensorFlow cannot map over as one program, or only after half a minute.
ONE_BY_ONE = (
    keras.layers.RNN,
    keras.layers.Bidirectional,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def maps_one_by_one(layer) -> bool:
    """Whether `ops.vectorized_map` does not do for a layer."""
    if keras.backend.backend() != "tensorflow":
        return False
    return any(isinstance(each, ONE_BY_ONE) for each in layers_of(layer))


class MappedRule(Rule):
    """Rule of layers that no other rule is for."""

    runs_alone = False

    def fits(self, args, kwargs):
        return True

    def forward(self, tap, *args, **kwargs):
        outputs = self.layer(*args, **kwargs)
        marked = tree.map_structure(
            lambda t: tap(t) if _is_float(t) else t, outputs
        )
        self.arguments = tree.map_structure(_hole, (args, kwargs))
        found = tree.flatten((args, kwargs))
        return marked, [each for each in found if ops.is_tensor(each)]

    def forms(self, kept, grads, views):
        trainable, state = backend.read_variables(self.layer)

        def one(parts):
            kept, grads = parts

            def outputs(*trainable):
                args, kwargs = _filled(self.arguments, kept)
                outputs, _, _ = backend.stateless_call(
                    self.layer, list(trainable), state, *args, **kwargs
                )
                return [t for t in tree.flatten(outputs) if _is_float(t)]

            return backend.vjp(outputs, trainable, list(grads))

        def by_view(tensor):
            return ops.reshape(tensor, (-1, views, *tensor.shape[1:]))

        found = map_examples(
            one,
            ([by_view(t) for t in kept], [by_view(t) for t in grads]),
            maps_one_by_one(self.layer),
        )
        return [
            (variable, Instances(tensor))
            for variable, tensor in zip(
                self.layer.trainable_variables, found, strict=True
            )
        ]


class _Hole:
    """Where a tensor belongs among arguments."""


HOLE = _Hole()


def _hole(value):
    return HOLE if ops.is_tensor(value) else value


def _is_float(tensor) -> bool:
    return keras.backend.is_float_dtype(tensor.dtype)


def _filled(arguments, tensors):
    """Arguments with tensors in the place of holes."""
    waiting = iter(tensors)
    return tree.map_structure(
        lambda each: next(waiting) if each is HOLE else each, arguments
    )
