"""GradInit makes a deep net without normalization train."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

DEFAULT, ANALYTIC, LEARNED = "Keras' default", "AutoInit", "GradInit"


def arms(context):
    from tfdeep.recipes.nets import plain_net
    from tfdeep.recipes.training import compiled

    def build():
        net = plain_net(
            context.shape,
            context.classes,
            context.settings.layers,
            context.settings.filters,
        )
        return compiled(context, net)

    return dict.fromkeys((DEFAULT, ANALYTIC, LEARNED), build)


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        with context.timer() as timer:
            initialize(run)
        train(run, batch_size=context.settings.batch_size)
        run.record(initialization_cpu_seconds=timer.cpu)


def initialize(run):
    """Give the arm's model its start."""
    from tfdeep.initializers import AutoInit, GradInit
    from tfdeep.recipes.training import train_arrays

    settings, data = run.context.settings, train_arrays(run.context)
    if run.arm == ANALYTIC:
        init = AutoInit.from_data(data[0], seed=run.seed)
        init.initialize_model(run.model)
    elif run.arm == LEARNED:
        GradInit(
            "sgd",
            learning_rate=settings.learning_rate,
            scale_learning_rate=settings.scale_learning_rate,
            iterations=settings.iterations,
            seed=run.seed,
            verbose=0,
        ).initialize_model(run.model, data, batch_size=settings.batch_size)


def trains(results, arm):
    gap = results.difference(DEFAULT, arm, "test_error")
    default, ours = (results.spread(a, "test_error") for a in (DEFAULT, arm))
    return Verdict(gap.clear, f"test error: default {default}, {arm} {ours}")


def scale(about, data=None, **settings):
    defaults = {
        "batch_size": 64,
        "learning_rate": 0.03,
        "scale_learning_rate": 0.05,
    }
    return Scale(about, {**defaults, **settings}, data=data)


RECIPE = Recipe(
    name="gradinit",
    title="A deep net without normalization, from three starts",
    paper="Zhu et al. 2021, arXiv:2102.08098; Bingham and Miikkulainen 2023",
    claims=(
        Claim(
            "GradInit trains",
            "From GradInit's start the test error is lower than from the "
            "default.",
            "Zhu et al., table 1: VGG-19 without BN 94.71 % accuracy",
            partial(trains, arm=LEARNED),
        ),
        Claim(
            "AutoInit trains",
            "From AutoInit's start it is lower, too.",
            "Bingham and Miikkulainen: plain and residual nets",
            partial(trains, arm=ANALYTIC),
        ),
    ),
    data="digits",
    scales={
        "quick": scale(
            "2 minutes on 2 cores",
            layers=16,
            filters=16,
            epochs=16,
            iterations=200,
        ),
        "full": scale(
            "1 hour on 2 cores",
            "mnist5k",
            layers=20,
            filters=32,
            epochs=15,
            iterations=390,
        ),
        "paper": scale(
            "a day on one GPU",
            "cifar10",
            layers=19,
            filters=64,
            epochs=200,
            batch_size=128,
            iterations=390,
            augment=True,
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "initialization_cpu_seconds"),
    independent=True,
)
