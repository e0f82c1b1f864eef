"""What cannot be trained privately, why, and what to use instead."""

import keras

from tfdeep.inside import own_methods
from tfdeep.keras_internals import layers_of
from tfdeep.layers.entropy import BatchEntropy
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.views import MIXING
from tfdeep.training.wrapper import TrainingWrapper

# (class, what is wrong with it, what to do).
REFUSED: tuple[tuple[type, str, str], ...] = (
    (
        keras.layers.SpectralNormalization,
        "keeps a vector that each call changes",
        "Use tfdeep.layers.WeightStandardizedConv2D, or the layer alone.",
    ),
    (
        BatchEntropy,
        "reports an entropy over the batch, for which all examples count",
        "Train without batch entropy.",
    ),
    *(
        (
            kind,
            "mixes examples with each other",
            "Use augmentation of single examples: flips, shifts, noise.",
        )
        for kind in MIXING
    ),
)


def problems_of(model: keras.Model) -> list[str]:
    """One text for each layer that cannot be trained privately."""
    found = _problems_of_methods(model)
    for layer in layers_of(model):
        found.extend(_problems_of_layer(layer))
    return found


def _problems_of_methods(model) -> list[str]:
    """A model trains itself in its own way, which would be passed by."""
    if isinstance(model, TrainingWrapper):
        return []  # Told of as a layer.
    return [
        f"{type(model).__name__} has a `{name}` of its own, which would be "
        "ignored: PrivateModel takes the compiled loss of single examples. "
        "Override `compute_loss` in a subclass of PrivateModel."
        for name in own_methods(model, "train_step", "compute_loss")
    ]


def _problems_of_layer(layer) -> list[str]:
    name = f"{type(layer).__name__} {layer.name!r}"
    found = []
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
        found.append(
            f"{name} normalises an example by the others of its batch, and "
            "keeps statistics of them without noise. The gradient of one "
            "example then depends on all. Use GroupNormalization: "
            "tfdeep.privacy.replace_batch_norm(model) puts it in."
        )
    for kind, reason, remedy in REFUSED:
        if isinstance(layer, kind):
            found.append(
                f"{name} {reason}. The gradient of one example would depend "
                f"on others, or be released without noise. {remedy}"
            )
    if isinstance(layer, TrainingWrapper):
        found.append(
            f"{name} computes its loss over the batch. A clip bounds the loss "
            "of one example. Wrap the plain model, `.base`; heads can be "
            "further outputs of it, with a loss each in `compile`."
        )
    regularizer = getattr(layer, "activity_regularizer", None)
    if regularizer is not None or isinstance(
        layer, keras.layers.ActivityRegularization
    ):
        found.append(
            f"{name} adds a loss over the batch, by `add_loss` or an activity "
            "regularizer. No clip would bound it. Put the term into the "
            "compiled loss."
        )
    if getattr(layer, "stateful", False) is True:
        found.append(
            f"{name} keeps its state from one batch to the next, in which "
            "examples would act on others. Make it with stateful=False."
        )
    if getattr(layer, "quantization_mode", None) == "float8":
        found.append(
            f"{name} is quantised to float8, and takes its scales from all "
            "examples of a batch. Train the model before it is quantised."
        )
    if str(layer.compute_dtype) == "float16":
        found.append(
            f"{name} computes in float16. Clipped gradients are small and "
            "noised ones are not, and a loss scale would have to be undone "
            "for each example: it runs and does not learn. Use mixed_bfloat16."
        )
    return found


def check_refused(model: keras.Model) -> None:
    """Raise `NotPrivateError` if the model holds what is refused."""
    problems = problems_of(model)
    if problems:
        raise NotPrivateError("\n".join(problems))
