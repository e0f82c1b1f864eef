"""A shallow wide net beats a thin deep one in the same training time."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict


def arms(context):
    from tfdeep.models import WideResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(depth, width):
        net = WideResNet(
            depth, width, rate=context.settings.rate, **input_options(context)
        )
        return compiled(context, net, drops=())

    return {
        f"WRN-{depth}-{width}": partial(build, depth, width)
        for depth, width in (context.settings.thin, context.settings.wide)
    }


def run(context):
    from tfdeep.recipes.stopping import StopAfter
    from tfdeep.recipes.training import train

    spent = {}
    for run in context.runs():
        budget = StopAfter(spent.get(run.seed, float("inf")))
        # The thin net comes first; the wide one may take as long.
        limit = {"epochs": LIMIT} if run.seed in spent else {}
        train(
            run,
            validate=False,
            batch_size=context.settings.batch_size,
            callbacks=[budget],
            **limit,
        )
        spent.setdefault(run.seed, budget.spent)
        run.record(epochs=budget.epochs)


def wide_wins(results):
    thin, wide = results.arms
    gap = results.difference(thin, wide, "test_error")
    return Verdict(gap.clear, f"thin minus wide, test error: {gap}")


def wide_is_fast(results):
    thin, wide = (results.spread(arm, "epochs") for arm in results.arms)
    return Verdict(
        wide.mean > thin.mean, f"epochs in the time: thin {thin}, wide {wide}"
    )


LIMIT = 10_000  # Epochs, for a net that is stopped by time.
SGD = {"batch_size": 128, "learning_rate": 0.1, "nesterov": True}

RECIPE = Recipe(
    name="wide",
    title="A thin deep net and a wide shallow one in the same time",
    paper="Zagoruyko and Komodakis 2016, arXiv:1605.07146",
    claims=(
        Claim(
            "lower error",
            "In the time that the thin net's first epochs take, the wide net "
            "reaches the lower test error.",
            "table 4: WRN-40-1 6.85 %, WRN-16-2 of 0.7 M; 16-4 5.0 %",
            wide_wins,
        ),
        Claim(
            "faster",
            "The wide net sees the data more often in that time.",
            "fig. 4: WRN-40-4 8 times faster than ResNet-1001",
            wide_is_fast,
        ),
    ),
    data="digits",
    scales={
        "quick": Scale(
            "2 minutes on 2 cores",
            {
                **SGD,
                "thin": (40, 1),
                "wide": (16, 2),
                "rate": 0.0,
                "epochs": 2,
            },
        ),
        "full": Scale(
            "1 hour on 2 cores",
            {
                **SGD,
                "thin": (40, 1),
                "wide": (16, 2),
                "rate": 0.0,
                "epochs": 20,
            },
            data="mnist5k",
        ),
        "paper": Scale(
            "a day on one GPU",
            {
                **SGD,
                "thin": (40, 4),
                "wide": (28, 10),
                "rate": 0.3,
                "epochs": 200,
                "augment": True,
            },
            data="cifar10",
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy",),
    metrics=("test_error", "epochs"),
)
