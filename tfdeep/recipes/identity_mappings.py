"""Pre-activation trains nets that post-activation hardly trains."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def arms(context):
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(preactivation):
        net = ResNet(
            context.settings.depth,
            block=context.settings.block,
            preactivation=preactivation,
            **input_options(context),
        )
        return compiled(context, net)

    return {
        "post-activation": partial(build, False),
        "pre-activation": partial(build, True),
    }


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def trains_deeper(results):
    gap = results.difference("post-activation", "pre-activation", "train_error")
    return Verdict(gap.clear, f"post minus pre, train error: {gap}")


def generalises(results):
    gap = results.difference("post-activation", "pre-activation", "test_error")
    return Verdict(gap.clear, f"post minus pre, test error: {gap}")


RECIPE = Recipe(
    name="identity-mappings",
    title="The activation after or before a deep net's convolutions",
    paper="He et al. 2016, arXiv:1603.05027",
    claims=(
        Claim(
            "easier training",
            "A very deep net reaches a lower training error with "
            "pre-activation.",
            "fig. 6 left: ResNet-1001",
            trains_deeper,
        ),
        Claim(
            "lower error",
            "It also has the lower test error.",
            "table 3: ResNet-1001 7.61 % to 4.92 %, ResNet-110 6.61 to 6.37 %",
            generalises,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                "depth": 110,
                "block": "basic",
                "epochs": 4,
                "batch_size": 64,
                "learning_rate": 0.1,
            },
        ),
        "full": Scale(
            "2 hours on 2 cores",
            {
                "depth": 164,
                "block": "bottleneck",
                "epochs": 20,
                "batch_size": 64,
                "learning_rate": 0.1,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "a week on one GPU",
            {
                "depth": 1001,
                "block": "bottleneck",
                "epochs": 200,
                "batch_size": 64,
                "learning_rate": 0.1,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    curves=("loss", "val_accuracy"),
    metrics=("train_error", "test_error"),
    independent=True,
)
