"""Whether the noise is as large as claimed, and new each time."""

import math
from itertools import combinations

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.checks import check_number, check_positive
from tfdeep.privacy.audit.probing import copied, rows_of, sensitivity_of
from tfdeep.privacy.audit.report import AuditReport, Finding
from tfdeep.privacy.audit.statistics import check_confidence, quantile

SEED = 1


def noise_of(samples, claim: float, confidence: float = 0.999) -> AuditReport:
    """Judge noise that was drawn: its size, and whether draws are related.

    Args:
        samples: (draws, numbers) noise; at least two draws.
        claim: the standard deviation that is claimed.
        confidence: with which noise as claimed passes each check.

    Returns:
        A report of `standard deviation` and `correlation`, the largest
        between two draws in absolute value.

    Example:
        >>> import numpy as np
        >>> draws = np.random.default_rng(0).normal(size=(3, 1000))
        >>> noise_of(draws, 1.0).passed, noise_of(draws, 2.0).passed
        (True, False)
    """
    check_number("claim", claim, 0.0, 1.0)
    check_confidence(confidence)
    samples = np.asarray(samples, "float64")
    if samples.ndim != 2 or len(samples) < 2:
        raise ValueError(
            "`samples` must have two draws at least, a row for each. "
            f"Received: shape {samples.shape}. Pass an array (draws, numbers)."
        )
    return AuditReport(
        (
            _deviation(samples, claim, confidence),
            _correlation("correlation", samples, confidence),
        ),
        "noise",
    )


def _deviation(samples, claim, confidence) -> Finding:
    """sigma (1 +- z / sqrt(2 n)), for n numbers of mean 0."""
    count = samples.size
    measured = float(np.sqrt(np.mean(samples**2)))
    reach = quantile(confidence) / math.sqrt(2 * count)
    interval = (measured / (1 + reach), measured / max(1 - reach, 1e-9))
    passed = interval[0] <= claim <= interval[1]
    return Finding("standard deviation", passed, measured, claim, interval)


def _correlation(check: str, samples, confidence) -> Finding:
    """The largest |r| of two rows; without relation r is N(0, 1 / n)."""
    norms = np.linalg.norm(samples, axis=1)
    units = samples / np.maximum(norms, 1e-30)[:, None]
    pairs = list(combinations(range(len(samples)), 2))
    worst = max(abs(float(units[i] @ units[j])) for i, j in pairs)
    each = 1 - (1 - confidence) / len(pairs)
    limit = quantile(each) / math.sqrt(samples.shape[1])
    return Finding(check, worst <= limit, worst, min(limit, 1.0))


def noise(
    model,
    x,
    y,
    updates: int = 4,
    claim: float | None = None,
    confidence: float = 0.999,
) -> AuditReport:
    """Check the noise of a private model's own updates.

    Copies of the model, which keeps its weights and its count, train on a
    batch in which each example has a weight of 0: what moves the weights is
    noise alone. Each update begins from the same weights. Keras' random seed
    is set to the same number before a copy trains, before it is compiled a
    second time, and before another copy trains with its weights: noise that
    follows a seed, or a file, shows as a correlation.

    A model with a `seed` of its own is repeatable by intent, and fails here.
    Keras' random seed is another one afterwards.

    Args:
        model: a `PrivateModel` that is compiled.
        x: inputs of a batch, arrays.
        y: targets of the batch.
        updates: how many updates a copy takes, from 2.
        claim: the standard deviation that is claimed, in units of the
            sensitivity; by default that of the mechanism.
        confidence: with which noise as claimed passes each check.

    Returns:
        A report of `standard deviation`; `correlation`, of updates of one
        copy; and `freshness`, the correlation of copies.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((30,)), keras.layers.Dense(9)])
        >>> model = tfdeep.privacy.PrivateModel(
        ...     net, mechanism=tfdeep.privacy.GaussianMechanism(1.0)
        ... )
        >>> model.compile("sgd", "mse")
        >>> x = np.zeros((4, 30), "float32")
        >>> report = tfdeep.privacy.audit.noise(model, x, x[:, :9])
        >>> report.passed, len(report)
        (True, 3)
    """
    check_positive("updates", updates)
    first, second = copy_of(model, x), copy_of(model, x)
    start = first.get_weights()
    count = max(2, updates)
    runs = [draws(first, start, x, y, count)]
    compile_like(first, model)
    runs.append(draws(first, start, x, y, count))
    runs.append(draws(second, start, x, y, count))
    scale = sensitivity_of(first) / divisor_of(model, x)
    multiplier = multiplier_of(first) if claim is None else claim
    report = noise_of(np.concatenate(runs), multiplier * scale, confidence)
    within = [_correlation("correlation", run, confidence) for run in runs]
    flat = np.stack([np.ravel(run) for run in runs])
    worst = max(within, key=lambda finding: finding.measured)
    fresh = _correlation("freshness", flat, confidence)
    return AuditReport(
        (report["standard deviation"], worst, fresh), report.title
    )


def multiplier_of(model) -> float:
    """The noise on the sums in units of their sensitivity, as claimed.

    A mechanism that releases more than the sums adds more to them than its
    `noise_multiplier`, and says so.
    """
    mechanism = model.mechanism
    claimed = getattr(mechanism, "sum_multiplier", None)
    return float(mechanism.noise_multiplier if claimed is None else claimed)


def divisor_of(model, x) -> float:
    """What the noised sums are divided by: the expected size of a batch."""
    plan = getattr(model, "plan", None)
    return rows_of(x) if plan is None else plan.batch_size


def copy_of(model, x):
    """A private model with the same settings, and a count of its own."""
    copy = copied(model)
    if not copy.built:
        copy.build(tree.map_structure(np.shape, x))
    compile_like(copy, model)
    return copy


def compile_like(copy, model) -> None:
    """Compile a copy so that an update subtracts what is released."""
    copy.compile(
        keras.optimizers.SGD(1.0), model.loss, run_eagerly=model.run_eagerly
    )


def draws(model, start, x, y, count: int) -> np.ndarray:
    """What so many updates add to the weights, (count, weights)."""
    keras.utils.set_random_seed(SEED)
    weights = np.zeros(rows_of(x), "float32")
    found = []
    for _ in range(count):
        model.set_weights(start)
        before, known = _flat(model), _penalties(model)
        model.train_on_batch(x, y, weights)
        found.append(before - known - _flat(model))
    return np.stack(found)


def _flat(model) -> np.ndarray:
    values = [
        ops.convert_to_numpy(v.value) for v in model.base.trainable_variables
    ]
    return np.concatenate([np.ravel(v) for v in values]).astype("float64")


def _penalties(model) -> np.ndarray:
    """The gradients of penalties on weights, which are in each update."""
    found = []
    for v in model.base.trainable_variables:
        gradient = np.zeros(v.shape)
        if v.regularizer is not None:
            _, (gradient,) = backend.value_and_gradients(
                lambda values, v=v: v.regularizer(values[0]), [v.value]
            )
        found.append(np.ravel(ops.convert_to_numpy(gradient)))
    return np.concatenate(found).astype("float64")
