"""GradInit: one learned scale per weight tensor, before training starts."""

from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_choice, check_positive, check_seed
from tfdeep.initializers.half_batches import half_batches
from tfdeep.initializers.processes import of_first
from tfdeep.initializers.scale_gradients import ScaleAdam, ScaleGradients
from tfdeep.initializers.scale_report import ScaleReport
from tfdeep.initializers.scaled_loss import ScaledLoss
from tfdeep.initializers.second_derivatives import check_second_derivatives
from tfdeep.initializers.without_noise import without_noise
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.report import warn_of_old_name

ALGORITHMS = ("sgd", "adam")
OBJECTIVES = ("gradinit", "gradient_quotient")
SETTINGS = (
    "algorithm",
    "learning_rate",
    "gamma",
    "scale_learning_rate",
    "iterations",
    "min_scale",
    "normalize",
    "overlap",
    "objective",
    "seed",
)
SHOWN = ("loss", "norm", "constraint steps", "objective steps")


class GradInit:
    """Scales the weights of a model until its first step counts.

    Use it on a deep net that trains badly from its standard initialization,
    above all one without normalization. Each trainable weight tensor that is
    not zero gets one factor alpha, learned from a few hundred half-batches:

        minimize    L(theta - eta a(g); S~)        over alpha
        subject to  ||g||_p <= gamma,   g = dL(theta; S) / dtheta,

    with theta = alpha theta^0; a(g) is g / ||g||_2 and p = 2 for `"sgd"`,
    sign(g) and p = 1 for `"adam"`. While the norm is above gamma an
    iteration lowers the norm, else the loss after the step. S is two
    half-batches, S~ the first of them and a third.

    In the meantime the model is in training mode without dropout, noise and
    weight penalties: batch normalization uses the statistics of the batch.
    Nothing but the scaled weights is different afterwards: not running
    statistics, seeds, optimizer or compilation. The weights change once, at
    the end; an interrupt or error before that leaves them as they were.
    Random augmentation in the model draws the same numbers each time. The
    neutral setting is not to call it.

    Reference:
        Zhu, Ni, Xu, Kong, Huang, Goldstein, "GradInit: Learning to
        Initialize Neural Networks for Stable and Efficient Training",
        NeurIPS 2021, algorithm 1. No deviation for `"gradinit"`.
        `"gradient_quotient"` is the objective of Dauphin and Schoenholz,
        "MetaInit", NeurIPS 2019, without a constraint; deviations: Adam in
        place of signed momentum, given data in place of noise, and biases
        are scaled too.

    Args:
        algorithm: `"sgd"` or `"adam"`, the optimizer to train with later.
        learning_rate: float above 0, eta, its learning rate. Defaults to
            0.1; the paper has 1e-3 with Adam.
        gamma: float above 0, the bound on the norm. Defaults to 1; the paper
            has 1000 with Adam.
        scale_learning_rate: float above 0, the step size of the scales. The
            paper has 1e-3 to 1e-1, tuned per net. Defaults to 1e-2.
        iterations: positive integer. Defaults to 390.
        min_scale: float in [0, 1], the least scale; biases go down to 0. A
            scale that has reached 0 stays there.
        normalize: boolean, whether the SGD step is along g / ||g||_2.
        overlap: boolean, whether S~ shares a half-batch with S.
        objective: `"gradinit"` or `"gradient_quotient"`, which needs third
            derivatives and takes neither `algorithm` nor `gamma`.
        seed: optional integer, the order in which arrays are drawn.
        verbose: 0, 1 or 2, as in `fit`.

    Attributes:
        history: dict of lists with one entry per iteration: `loss`, `norm`,
            `constraint` (whether the norm was lowered), `objective`,
            `scales`.
        scales: dict of the final scale by weight path.

    Input shape:
        Half-batches have the model's input shape; all are of the same size.

    Output shape:
        `initialize_model` returns the model it was given.

    Raises:
        ValueError: on arguments outside these ranges.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3)]
        ... )
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> y = np.arange(64) % 3
        >>> loss = keras.losses.SparseCategoricalCrossentropy(True)
        >>> init = tfdeep.initializers.GradInit(iterations=5, verbose=0)
        >>> init.initialize_model(model, (x, y), loss, 32) is model
        True
        >>> len(init.history["loss"]), len(init.scales)
        (5, 1)
    """

    def __init__(
        self,
        algorithm: str = "sgd",
        learning_rate: float = 0.1,
        gamma: float = 1.0,
        scale_learning_rate: float = 1e-2,
        iterations: int = 390,
        min_scale: float = 0.01,
        normalize: bool = True,
        overlap: bool = True,
        objective: str = "gradinit",
        seed: int | None = None,
        verbose: int = 1,
    ):
        check_choice("algorithm", algorithm, ALGORITHMS)
        check_choice("objective", objective, OBJECTIVES)
        check_choice("verbose", verbose, (0, 1, 2))
        check_positive("iterations", iterations)
        _check_number("learning_rate", learning_rate)
        _check_number("gamma", gamma)
        _check_number("scale_learning_rate", scale_learning_rate)
        _check_number("min_scale", min_scale, least=0.0, most=1.0)
        check_seed(seed)
        check_choice("normalize", normalize, (True, False))
        check_choice("overlap", overlap, (True, False))
        self.algorithm = algorithm
        self.learning_rate = float(learning_rate)
        self.gamma = float(gamma)
        self.scale_learning_rate = float(scale_learning_rate)
        self.iterations = iterations
        self.min_scale = float(min_scale)
        self.normalize = bool(normalize)
        self.overlap = bool(overlap)
        self.objective = objective
        self.seed = seed
        self.verbose = verbose
        self.history: dict[str, list] = {}
        self.scales: dict[str, float] = {}

    def initialize_model(
        self,
        model: keras.Model,
        data: Any,
        loss: Any = None,
        batch_size: int = 128,
    ) -> keras.Model:
        """Scale the weights of a model in place and return the model.

        Of several processes that train the model together, each calls this,
        and all use the data of the first.

        Args:
            model: a built model with float32 or float64 weights.
            data: `(x, y)` or `(x, y, sample_weight)` of arrays, which are
                shuffled; or an iterable of such batches, each of which is
                cut into two half-batches (`tf.data`, `PyDataset`, a list).
                It starts again when it ends, if it can.
            loss: a Keras loss, its name, or a function of labels and
                predictions, the whole loss. Defaults to the compiled one.
            batch_size: integer of at least 2, two half-batches; for arrays.

        Raises:
            TypeError: if `model`, `data` or `loss` is something else.
            ValueError: if the model is not built, is quantized, adapted by
                LoRA, of half precision, shares weights with another network
                or has no trainable weight but zeros; if there is no loss, or
                inputs or labels do not fit; if the data ends too early; if a
                gradient is not finite; if the gradient of a layer has no
                derivative, as that of bilinear resizing on TensorFlow.
            RuntimeError: in the scope of a `tf.distribute` strategy. Build
                the model there and call this after the scope.
        """
        check_positive("batch_size", batch_size)
        if batch_size < 2:
            raise ValueError(
                "`batch_size` must be at least 2, as it is that of two "
                f"half-batches. Received: batch_size={batch_size}"
            )
        scaled = ScaledLoss(model, loss)
        warn_of_optimizer(model, getattr(model, "optimizer", None))
        batches = _shared(
            half_batches(data, batch_size, self.seed), scaled.variables[0]
        )
        with without_noise(model):
            scales, history = self._search(scaled, batches)
        scaled.write_back(scales)
        self.history = history
        self.scales = dict(zip(scaled.names, scales.tolist(), strict=True))
        return model

    def _search(self, scaled: ScaledLoss, batches: Iterator):
        batches = _checked(batches, scaled)
        scales = np.ones(len(scaled.names))
        minimum = [0.0 if _is_bias(n) else self.min_scale for n in scaled.names]
        adam = ScaleAdam(self.scale_learning_rate, minimum)
        gradient = ScaleGradients(scaled, self)
        history: dict[str, list] = {}
        bar = keras.utils.Progbar(
            self.iterations, verbose=self.verbose, stateful_metrics=SHOWN
        )
        for iteration in range(self.iterations):
            d, record = gradient(scales, batches)
            scales = adam.step(scales, d, record["constraint"])
            for name, value in {**record, "scales": scales.tolist()}.items():
                history.setdefault(name, []).append(value)
            lowered = sum(history["constraint"])
            values = [record["loss"], record["norm"], lowered]
            values.append(iteration + 1 - lowered)
            bar.update(iteration + 1, list(zip(SHOWN, values, strict=True)))
        return scales, history

    @property
    def report(self) -> ScaleReport:
        """Settings, scales and history, empty before a model is initialized."""
        settings = {name: getattr(self, name) for name in SETTINGS}
        return ScaleReport(settings, self.scales, self.history)

    def to_dict(self) -> dict:
        """The old name of `report.to_dict()`."""
        warn_of_old_name("to_dict", "report.to_dict")
        return self.report.to_dict()

    def save(self, path: str | Path) -> Path:
        """The old name of `report.save(path)`."""
        warn_of_old_name("save", "report.save")
        return self.report.save(path)

    def plot(self, path: str | Path | None = None) -> Any:
        """The old name of `report.plot(path)`."""
        warn_of_old_name("plot", "report.plot")
        return self.report.plot(path)


def _is_bias(path: str) -> bool:
    name = path.rpartition("/")[2]
    return "bias" in name or "beta" in name


def _shared(batches, variable):
    """Those of the first process, for all that train the model together."""
    for batch in batches:
        yield keras.tree.map_structure(
            lambda array: array if array is None else of_first(array, variable),
            batch,
        )


def _checked(batches, scaled):
    first = next(batches)
    predicted = scaled.check_batch(first)
    check_second_derivatives(scaled, first)
    yield first
    for batch in batches:
        scaled.check_classes(batch[1], predicted)
        yield batch


def _check_number(name, value, least=None, most=None):
    """Raise unless `value` is finite and above 0, or in [least, most]."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if least is None:
        right, wanted = number and 0 < value < np.inf, "a number above 0"
    else:
        right = number and least <= value <= most
        wanted = f"a number in [{least:g}, {most:g}]"
    if not right:
        raise ValueError(
            f"`{name}` must be {wanted}. Received: {name}={value!r}. See the "
            "docstring for the paper's values and pass one of that size."
        )
