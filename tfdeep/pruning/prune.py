"""A smaller model in one call."""

from typing import Any

import keras

from tfdeep.checks import check_choice
from tfdeep.inside import is_graph, plain_of
from tfdeep.keras_internals import layers_of
from tfdeep.layers import Repeat
from tfdeep.models import unstack
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria import BatchNormScale, Magnitude, Random, Taylor

CRITERIA = {
    "magnitude": Magnitude,
    "batch_norm_scale": BatchNormScale,
    "taylor": Taylor,
    "random": Random,
}


def prune(
    model: keras.Model,
    ratio: float | None = 0.5,
    criterion: Any = "magnitude",
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = None,
    **plan,
) -> keras.Model:
    """A smaller model, without the channels that count least.

    It is a plain Keras model of the same layers with fewer channels, trained
    as far as the given one was: fine-tune it. Its file loads with `import
    keras` alone. `Repeat` layers become plain ones first.

    Args:
        model: a built model, which stays as it is. Of a wrapper of this
            package the model inside is made smaller.
        ratio: float in [0, 1), the share of the channels that goes; ignored
            where `plan` has a budget.
        criterion: `"magnitude"`, `"batch_norm_scale"`, `"taylor"`,
            `"random"`, or an object with the method `scores`, such as
            `tfdeep.pruning.Oracle()`.
        x: inputs, which `"taylor"` needs.
        y: targets.
        loss: a loss or its name, for a criterion that asks one; by default
            that of the compiled model.
        **plan: further arguments of `ChannelGraph.plan`, such as
            `max_multiply_adds=0.5` or `round_to=8`.

    Returns:
        A `keras.Model`, compiled if the model is.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: for arguments outside these ranges; nothing is half
            pruned then.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8, 8, 3))])
        >>> model.add(keras.layers.Conv2D(16, 3, activation="relu"))
        >>> model.add(keras.layers.Flatten())
        >>> model.add(keras.layers.Dense(10))
        >>> small = tfdeep.pruning.prune(model, 0.5)
        >>> model.count_params(), small.count_params()
        (6218, 3114)
    """
    if isinstance(criterion, str):
        check_choice("criterion", criterion, CRITERIA)
        criterion = CRITERIA[criterion]()
    budget = {"max_parameters", "max_multiply_adds"} & set(plan)
    if budget or isinstance(plan.get("scope"), dict):
        ratio = None
    model = plain_of(model)
    if is_graph(model) and any(
        isinstance(layer, Repeat) for layer in layers_of(model)
    ):
        model = unstack(model)
    exclude = plan.get("exclude", ())
    graph = ChannelGraph(model)
    asked = {} if loss is None else {"loss": loss}
    scores = criterion.scores(graph, x, y, **asked)
    chosen = graph.plan(scores, ratio=ratio, **{**plan, "exclude": exclude})
    return chosen.compact(model)
