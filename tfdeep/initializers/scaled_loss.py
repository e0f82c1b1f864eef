"""The loss of a model as a function of one scale per weight tensor.

    theta_i = alpha_i theta_i^0,    L(alpha) = loss(model(x; theta), y)

The copies of a `Repeat` have a scale each, as the same layers in a row have.

The model is only read, through a stateless scope; its weights change once,
at the end, in `write_back`.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.parts import every_part
from tfdeep.graph.trace import ends
from tfdeep.initializers.auto_init.inputs import as_taken, in_order
from tfdeep.initializers.classes import check_classes
from tfdeep.initializers.kinds import check_kind, is_text
from tfdeep.initializers.shared_weights import check_not_shared
from tfdeep.inside import is_graph
from tfdeep.layers.copies import copy_sizes


class ScaledLoss:
    """The loss of a built model, and which of its weights are scaled.

    All trainable weights that are not zero get a scale.

    Args:
        model: a built `keras.Model`.
        loss: a Keras loss, its name, or a function of labels and
            predictions; `None` takes the loss the model is compiled with.

    Raises:
        TypeError: if `model` or `loss` is something else.
        ValueError: if the model cannot be scaled, or has no loss.
    """

    def __init__(self, model: Any, loss: Any = None):
        check_model(model)
        self.model = model
        self.loss = loss_function(model, loss)
        self.compiled = loss is None
        self.kind = model.loss if loss is None else loss
        self.variables = list(model.trainable_variables)
        self.weights = [ops.convert_to_tensor(v.value) for v in self.variables]
        self.state = [
            ops.convert_to_tensor(v.value)
            for v in model.non_trainable_variables
        ]
        self.scaled = [
            index
            for index, weight in enumerate(self.weights)
            if bool(ops.any(ops.not_equal(weight, 0)))
        ]
        if not self.scaled:
            raise ValueError(
                "The model must have a trainable weight other than zero, "
                f"which GradInit scales. Received: {model.name!r} without "
                "one. Make its layers trainable and initialize them first."
            )
        check_not_shared(model)
        copies = copy_sizes(model)
        self.sizes = [
            copies.get(id(self.variables[index]), ()) for index in self.scaled
        ]
        self.names = [
            self.variables[index].path + "".join(f"[{i}]" for i in copy)
            for index, sizes in zip(self.scaled, self.sizes, strict=True)
            for copy in np.ndindex(*sizes)
        ]
        double = any(v.dtype == "float64" for v in self.variables)
        self.dtype = "float64" if double else "float32"

    def scale(self, scales, weights) -> list:
        """alpha_i theta_i^0 for the scaled weights, the others as they are."""
        theta = list(weights)
        start = 0
        for sizes, index in zip(self.sizes, self.scaled, strict=True):
            stop = start + math.prod(sizes)
            ones = (1,) * (len(theta[index].shape) - len(sizes))
            scale = ops.cast(scales[start:stop], theta[index].dtype)
            theta[index] = theta[index] * ops.reshape(scale, (*sizes, *ones))
            start = stop
        return theta

    def __call__(self, weights, state, batch):
        """The loss of a batch in training mode; the state is not updated."""
        x, y, sample_weight = batch
        mapping = [
            *zip(self.variables, weights, strict=True),
            *zip(self.model.non_trainable_variables, state, strict=True),
        ]
        with keras.StatelessScope(mapping, collect_losses=True):
            y_pred = self.model(x, training=True)
            return self.loss(x, y, y_pred, sample_weight)

    def values(self, weights, state) -> keras.StatelessScope:
        """A scope in which the model has these weights and this state."""
        mapping = [
            *zip(self.variables, weights, strict=True),
            *zip(self.model.non_trainable_variables, state, strict=True),
        ]
        return keras.StatelessScope(mapping, collect_losses=True)

    def predict(self, weights, state, x) -> list:
        """The model's outputs in training mode; the state is not updated."""
        with self.values(weights, state):
            outputs = tree.flatten(self.model(x, training=True))
        return [y for y in outputs if y is not None]

    def check_batch(self, batch) -> Any:
        """Call the loss with zeros in place of predictions.

        What labels do not fit is said here, rather than within a program.

        Returns:
            The specification of the predictions.
        """
        check_inputs(self.model, batch[0])
        try:
            x, y, sample_weight = tree.map_structure(_tensor, batch)
            x = _of_rank(self.model, x)
            predicted = self.model.compute_output_spec(
                tree.map_structure(
                    lambda t: keras.KerasTensor(t.shape, t.dtype), x
                )
            )
        except Exception as error:
            if not any(map(is_text, tree.flatten(batch[0]))):
                raise
            raise ValueError(
                "`data` must be what the model takes on "
                f"{keras.backend.backend()}. Received: text for the model "
                f"{self.model.name!r}. Turn text into numbers first, as "
                "keras.layers.TextVectorization does."
            ) from error
        self.check_classes(y, predicted)
        zeros = tree.map_structure(
            lambda spec: ops.zeros(spec.shape, spec.dtype), predicted
        )
        try:
            with keras.StatelessScope(collect_losses=True):
                self.loss(x, y, zeros, sample_weight)
        except Exception as error:
            raise ValueError(
                "The labels must fit the loss and the model's output. "
                f"Received: labels of shape {_shapes(y)} for predictions of "
                f"shape {_shapes(zeros)}, which the loss does not take "
                f"({str(error).splitlines()[0] if str(error) else error!r})"
            ) from error
        return predicted

    def check_classes(self, labels, predicted) -> None:
        """Raise for a class that is not there: JAX would not say a word."""
        if self.compiled or not tree.is_nested(predicted):
            check_classes(self.model, self.kind, labels, predicted)

    def write_back(self, scales) -> None:
        """Scale the model's weights: all of them, or none."""
        old = [variable.value for variable in self.variables]
        old = [ops.copy(value) for value in old]
        new = self.scale(ops.convert_to_tensor(scales, self.dtype), old)
        try:
            for index in self.scaled:
                self.variables[index].assign(new[index])
        except BaseException:  # An interrupt too, and it goes on from here.
            for variable, value in zip(self.variables, old, strict=True):
                variable.assign(value)
            raise


def _tensor(value):
    return None if value is None else ops.convert_to_tensor(value)


def _shapes(tensors):
    shapes = [tuple(t.shape) for t in tree.flatten(tensors) if t is not None]
    return shapes[0] if len(shapes) == 1 else shapes or None


def loss_function(model: keras.Model, loss: Any) -> Callable:
    """A function `(x, y, y_pred, sample_weight)` that returns a scalar."""
    if loss is None:
        return _compiled_loss(model)
    try:
        given = keras.losses.get(loss)
    except (TypeError, ValueError) as error:
        raise type(error)(
            "`loss` must be a Keras loss, the name of one, or a function of "
            f"labels and predictions. Received: loss={loss!r}. Pass one, such "
            "as 'sparse_categorical_crossentropy'."
        ) from error

    def call(x, y, y_pred, sample_weight):
        if isinstance(given, keras.losses.Loss):
            return given(y, y_pred, sample_weight=sample_weight)
        values = given(y, y_pred)
        if sample_weight is not None:
            values = values * ops.cast(sample_weight, values.dtype)
        # On JAX Keras' own mean is one in float32.
        return ops.sum(values) / ops.cast(ops.size(values), values.dtype)

    return call


def _compiled_loss(model):
    own = type(model).compute_loss is not keras.Model.compute_loss
    if not model.compiled or (model.loss is None and not own):
        how = "with no loss" if model.compiled else "not compiled"
        raise ValueError(
            "The model must have a loss, whose gradient GradInit takes. "
            f"Received: {model.name!r} {how}. Compile the model with one, or "
            "pass `loss`."
        )

    def call(x, y, y_pred, sample_weight):
        return model.compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight
        )

    return call


def check_model(model: Any) -> None:
    """Raise unless `model` is a built model of float32 or float64 weights."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a keras.Model, whose weights GradInit scales. "
            f"Received: model={type(model).__name__}"
        )
    if backend.within_strategy():
        raise RuntimeError(
            "GradInit must be called outside of the scope of a tf.distribute "
            "strategy: it runs on one device and scales the weights of all "
            "replicas. Received: a call within one. Build the model in the "
            "scope and call this after it."
        )
    if not model.built:
        raise ValueError(
            "The model must have weights, which GradInit scales. Received: "
            f"{model.name!r}, which is not built yet. Call `model.build` with "
            "the input shape first."
        )
    for layer in every_part(model):
        if layer.dtype_policy.quantization_mode is not None:
            _refuse(layer, "quantized", "Initialize first, then quantize.")
        if getattr(layer, "lora_enabled", False):
            _refuse(layer, "adapted by LoRA", "Initialize first, then adapt.")
        if layer.compute_dtype in ("float16", "bfloat16"):
            _refuse(
                layer,
                f"computed in {layer.compute_dtype}",
                "Initialize a copy of the model in float32, then copy its "
                "weights with set_weights.",
            )


def _refuse(layer, what, remedy):
    raise ValueError(
        "The weights must be in float32 or float64 and those that the layers "
        "compute with, as GradInit takes gradients of gradients. Received: "
        f"{layer.name!r} {what}. {remedy}"
    )


def _of_rank(model, x):
    """The inputs with a column more or less, as the model takes them."""
    if not is_graph(model):
        return x
    specs = tree.flatten(ends(model)[0])
    tensors = tree.flatten(x)
    if len(tensors) != len(specs) or isinstance(x, dict):
        return x
    taken = [
        t if t is None else as_taken(t, spec.shape)
        for t, spec in zip(tensors, specs, strict=True)
    ]
    return tree.pack_sequence_as(x, taken)


def check_inputs(model: keras.Model, x: Any) -> None:
    """Raise where a model that knows its inputs takes something else."""
    if not is_graph(model):
        return
    specs = tree.flatten(ends(model)[0])
    arrays = in_order(x, ends(model)[0])
    if len(arrays) == len(specs):  # Of another number Keras says so itself.
        for array, spec in zip(arrays, specs, strict=True):
            if array is not None:
                check_kind(array, spec)
