"""All audits that need nothing but a private model and a batch."""

from tfdeep.privacy.audit.canaries import mechanism
from tfdeep.privacy.audit.noise import noise
from tfdeep.privacy.audit.report import AuditReport
from tfdeep.privacy.audit.sensitivity import isolation, sensitivity


def everything(
    model, x, y, delta: float = 1e-5, seed: int | None = None
) -> AuditReport:
    """Audit clip, isolation, noise and mechanism of a private model.

    The model is left as it is: what trains is a copy. Takes some seconds.

    Args:
        model: a `PrivateModel` that is compiled.
        x: inputs of a batch, arrays.
        y: targets of the batch.
        delta: the delta of the guarantee.
        seed: of the canaries' coins; by default they cannot be predicted.

    Returns:
        A report of the findings of `sensitivity`, `isolation`, `noise` and
        `mechanism`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = tfdeep.privacy.PrivateModel(
        ...     net, mechanism=tfdeep.privacy.GaussianMechanism(1.0)
        ... )
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
        >>> tfdeep.privacy.audit.everything(model, x, x[:, :4], seed=0).passed
        True
    """
    reports = [
        sensitivity(model, x, y),
        isolation(model, x, y),
        noise(model, x, y),
        mechanism(model, delta, seed=seed),
    ]
    findings = [finding for report in reports for finding in report]
    return AuditReport(tuple(findings), f"audit of {model.name}")
