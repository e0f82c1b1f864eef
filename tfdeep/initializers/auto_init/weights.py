"""Drawing, rescaling and shuffling the kernels of a pass."""

import numpy as np

from tfdeep.initializers.auto_init.tensors import to_numpy

DISTRIBUTIONS = (
    "truncated_normal",
    "untruncated_normal",
    "uniform",
    "orthogonal",
)
SILENT = "its inputs are zero"
TRUNCATED = 0.8796256610342398  # Deviation of a normal cut at +-2.


def draw(rng, shape, deviation: float, distribution: str) -> np.ndarray:
    """Weights of mean 0 and the given standard deviation."""
    if distribution == "orthogonal":
        fan = int(np.prod(shape[:-1]))
        size = max(fan, shape[-1]), min(fan, shape[-1])
        q, r = np.linalg.qr(rng.standard_normal(size))
        q = q * np.sign(np.diag(r))
        q = q if fan >= shape[-1] else q.T
        return (q * deviation * size[0] ** 0.5).reshape(shape)
    if distribution == "uniform":
        return rng.uniform(-1, 1, shape) * deviation * 3**0.5
    values = rng.standard_normal(shape)
    if distribution == "truncated_normal":
        far = np.abs(values) > 2
        while np.any(far):
            values[far] = rng.standard_normal(int(far.sum()))
            far = np.abs(values) > 2
        values /= TRUNCATED
    return values * deviation


class Scaler:
    """Gives each kernel the deviation that makes its outputs vary by `s`.

    Called before the first call of each layer with weights.

    Attributes:
        chosen: the variables it set.
        deviations: their standard deviations, by `id`.
        skipped: list of `(layer, reason)` of those it left alone.
        reads: whether kernels get their values from those that are there.
    """

    def __init__(self, signal_variance, distribution, seed, mode):
        self.signal_variance = signal_variance
        self.distribution = distribution
        self.seed = seed
        self.reads = mode == "rescale"
        self.chosen: list = []
        self.deviations: dict[int, float] = {}
        self.skipped: list[tuple[str, str]] = []

    def __call__(self, layer, variable, unit_second: float):
        reason = self._reason(layer, variable, unit_second)
        if reason:
            self.skipped.append((layer.name, reason))
            return None, f"left alone: {reason}"
        deviation = (self.signal_variance / unit_second) ** 0.5
        if self.reads:
            values = to_numpy(variable).astype("float64")
            values = values * (deviation / np.sqrt(np.mean(values**2)))
        else:
            rng = generator(self.seed, 1 + len(self.chosen))
            shape = tuple(variable.shape)
            values = draw(rng, shape, deviation, self.distribution)
        variable.assign(values)
        self.chosen.append(variable)
        self.deviations[id(variable)] = deviation
        return deviation, ""

    def forget(self) -> None:
        """Begin anew, as after a pass that was broken off."""
        self.chosen.clear()
        self.deviations.clear()
        self.skipped.clear()

    @staticmethod
    def _reason(layer, variable, unit_second) -> str:
        if not (layer.trainable and variable.trainable):
            return "not trainable"
        if not np.any(to_numpy(variable)):
            return "its weights are zero"
        if not unit_second > 0:
            return SILENT
        return ""


class Redraw:
    """Gives each kernel new values of the same law.

    What a `Scaler` drew is drawn anew; other values are shuffled, with signs
    of their own: a shuffle alone would keep the mean that they happen to
    have, which adds up over the inputs.
    """

    reads = True  # What it does not draw it shuffles.

    def __init__(self, seed, number: int, scaler: Scaler | None = None):
        self._start = seed, number
        self.rng = generator(seed, number)
        self.deviations = scaler.deviations if scaler else {}
        self.law = scaler.distribution if scaler else ""

    def __call__(self, layer, variable, unit_second: float):
        deviation = self.deviations.get(id(variable))
        values = to_numpy(variable)
        if deviation is not None:
            values = draw(self.rng, values.shape, deviation, self.law)
        else:
            signs = self.rng.choice([-1.0, 1.0], values.shape)
            shuffled = self.rng.permutation(values.ravel())
            values = shuffled.reshape(values.shape) * signs
        variable.assign(values)
        return deviation, ""

    def forget(self) -> None:
        """Begin anew, as after a pass that was broken off."""
        self.rng = generator(*self._start)


def generator(seed, number: int):
    """Random numbers of a seed and a counter; other ones if it is `None`."""
    return np.random.default_rng(None if seed is None else [seed, number])
