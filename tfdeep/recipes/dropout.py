"""Dropout narrows the gap between training and test error."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def dense_net(info, units, layers, rate):
    """A fully connected net with dropout on its input and hidden layers.

    Its first layer undoes the standardisation: the paper's pixels are in
    [0, 1], and dropout of an input means a black pixel.
    """
    import keras

    parts = [
        keras.Input(info.shape),
        keras.layers.Rescaling(info.std[0], info.mean[0]),
        keras.layers.Flatten(),
    ]
    if rate:
        parts.append(keras.layers.Dropout(0.2))
    for _ in range(layers):
        parts.append(keras.layers.Dense(units, "relu"))
        if rate:
            parts.append(keras.layers.Dropout(rate))
    parts.append(keras.layers.Dense(info.classes, "softmax"))
    return keras.Sequential(parts)


def arms(context):
    from tfdeep.recipes.training import compiled

    settings = context.settings

    def build(rate):
        net = dense_net(
            context.info,
            settings.units,
            settings.layers,
            rate,
        )
        return compiled(context, net)

    return {"no dropout": partial(build, 0.0), "dropout": partial(build, 0.5)}


def run(context):
    from tfdeep.recipes.training import test_arrays, train

    test = test_arrays(context)
    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)
        losses = context.results.entry(run.arm, run.seed).metrics
        run.record(
            gap=losses["test_loss"] - losses["train_loss"],
            sampled_error=sampled_error(
                run.model, *test, context.settings.samples
            ),
        )


def sampled_error(model, images, labels, samples):
    """The error of the mean prediction of `samples` thinned nets."""
    import numpy as np
    from keras import ops

    mean = sum(
        ops.convert_to_numpy(model(images, training=True))
        for _ in range(samples)
    )
    return float(np.mean(np.argmax(mean, axis=-1) != labels))


def narrower_gap(results):
    gap = results.difference("no dropout", "dropout", "gap")
    return Verdict(gap.clear, f"test minus train loss, narrower by {gap}")


def lower_error(results):
    gap = results.difference("no dropout", "dropout", "test_error")
    return Verdict(gap.clear, f"without minus with, test error: {gap}")


def weight_scaling(results):
    scaled = results.spread("dropout", "test_error").mean
    sampled = results.spread("dropout", "sampled_error").mean
    return Verdict(
        abs(scaled - sampled) <= 0.005,
        f"scaled {scaled:.4f}, Monte-Carlo {sampled:.4f}",
    )


RECIPE = Recipe(
    name="dropout",
    title="A wide fully connected net with and without dropout",
    paper="Srivastava et al. 2014, JMLR 15",
    claims=(
        Claim(
            "narrower gap",
            "Dropout narrows the gap between test and training loss.",
            "section 6 and fig. 4",
            narrower_gap,
        ),
        Claim(
            "lower error",
            "Dropout lowers the test error.",
            "table 2, MNIST: 1.60 % to 1.25 % (1024 units, 3 layers)",
            lower_error,
        ),
        Claim(
            "weight scaling",
            "One pass with scaled weights errs as the mean of many thinned "
            "nets does, within half a per cent.",
            "fig. 11: equal after about 50 samples",
            weight_scaling,
        ),
    ),
    data="mnist5k",
    scales={
        "quick": Scale(
            "1 minute on 2 cores",
            {
                "units": 512,
                "layers": 2,
                "epochs": 20,
                "samples": 50,
                "batch_size": 64,
                "learning_rate": 0.05,
            },
        ),
        "full": Scale(
            "30 minutes on 2 cores",
            {
                "units": 1024,
                "layers": 3,
                "epochs": 100,
                "samples": 100,
                "batch_size": 64,
                "learning_rate": 0.05,
            },
        ),
        "paper": Scale(
            "an hour on one GPU",
            {
                "units": 1024,
                "layers": 3,
                "epochs": 500,
                "samples": 100,
                "batch_size": 100,
                "learning_rate": 0.1,
            },
            data="mnist",
        ),
    },
    arms=arms,
    run=run,
    curves=("loss", "val_loss"),
    metrics=("gap", "test_error", "sampled_error"),
    independent=True,
)
