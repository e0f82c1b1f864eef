"""What cannot be trained privately, why, and what to use instead."""

import keras

from tfdeep.inside import own_methods, trains_another_loss
from tfdeep.keras_internals import layers_of
from tfdeep.layers.entropy import BatchEntropy
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.views import MIXING

MOST_NAMES = 3
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
    """One text for each kind of fault, with the layers that have it."""
    found: dict[str, list[str]] = {}
    for text in _problems_of_methods(model):
        found[text] = []
    for layer in layers_of(model):
        name = f"{type(layer).__name__} {layer.name!r}"
        for text in _problems_of_layer(layer):
            found.setdefault(text, []).append(name)
    return [f"{_named(names)}{text}" for text, names in found.items()]


def _named(names: list[str]) -> str:
    """The layers of one fault: a few by name, and how many there are."""
    if not names:
        return ""
    if len(names) == 1:
        return f"{names[0]} "
    shown = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return f"{len(names)} layers ({shown}{rest}): each "


def _problems_of_methods(model) -> list[str]:
    """A model trains itself in its own way, which would be passed by."""
    if trains_another_loss(model):
        return []  # Told of as a layer.
    return [
        f"{type(model).__name__} has a `{name}` of its own, which would be "
        "ignored: PrivateModel takes the compiled loss of single examples. "
        "Override `compute_loss` in a subclass of PrivateModel."
        for name in own_methods(model, "train_step", "compute_loss")
    ]


def _problems_of_layer(layer) -> list[str]:
    """What is wrong with a layer, in sentences that it is the subject of."""
    found = []
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
        found.append(
            "normalises an example by the others of its batch, and "
            "keeps statistics of them without noise. The gradient of one "
            "example then depends on all. Use GroupNormalization: "
            "tfdeep.privacy.replace_batch_norm(model) puts it in."
        )
    for kind, reason, remedy in REFUSED:
        if isinstance(layer, kind):
            found.append(
                f"{reason}. The gradient of one example would depend "
                f"on others, or be released without noise. {remedy}"
            )
    if trains_another_loss(layer):
        found.append(
            "computes its loss over the batch. A clip bounds the loss "
            "of one example. Wrap the plain model, `.base`; heads can be "
            "further outputs of it, with a loss each in `compile`."
        )
    regularizer = getattr(layer, "activity_regularizer", None)
    if regularizer is not None or isinstance(
        layer, keras.layers.ActivityRegularization
    ):
        found.append(
            "adds a loss over the batch, by `add_loss` or an activity "
            "regularizer. No clip would bound it. Put the term into the "
            "compiled loss."
        )
    if getattr(layer, "stateful", False) is True:
        found.append(
            "keeps its state from one batch to the next, in which "
            "examples would act on others. Make it with stateful=False."
        )
    if getattr(layer, "quantization_mode", None) == "float8":
        found.append(
            "is quantised to float8, and takes its scales from all "
            "examples of a batch. Train the model before it is quantised."
        )
    if str(layer.compute_dtype) == "float16":
        found.append(
            "computes in float16. Clipped gradients are small and "
            "noised ones are not, and a loss scale would have to be undone "
            "for each example: it runs and does not learn. Use mixed_bfloat16."
        )
    return found


def check_refused(model: keras.Model) -> None:
    """Raise `NotPrivateError` if the model holds what is refused."""
    problems = problems_of(model)
    if problems:
        raise NotPrivateError("\n".join(problems))
