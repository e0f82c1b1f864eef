"""The tour: a deep plain net fails, residual blocks train, skipping saves."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def arms(context):
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(shortcut, last):
        net = ResNet(
            context.settings.depth,
            shortcut=shortcut,
            survival_probability=last,
            **input_options(context),
        )
        return compiled(context, net)

    return {
        "plain": partial(build, "none", 1.0),
        "residual": partial(build, "A", 1.0),
        "residual + StochasticDepth": partial(build, "A", 0.5),
    }


def run(context):
    from tfdeep.recipes.training import train

    depth, count = context.settings.depth, context.settings.limit
    context.say(
        f"Three nets of {depth} layers on {count} images of {context.data}, "
        "trained alike. Only the way the signal passes a block differs."
    )
    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def plain_fails(results):
    plain, residual = (
        results.spread(arm, "test_error") for arm in results.arms[:2]
    )
    return Verdict(
        residual.mean < plain.mean / 2,
        f"test error: plain {plain}, residual {residual}",
    )


def skipping_trains(results):
    plain, _, skipping = (
        results.spread(arm, "test_error") for arm in results.arms
    )
    return Verdict(
        skipping.mean < plain.mean / 2,
        f"test error: plain {plain}, with StochasticDepth {skipping}",
    )


def saves_time(results):
    _, constant, skipping = (
        results.spread(arm, "epoch_cpu_seconds").mean for arm in results.arms
    )
    saved = 1 - skipping / constant
    return Verdict(saved > 0.1, f"{saved:.0%} of an epoch's CPU time saved")


def scale(about, data="mnist5k", **settings):
    defaults = {"batch_size": 32, "learning_rate": 0.03, "limit": None}
    return Scale(about, {**defaults, **settings}, data=data, seeds=1)


RECIPE = Recipe(
    name="tour",
    title="Deep nets in five minutes: plain, residual, stochastic depth",
    paper="He et al. 2015, Huang et al. 2016",
    claims=(
        Claim(
            "plain fails",
            "The residual net has less than half the plain net's error.",
            "He et al., fig. 6",
            plain_fails,
        ),
        Claim(
            "skipping trains",
            "So does the net that skips blocks at random.",
            "Huang et al., table 1",
            skipping_trains,
        ),
        Claim(
            "skipping saves",
            "Skipping blocks saves over a tenth of the training time.",
            "Huang et al., section 4: about a quarter",
            saves_time,
        ),
    ),
    data="mnist5k",
    scales={
        "quick": scale("3 minutes on 2 cores", depth=44, epochs=8, limit=1024),
        "full": scale("40 minutes on 2 cores", depth=56, epochs=15),
        "paper": scale("a day on one GPU", "cifar10", depth=110, epochs=500),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "epoch_cpu_seconds"),
)
