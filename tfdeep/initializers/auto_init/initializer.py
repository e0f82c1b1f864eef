"""AutoInit: weights whose scale follows from the signal they meet."""

import copy
import functools

import keras
import numpy as np

from tfdeep.checks import (
    check_choice,
    check_number,
    check_positive,
    check_seed,
)
from tfdeep.initializers.auto_init.checks import (
    check_finite,
    check_model,
    check_takes_numbers,
    check_variance,
    too_small,
    warn_of_probed,
    warn_of_scatter,
    warn_of_silence,
    without_rule,
)
from tfdeep.initializers.auto_init.inputs import (
    Backup,
    arrays,
    first_variable,
    moments,
    of_unknown_size,
    sample,
    structure_of,
)
from tfdeep.initializers.auto_init.looked_up import LookedUp, NotInTable
from tfdeep.initializers.auto_init.propagation import Propagation
from tfdeep.initializers.auto_init.report import SignalReport, average
from tfdeep.initializers.auto_init.rules import find_rule
from tfdeep.initializers.auto_init.weights import (
    DISTRIBUTIONS,
    Redraw,
    Scaler,
    generator,
)
from tfdeep.initializers.processes import common_seed
from tfdeep.initializers.shared_weights import check_not_shared

# Inputs of a pass. Where a small change grows, single inputs differ by orders
# of magnitude, and their mean over few would not be that of others.
SAMPLE, POLISH_SAMPLE = 256, 32768


class AutoInit:
    """Sets the kernels of any built Keras model by the signal they meet.

    Mean and second moment of the signal are followed from the inputs through
    every layer. A layer with weights gets weights of variance

        s / (fan_in (v + mu^2))

    where v and mu^2 are the variance and squared mean of its inputs, so that
    its outputs have mean 0 and variance s, before its own activation.

    Reference:
        Bingham and Miikkulainen, "AutoInit: Analytic Signal-Preserving
        Weight Initialization for Neural Networks", AAAI 2023, algorithm 1.
        The authors hold a patent application on the method. Deviations: the
        number of inputs counts only those inside the image; a sample that
        travels along gives the moments where inputs are correlated.

    Args:
        input_mean: float, E[x] of the inputs; a list or dict for several.
            Defaults to 0.
        input_variance: float, positive, likewise. Defaults to 1.
        signal_variance: float, positive, s. Defaults to 1.
        distribution: `"truncated_normal"`, `"untruncated_normal"`,
            `"uniform"` or `"orthogonal"`.
        seed: integer. Two equal seeds give equal weights.

    Attributes:
        report: the `SignalReport` of the last model.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential(
        ...     [keras.Input((64,))]
        ...     + [keras.layers.Dense(64, "relu") for _ in range(3)]
        ... )
        >>> init = tfdeep.initializers.AutoInit(seed=0)
        >>> init.initialize_model(model) is model
        True
        >>> [round(r.scale, 4) for r in init.report.records]
        [0.125, 0.1768, 0.1768]
    """

    def __init__(
        self,
        input_mean=0.0,
        input_variance=1.0,
        signal_variance: float = 1.0,
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ):
        check_choice("distribution", distribution, DISTRIBUTIONS)
        for value in keras.tree.flatten(input_mean):
            check_number("input_mean", value)
        for value in keras.tree.flatten(input_variance):
            check_variance("input_variance", value)
        check_variance("signal_variance", signal_variance)
        check_seed(seed)
        self.input_mean = input_mean
        self.input_variance = input_variance
        self.signal_variance = float(signal_variance)
        self.distribution = distribution
        self.seed = seed
        self.report: SignalReport | None = None
        self.data = None

    @classmethod
    def from_data(cls, x, **kwargs) -> "AutoInit":
        """Take the statistics of the inputs from data.

        Args:
            x: an array, a list or dict of arrays for several inputs, or a
                `tf.data.Dataset` (its first batches; labels are ignored).
                Arrays of text serve models that take text.
            **kwargs: the other arguments.
        """
        x = arrays(x)
        found = [moments(part) for part in keras.tree.flatten(x)]
        means, variances = (list(each) for each in zip(*found, strict=True))
        init = cls(means, variances, **kwargs)
        init.data = x
        return init

    def initialize_model(
        self,
        model: keras.Model,
        mode: str = "resample",
        polish: bool = False,
        strict: bool = False,
    ) -> keras.Model:
        """Set the kernels of a built model in place.

        Frozen weights, biases, optimizer and compile state stay. Of several
        processes that train the model together, each calls this, and all
        use the data and, without a seed, the random numbers of the first.

        Args:
            model: a built `keras.Model`.
            mode: `"resample"` draws the kernels anew, `"rescale"` multiplies
                those that are there.
            polish: whether to correct each kernel by the second moment
                measured on one batch, for chains of swish, gelu or mish,
                whose own moments are unstable.
            strict: whether a layer without a rule is an error; else it is
                measured on a sample, with a warning.

        Returns:
            The same model.

        Raises:
            ValueError: for a model that is not built or of which Keras knows
                no shape of its inputs, for quantized layers or layers with
                LoRA, for weights shared with another network, and for weights
                that it does not draw and that are not finite. The model is as
                it was.
            NotImplementedError: if `strict` and a layer has no rule.
        """
        check_choice("mode", mode, ("resample", "rescale"))
        check_model(model)
        check_not_shared(model)
        init = copy.copy(self)
        init.seed = common_seed(self.seed, first_variable(model))
        scaler = Scaler(
            self.signal_variance, self.distribution, init.seed, mode
        )
        state = _run(init, model, scaler, strict=strict, polish=polish)
        warn_of_probed(state)
        warn_of_silence(scaler.skipped)
        if not polish:
            warn_of_scatter(state)
        self.report = SignalReport(
            state.records,
            scaler.skipped,
            state.probed,
            state.growth,
            functools.partial(_remeasure, init, model, scaler),
            state.deviation,
        )
        return model


def propagate(
    model: keras.Model,
    input_mean=0.0,
    input_variance=1.0,
    data=None,
    draws: int = 4,
    seed: int | None = 0,
    strict: bool = False,
) -> SignalReport:
    """Predict the signal of a model as it is; change nothing.

    The weights count by their second moments, as if drawn anew.

    Args:
        model: a built `keras.Model`.
        input_mean: float, or a list for several inputs.
        input_variance: float, or a list.
        data: arrays to take the inputs from, as in `AutoInit.from_data`.
        draws: integer, over how many shuffles of the weights the moments
            are averaged.
        seed: integer, of the sample and the shuffles.
        strict: whether a layer without a rule is an error.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
        >>> report = tfdeep.initializers.propagate(model)
        >>> round(report.records[0].second, 3)
        0.5
    """
    if data is not None:
        init = AutoInit.from_data(data, seed=seed)
    else:
        init = AutoInit(input_mean, input_variance, seed=seed)
    check_positive("draws", draws)
    states = [
        _run(init, model, Redraw(seed, number), strict=strict)
        for number in range(draws)
    ]
    warn_of_probed(states[0])
    records = average([state.records for state in states])
    return SignalReport(
        records,
        (),
        states[0].probed,
        states[0].growth,
        functools.partial(_remeasure, init, model, None),
        float(np.mean([state.deviation for state in states])),
    )


def _run(init, model, choose, data=None, strict=False, **options):
    """One pass; all variables but those that were chosen are put back."""
    check_model(model)
    check_finite(model.weights if choose.reads else model.non_trainable_weights)
    structure_of(model)  # Raises.
    data = init.data if data is None else data
    if data is None:
        check_takes_numbers(model)
    state, backup = _passed(init, model, choose, data, options)
    if strict and state.probed:
        backup.restore()
        raise without_rule(state.probed)
    backup.restore(keep=[*getattr(choose, "chosen", ()), *state.kept])
    try:
        check_finite(model.weights)  # Those that were not drawn.
    except ValueError:
        backup.restore()
        raise
    return state


def _passed(init, model, choose, data, options):
    """The state after a pass, and the values from before it.

    What turns out to be looked up is drawn as integers, in another pass.
    """
    ids: dict[int, int] = {}
    backup = Backup(model)
    while True:
        inputs, signals = sample(
            model,
            init.input_mean,
            init.input_variance,
            data,
            init.seed,
            POLISH_SAMPLE if options.get("polish") else SAMPLE,
            ids,
        )
        rng = getattr(choose, "rng", None) or generator(init.seed, 0)
        state = Propagation(
            find_rule, choose, rng=rng, made_up=data is None, **options
        )
        try:
            state.run(model, inputs, signals)
            return state, backup
        except LookedUp as found:
            backup.restore()
            choose.forget()
            size = ids.get(found.index, found.size)
            ids[found.index] = min(found.size, size)
        except BaseException as error:
            backup.restore()
            guessed = data is None and of_unknown_size(model)
            told = isinstance(error, NotInTable)
            if guessed and not told and isinstance(error, Exception):
                raise too_small(model, error) from error
            raise


def _remeasure(init, model, scaler, x, draws):
    """The records of passes over redrawn weights that only measure."""
    return [
        _run(
            init,
            model,
            Redraw(init.seed, 1000 + number, scaler),
            rescale=False,
            data=None if x is None else arrays(x),
        ).records
        for number in range(draws)
    ]
