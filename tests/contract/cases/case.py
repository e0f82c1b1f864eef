"""What the contract has to know of a layer or model."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One use of an export.

    Args:
        make: makes a layer from keyword arguments of its class, or a model
            from those of its function.
        shape: the shape of one sample.
        data_format: whether it can be told where the channels are.
        random: whether training draws random numbers.
        alone: settings with which a sample's result in training depends on
            that sample alone, so that devices may share a batch.
        masked: makes a layer that hands on the mask of a sequence of
            vectors with four entries, given what makes the layer inside.
        holds_a_model: whether it hands on what the model inside makes of a
            mask.
        free_sizes: whether all sizes but the last may be unknown.
        holds_a_layer: whether `masked` makes use of the layer inside.
        neutral: makes a neutral setting and the plain thing it equals.
    """

    make: Callable
    shape: tuple = (6, 6, 4)
    data_format: bool = True
    random: bool = False
    alone: dict = field(default_factory=dict)
    masked: Callable | None = None
    holds_a_layer: bool = True
    holds_a_model: bool = False
    neutral: Callable | None = None
    free_sizes: bool = True
