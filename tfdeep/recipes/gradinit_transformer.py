"""GradInit makes a post-norm transformer train without a warm-up."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

DEFAULT, WARM, LEARNED = "default", "default + warm-up", "GradInit"


def arms(context):
    return dict.fromkeys((DEFAULT, WARM, LEARNED), lambda: build(context))


def build(context):
    """An encoder with normalization after each sum, and Adam."""
    import keras

    from tfdeep.recipes.nets import encoder
    from tfdeep.recipes.training import compiled

    settings = context.settings
    model = encoder(
        context.shape,
        context.classes,
        settings.blocks,
        settings.width,
        normalize="after",
    )
    adam = keras.optimizers.Adam(settings.learning_rate)
    return compiled(context, model, adam)


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        with context.timer() as timer:
            if run.arm == LEARNED:
                initialize(run)
        train(
            run,
            batch_size=context.settings.batch_size,
            callbacks=[warm_up(context)] if run.arm == WARM else (),
        )
        run.record(initialization_cpu_seconds=timer.cpu)


def initialize(run):
    """Learn the scales; `gamma` is the paper's: 1 over the learning rate.

    The norm times the rate is what Adam's first step lowers the loss by, to
    first order.
    """
    from tfdeep.initializers import GradInit
    from tfdeep.recipes.training import train_arrays

    settings = run.context.settings
    GradInit(
        "adam",
        learning_rate=settings.learning_rate,
        gamma=1 / settings.learning_rate,
        scale_learning_rate=settings.scale_learning_rate,
        iterations=settings.iterations,
        seed=run.seed,
        verbose=0,
    ).initialize_model(
        run.model, train_arrays(run.context), batch_size=settings.batch_size
    )


def warm_up(context):
    """The rate grows by equal steps over the first epochs."""
    import keras

    settings = context.settings
    return keras.callbacks.LearningRateScheduler(
        lambda epoch: (
            settings.learning_rate * min(1, (epoch + 1) / settings.warm_epochs)
        )
    )


def better(results, arm):
    """Whether an arm has a lower test error than the default."""
    gap = results.difference(DEFAULT, arm, "test_error")
    default, other = (results.spread(a, "test_error") for a in (DEFAULT, arm))
    return Verdict(gap.clear, f"test error: default {default}, {arm} {other}")


def scale(about, data=None, **settings):
    defaults = {"batch_size": 64, "learning_rate": 5e-3, "warm_epochs": 5}
    return Scale(about, {**defaults, **settings}, data=data)


RECIPE = Recipe(
    name="gradinit-transformer",
    title="A post-norm transformer without a learning-rate warm-up",
    paper="Zhu et al. 2021, arXiv:2102.08098",
    claims=(
        Claim(
            "needs a warm-up",
            "From the default start Adam reaches a lower test error with a "
            "warm-up than without.",
            "Post-LN on IWSLT-14 fails without one",
            partial(better, arm=WARM),
        ),
        Claim(
            "GradInit trains",
            "From GradInit's start Adam reaches a lower test error than from "
            "the default, both without a warm-up.",
            "Post-LN on IWSLT-14 trains with one step of warm-up",
            partial(better, arm=LEARNED),
        ),
    ),
    data="digits",
    scales={
        "quick": scale(
            "2 minutes on 2 cores",
            blocks=6,
            width=32,
            epochs=8,
            iterations=100,
            scale_learning_rate=0.05,
        ),
        "full": scale(
            "1 hour on 2 cores",
            "mnist5k",
            blocks=8,
            width=64,
            epochs=15,
            iterations=390,
            scale_learning_rate=0.01,
        ),
        "paper": scale(
            "a day on one GPU",
            "cifar10",
            blocks=12,
            width=256,
            epochs=100,
            iterations=780,
            learning_rate=1e-3,
            scale_learning_rate=2.5e-3,
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "initialization_cpu_seconds"),
    independent=True,
)
