"""Whether a compact model does what the masked one does."""

from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.graph import rewrite
from tfdeep.pruning.mask import mask
from tfdeep.pruning.plan import PruningPlan, gone_in
from tfdeep.report import Report

# Of the largest output, what rounding may make of it.
TOLERANCE = {"float64": 1e-10, "float32": 5e-6}
HALF = 2e-2


@dataclass
class Verification(Report):
    """What `verify` has found.

    Args:
        exact: boolean, whether the outputs are equal but for rounding: 1e-10
            of the largest in float64, 5e-6 in float32.
        max_error: the largest difference, as a share of the largest output.
        groups: the names of the pruned groups that are not exact.
    """

    exact: bool
    max_error: float
    groups: list[str]

    def __bool__(self) -> bool:
        return self.exact

    def __str__(self) -> str:
        word = "exact" if self.exact else "not exact"
        text = f"{word}: largest difference {self.max_error:.1e} of the largest output"
        if self.groups:
            text += "; mixed with others: " + ", ".join(self.groups)
        return text

    def _content(self) -> dict:
        return asdict(self)

    def _figure(self):
        """The largest difference beside the tolerance."""
        from tfdeep.visualization.bars import bar_chart

        found = {"largest difference": [self.max_error]}
        return bar_chart(["outputs"], found)


def verify(
    model: keras.Model, compact: keras.Model, plan: PruningPlan, x: Any
) -> Verification:
    """Compare a compact model with the model whose channels are masked.

    Masked are the weights that take a channel: its own may be anything then.

    Args:
        model: the model that the plan was made for, which stays as it is.
        compact: what `plan.compact(model)` returned.
        plan: the `PruningPlan`.
        x: inputs, an array or a structure of arrays.

    Returns:
        A `Verification` with `.exact`, `.max_error` and `.groups`.

    Raises:
        ValueError: if the plan does not fit the model, or the outputs of the
            models are of other shapes.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, "sigmoid"))
        >>> model.add(keras.layers.Dense(2))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> plan = graph.plan(
        ...     tfdeep.pruning.Magnitude().scores(graph), ratio=0.5
        ... )
        >>> small = plan.compact(model)
        >>> tfdeep.pruning.verify(model, small, plan, np.ones((3, 4))).exact
        True
    """
    masked = rewrite(plan.graph_of(model).model)
    graph = plan.graph_of(masked)
    mask(graph, gone_in(graph, plan.removed))
    error = 0.0
    pairs = zip(_outputs(masked, x), _outputs(compact, x), strict=True)
    tolerance = 0.0
    for wanted, found in pairs:
        if wanted.shape != found.shape:
            raise ValueError(
                "`compact` must be what `plan.compact(model)` returned. "
                f"Received: outputs of shape {found.shape} in place of "
                f"{wanted.shape}"
            )
        tolerance = max(tolerance, TOLERANCE.get(str(found.dtype), HALF))
        wanted = wanted.astype("float64")
        largest = max(float(np.abs(wanted).max()), 1e-300)
        difference = np.abs(wanted - found.astype("float64")).max()
        error = max(error, float(difference) / largest)
    return Verification(error <= tolerance, error, list(plan.inexact))


def _outputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    outputs = model(tree.map_structure(ops.convert_to_tensor, x))
    return [ops.convert_to_numpy(each) for each in tree.flatten(outputs)]
