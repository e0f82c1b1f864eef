"""What the loss loses with a channel, by its Taylor series."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.checks import check_choice
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria.batches import (
    batches,
    check_mode,
    in_mode,
    loss_function,
    mean_over,
)
from tfdeep.pruning.criteria.gates import Gates
from tfdeep.pruning.criteria.scores import Scores

FORMS = ("gate", "batch_norm", "weight")
REDUCTIONS = ("sum_then_square", "square_then_sum")


def first_order(slope: np.ndarray) -> np.ndarray:
    """(z g)^2 at z = 1: the squared change of the loss, to first order."""
    return slope**2


def second_order(slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """(-g + H / 2)^2: the same to second order, with a diagonal Hessian."""
    return (-slope + curvature / 2) ** 2


class Taylor:
    """Channels without which the loss would change little count little.

    With a gate z = 1 on each channel, g = dL / dz and H = d^2 L / dz^2 of the
    mean loss of a mini-batch:

        order 1, "gate"         s = g^2
        order 1, "batch_norm"   s = (gamma g_gamma + beta g_beta)^2
        order 1, "weight"       s = sum over the filter of (w g_w)^2
        order 2, "gate"         s = (-g + H / 2)^2

    Scores are means over mini-batches. `"batch_norm"` is `"gate"` directly
    behind a batch normalization, without gates; groups without one are not
    among its scores.

    Reference:
        Molchanov et al., "Importance Estimation for Neural Network Pruning",
        2019, eqs. 7 and 8. Deviation: what a channel that goes through
        several sums has at each of them is summed up and squared once, which
        is its gradient by one gate for all; and beta counts in
        `"batch_norm"`.

    Args:
        order: 1, or 2 with form `"gate"`: one backward pass for each channel
            and mini-batch.
        form: `"gate"`, `"batch_norm"` or `"weight"`.
        reduce: `"sum_then_square"`, or `"square_then_sum"`: a gate of its
            own at each place. The weights of several filters are summed up.

    Raises:
        ValueError: for other values.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, "relu", name="low"))
        >>> model.add(keras.layers.Dense(1))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> x, y = np.ones((8, 4)), np.zeros((8, 1))
        >>> taylor = tfdeep.pruning.Taylor()
        >>> taylor.scores(graph, x, y, loss="mse")["low"].shape
        (3,)
    """

    def __init__(
        self,
        order: int = 1,
        form: str = "gate",
        reduce: str = "sum_then_square",
    ):
        check_choice("order", order, (1, 2))
        check_choice("form", form, FORMS)
        check_choice("reduce", reduce, REDUCTIONS)
        if order == 2 and form != "gate":
            raise ValueError(
                f"`form` must be 'gate' with order=2. Received: form={form!r}"
            )
        self.order = order
        self.form = form
        self.reduce = reduce

    def scores(
        self,
        graph: ChannelGraph,
        x=None,
        y=None,
        *,
        loss=None,
        batch_size: int = 32,
        training: bool = False,
    ) -> Scores:
        """The scores of the free groups.

        Args:
            graph: the `ChannelGraph` of a model.
            x: inputs, an array or a structure of arrays; or batches
                `(x, y)`.
            y: targets.
            loss: a loss or its name; by default that of the compiled model.
            batch_size: integer, the size of a mini-batch.
            training: boolean, whether the model is in training mode: batch
                statistics are used, and none is moved.

        Returns:
            `Scores`.

        Raises:
            ValueError: if data or loss are missing, or no group has a batch
                normalization with form `"batch_norm"`.
        """
        check_mode(training)
        data = batches(x, y, batch_size)
        loss = loss_function(graph.model, loss)
        if self.form == "gate":
            gates = Gates(
                graph, loss, training, self.reduce == "sum_then_square"
            )
            score = self._by_gates(gates)
        else:
            score = self._by_weights(graph, loss, training)
        return Scores(mean_over([score(*batch) for batch in data]))

    def _by_gates(self, gates: Gates) -> Callable:
        z, slopes = gates.values(), gates.first_order()
        curvatures = gates.second_order() if self.order == 2 else None

        def score(x, y) -> dict:
            slope = slopes(z, x, y)[1].astype("float64")
            values = first_order(slope)
            if curvatures is not None:
                values = second_order(slope, curvatures(z, x, y))
            return gates.by_group(gates.per_channel(values))

        return score

    def _by_weights(self, graph: ChannelGraph, loss, training) -> Callable:
        """Products of weights and gradients, summed up by channel."""
        chosen = {
            group.name: (group, self._members(group)) for group in graph.free
        }
        chosen = {name: pair for name, pair in chosen.items() if pair[1]}
        if not chosen:
            raise ValueError(
                "`graph` must be of a model with BatchNormalization layers "
                f"for form='batch_norm'. Received: {graph.model.name!r} "
                "without. Use form='gate'"
            )
        variables = list(
            {
                id(m.variable): m.variable
                for _, members in chosen.values()
                for m in members
            }.values()
        )

        def value(primals, data):
            x, y = data
            mapping = list(zip(variables, primals, strict=True))
            return loss(y, in_mode(graph.model, mapping, x, training)), ()

        run = backend.compiled_pullback(value)

        def score(x, y) -> dict:
            weights = [ops.convert_to_tensor(v.value) for v in variables]
            slopes = run(weights, (x, y))[2]()
            products = {
                id(v): _product(w, g)
                for v, w, g in zip(variables, weights, slopes, strict=True)
            }
            return {
                name: self._reduced(group, members, products)
                for name, (group, members) in chosen.items()
            }

        return score

    def _members(self, group) -> list:
        if self.form == "weight":
            return [
                m
                for m in group.members
                if m.role == "out" and len(m.variable.shape) > 1
            ]
        return [m for m in group.members if _is_affine(m)]

    def _reduced(self, group, members, products) -> np.ndarray:
        found = [products[id(m.variable)] for m in members]
        if self.form == "weight":
            found = [product**2 for product in found]
        sums: dict[int, np.ndarray] = {}  # gamma and beta are one.
        for member, product in zip(members, found, strict=True):
            key = id(member.layer)
            sums[key] = sums.get(key, 0) + member.sums(product, group.channels)
        values = np.array(list(sums.values()))
        if self.form == "weight":
            return values.sum(0)
        if self.reduce == "sum_then_square":
            return values.sum(0) ** 2
        return (values**2).sum(0)


def _is_affine(member) -> bool:
    """Whether it is gamma or beta of a batch normalization."""
    layer, variable = member.layer, member.variable
    return isinstance(layer, keras.layers.BatchNormalization) and (
        variable is layer.gamma or variable is layer.beta
    )


def _product(weight, slope) -> np.ndarray:
    weight, slope = (
        ops.convert_to_numpy(each).astype("float64") for each in (weight, slope)
    )
    return weight * slope
