"""One-run auditing of a private model's mechanism, with the best canaries.

Canaries whose gradients are at right angles, each as long as the clip lets
it, and scores that are the released numbers themselves: no auditor sees
more. They are put through the engine that trains the model, in a net made
for it: one weight for each canary.
"""

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_number, check_positive
from tfdeep.privacy.audit.noise import multiplier_of
from tfdeep.privacy.audit.one_run import epsilon_lower_bound
from tfdeep.privacy.audit.probing import copied, sensitivity_of
from tfdeep.privacy.audit.report import AuditReport, Finding
from tfdeep.privacy.audit.statistics import gaussian_epsilon

LOUD = 1e3


def canary_model(model, canaries: int):
    """A private net of one weight per canary, with the settings of another.

    Args:
        model: a `PrivateModel`.
        canaries: how many there are.
    """
    net = keras.Sequential(
        [
            keras.Input((canaries,)),
            keras.layers.Dense(
                1, use_bias=False, kernel_initializer="zeros", dtype="float32"
            ),
        ]
    )
    private = copied(
        model,
        base=keras.saving.serialize_keras_object(net),
        augmentation=None,
        microbatch_size=None,
        averaging=None,
        method="auto",
    )
    private.compile(keras.optimizers.SGD(1.0), _gain)
    return private


def _gain(y_true, y_pred):
    """A loss whose gradient is minus the input."""
    return -ops.sum(y_pred * y_true, axis=-1)


def canary_scores(model, included, chunk: int = 256) -> np.ndarray:
    """What one update releases of each canary, in units of the sensitivity.

    Args:
        model: a `PrivateModel`.
        included: (m,) booleans.
        chunk: the size of the batch; canaries of a chunk have it alone.
    """
    scores = np.zeros(len(included))
    for start in range(0, len(included), chunk):
        coins = np.asarray(included[start : start + chunk])
        scores[start : start + chunk] = _one_update(model, coins)
    return scores


def _one_update(model, coins) -> np.ndarray:
    private = canary_model(model, len(coins))
    x = np.eye(len(coins), dtype="float32") * LOUD
    y = np.ones((len(coins), 1), "float32")
    private.train_on_batch(x, y, coins.astype("float32"))
    (kernel,) = private.base.get_weights()
    plan = getattr(model, "plan", None)
    divisor = len(coins) if plan is None else plan.batch_size
    return kernel[:, 0] * divisor / sensitivity_of(private)


def mechanism(
    model,
    delta: float = 1e-5,
    canaries: int = 2000,
    references: int = 100,
    confidence: float = 0.95,
    seed: int | None = None,
) -> AuditReport:
    """Audit one update of a private model's clip and noise, by canaries.

    The lower bound on epsilon is compared with the epsilon of one noisy sum
    without sampling, which is what the noise multiplier claims; and with the
    bounds that noise as claimed gives in simulations, above which noise that
    is too small shows long before it exceeds the claim.

    Reference:
        Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training
        Run", 2023, with canaries of Dirac gradients. Deviation: the
        comparison with simulations is ours.

    Args:
        model: a `PrivateModel` that is compiled.
        delta: the delta of the claim.
        canaries: how many there are; 2000 by default.
        references: how many simulations the second comparison uses.
        confidence: the probability that the bound holds.
        seed: of the coins; by default they cannot be predicted.

    Returns:
        A report of `epsilon` and `epsilon of references`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model = tfdeep.privacy.PrivateModel(
        ...     net, mechanism=tfdeep.privacy.GaussianMechanism(1.0)
        ... )
        >>> model.compile("sgd", "mse")
        >>> report = tfdeep.privacy.audit.mechanism(model, seed=0)
        >>> report.passed, round(report["epsilon"].allowed, 2)
        (True, 4.38)
    """
    check_positive("canaries", canaries)
    check_positive("references", references)
    check_number("delta", delta, 0.0, 1e-5)
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    scores = canary_scores(model, included, canaries)
    bound = epsilon_lower_bound(scores, included, delta, confidence)
    sigma = _claimed(model)
    claim = gaussian_epsilon(sigma, delta)
    expected = [
        epsilon_lower_bound(
            included + sigma * rng.normal(size=canaries),
            included,
            delta,
            confidence,
        )
        for _ in range(references)
    ]
    # The bounds of 400 simulations reached 2.7 deviations; those of noise
    # that was halved began at 5.8.
    limit = float(np.mean(expected) + 5 * np.std(expected))
    note = f"lower bound at confidence {confidence:g}, {canaries} canaries"
    interval = (bound, np.inf)
    return AuditReport(
        (
            Finding("epsilon", bound <= claim, bound, claim, interval, note),
            Finding("epsilon of references", bound <= limit, bound, limit),
        ),
        "one update, one-run audit",
    )


def _claimed(model) -> float:
    probe = canary_model(model, 1)
    probe.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    return multiplier_of(probe)
