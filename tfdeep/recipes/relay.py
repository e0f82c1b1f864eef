"""Losses that hand over to each other, against all-reach supervision."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

PLAIN, ALL_REACH, RELAY = "plain", "all-reach", "relay"


def arms(context):
    import keras

    from tfdeep.recipes.heads import evenly, head_settings, hidden_names
    from tfdeep.recipes.nets import plain_net
    from tfdeep.recipes.training import compiled
    from tfdeep.training import DeepSupervision, RelayBackpropagation

    settings = context.settings

    def build(arm):
        net = plain_net(
            context.shape, context.classes, settings.depth, settings.width
        )
        names = evenly(hidden_names(net), settings.heads)
        heads = dict.fromkeys(names, head_settings(settings.alpha))
        if arm == ALL_REACH:
            net = DeepSupervision(net, heads)
        elif arm == RELAY:
            net = RelayBackpropagation(net, heads, overlap=settings.overlap)
        adam = keras.optimizers.Adam(settings.learning_rate)
        return compiled(context, net, adam)

    return {arm: partial(build, arm) for arm in (PLAIN, ALL_REACH, RELAY)}


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)


def beats(loser, results):
    gap = results.difference(loser, RELAY, "test_error")
    before, after = (results.spread(a, "test_error") for a in (loser, RELAY))
    return Verdict(gap.clear, f"test error {before} to {after}, by {gap}")


def cheap(results):
    plain, relay = (
        results.spread(arm, "epoch_cpu_seconds").mean for arm in (PLAIN, RELAY)
    )
    ratio = relay / plain
    return Verdict(ratio <= 1.5, f"CPU time of an epoch, ratio {ratio:.2f}")


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "depth": 24,
        "width": 16,
        "heads": 3,
        "alpha": 0.3,
        "overlap": 2,
        "batch_size": 64,
        "learning_rate": 1e-3,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="relay",
    title="A deep plain net: one loss, all-reach losses, and relay",
    paper="Shen et al. 2016, arXiv:1512.05830",
    claims=(
        Claim(
            "beats one loss",
            "After as many steps relay has a lower test error than the net "
            "with the output's loss alone.",
            "about a point of top-5 error on ImageNet and Places2",
            partial(beats, PLAIN),
        ),
        Claim(
            "beats all-reach",
            "It also has a lower one than heads whose losses reach all "
            "layers below them.",
            "relay is ahead of supervision that reaches everything",
            partial(beats, ALL_REACH),
        ),
        Claim(
            "cheap",
            "An epoch takes at most half as long again.",
            "no figure",
            cheap,
        ),
    ),
    data="digits",
    scales={
        "quick": scale("3 minutes on 2 cores", epochs=24),
        "full": scale(
            "6 hours on 2 cores", "mnist5k", depth=48, width=32, epochs=60
        ),
        "paper": scale(
            "2 days on one GPU",
            "cifar100",
            seeds=1,
            depth=48,
            width=128,
            epochs=200,
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy", "val_accuracy"),
    metrics=("test_error", "train_error"),
)
