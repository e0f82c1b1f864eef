"""What a wrapper sees of the model inside: tensors of its inner layers."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tfdeep.graph.program import Program
from tfdeep.graph.trace import Call, graph_of, made, within
from tfdeep.graph.view import tapped_view
from tfdeep.layers.entropy import collected_entropies
from tfdeep.training.reporters import reporters_of
from tfdeep.training.stages import Division, Handover, Stages


class Tapped(NamedTuple):
    """What a wrapper returns in training.

    Args:
        outputs: what the model returns.
        taps: outputs of inner layers, by path.
        reports: entropies that `BatchEntropy` layers reported, by name.
        handover: what passes the cuts of a divided model, if it is one.
    """

    outputs: Any
    taps: dict
    reports: dict
    handover: Handover | None = None


class Interior:
    """The graph of calls of a built model, and its forward pass with taps.

    Not a layer on purpose: Keras tracks layers, and would save the view of
    the model beside the model.

    Args:
        model: a built model, no wrapper.
        input_shape: the shape, or structure of shapes, it is built for.
        training: whether it is going to run in training mode: what a
            hand-written model does then alone is among its calls.
    """

    def __init__(
        self, model: keras.Model, input_shape: Any, training: bool = True
    ):
        self.model = model
        self.reporters = reporters_of(model)
        self.inputs = self.outputs = None
        self.calls: list[Call] = []
        self._read: list = []
        with contextlib.suppress(ValueError):
            graph = graph_of(model, input_shape, training)
            self.inputs, self.outputs = graph.inputs, graph.outputs
            self.calls, self._read = graph.calls, graph.read
        self._view: keras.Model | None = None
        self._stages: Stages | None = None
        self._taps: list[Call] = []

    def check_symbolic(self) -> None:
        """Raise unless inner layers can be told by name."""
        if not self.calls:
            raise ValueError(
                "The model must take symbolic tensors, so that its inner "
                "layers can be tapped by name. Received: "
                f"{self.model.name!r}, which is hand-written and does not. "
                "Use keras.ops in its `call`; or, for entropies, put "
                "tfdeep.layers.BatchEntropy layers into it."
            )

    def _check_read(self) -> None:
        """Raise if a view of the model would hold a weight of now for ever."""
        if self._read:
            names = ", ".join(variable.path for variable in self._read)
            raise ValueError(
                f"The model {self.model.name!r} uses {names} in its own "
                "`call`, where a view of its inner layers would see what they "
                "were when it was made. Put each into a layer of its own, "
                "which returns it or applies it; or, for entropies, put "
                "tfdeep.layers.BatchEntropy layers into the model."
            )

    def at(self, paths: set[str]) -> list[Call]:
        """The calls at these paths."""
        return [call for call in within(self.calls) if call.path in paths]

    @property
    def weighty(self) -> list[str]:
        """The paths of the calls of layers with weights, none looked into."""
        return [
            call.path
            for call in self.calls
            if getattr(call.operation, "weights", ())
        ]

    def in_order(self, labels: Sequence[str]) -> list[int]:
        """Indices that sort paths by the forward pass, what is none last."""
        rank = {path: number for number, path in enumerate(made(self.calls))}
        last = len(rank)
        indices = range(len(labels))
        return sorted(indices, key=lambda index: rank.get(labels[index], last))

    def open(self, taps: list[Call]) -> None:
        """Choose the calls whose output `run` shows."""
        self._taps = taps
        if taps:
            self._check_read()
            self._view = tapped_view(
                self.inputs, self.outputs, self.calls, taps
            )

    def program(self) -> Program:
        """The model as the list of its steps."""
        return Program(self.inputs, self.outputs, self.calls)

    def divide(self, division: Division, paths: set[str]) -> None:
        """Cut the model, and choose the calls whose output `run` shows."""
        self._check_read()
        self._stages = Stages(self.model, self.program(), division, paths)

    def run(self, inputs, reports: bool, training: bool = True) -> Tapped:
        """Call the model once.

        Args:
            inputs: what the model takes.
            reports: whether to collect what `BatchEntropy` layers report.
            training: whether the model is in training mode.
        """
        if not reports:
            return self._call(inputs, training)
        with collected_entropies() as found:
            tapped = self._call(inputs, training)
        return tapped._replace(reports=self._by_name(found))

    def _call(self, inputs, training: bool) -> Tapped:
        if self._stages is not None:
            outputs, taps, handover = self._stages.run(inputs, training)
            return Tapped(outputs, taps, {}, handover)
        if self._view is None:
            return Tapped(self.model(inputs, training=training), {}, {})
        outputs, tensors = self._view(inputs, training=training)
        paths = [call.path for call in self._taps]
        return Tapped(outputs, dict(zip(paths, tensors, strict=True)), {})

    def _by_name(self, found: dict) -> dict:
        silent = [n for n, each in self.reporters.items() if each not in found]
        if silent:
            raise ValueError(
                "BatchEntropy layers must be called in each step, as the "
                "regulariser counts on one figure of each. Received: "
                f"{silent}, which are not called. Call them in the model's "
                "`call`, or remove them."
            )
        return {
            name: _mean_report(name, found[layer])
            for name, layer in self.reporters.items()
        }


def _mean_report(name: str, entropies: list):
    """The mean over the calls of a layer, if they are of this program."""
    try:
        return ops.mean(ops.stack(entropies))
    except Exception as error:  # Each backend has its own for what leaked.
        raise ValueError(
            f"The BatchEntropy layer {name!r} must not be called within a "
            "traced loop or condition, such as `ops.while_loop` or "
            "`ops.cond`: what is reported there cannot be used outside. "
            "Return the tensor from it, and call the layer on what it "
            "returns."
        ) from error
