"""TF Privacy's own optimizers and queries, on Keras 3 and unmodified.

Nothing is imported before a name is used: the package of TF Privacy is an
extra. Constructor arguments are those of TF Privacy; its documentation holds
for them. What is added: classes that can be saved and loaded, noise that does
not follow TensorFlow's global seed, state in variables, and optimizers that
refuse gradients nothing has clipped.
"""

import importlib
from typing import Any

import keras

from tfdeep.privacy.tf_privacy.importing import check_backend

_MAKERS = "tfdeep.privacy.tf_privacy.optimizers"
_FACTORIES = (
    "make_dpftrl_tree_aggregation_optimizer_class",
    "make_gaussian_query_optimizer_class",
    "make_keras_generic_optimizer_class",
    "make_keras_optimizer_class",
    "make_vectorized_keras_optimizer_class",
)
_OPTIMIZERS = (
    "DPFTRLTreeAggregationOptimizer",
    "DPKerasAdagradOptimizer",
    "DPKerasAdamOptimizer",
    "DPKerasSGDOptimizer",
    "GenericDPAdagradOptimizer",
    "GenericDPAdamOptimizer",
    "GenericDPSGDOptimizer",
    "VectorizedDPKerasAdagradOptimizer",
    "VectorizedDPKerasAdamOptimizer",
    "VectorizedDPKerasSGDOptimizer",
)
_QUERIES = (
    "DistributedSkellamSumQuery",
    "GaussianSumQuery",
    "NestedQuery",
    "NoPrivacyAverageQuery",
    "NoPrivacyQuantileEstimatorQuery",
    "NoPrivacySumQuery",
    "NormalizedQuery",
    "PeriodicRoundRestartIndicator",
    "PeriodicTimeRestartIndicator",
    "QAdaClipTreeResSumQuery",
    "QuantileAdaptiveClipSumQuery",
    "QuantileEstimatorQuery",
    "RestartQuery",
    "TreeCumulativeSumQuery",
    "TreeResidualSumQuery",
)

__all__ = ["QueryMechanism", *_FACTORIES, *_OPTIMIZERS, *_QUERIES]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _find(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _find(name: str) -> Any:
    check_backend()  # TensorFlow itself may be missing.
    if name in _QUERIES:
        queries = importlib.import_module(f"{__name__}.queries")
        return queries.query_class(name)
    if name in _OPTIMIZERS:
        return _optimizer(name)
    module = "query_mechanism" if name == "QueryMechanism" else "optimizers"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def _optimizer(name: str) -> type:
    makers = importlib.import_module(_MAKERS)
    if name == "DPFTRLTreeAggregationOptimizer":
        return makers.make_dpftrl_tree_aggregation_optimizer_class(
            __getattr__("GenericDPSGDOptimizer")
        )
    kind, _, base = name.removesuffix("Optimizer").rpartition("Keras")
    if kind == "VectorizedDP":
        cls = getattr(keras.optimizers, base)
        return makers.make_vectorized_keras_optimizer_class(cls)
    if kind == "DP":
        return makers.make_gaussian_query_optimizer_class(
            __getattr__(f"GenericDP{base}Optimizer")
        )
    cls = getattr(keras.optimizers, base.removeprefix("GenericDP"))
    return makers.make_keras_generic_optimizer_class(cls)


class _Later:
    """Stands for a class in Keras' register until the class is needed."""

    def __init__(self, name: str):
        self.name = name

    def from_config(self, config, custom_objects=None):
        return __getattr__(self.name).from_config(config)


def _register_all() -> None:
    for name in ("QueryMechanism", *_OPTIMIZERS, *_QUERIES):
        objects = keras.saving.get_custom_objects()
        objects.setdefault(f"tfdeep>{name}", _Later(name))


_register_all()
