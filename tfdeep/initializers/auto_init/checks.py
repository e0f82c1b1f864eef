"""What AutoInit refuses or warns of, and what it says."""

import warnings

import keras
import numpy as np

from tfdeep.checks import check_number
from tfdeep.initializers.auto_init.inputs import UNKNOWN_SIZE
from tfdeep.initializers.auto_init.report import SCATTERED
from tfdeep.initializers.auto_init.tensors import to_numpy
from tfdeep.initializers.auto_init.weights import SILENT
from tfdeep.keras_internals import layers_of
from tfdeep.training.wrapper import TrainingWrapper

UNSTABLE = 1.5  # Growth of a small change that is warned about.


def check_variance(name, value):
    check_number(name, value)
    if value <= 0:
        raise ValueError(
            f"`{name}` must be a positive number. Received: {name}={value}. "
            "Give the variance of the values, not their deviation."
        )


def check_model(model):
    """Raise unless it is a model whose kernels are what it multiplies with."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a built keras.Model. Received: "
            f"model={type(model).__name__}. Wrap the layer in a model."
        )
    if isinstance(model, TrainingWrapper):
        raise TypeError(
            "`model` must be the model inside, which is what it initialises. "
            f"Received: model=a {type(model).__name__}. Pass its `base`."
        )
    for layer in layers_of(model):
        mode = layer.quantization_mode
        if mode is not None or getattr(layer, "lora_enabled", False):
            what = f"quantized ({mode})" if mode is not None else "with LoRA"
            raise ValueError(
                "The kernel of a layer must be what it multiplies with. "
                f"Received: '{layer.name}' {what}. Initialise the model "
                "before that."
            )


def check_finite(weights):
    """Raise if the signal would meet values that have no moments."""
    for variable in weights:
        if not np.all(np.isfinite(to_numpy(variable))):
            raise ValueError(
                "Weights must be finite, as the signal that they pass on has "
                "no moments otherwise; the model is as it was. Received: "
                f"values of '{variable.path}' that are infinite or not a "
                "number. Load or set finite values first."
            )


def check_takes_numbers(model):
    """A hand-written model does not say which inputs are integers."""
    if getattr(model, "inputs", None):
        return
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Embedding):
            raise ValueError(
                "The inputs of a model that looks up integers must be known. "
                f"Received: '{model.name}', which is hand-written and has the "
                f"lookup '{layer.name}'. Take the inputs from data: "
                "AutoInit.from_data(x)."
            )


def too_small(model, error) -> ValueError:
    """What to say where a model of unknown sizes failed at the usual one."""
    return ValueError(
        f"The sizes of the inputs must be known, or {UNKNOWN_SIZE} must do, "
        f"which is tried then. Received: model '{model.name}', which fails at "
        f"it ({type(error).__name__}). Give inputs of a size that it takes: "
        "AutoInit.from_data(x)."
    )


def without_rule(names) -> NotImplementedError:
    """What to say of layers without a rule where none is wanted."""
    listed = ", ".join(map(repr, names))
    return NotImplementedError(
        f"The layers of the model must have rules. Received: {listed}, for "
        "which there is none. Register one with "
        "tfdeep.initializers.signal_rule, write a method get_signal_moments, "
        "or use strict=False to measure on a sample."
    )


def warn_of_probed(state):
    """Name the layers that were measured on a sample."""
    if state.probed:
        names = ", ".join(repr(name) for name in state.probed)
        warnings.warn(
            f"No rule is known for {names}: measured on a sample. Register "
            "one with tfdeep.initializers.signal_rule, or pass strict=True "
            "to refuse such layers.",
            stacklevel=3,
        )


def warn_of_scatter(state):
    """Say that real draws will differ from what was predicted."""
    if state.growth > UNSTABLE:
        warnings.warn(
            "A relative change of the signal's second moment grows "
            f"{state.growth:.1f}-fold on the way to the outputs: real draws "
            "will differ from the prediction. Use polish=True, or a smaller "
            "signal_variance.",
            stacklevel=3,
        )
    elif state.deviation > SCATTERED:
        warnings.warn(
            "The outputs' second moment differs between real draws by about "
            f"{state.deviation:.2g} of its mean: layers are many for their "
            "width. See report.verify(draws=20); use polish=True, wider "
            "layers or normalization.",
            stacklevel=3,
        )


def warn_of_silence(skipped):
    """Name the layers whose kernels nothing but zeros reaches."""
    silent = [name for name, reason in skipped if reason == SILENT]
    if silent:
        names = ", ".join(map(repr, silent))
        warnings.warn(
            f"The signal at {names} is zero: no kernel gives it a variance, "
            "and theirs were left as they are. Look at what comes before, or "
            "take inputs from data: AutoInit.from_data(x).",
            stacklevel=3,
        )
