"""Which loss reaches which layer, as a table and as a picture."""

from dataclasses import dataclass, field
from typing import Any

import keras

from tfdeep.graph.trace import input_shape_of
from tfdeep.report import Report, aligned
from tfdeep.training.deep_supervision import DeepSupervision
from tfdeep.training.relay import RelayBackpropagation
from tfdeep.training.segments import Reached, everywhere
from tfdeep.training.taps import Interior
from tfdeep.training.wrapper import TrainingWrapper


@dataclass(frozen=True)
class Reach(Report):
    """Which loss reaches which layer; prints as a table.

    Args:
        layers: paths of the layers with trainable weights, in order; of a
            layer that is called several times, that of each call.
        losses: paths of the heads' layers, the lowest first, and "output".
        reached: for each loss the layers that it reaches.
    """

    layers: list[str]
    losses: list[str]
    reached: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [["layer", *self.losses]]
        for layer in self.layers:
            marks = [
                "x" if layer in self.reached[loss] else "."
                for loss in self.losses
            ]
            rows.append([layer, *marks])
        return aligned(rows)

    def _content(self) -> dict[str, Any]:
        return {"layers": self.layers, "reached": self.reached}

    def _figure(self) -> Any:
        """A bar for each loss over the layers that it reaches."""
        from tfdeep.visualization import reach_chart

        return reach_chart(self.layers, self.reached)


def describe_reach(model: keras.Model) -> Reach:
    """Tell which loss trains which layer of a model.

    Use it before a long run, to see where segments of
    `RelayBackpropagation` begin and overlap.

    Args:
        model: a built `RelayBackpropagation` or `DeepSupervision`, a wrapper
            of one, or a plain model, whose only loss reaches everything.

    Returns:
        A `Reach`: print it, or call its `plot`.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, or hand-written in a way that Keras
            cannot look into.

    Example:
        >>> import keras, tfdeep
        >>> from tfdeep.training import DeepSupervision, Head, describe_reach
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> for index in range(3):
        ...     model.add(keras.layers.Dense(8, name=f"d{index}"))
        >>> reach = describe_reach(DeepSupervision(model, {"d0": Head()}))
        >>> print(reach)
        layer  d0  output
        d0     x   x
        d1     .   x
        d2     .   x
        >>> reach.reached["d0"]
        ['d0']
    """
    reached = _reached(model)
    program = reached.program
    numbers = [n for n, step in enumerate(program.steps) if step.weights]
    found = {
        segment.loss: [
            program.steps[n].path
            for n in numbers
            if n in reached.steps(segment)
        ]
        for segment in reached.segments
    }
    layers = [program.steps[n].path for n in numbers]
    return Reach(layers, list(found), found)


def _reached(model: Any) -> Reached:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` must be a keras.Model. Received: model={model!r}. Pass "
            "a model, or a wrapper of one."
        )
    chain = model.chain() if isinstance(model, TrainingWrapper) else []
    plain = chain[0].base if chain else model
    heads = [each for each in chain if isinstance(each, DeepSupervision)]
    if heads and isinstance(heads[0], RelayBackpropagation):
        if heads[0].reached:
            return heads[0].reached
    shape = input_shape_of(plain) if plain.built else None
    if shape is None:
        raise ValueError(
            "The model must be built, so that its layers are known. "
            f"Received: {model.name!r}. Call it once, or give it an Input."
        )
    interior = Interior(plain, shape)
    interior.check_symbolic()
    program = interior.program()
    paths = [path for each in heads for path in each.names]
    return Reached(program, everywhere(program, paths))
