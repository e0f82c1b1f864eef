"""TF Privacy's queries, with the `get_config` that saving needs."""

import functools

from tfdeep.privacy.tf_privacy.importing import submodule
from tfdeep.privacy.tf_privacy.recorded import builder_of, recorded

MODULES = {
    "DistributedSkellamSumQuery": "distributed_skellam_query",
    "GaussianSumQuery": "gaussian_query",
    "NestedQuery": "nested_query",
    "NoPrivacyAverageQuery": "no_privacy_query",
    "NoPrivacyQuantileEstimatorQuery": "quantile_estimator_query",
    "NoPrivacySumQuery": "no_privacy_query",
    "NormalizedQuery": "normalized_query",
    "PeriodicRoundRestartIndicator": "restart_query",
    "PeriodicTimeRestartIndicator": "restart_query",
    "QAdaClipTreeResSumQuery": "quantile_adaptive_clip_tree_query",
    "QuantileAdaptiveClipSumQuery": "quantile_adaptive_clip_sum_query",
    "QuantileEstimatorQuery": "quantile_estimator_query",
    "RestartQuery": "restart_query",
    "TreeCumulativeSumQuery": "tree_aggregation_query",
    "TreeResidualSumQuery": "tree_aggregation_query",
}


def their_class(name: str) -> type:
    """The class as TF Privacy has it."""
    return getattr(submodule(f"dp_query.{MODULES[name]}"), name)


@functools.cache
def query_class(name: str) -> type:
    """The class with a memory of its arguments."""
    return recorded(their_class(name), name)


def is_a(query, *names: str) -> bool:
    """Whether a query is one of these classes of TF Privacy."""
    return any(isinstance(query, their_class(name)) for name in names)


def is_exactly(query, *names: str) -> bool:
    """Whether a query is of these classes itself, with nothing overridden."""
    return any(
        type(query) in (their_class(name), query_class(name)) for name in names
    )


def clips_flat(query) -> bool:
    """Whether records are clipped to the one L2 norm that the state holds."""
    trees = ("TreeResidualSumQuery", "TreeCumulativeSumQuery")
    if is_exactly(query, *trees):
        return builder_of(query) is not None
    return is_exactly(query, "GaussianSumQuery")


def restarts(query):
    """The largest number of updates between two restarts, `None` if open."""
    if not is_a(query, "RestartQuery"):
        return None
    indicator = query._restart_indicator
    if not is_a(indicator, "PeriodicRoundRestartIndicator"):
        return None
    return max(int(indicator.period), int(indicator.warmup or 0))


def innermost(query):
    """The query inside those that restart it."""
    while is_exactly(query, "RestartQuery"):
        query = query._inner_query
    return query
