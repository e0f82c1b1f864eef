"""More cardinality at equal complexity lowers the error."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def arms(context):
    from tfdeep.models import ResNeXt
    from tfdeep.recipes.training import compiled, input_options

    def build(cardinality, base_width):
        net = ResNeXt(
            context.settings.depth,
            cardinality,
            base_width,
            **input_options(context),
        )
        return compiled(context, net)

    return {
        f"{cardinality}x{width}d": partial(build, cardinality, width)
        for cardinality, width in context.settings.templates
    }


def run(context):
    from tfdeep.models import multiply_adds
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)
        run.record(multiply_adds=multiply_adds(run.model))


def equal_complexity(results):
    one, many = (results.spread(a, "multiply_adds").mean for a in results.arms)
    ratio = many / one
    return Verdict(0.9 <= ratio <= 1.1, f"multiply-adds, ratio {ratio:.3f}")


def lower_error(results):
    one, many = results.arms
    gap = results.difference(one, many, "test_error")
    return Verdict(gap.clear, f"one group minus many, test error: {gap}")


RECIPE = Recipe(
    name="resnext",
    title="One group of wide convolutions, or many of narrow ones",
    paper="Xie et al. 2017, arXiv:1611.05431",
    claims=(
        Claim(
            "equal complexity",
            "Both nets need as many multiply-adds, within a tenth.",
            "table 2: width d chosen for each cardinality C",
            equal_complexity,
        ),
        Claim(
            "lower error",
            "The net of more groups has the lower test error.",
            "table 3: ResNet-50 1x64d 23.9 %, 32x4d 22.2 %",
            lower_error,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                "depth": 11,
                "templates": ((1, 64), (32, 4)),
                "epochs": 5,
                "batch_size": 64,
                "learning_rate": 0.1,
                "nesterov": True,
            },
        ),
        "full": Scale(
            "1 hour on 2 cores",
            {
                "depth": 29,
                "templates": ((1, 64), (32, 4)),
                "epochs": 10,
                "batch_size": 64,
                "learning_rate": 0.1,
                "nesterov": True,
            },
        ),
        "paper": Scale(
            "a day on one GPU",
            {
                "depth": 29,
                "templates": ((1, 64), (32, 4)),
                "epochs": 300,
                "batch_size": 128,
                "learning_rate": 0.1,
                "nesterov": True,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "multiply_adds", "parameters"),
    independent=True,
)
