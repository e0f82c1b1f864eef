"""What a channel is worth: criteria beside the oracle, and by what they leave."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

FIRST, SECOND, RANDOM = "Taylor", "Taylor, order 2", "random"
MAGNITUDE, BATCH_NORM = "magnitude", "BN scale"
WIDE, WHOLE = "after 40 steps", "trained"


def arms(context):
    from tfdeep.recipes.pruning_nets import conv
    from tfdeep.recipes.training import compiled

    settings = context.settings

    def build(width):
        return compiled(context, conv(context.shape, context.classes, width))

    # The less each channel counts, the better is the series.
    return {
        WIDE: partial(build, settings.many_channels),
        WHOLE: partial(build, settings.width),
    }


def criteria(seed):
    from tfdeep import pruning

    return {
        FIRST: pruning.Taylor(),
        SECOND: pruning.Taylor(order=2),
        MAGNITUDE: pruning.Magnitude(),
        BATCH_NORM: pruning.BatchNormScale(),
        RANDOM: pruning.Random(seed),
    }


def run(context):
    from tfdeep.recipes.training import train_arrays

    settings = context.settings
    x, y = train_arrays(context)
    sample = (x[: settings.samples], y[: settings.samples])
    for run in context.runs():
        if run.arm == WIDE:
            begin = settings.early_steps * settings.batch_size
            run.fit(x[:begin], y[:begin], batch_size=settings.batch_size)
            compare_with_oracle(run, sample)
        else:
            prune_by_each(run, sample)


def compare_with_oracle(run, sample):
    """How scores correlate with the squared change of the loss."""
    from tfdeep.pruning import ChannelGraph, Oracle, Scores

    graph = ChannelGraph(run.model)
    changes = Oracle(verbose=False).scores(graph, *sample, batch_size=64)
    oracle = Scores({name: each**2 for name, each in changes.items()})
    for name, criterion in criteria(run.seed).items():
        if name != SECOND:  # A backward pass for each of many channels.
            scores = criterion.scores(graph, *sample, batch_size=64)
            pearson, spearman = scores.correlation(oracle)
            run.context.record(
                name, run.seed, pearson=pearson, spearman=spearman
            )


def prune_by_each(run, sample):
    """Errors of the trained net without a share of its multiply-adds."""
    from tfdeep.pruning import ChannelGraph
    from tfdeep.recipes.training import train

    context = run.context
    train(run, validate=False, batch_size=context.settings.batch_size)
    graph = ChannelGraph(run.model)
    for name, criterion in criteria(run.seed).items():
        scores = criterion.scores(graph, *sample, batch_size=64)
        for share in context.settings.shares:
            plan = graph.plan(scores, max_multiply_adds=share)
            found = without(context, plan.compact(run.model))
            named = {f"{key}_{share:g}": e for key, e in found.items()}
            context.record(name, run.seed, **named)


def without(context, small):
    """The errors of a smaller net, before and after it is fine-tuned."""
    from tfdeep.recipes.slimming import error
    from tfdeep.recipes.training import compiled, train_arrays

    settings = context.settings
    before = error(context, small)
    compiled(
        *(context, small),
        epochs=settings.tune_epochs,
        learning_rate=settings.tune_rate,
    )
    small.fit(
        *train_arrays(context),
        batch_size=settings.batch_size,
        epochs=settings.tune_epochs,
        verbose=0,
    )
    return {"pruned_error": before, "test_error": error(context, small)}


def tracks(results):
    found = [results.spread(FIRST, key) for key in ("pearson", "spearman")]
    return Verdict(
        all(each.mean > 0.93 for each in found),
        f"Pearson {found[0]}, Spearman {found[1]}",
    )


def shares(results):
    """The shares of the multiply-adds, from the largest."""
    keys = [k for k in results.metrics if k.startswith("pruned_error_")]
    return sorted((float(key.rpartition("_")[2]) for key in keys), reverse=True)


def beats(other, results):
    """At the largest share of the multiply-adds that was tried."""
    share = shares(results)[0]
    gap = results.difference(other, FIRST, f"pruned_error_{share:g}")
    return Verdict(
        gap.clear, f"test error at {share:.0%} of the work, lower by {gap}"
    )


def pictures(results):
    """Accuracy by multiply-adds."""
    from tfdeep.visualization import accuracy_by_path_length

    found = {}
    for kind in ("pruned_error", "test_error"):
        runs = {
            arm: [
                (share, 1 - value)
                for share in shares(results)
                for value in results.by_seed(arm, f"{kind}_{share:g}").values()
            ]
            for arm in results.arms
            if arm not in (WIDE, WHOLE)
        }
        figure = accuracy_by_path_length(runs)
        figure.axes[0].set_xlabel("multiply-adds that are left")
        stage = "before" if kind == "pruned_error" else "after"
        found[f"accuracy-{stage}-fine-tuning.png"] = figure
    return found


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "width": 16,
        "many_channels": 64,
        "shares": (0.7, 0.4),
        "early_steps": 40,
        "samples": 256,
        "epochs": 12,
        "tune_epochs": 2,
        "tune_rate": 0.01,
        "batch_size": 32,
        "learning_rate": 0.02,
        "drops": (0.75,),
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="taylor",
    title="Taylor scores beside the oracle and other criteria",
    paper="Molchanov et al. 2019, arXiv:1906.10771",
    claims=(
        Claim(
            "tracks the oracle",
            "After about 40 steps, with normalization in inference mode, "
            "first-order scores correlate with the squared change of the loss "
            "by more than 0.93.",
            "above 0.93 (abstract)",
            tracks,
        ),
        Claim(
            "better than chance",
            "At the same multiply-adds the trained net has a lower test error "
            "without the channels of the lowest first-order scores than "
            "without others at random.",
            "figure 3",
            partial(beats, RANDOM),
        ),
        Claim(
            "better than magnitude",
            "And a lower one than without those of the smallest weights.",
            "figure 3",
            partial(beats, MAGNITUDE),
        ),
    ),
    data="digits",
    scales={
        "quick": scale("3 minutes of CPU time"),
        "full": scale(
            "an hour on 2 cores",
            "fashion_mnist",
            shares=(0.8, 0.6, 0.4, 0.2),
            epochs=8,
            limit=20000,
            samples=1024,
        ),
        "paper": scale(
            "a day on one GPU",
            "cifar10",
            seeds=1,
            shares=(0.8, 0.6, 0.4, 0.2),
            epochs=100,
            tune_epochs=25,
            samples=4096,
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy",),
    metrics=("pearson", "spearman"),
    pictures=pictures,
)
