"""How the recipes train: the papers' SGD on a context's data.

Every paper here uses SGD with momentum and a learning rate that falls by ten
at fixed fractions of the training. A scale's settings say the rest:

    epochs, batch_size, learning_rate   as named
    drops       fractions of the training where the rate falls (0.5, 0.75)
    nesterov    Nesterov's momentum (False)
    augment     the papers' crops and flips (False)
    limit       the number of training images (all)
    steps_per_execution  steps run by one call of the compiled function (1)
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdeep.recipes.context import Context, Run

DEFAULTS = {
    "drops": (0.5, 0.75),
    "nesterov": False,
    "augment": False,
    "limit": None,
    "steps_per_execution": 1,
}


def setting(context: Context, name: str) -> Any:
    """The scale's setting, or the default."""
    return getattr(context.settings, name, DEFAULTS.get(name))


@cache
def train_arrays(context: Context) -> tuple[Any, Any]:
    """The training images and labels, read once."""
    return context.arrays("train", setting(context, "limit"))


@cache
def test_arrays(context: Context) -> tuple[Any, Any]:
    """The test images and labels, read once."""
    return context.arrays("test")


def steps_per_epoch(context: Context) -> int:
    """The number of training steps in an epoch."""
    examples = len(train_arrays(context)[1])
    return max(1, -(-examples // context.settings.batch_size))


def compiled(
    context: Context, model: Any, optimizer: Any = None, **changes: Any
) -> Any:
    """Compile a model with the papers' SGD, or another optimizer; return it.

    Args:
        context: the recipe's context.
        model: a model that ends in class probabilities.
        optimizer: a Keras optimizer in place of the papers' SGD.
        **changes: settings to use in place of the scale's.
    """
    import keras

    def value(name):
        return changes.get(name, setting(context, name))

    if optimizer is None:
        total = value("epochs") * steps_per_epoch(context)
        rate = value("learning_rate")
        boundaries = [max(1, int(total * part)) for part in value("drops")]
        values = [rate / 10**index for index in range(len(boundaries) + 1)]
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay
        optimizer = keras.optimizers.SGD(
            schedule(boundaries, values) if boundaries else rate,
            momentum=0.9,
            nesterov=value("nesterov"),
        )
    model.compile(
        optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=value("steps_per_execution"),
    )
    return model


def train(run: Run, validate: bool = True, **arguments: Any) -> None:
    """Fit a run's model by the settings; record its errors and time.

    Records `train_error`, `test_error`, `train_loss` and `test_loss` of the
    model as it is used at inference, `epoch_cpu_seconds` and `parameters`.
    """
    context = run.context
    test = test_arrays(context)
    arguments = {"epochs": context.settings.epochs, **arguments}
    if validate:
        arguments["validation_data"] = test
    arguments["validation_batch_size"] = 512
    run.fit(*training_data(context), **arguments)
    seen = run.evaluate(*train_arrays(context), batch_size=512)
    unseen = run.evaluate(*test, batch_size=512)
    run.record(
        train_error=1 - seen["accuracy"],
        test_error=1 - unseen["accuracy"],
        train_loss=seen["loss"],
        test_loss=unseen["loss"],
        epoch_cpu_seconds=run.timing.cpu,
        parameters=run.model.count_params(),
    )


def training_data(context: Context) -> tuple[Any, ...]:
    """What `fit` takes: arrays, or a dataset that augments them."""
    if not setting(context, "augment"):
        return train_arrays(context)
    from tfdeep import data

    return (
        data.load(
            context.data,
            "train",
            batch_size=context.settings.batch_size,
            augment=True,
        ),
    )


def input_options(context: Context) -> dict[str, Any]:
    """The arguments that fit a reference network to the data set."""
    return {"input_shape": context.shape, "classes": context.classes}
