"""Companion objectives on hidden layers, against none, at few data."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

PLAIN, SUPERVISED = "plain", "supervised"


def arms(context):
    import keras

    from tfdeep.recipes.heads import evenly, hidden_names
    from tfdeep.recipes.nets import plain_net
    from tfdeep.recipes.training import compiled
    from tfdeep.training import DeepSupervision, Head

    settings = context.settings

    def build(arm):
        net = plain_net(
            context.shape, context.classes, settings.depth, settings.width
        )
        if arm == SUPERVISED:
            names = evenly(hidden_names(net), settings.heads)
            head = Head(
                keras.Sequential(
                    [
                        keras.layers.Flatten(),
                        keras.layers.Dense(context.classes, dtype="float32"),
                    ]
                ),
                alpha=settings.alpha,
                schedule="decay",
            )
            net = DeepSupervision(net, dict.fromkeys(names, head))
        adam = keras.optimizers.Adam(settings.learning_rate)
        return compiled(context, net, adam)

    return {arm: partial(build, arm) for arm in (PLAIN, SUPERVISED)}


def run(context):
    from tfdeep.recipes.heads import evenly, hidden_names, probe_error
    from tfdeep.recipes.training import test_arrays, train, train_arrays

    settings = context.settings
    for run in context.runs():
        train(run, batch_size=settings.batch_size)
        net = run.model.base if run.arm == SUPERVISED else run.model
        lowest, *_ = evenly(hidden_names(net), settings.heads)
        run.record(
            low_probe_error=probe_error(
                net, lowest, train_arrays(context), test_arrays(context)
            )
        )


def lower_error(results):
    gap = results.difference(PLAIN, SUPERVISED, "test_error")
    return Verdict(gap.clear, f"test error, lower by {gap}")


def separates(results):
    gap = results.difference(PLAIN, SUPERVISED, "low_probe_error")
    before, after = (
        results.spread(arm, "low_probe_error") for arm in (PLAIN, SUPERVISED)
    )
    return Verdict(gap.clear, f"linear probe's test error {before} to {after}")


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "limit": 500,
        "depth": 20,
        "width": 16,
        "heads": 3,
        "alpha": 3.0,
        "batch_size": 32,
        "learning_rate": 1e-3,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="deep-supervision",
    title="Companion objectives on hidden layers, and none",
    paper="Lee et al. 2015, arXiv:1409.5185",
    claims=(
        Claim(
            "lower error",
            "With companion objectives the test error is lower.",
            "MNIST 0.39 %, CIFAR-10 9.69 %, each the lowest of its time",
            lower_error,
        ),
        Claim(
            "early layers separate",
            "The features of the lowest supervised layer tell the classes "
            "better apart, by a linear probe.",
            "hidden layers learn more discriminative features",
            separates,
        ),
    ),
    data="digits",
    scales={
        "quick": scale("2 minutes on 2 cores", epochs=30),
        "full": scale(
            "2 hours on 2 cores", "mnist5k", limit=None, width=32, epochs=60
        ),
        "paper": scale(
            "half a day on one GPU",
            "cifar10",
            seeds=1,
            limit=None,
            depth=9,
            width=192,
            alpha=10.0,
            batch_size=100,
            epochs=400,
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy", "val_accuracy"),
    metrics=("test_error", "low_probe_error"),
    independent=True,
)
