"""How a layer's gradients per example are had from what passes through it.

A rule runs a layer, marks the tensor whose gradient it needs, and later turns
what went in and what came back into a form of `gradients` for each weight.
"""

import inspect

from keras import ops, tree

from tfdeep.graph.registry import Registry
from tfdeep.privacy.per_example.gradients import Instances, widened


class Rule:
    """Base of the rules: one object per call of a layer.

    Args:
        layer: a built Keras layer.

    Attributes:
        way: how gradients are computed, in a word for users.
        runs_alone: whether `forward` computes by itself, from the one input,
            and does not call the layer.
        vouched_for: whether who wrote the rule says that the layer keeps
            examples apart; else that is looked up.
    """

    way = "book-keeping"
    runs_alone = True
    vouched_for = False

    def __init__(self, layer):
        self.layer = layer

    def fits(self, args: tuple, kwargs: dict) -> bool:
        """Whether the rule holds for a call with such symbolic arguments."""
        return len(args) == 1 and not set(kwargs) - {"training"}

    def forward(self, tap, x):
        """Run the layer.

        Args:
            tap: marks a tensor, to be used in its place from then on.
            x: the layer's input.

        Returns:
            `(outputs, kept)`: a list of tensors to be kept.
        """
        raise NotImplementedError

    def forms(self, kept: list, grads: list, views: int) -> list:
        """Pairs of a variable and a form of its gradient.

        Args:
            kept: what `forward` kept.
            grads: gradients by the marked tensors, in order.
            views: how many rows in turn belong to one example.
        """
        raise NotImplementedError

    def cast(self, value):
        """A tensor or variable in the layer's compute dtype."""
        return ops.cast(value, self.layer.compute_dtype)

    def activated(self, outputs):
        """The layer's activation, if it has one."""
        activation = getattr(self.layer, "activation", None)
        return outputs if activation is None else activation(outputs)


RULES = Registry("gradient_rule")


def gradient_rule(*kinds):
    """Register how gradients per example of a layer's weights are computed.

    Layers without a rule are differentiated one example at a time, or opened
    into the layers that they are made of: correct, and slower. With
    gradients g of the loss by the layer's outputs, a rule computes from them
    and from the inputs x what belongs to each example: of a kernel W in
    y = x W it is the outer product of x and g, summed over positions.

    Registering a rule says that the layer treats each example by itself. The
    engine compares it with plain differentiation before the first step, on
    examples of the first batch, and does not use a rule that is wrong there.

    Args:
        *kinds: classes of layers, or names of classes: `"Package>Name"` of
            those that are registered with Keras, `"package.Name"` of others.
            A subclass that computes in another way has no rule of its parent.

    Returns:
        A decorator for the rule, `rule(layer, x, g)`. `x` is the input of the
        layer, its only one, and `g` the gradient by its output, one tensor;
        both have the examples first. It returns a dict with a pair for each
        trainable weight: `id(weight)`, and gradients of shape
        `(batch, *weight.shape)`.

    Raises:
        TypeError: for anything but a class of layers or a name.

    Reference:
        [Opacus](https://arxiv.org/abs/2109.12298), whose
        `register_grad_sampler` does the same for PyTorch.

    Example:
        >>> import keras, tfdeep
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.scale = self.add_weight(shape=(input_shape[-1],))
        ...     def call(self, x):
        ...         return self.scale * x
        >>> @tfdeep.privacy.gradient_rule(Scale)
        ... def scale_gradients(layer, x, g):
        ...     return {id(layer.scale): x * g}
        >>> base = keras.Sequential([keras.Input((3,)), Scale(name="scale")])
        >>> noise = tfdeep.privacy.GaussianMechanism(noise_multiplier=1.0)
        >>> model = tfdeep.PrivateModel(base, mechanism=noise)
        >>> model.compile("sgd", "mse")
        >>> print(model.describe_clipping())
        scale  Scale  registered rule
    """

    def register(function):
        if inspect.isclass(function) and issubclass(function, Rule):
            return RULES.rule(*kinds)(function)
        RULES.rule(*kinds)(lambda layer: Stated(layer, function))
        return function

    RULES.rule(*kinds)
    return register


class Stated(Rule):
    """The rule of a function that `gradient_rule` has registered.

    Args:
        layer: a built Keras layer.
        function: `function(layer, x, g)`.
    """

    way = "registered rule"
    runs_alone = False
    vouched_for = True

    def __init__(self, layer, function):
        super().__init__(layer)
        self._function = function

    def forward(self, tap, x, **kwargs):
        outputs = self.layer(x, **kwargs)
        if len(tree.flatten(outputs)) != 1:
            raise ValueError(
                f"A gradient rule must be for a layer with one output. "
                f"Received: layer {self.layer.name!r} with "
                f"{len(tree.flatten(outputs))} outputs"
            )
        return tap(outputs), [x]

    def forms(self, kept, grads, views):
        found = self._function(self.layer, kept[0], grads[0])
        weights = self.layer.trainable_variables
        if not isinstance(found, dict) or {*found} != {*map(id, weights)}:
            of = "" if not isinstance(found, dict) else " with other keys"
            raise ValueError(
                f"The gradient rule of layer {self.layer.name!r} must return "
                f"the gradients of its {len(weights)} trainable weights, a "
                "dict by their `id`. Received: an object of type "
                f"{type(found).__name__}{of}"
            )
        return [
            (weight, summed_to(found[id(weight)], views, ()))
            for weight in weights
        ]


def by_example(tensor, views: int):
    """(rows, positions, ...) -> (examples, views * positions, ...)."""
    if views == 1:
        return tensor
    shape = ops.shape(tensor)
    return ops.reshape(
        tensor, (shape[0] // views, views * shape[1], *tensor.shape[2:])
    )


def summed_to(grads, views: int, axes: tuple[int, ...]):
    """Instances of a gradient, summed over views and over some axes."""
    total = ops.sum(widened(grads), axis=axes) if axes else widened(grads)
    if views > 1:
        total = ops.sum(
            ops.reshape(total, (-1, views, *total.shape[1:])), axis=1
        )
    return Instances(total)
