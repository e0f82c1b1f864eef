"""Figures of arms, for the judges of claims."""

from tfdeep.recipes import Results

LOW, HIGH = (0.10, 0.11, 0.12), (0.50, 0.51, 0.53)
# Lower than HIGH in the mean, but not for each seed.
SCATTERED = (0.05, 0.80, 0.60)
LITTLE_ABOVE_LOW = (0.105, 0.115, 0.125)


def results(arms):
    """Results of arms with their metrics, over three seeds."""
    found = Results()
    for arm, metrics in arms.items():
        for metric, values in metrics.items():
            for seed, value in enumerate(values):
                found.record(arm, seed, **{metric: value})
    return found


def named(metric, names, *values):
    """One metric of arms by their names."""
    return {
        arm: {metric: each if isinstance(each, tuple) else (each,)}
        for arm, each in zip(names, values, strict=True)
    }
