"""What the engine knows of a batch after one pass."""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Per-example gradients, and what came with them.

    Args:
        gradients: has `square_norms()`, `weighted_sums(factors, finite)` and
            `records(finite)`, all in the order of the trainable weights.
        outputs: outputs of the model, of the first view of each example.
        losses: (batch,) losses of the examples, weighted.
        state: new values of the variables that are not trained.
    """

    gradients: Any
    outputs: Any
    losses: Any
    state: list
