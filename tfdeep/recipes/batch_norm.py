"""Batch normalization reaches an accuracy in fewer training steps."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def convolutional_net(shape, classes, layers, filters, normalize):
    """A chain of convolutions, with or without batch normalization."""
    import keras

    parts = [keras.Input(shape)]
    for _ in range(layers):
        parts.append(
            keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=not normalize,
                kernel_initializer="he_normal",
            )
        )
        if normalize:
            parts.append(keras.layers.BatchNormalization(momentum=0.9))
        parts.append(keras.layers.ReLU())
    parts.append(keras.layers.GlobalAveragePooling2D())
    parts.append(keras.layers.Dense(classes, "softmax"))
    return keras.Sequential(parts)


def arms(context):
    from tfdeep.recipes.training import compiled

    settings = context.settings

    def build(normalize, rate):
        net = convolutional_net(
            context.shape,
            context.classes,
            settings.layers,
            settings.filters,
            normalize,
        )
        return compiled(context, net, learning_rate=rate, drops=())

    return {
        f"{name}, rate {rate:g}": partial(build, normalize, rate)
        for name, normalize in (("without", False), ("with", True))
        for rate in settings.learning_rates
    }


def run(context):
    from tfdeep.recipes.stopping import StepsToAccuracy
    from tfdeep.recipes.training import test_arrays, train

    for run in context.runs():
        steps = StepsToAccuracy(
            test_arrays(context),
            context.settings.accuracy,
            context.settings.every,
        )
        train(
            run,
            validate=False,
            batch_size=context.settings.batch_size,
            callbacks=[steps],
        )
        run.record(steps=steps.steps)


def best(results, name):
    """The arm of a name that needs the fewest steps."""
    arms = [arm for arm in results.arms if arm.startswith(name)]
    return min(arms, key=lambda arm: results.spread(arm, "steps").mean)


def fewer_steps(results):
    without, with_it = best(results, "without"), best(results, "with,")
    gap = results.difference(without, with_it, "steps")
    a, b = (results.spread(arm, "steps") for arm in (without, with_it))
    return Verdict(gap.clear, f"{without}: {a}; {with_it}: {b} steps")


def higher_rates(results):
    """Which of the two stands the highest rate better."""
    highest = [
        [arm for arm in results.arms if arm.startswith(name)][-1]
        for name in ("without", "with,")
    ]
    gap = results.difference(*highest, "train_error")
    return Verdict(gap.clear, f"train error, without minus with: {gap}")


RECIPE = Recipe(
    name="batch-norm",
    title="Steps to an accuracy with and without batch normalization",
    paper="Ioffe and Szegedy 2015, arXiv:1502.03167",
    claims=(
        Claim(
            "fewer steps",
            "Each at its best learning rate, the normalised net needs fewer "
            "steps.",
            "fig. 3: Inception's accuracy in 14 times fewer steps",
            fewer_steps,
        ),
        Claim(
            "higher rates",
            "At the highest learning rate the normalised net trains to a "
            "lower error.",
            "section 3.3 and 4.2.1",
            higher_rates,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "1 minute on 2 cores",
            {
                "layers": 8,
                "filters": 16,
                "learning_rates": (0.01, 0.03, 0.1, 0.3),
                "accuracy": 0.9,
                "every": 5,
                "epochs": 10,
                "batch_size": 64,
            },
        ),
        "full": Scale(
            "20 minutes on 2 cores",
            {
                "layers": 12,
                "filters": 32,
                "learning_rates": (0.01, 0.03, 0.1, 0.3),
                "accuracy": 0.95,
                "every": 5,
                "epochs": 10,
                "batch_size": 64,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "an hour on one GPU",
            {
                "layers": 20,
                "filters": 64,
                "learning_rates": (0.01, 0.03, 0.1, 0.3),
                "accuracy": 0.8,
                "every": 100,
                "epochs": 60,
                "batch_size": 128,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    curves=("loss",),
    metrics=("steps", "train_error"),
    independent=True,
)
