"""Heads on their places in a model: what each one reads and learns."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.select import named
from tfdeep.graph.trace import Call
from tfdeep.training.head import Head, companion_objective
from tfdeep.training.hinge import L2SVM, check_classes
from tfdeep.training.taps import Interior

# What a mean loss is multiplied by, lest its gradient vanish in float16.
HALF_SCALE = 1024.0
STRUCTURES = (dict, list, tuple)


@dataclass(eq=False)
class Companion:
    """A head on its place.

    No layer on purpose: the wrapper keeps `layer`, which is saved once.

    Args:
        path: the path of the hidden layer.
        head: the settings.
        layer: the classifier, built. Its weight penalties count within the
            objective, and no longer by themselves.
        shape: the shape of what the hidden layer returns.
        keys: index and name, or the key, by which its targets are found in
            a structure of them; none in a model of one output.
    """

    path: str
    head: Head
    layer: keras.layers.Layer
    shape: tuple
    keys: tuple = ()

    def __post_init__(self):
        self._penalties = []
        for weight in self.layer.trainable_variables:
            if weight.regularizer is not None:
                self._penalties.append((weight, weight.regularizer))
                weight.regularizer = None

    def penalty(self):
        """||w||^2, or what else the regularizers of the head say."""
        terms = [
            ops.cast(regularizer(weight.value), "float32")
            for weight, regularizer in self._penalties
        ]
        return sum(terms, start=ops.zeros((), "float32"))

    def loss(self, x, y, sample_weight) -> tuple:
        """The mean loss of the head on the output x of its layer.

        Returns:
            The loss, and the sum of those that layers of the head added.
        """
        layer, keys = self.layer, self.keys
        trainable, state = backend.read_variables(layer)
        scores, state, added = backend.stateless_call(
            layer, trainable, state, x, training=True
        )
        backend.write_variables(layer, state)
        value = self.head.mean_loss(
            target_of(y, keys), scores, target_of(sample_weight, keys)
        )
        return value, sum(ops.sum(ops.cast(a, "float32")) for a in added)

    def objective(self, x, y, sample_weight) -> tuple:
        """The head's loss, and what alpha multiplies, a share per replica."""
        replicas = backend.replica_count()
        value, added = self.loss(x, y, sample_weight)
        value = value * replicas
        term = companion_objective(
            value, self.penalty() + added, 1, self.head.gamma
        )
        return value, term / replicas

    def objective_and_gradient(self, x, y, sample_weight) -> tuple:
        """The same, and the objective's gradient by x, constant, float32."""
        (value, term), (pull,) = backend.pullbacks(
            self.layer,
            lambda primals: self.objective(primals[0], y, sample_weight),
            [x],
            [[1]],
        )
        half = keras.backend.standardize_dtype(x.dtype) == "float16"
        start = HALF_SCALE if half else 1.0
        (gradient,) = pull([ops.full_like(term, start)])
        return value, term, ops.cast(gradient, "float32") / start

    def targets(self) -> "Targets | None":
        """What can be checked of its targets, if anything."""
        classes = None
        if isinstance(self.head.loss, L2SVM):
            classes = self.layer.compute_output_shape(self.shape)[-1]
        if not self.keys and classes is None:
            return None
        return Targets(self.path, self.head.target, self.keys, classes)


@dataclass(frozen=True)
class Targets:
    """Which targets a head learns: a function that raises for others.

    Apart from the head, as it may go to another process with a data set.

    Args:
        path: the path of the hidden layer.
        target: the output that the head was told of.
        keys: as of `Companion`.
        classes: the number of classes of the hinge, `None` for other losses.
    """

    path: str
    target: str | int | None
    keys: tuple
    classes: int | None

    def __call__(self, y: Any) -> None:
        """Raise `ValueError` if arrays are not those of the outputs, or hold
        classes that the hinge does not have."""
        if self.keys and y is not None and not isinstance(y, STRUCTURES):
            raise ValueError(
                "The targets of a model of several outputs must be a "
                f"dictionary or list of them: the head on {self.path!r} "
                f"learns those of {self.target!r}. Received: one "
                f"{type(y).__name__}"
            )
        y = target_of(y, self.keys)
        if self.classes is not None and hasattr(y, "shape"):
            check_classes(np.asarray(y), self.classes)


def target_of(structure: Any, keys: tuple) -> Any:
    """The part that a head learns, of one target or a structure of them.

    That of a model with one output may come in a list of one, as for Keras.
    """
    if not isinstance(structure, STRUCTURES):
        return structure
    if not keys:
        flat = tree.flatten(structure)
        return flat[0] if len(flat) == 1 else structure
    indices = range(len(structure))
    known = structure if isinstance(structure, dict) else indices
    found = [key for key in keys if key in known]
    if not found:
        raise ValueError(
            f"The targets must have those of {keys[-1]!r} among them, which a "
            f"head learns. Received: a {type(structure).__name__} of "
            f"{list(known)}. Pass a dictionary from names to targets."
        )
    return structure[found[0]]


def companions(interior: Interior, heads: dict[str, Head]) -> list[Companion]:
    """Put heads on the layers of a model, in the model's order.

    Raises:
        ValueError: if a layer is unknown or ambiguous, is the output or has
            two heads, or a head cannot tell which targets are its own.
    """
    interior.check_symbolic()
    found = {}
    for name, head in heads.items():
        (call,) = named(interior.calls, name)
        if call.path in found:
            raise ValueError(
                "A layer must have one head. Received: two for "
                f"{call.path!r}. Name each layer once."
            )
        _check_not_the_output(interior, call)
        shape = tuple(call.outputs[0].shape)
        keys, output_shape = _output(interior, head)
        layer = head.make(call.path, shape, output_shape)
        found[call.path] = Companion(call.path, head, layer, shape, keys)
    return [found[call.path] for call in interior.at(set(found))]


def _check_not_the_output(interior: Interior, call: Call) -> None:
    last = {id(tensor) for tensor in tree.flatten(interior.outputs)}
    if call in _making(interior.calls, last):
        raise ValueError(
            f"A head must be on a hidden layer. Received: {call.path!r}, "
            "which makes the model's output. Name one before it."
        )


def _making(calls: list[Call], last: set[int]) -> list[Call]:
    """The calls that make these tensors, those in nested models as well."""
    found = []
    for call in calls:
        if any(id(tensor) in last for tensor in call.outputs):
            ends = {id(t) for t in call.operation.outputs} if call.parts else ()
            found.extend([call, *_making(call.parts, set(ends))])
    return found


def _output(interior: Interior, head: Head) -> tuple[tuple, tuple]:
    """The keys and the shape of the output whose targets a head learns."""
    outputs: Any = interior.outputs
    if not isinstance(outputs, STRUCTURES):
        return (), tuple(outputs.shape)
    known: dict[Any, tuple] = {}
    if isinstance(outputs, dict):
        known = {key: (key,) for key in outputs}
    else:
        names = getattr(interior.model, "output_names", ())
        for index in range(len(outputs)):
            keys = (index, *names[index : index + 1])
            known.update(dict.fromkeys(keys, keys))
    if head.target not in known:
        raise ValueError(
            f"A head's `target` must be one of {list(known)} for a model of "
            f"several outputs. Received: target={head.target!r}. Say whose "
            "targets the head learns."
        )
    keys = known[head.target]
    return keys, tuple(outputs[keys[0]].shape)
