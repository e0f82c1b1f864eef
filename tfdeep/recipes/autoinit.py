"""AutoInit beside Keras' default and a start from data, over many nets."""

import itertools
from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

DEFAULT, FROM_DATA, OURS = "Keras' default", "LSUV", "AutoInit"
STARTS = (DEFAULT, FROM_DATA, OURS)
TRAINED = 0.5  # The accuracy from which a net is said to have trained.


def arms(context):
    """One arm per net, activation and rate of dropout."""
    settings = context.settings
    return {
        f"{net}, {activation}, dropout {rate:g}": partial(
            build, context, net, activation, rate
        )
        for net, activation, rate in itertools.product(
            settings.nets, settings.activations, settings.rates
        )
    }


def build(context, net, activation, rate):
    from tfdeep.recipes import nets
    from tfdeep.recipes.training import compiled

    settings = context.settings
    kind, depth = {
        "plain": (nets.plain_net, settings.depth),
        "residual": (nets.residual_net, settings.depth),
        "transformer": (nets.encoder, settings.encoder_blocks),
    }[net]
    model = kind(
        context.shape,
        context.classes,
        depth,
        settings.width,
        activation,
        rate,
    )
    return compiled(context, model, drops=())


def run(context):
    from tfdeep.recipes.reset import beginning
    from tfdeep.recipes.training import training_data

    for run in context.runs():
        restart = beginning(run.model, run.seed)
        for start in STARTS:
            restart()
            with context.timer() as timer:
                initialize(run, start)
            run.fit(
                *training_data(context),
                epochs=context.settings.epochs,
                batch_size=context.settings.batch_size,
            )
            run.record(**{start: accuracy(run)})
            run.record(**{f"{start} seconds": timer.cpu})


def initialize(run, start):
    """Give the arm's model one of the starts."""
    import warnings

    from tfdeep.initializers import AutoInit
    from tfdeep.recipes.lsuv import lsuv
    from tfdeep.recipes.training import train_arrays

    x, _ = train_arrays(run.context)
    if start == FROM_DATA:
        lsuv(run.model, x[:256], run.seed)
    elif start == OURS:
        init = AutoInit.from_data(x, seed=run.seed)
        with warnings.catch_warnings():
            # Chains of swish and gelu are told to be unstable.
            warnings.simplefilter("ignore")
            init.initialize_model(run.model)


def accuracy(run):
    """On the test images; a traced test step would take longer than it saves."""
    import keras
    import numpy as np

    from tfdeep.recipes.training import test_arrays

    x, y = test_arrays(run.context)
    right = []
    for part in range(0, len(x), 512):
        scores = run.model(x[part : part + 512], training=False)
        labels = np.argmax(keras.ops.convert_to_numpy(scores), -1)
        right.append(labels == y[part : part + 512])
    return float(np.mean(np.concatenate(right)))


def by_seed(results, start, measure):
    """The mean of a measure of the accuracy over all nets, by seed."""
    found = [results.by_seed(arm, start) for arm in results.arms]
    return {
        seed: sum(measure(each[seed]) for each in found) / len(found)
        for seed in found[0]
    }


def overall(results, measure):
    """Results with the starts as arms: one value per seed, over all nets."""
    from tfdeep.recipes.results import Results

    summary = Results()
    for start in STARTS:
        for seed, value in by_seed(results, start, measure).items():
            summary.record(start, seed, value=value)
    return summary


def trained(accuracy):
    return float(accuracy >= TRAINED)


def more_train(results):
    summary = overall(results, trained)
    gap = summary.difference(OURS, DEFAULT, "value")
    return Verdict(gap.clear, "share that trains: " + words(summary))


def more_accurate(results):
    summary = overall(results, float)
    gap = summary.difference(OURS, DEFAULT, "value")
    return Verdict(gap.clear, "mean accuracy: " + words(summary))


def without_data(results):
    gap = overall(results, float).difference(FROM_DATA, OURS, "value")
    return Verdict(not gap.clear, f"mean accuracy, LSUV minus ours: {gap}")


def words(summary):
    return ", ".join(f"{s} {summary.spread(s, 'value')}" for s in STARTS)


def scale(about, data=None, **settings):
    defaults = {
        "nets": ("plain", "residual", "transformer"),
        "activations": ("relu", "tanh", "selu", "gelu", "swish"),
        "rates": (0.0, 0.5),
        "batch_size": 64,
        "learning_rate": 0.03,
        "steps_per_execution": 8,
    }
    return Scale(about, {**defaults, **settings}, data=data)


RECIPE = Recipe(
    name="autoinit",
    title="Three starts of thirty nets without batch normalization",
    paper="Bingham and Miikkulainen 2023, arXiv:2109.08958",
    claims=(
        Claim(
            "more train",
            f"More nets reach an accuracy of {TRAINED} than from the default "
            "start.",
            "all-CNN-C on CIFAR-10 over activations, dropout and weight decay",
            more_train,
        ),
        Claim(
            "more accurate",
            "The mean accuracy over all nets is higher than from the default.",
            "the same; residual nets and transformers on ImageNet",
            more_accurate,
        ),
        Claim(
            "without data",
            "It is not lower than from a start that is fitted to data (LSUV).",
            "LSUV among the starts it is compared with",
            without_data,
        ),
    ),
    data="digits",
    scales={
        "quick": scale(
            "4 minutes of CPU time",
            depth=10,
            encoder_blocks=2,
            width=16,
            epochs=4,
            batch_size=32,
            learning_rate=0.02,
            limit=512,
        ),
        "full": scale(
            "3 hours on 2 cores",
            "mnist5k",
            depth=24,
            encoder_blocks=8,
            width=32,
            epochs=10,
        ),
        "paper": scale(
            "days on one GPU",
            "cifar10",
            depth=32,
            encoder_blocks=12,
            width=128,
            epochs=100,
            batch_size=128,
            augment=True,
        ),
    },
    arms=arms,
    run=run,
    curves=(),
    metrics=STARTS,
    independent=True,
)
