"""Equal layers in a row, as one loop over stacked weights."""

import re
from collections.abc import Sequence

import keras
from keras import ops

from tfdeep import backend
from tfdeep.backend.scan import RECOMPUTE
from tfdeep.checks import (
    check_boolean,
    check_choice,
    check_no_tensor,
    check_positive,
    check_seed,
)
from tfdeep.layers.held import call_arguments, hands_on_masks
from tfdeep.layers.repeatable import (
    check_losses,
    check_python_state,
    check_survival,
)
from tfdeep.layers.stacked import (
    SeedStack,
    StackedConstraint,
    StackedInitializer,
    StackedRegularizer,
    stacked,
)
from tfdeep.layers.template import Template
from tfdeep.masks import mask_of, with_mask


@keras.saving.register_keras_serializable(package="tfdeep")
class Repeat(keras.layers.Layer):
    """n copies of a layer, one after the other, each with its own weights.

        x_{i+1} = g(x_i; w[i]),    i = 0, ..., n - 1

    The copies' weights are stacked along a leading axis and the program loops
    over them, so that a net of a thousand blocks is traced and compiled like
    one of a few. Outputs, gradients, batch statistics and, for the same
    seeds, dropout masks are those of n layers in a row.

    The layer is any that keeps its input's shape: a residual block, a dense
    layer, a `keras.Sequential` of them. It stays as it is and serves as the
    description of the copies. Copy 0 begins as the layer itself would; the
    other copies have seeds that are derived from its seeds.

    `survival_probabilities` trains with stochastic depth: copy i is kept with
    the i-th probability, one decision per copy and step, and is not computed
    when it is dropped. The residual blocks of this package skip their branch;
    other layers are skipped as by `tfdeep.layers.StochasticBlock`.

    `recompute` trades time for memory: `True` keeps the input of each copy
    for the backward pass and computes the rest again, `"sqrt"` keeps about
    2 sqrt(n) inputs and computes each copy twice again.

    `num_repeats=1` is the plain layer.

    A copy trains as a plain layer does where the optimizer updates each entry
    by itself (SGD, Adam, AdamW, Lion, RMSprop, `global_clipnorm`). Optimizers
    that take a variable as a whole see all copies as one: `clipnorm`, Lamb,
    Adafactor and Muon train otherwise. `tfdeep.models.unstack` gives plain
    layers.

    On a CPU, TensorFlow with `jit_compile=True` runs the gradients of
    convolutions inside the loop by a slow path of XLA; without it, and on
    JAX, they are as fast as in a row. It was not run on a GPU.

    Args:
        layer: a Keras layer or model with one input and one output tensor of
            the same shape and dtype.
        num_repeats: positive integer, n.
        survival_probabilities: optional list of n floats in [0, 1], the
            probabilities of *keeping* a copy; `linear_survival` gives the
            paper's. In private training each example decides by itself.
        recompute: `False`, `True` or `"sqrt"`.
        seed: optional integer, the start of the decisions' random streams
            where the layer does not make them by itself.
        inverted: boolean, whether a kept copy is scaled in training, and runs
            unscaled at inference, as of `StochasticDepth`. A layer that takes
            `inverted` by itself may also have it.
        **kwargs: `name` and further arguments of a Keras layer.

    Attributes:
        template: holds the one layer that stands for all copies, `.layer`.
            Its own weights are not used.

    Call arguments:
        inputs: tensor, the batch on its first axis.
        mask: optional mask, handed to each copy if it takes one.
        training: boolean, handed to each copy.

    Input shape:
        That of the layer.

    Output shape:
        That of the input.

    Raises:
        TypeError: if `layer` is no Keras layer, or a tensor.
        ValueError: on arguments outside these ranges; if the layer changes
            the shape or dtype, returns several tensors, adds losses, updates
            metrics or keeps state in Python attributes.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = tfdeep.layers.Repeat(keras.layers.Dense(4, "relu"), 100)
        >>> tuple(net(np.ones((2, 4))).shape)
        (2, 4)
        >>> [tuple(weight.shape) for weight in net.weights]
        [(100, 4, 4), (100, 4)]
    """

    def __init__(
        self,
        layer,
        num_repeats: int,
        survival_probabilities: Sequence[float] | None = None,
        recompute: bool | str = False,
        seed: int | None = None,
        inverted: bool = False,
        **kwargs,
    ):
        check_no_tensor(
            "layer", layer, "Repeat(layer, 3)(x) with a layer or model"
        )
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                "`layer` must be a Keras layer. Received: "
                f"layer={type(layer).__name__}. Pass an instance, such as "
                "keras.layers.Dense(8)."
            )
        check_positive("num_repeats", num_repeats)
        check_choice("recompute", recompute, RECOMPUTE)
        check_seed(seed)
        check_boolean("inverted", inverted)
        check_survival(survival_probabilities, num_repeats, layer)
        if kwargs.get("name") is None:
            kwargs["name"] = _name(layer, num_repeats)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        drops = survival_probabilities is not None
        self.num_repeats = num_repeats
        self.survival_probabilities: tuple[float, ...] | None = None
        if survival_probabilities is not None:
            self.survival_probabilities = tuple(
                float(probability) for probability in survival_probabilities
            )
        self.recompute = recompute
        self.seed = seed
        self.inverted = inverted
        self.supports_masking = hands_on_masks(layer)
        self.template = Template(
            layer, 0.5 if drops else None, seed, self.dtype_policy, inverted
        )
        self.seed_stacks: list[SeedStack] = []

    @property
    def trainable(self) -> bool:
        """Whether the copies train; frozen ones behave as frozen layers."""
        return keras.layers.Layer.trainable.fget(self)

    @trainable.setter
    def trainable(self, value: bool):
        keras.layers.Layer.trainable.fset(self, value)
        template = vars(self).get("template")
        if template is not None and template.built:
            template.layer.trainable = bool(value)

    def build(self, input_shape):
        if self.built:
            return
        inputs = keras.KerasTensor(tuple(input_shape), self.compute_dtype)
        self.template.build(inputs)
        variables = [
            self._stack(variable, initializer)
            for variable, initializer in zip(
                self.template.variables,
                self.template.initializers,
                strict=True,
            )
        ]
        self.template.stacked = variables
        if not self.trainable:
            self.template.layer.trainable = False

    def _stack(self, variable, initializer):
        """All copies of one variable of the layer."""
        if self.template.is_seed(variable):
            stack = SeedStack(initializer, variable.shape, self.num_repeats)
            self.seed_stacks.append(stack)
            return stack.state
        return self.add_weight(
            name=self.template.name_of(variable),
            shape=(self.num_repeats, *variable.shape),
            dtype=variable.dtype,
            initializer=StackedInitializer(initializer),
            regularizer=stacked(StackedRegularizer, variable.regularizer),
            constraint=stacked(StackedConstraint, variable.constraint),
            trainable=variable.trainable,
            aggregation=variable.aggregation,
            autocast=False,  # The copies cast as they are used to.
        )

    def call(self, inputs, mask=None, training=None):
        masked = mask is not None or self.template.makes_masks
        handed_on: list[bool] = []
        variables = self.template.stacked
        values = [ops.convert_to_tensor(v.value) for v in variables]
        # A layer without weights has to be counted, too.
        # From 0 by name, as ONNX from JAX (jax2onnx) asks.
        values.insert(0, ops.arange(0, self.num_repeats))
        if self.survival_probabilities is not None:
            values.append(ops.convert_to_tensor(self.survival_probabilities))
        state = self.template.state
        moved: set[int] = set()
        before = self.template.python_state()

        def step(carry, values):
            _, *values = values
            survival = None
            if self.survival_probabilities is not None:
                *values, survival = values
            inputs, *masks = carry
            mask = ops.cast(masks[0], "bool") if masks else None
            outputs, new, losses = self.template.call(
                values,
                with_mask(inputs, mask),
                survival,
                **call_arguments(self.template.layer, mask, training),
            )
            check_losses(self.template.layer, losses)
            if masks:
                mask = mask_of(outputs)
                handed_on.append(mask is not None)
                # What is destroyed hides nothing from the next copy.
                masks = [_as_carry(mask, masks[0])]
            moved.update(i for i in state if new[i] is not None)
            new = [values[i] if new[i] is None else new[i] for i in state]
            new = [ops.stop_gradient(value) for value in new]
            return [outputs, *masks], new

        if training:  # A gradient of one's own keeps programs from export.
            step = backend.as_step(step)
        start = [ops.cast(inputs, self.compute_dtype)]
        if masked:
            shown = ops.ones(ops.shape(inputs)[:-1], "float32")
            start.append(_as_carry(mask, shown))
        (outputs, *masks), new = backend.scan(
            step, start, values, recompute=self.recompute
        )
        if masks and all(handed_on):
            outputs = with_mask(outputs, ops.cast(masks[0], "bool"))
        check_python_state(before, self.template.python_state())
        for index, value in zip(state, new, strict=True):
            if index in moved:  # Nothing is assigned at inference.
                variables[index].assign(value)
        return outputs

    def compute_mask(self, inputs, previous_mask):
        return None  # It is on the outputs, if the copies hand it on.

    def compute_output_shape(self, input_shape):
        return input_shape

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for index, stack in enumerate(self.seed_stacks):
            store[f"seed_states_{index}"] = ops.convert_to_numpy(stack.state)

    def load_own_variables(self, store):
        values = {key: store[key] for key in store.keys()}
        for index, stack in enumerate(self.seed_stacks):
            states = values.pop(f"seed_states_{index}", None)
            if states is not None:
                stack.state.assign(states)
        super().load_own_variables(values)

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        layer = self.template.layer or self.template.given
        return [(layer, self.num_repeats)]

    def get_config(self):
        survival = self.survival_probabilities
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.template.given),
            "num_repeats": self.num_repeats,
            "survival_probabilities": survival and list(survival),
            "recompute": self.recompute,
            "seed": self.seed,
            "inverted": self.inverted,
        }

    @classmethod
    def from_config(cls, config):
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        return cls(layer, **config)


def _as_carry(mask, shown):
    """A mask as numbers that a loop hands on; none hides nothing."""
    if mask is None:
        return ops.ones_like(shown)
    return ops.stop_gradient(ops.cast(mask, "float32"))


def _name(layer, count: int) -> str:
    """n x the kind of layer, as it shall stand in a summary."""
    kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__)
    name = f"{count}x_{kind.lower()}"
    number = keras.backend.get_uid(name)
    return name if number == 1 else f"{name}_{number - 1}"
