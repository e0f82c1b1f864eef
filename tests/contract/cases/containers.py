"""Layers that hold other layers, drop them or watch them."""

from keras import layers

import tfdeep
from tests.contract.cases.case import Case
from tests.contract.cases.factories import (
    GROUP,
    STEADY,
    dense,
    layer,
    noisy,
    pair,
    recompute,
    repeated,
    repeated_dense,
    reversible,
    stochastic_block,
    stochastic_depth,
)
from tests.contract.cases.plain import SEED, branch, conv

L, M = tfdeep.layers, tfdeep.models

CONTAINERS = {
    "BatchEntropy": Case(
        layer(L.BatchEntropy),
        data_format=False,
        masked=lambda inner: L.BatchEntropy(),
        holds_a_layer=False,
        neutral=pair(layer(L.BatchEntropy), layers.Identity),
    ),
    "DropPath": Case(
        layer(L.DropPath, rate=0.4),
        data_format=False,
        random=True,
        alone={"rate": 0.0},
        masked=lambda inner: L.DropPath(0.4, seed=SEED),
        holds_a_layer=False,
        neutral=pair(layer(L.DropPath, rate=0.0), layers.Identity),
    ),
    "Recompute": Case(
        lambda rate=0.3, **kwargs: recompute(rate, **kwargs),
        data_format=False,
        random=True,
        alone=STEADY,
        neutral=pair(recompute, noisy),
        holds_a_model=True,
    ),
    "Recompute-masked": Case(
        lambda **kwargs: L.Recompute(dense(kwargs.get("dtype")), **kwargs),
        data_format=False,
        masked=lambda inner: L.Recompute(inner()),
    ),
    "Repeat": Case(
        repeated(rate=0.3),
        random=True,
        alone=STEADY,
        neutral=pair(repeated(survival_probabilities=[1.0, 1.0]), repeated()),
    ),
    "Repeat-masked": Case(
        repeated_dense,
        data_format=False,
        masked=lambda inner: L.Repeat(inner(), 2),
    ),
    "Repeat-recompute": Case(
        repeated(recompute=True),
        alone=GROUP,
        neutral=pair(repeated(recompute=True), repeated()),
    ),
    "Repeat-sqrt": Case(
        repeated(recompute="sqrt", rate=0.3),
        random=True,
        alone=STEADY,
    ),
    "Repeat-survival": Case(
        repeated(survival_probabilities=[0.8, 0.5]), random=True, alone=GROUP
    ),
    "ReversibleStack": Case(
        lambda rate=0.3, **kwargs: reversible(rate=rate, **kwargs),
        data_format=False,
        random=True,
        alone=STEADY,
        neutral=pair(reversible, lambda: reversible(recompute=False)),
        holds_a_model=True,
    ),
    "ReversibleStack-masked": Case(
        lambda **kwargs: L.ReversibleStack(
            [dense(kwargs.get("dtype")) for _ in "12"], **kwargs
        ),
        data_format=False,
        masked=lambda inner: L.ReversibleStack([inner(), inner()]),
    ),
    "ReversibleStack-additive": Case(
        lambda **kwargs: L.ReversibleStack(
            [
                conv(2, seed=SEED + i, dtype=kwargs.get("dtype"), activation=f)
                for i, f in enumerate(("tanh", "relu", "tanh"))
            ],
            "additive",
            **kwargs,
        ),
        data_format=False,
    ),
    "StochasticBlock": Case(
        stochastic_block,
        data_format=False,
        random=True,
        masked=lambda inner: L.StochasticBlock(inner(), 0.5, seed=SEED),
        neutral=pair(lambda: stochastic_block(1.0, 0.2), lambda: branch(0.2)),
    ),
    # Random, but alike on all devices: they take one decision per step.
    # A Dropout of Keras in the branch would start anew after loading.
    "StochasticDepth": Case(
        stochastic_depth,
        data_format=False,
        random=True,
        masked=lambda inner: L.StochasticDepth(inner(), 0.5, seed=SEED),
        neutral=pair(lambda: stochastic_depth(1.0, 0.2), lambda: branch(0.2)),
    ),
}
