"""Stochastic depth trains in less time, to no higher error."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

MARGIN = 0.01  # of the test error: what counts as no higher.


def arms(context):
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(last):
        net = ResNet(
            context.settings.depth,
            survival_probability=last,
            **input_options(context),
        )
        return compiled(context, net)

    return {
        "constant depth": partial(build, 1.0),
        "stochastic depth": partial(build, 0.5),
    }


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def saves_time(results):
    constant, stochastic = (
        results.spread(arm, "epoch_cpu_seconds").mean for arm in results.arms
    )
    ratio = stochastic / constant
    return Verdict(ratio < 0.9, f"{ratio:.3f} of the time of an epoch")


def no_higher_error(results):
    constant, stochastic = results.arms
    gap = results.difference(stochastic, constant, "test_error")
    return Verdict(
        gap.mean <= MARGIN, f"stochastic minus constant, test error: {gap}"
    )


RECIPE = Recipe(
    name="stochastic-depth",
    title="A residual net with all its blocks, or a random part",
    paper="Huang et al. 2016, arXiv:1603.09382",
    claims=(
        Claim(
            "time saved",
            "A training epoch takes less than 0.9 of the CPU time.",
            "section 4: about 25 % saved at p_L = 0.5",
            saves_time,
        ),
        Claim(
            "no higher error",
            "The test error is higher by no more than a percentage point.",
            "table 1: CIFAR-10, ResNet-110 6.41 % to 5.25 %",
            no_higher_error,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                "depth": 56,
                "epochs": 12,
                "batch_size": 64,
                "learning_rate": 0.03,
            },
        ),
        "full": Scale(
            "3 hours on 2 cores",
            {
                "depth": 56,
                "epochs": 20,
                "batch_size": 64,
                "learning_rate": 0.03,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "two days on one GPU",
            {
                "depth": 110,
                "epochs": 500,
                "batch_size": 128,
                "learning_rate": 0.1,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "epoch_cpu_seconds"),
)
