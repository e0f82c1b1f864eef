"""A DenseNet needs fewer parameters for the error of a residual net."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

MARGIN = 0.01  # of the test error: what counts as equal.


def arms(context):
    from tfdeep.models import DenseNet, ResNet
    from tfdeep.recipes.training import compiled, input_options

    depth, growth = context.settings.dense
    options = input_options(context)

    def build(family, *shape):
        return compiled(context, family(*shape, **options))

    return {
        f"ResNet-{context.settings.residual}": partial(
            build,
            partial(ResNet, preactivation=True, block="basic"),
            context.settings.residual,
        ),
        f"DenseNet-BC-{depth}-{growth}": partial(
            build, DenseNet, depth, growth
        ),
    }


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def fewer_parameters(results):
    residual, dense = (
        results.spread(arm, "parameters").mean for arm in results.arms
    )
    share = dense / residual
    return Verdict(share < 0.6, f"{share:.2f} of the residual net's")


def equal_error(results):
    residual, dense = results.arms
    gap = results.difference(dense, residual, "test_error")
    return Verdict(
        gap.mean <= MARGIN, f"dense minus residual, test error: {gap}"
    )


RECIPE = Recipe(
    name="densenet",
    title="A DenseNet-BC beside a residual net with more parameters",
    paper="Huang et al. 2017, arXiv:1608.06993",
    claims=(
        Claim(
            "fewer parameters",
            "The DenseNet has fewer than 0.6 of the parameters.",
            "fig. 4: a third of ResNet's for equal error",
            fewer_parameters,
        ),
        Claim(
            "equal error",
            "Its test error is higher by no more than a percentage point.",
            "table 2: BC-100-12 (0.8 M) 4.51 %, ResNet-1001 (10.2 M) 4.62 %",
            equal_error,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                "residual": 32,
                "dense": (40, 12),
                "epochs": 6,
                "batch_size": 64,
                "learning_rate": 0.1,
                "nesterov": True,
            },
        ),
        "full": Scale(
            "1 hour on 2 cores",
            {
                "residual": 56,
                "dense": (40, 12),
                "epochs": 20,
                "batch_size": 64,
                "learning_rate": 0.1,
                "nesterov": True,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "two days on one GPU",
            {
                "residual": 110,
                "dense": (100, 12),
                "epochs": 300,
                "batch_size": 64,
                "learning_rate": 0.1,
                "nesterov": True,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "parameters"),
    independent=True,
)
