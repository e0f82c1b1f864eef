"""Batch entropy as a regulariser of residual nets."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

PLAIN, REGULARIZED = "plain", "regularised"


def arms(context):
    from tfdeep import BatchEntropyRegularizer
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    settings = context.settings

    def build(arm):
        net = ResNet(settings.depth, **input_options(context))
        if arm == REGULARIZED:
            net = BatchEntropyRegularizer(
                net, alpha=settings.alpha, beta=settings.beta
            )
        return compiled(context, net)

    return {arm: partial(build, arm) for arm in (PLAIN, REGULARIZED)}


def run(context):
    from tfdeep.callbacks import BatchEntropyMonitor
    from tfdeep.recipes.training import test_arrays, train

    for run in context.runs():
        monitor = BatchEntropyMonitor(test_arrays(context)[0], verbose=0)
        train(
            run,
            batch_size=context.settings.batch_size,
            callbacks=[monitor],
        )
        run.record(least_entropy=monitor.entropies[-1].min())


def lower_error(results):
    gap = results.difference(PLAIN, REGULARIZED, "test_error")
    before, after = (
        results.spread(arm, "test_error") for arm in (PLAIN, REGULARIZED)
    )
    return Verdict(gap.clear, f"test error {before} to {after}, by {gap}")


def alive(results):
    least = results.spread(PLAIN, "least_entropy")
    return Verdict(least.mean > 0.01, f"least entropy of a layer {least}")


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "alpha": 1.0,
        "beta": 1e-2,
        "batch_size": 64,
        "learning_rate": 0.1,
        "nesterov": True,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="resnet-batch-entropy",
    title="A residual net with and without batch entropy",
    paper="Peer et al. 2022, arXiv:2208.01134",
    claims=(
        Claim(
            "lower error",
            "With the regulariser the test error is lower.",
            "ResNet-74 on CIFAR-100, beta up to 1e-2: a lower error",
            lower_error,
        ),
        Claim(
            "alive without",
            "Skips and normalization keep the signal: without the "
            "regulariser every layer has an entropy.",
            "why plain nets need it",
            alive,
        ),
    ),
    data="digits",
    scales={
        "quick": scale("3 minutes on 2 cores", depth=20, epochs=10),
        "full": scale("4 hours on 2 cores", "mnist5k", depth=74, epochs=20),
        "paper": scale(
            "half a day on one GPU",
            "cifar100",
            depth=74,
            batch_size=256,
            epochs=100,
            augment=True,
        ),
    },
    arms=arms,
    run=run,
    curves=("loss", "val_accuracy"),
    metrics=("test_error", "least_entropy"),
    independent=True,
)
