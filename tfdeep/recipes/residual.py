"""A plain net degrades with depth; a residual net does not."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

MARGIN = 0.01  # of the training error: what counts as no higher.


def arms(context):
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(depth, shortcut):
        net = ResNet(depth, shortcut=shortcut, **input_options(context))
        return compiled(context, net)

    return {
        f"{kind}-{depth}": partial(build, depth, shortcut)
        for kind, shortcut in (("plain", "none"), ("residual", "A"))
        for depth in (context.settings.shallow, context.settings.deep)
    }


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def deepest(results, kind):
    """The arm names of a kind, shallow first."""
    return [arm for arm in results.arms if arm.startswith(kind)]


def plain_degrades(results):
    shallow, deep = deepest(results, "plain")
    gap = results.difference(deep, shallow, "train_error")
    return Verdict(gap.clear, f"deep minus shallow, train error: {gap}")


def residual_does_not(results):
    shallow, deep = deepest(results, "residual")
    gap = results.difference(deep, shallow, "train_error")
    return Verdict(
        gap.mean <= MARGIN, f"deep minus shallow, train error: {gap}"
    )


def residual_wins(results):
    plain, residual = (deepest(results, k)[1] for k in ("plain", "residual"))
    gap = results.difference(plain, residual, "test_error")
    return Verdict(gap.clear, f"plain minus residual, test error: {gap}")


RECIPE = Recipe(
    name="residual",
    title="Plain and residual nets, shallow and deep",
    paper="He et al. 2015, arXiv:1512.03385",
    claims=(
        Claim(
            "degradation",
            "A deeper plain net has a higher *training* error.",
            "fig. 1 and 6: plain-56 above plain-20 throughout",
            plain_degrades,
        ),
        Claim(
            "no degradation",
            "A deeper residual net has no higher training error, within a "
            "percentage point.",
            "table 6: 20 layers 8.75 %, 56 layers 6.97 % test error",
            residual_does_not,
        ),
        Claim(
            "depth pays",
            "The deep residual net beats the plain net of the same depth.",
            "fig. 6 left and middle",
            residual_wins,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                "shallow": 20,
                "deep": 56,
                "epochs": 10,
                "batch_size": 64,
                "learning_rate": 0.03,
            },
        ),
        "full": Scale(
            "1 hour on 2 cores",
            {
                "shallow": 20,
                "deep": 56,
                "epochs": 30,
                "batch_size": 64,
                "learning_rate": 0.1,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "a day on one GPU",
            {
                "shallow": 20,
                "deep": 56,
                "epochs": 164,
                "batch_size": 128,
                "learning_rate": 0.1,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy", "val_accuracy"),
    metrics=("train_error", "test_error"),
    independent=True,
)
