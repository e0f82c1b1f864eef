"""Nets that are trained to lose channels, and others that are not."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

SPARSE, PLAIN, SCRATCH = "slimming", "no sparsity", "from scratch"


def arms(context):
    from tfdeep.pruning import Slimming
    from tfdeep.recipes import pruning_nets
    from tfdeep.recipes.training import compiled

    settings = context.settings

    def build(kind, arm):
        make = getattr(pruning_nets, kind)
        net = make(context.shape, context.classes, settings.width)
        if arm == SPARSE:
            Slimming(settings.strength).attach(net)
        return compiled(context, net)

    return {
        f"{kind}, {arm}": partial(build, kind, arm)
        for kind in settings.nets
        for arm in (PLAIN, SPARSE)
    }


def run(context):
    import keras

    from tfdeep.pruning import Slimming
    from tfdeep.recipes.context import Run
    from tfdeep.recipes.training import compiled

    settings = context.settings
    tune = {"epochs": settings.tune_epochs, "learning_rate": settings.tune_rate}
    whole = {"epochs": settings.epochs + settings.tune_epochs}
    for run in context.runs():
        kind, _, arm = run.arm.partition(", ")
        trained_error = fitted(run, settings.epochs)
        selection = "group" if kind == "conv" else "channel"
        small = Slimming().prune(run.model, settings.ratio, selection=selection)
        pruned_error = error(context, small)
        note_widths(run, small)
        tuned = Run(
            context, run.arm, run.seed, compiled(context, small, **tune)
        )
        run.record(
            trained_error=trained_error,
            pruned_error=pruned_error,
            test_error=fitted(tuned, settings.tune_epochs),
            small_scales=small_scales(run.model),
            **sizes(context, run.model, small),
        )
        if arm == SPARSE:
            keras.utils.set_random_seed(run.seed)
            begun = type(small).from_config(small.get_config())
            model = compiled(context, begun, **whole)
            other = Run(context, f"{kind}, {SCRATCH}", run.seed, model)
            other.record(
                test_error=fitted(other, whole["epochs"]),
                parameters=model.count_params(),
            )


def fitted(run, epochs):
    """Train a model, and return its error."""
    from tfdeep.recipes.training import test_arrays, train_arrays

    context = run.context
    run.fit(
        *train_arrays(context),
        batch_size=context.settings.batch_size,
        epochs=epochs,
        validation_data=test_arrays(context),
        validation_batch_size=512,
    )
    return error(context, run.model)


def error(context, model):
    from tfdeep.recipes.training import test_arrays

    found = model.evaluate(
        *test_arrays(context), batch_size=512, verbose=0, return_dict=True
    )
    return 1 - found["accuracy"]


def scales(model):
    """The batch normalizations of a model."""
    import keras

    from tfdeep.keras_internals import layers_of

    kind = keras.layers.BatchNormalization
    return [layer for layer in layers_of(model) if isinstance(layer, kind)]


def small_scales(model):
    """The share of scales below 0.01."""
    import numpy as np

    values = [np.array(layer.gamma).ravel() for layer in scales(model)]
    return float((np.abs(np.concatenate(values)) < 0.01).mean())


def note_widths(run, small):
    """Keep the widths before and after, for the picture."""
    entry = run.context.results.entry(run.arm, run.seed)
    pairs = zip(scales(run.model), scales(small), strict=True)
    for number, (before, after) in enumerate(pairs, 1):
        widths = [float(each.gamma.shape[0]) for each in (before, after)]
        entry.extend({f"channels/{number}": widths})


def sizes(context, model, small):
    """What became smaller: the share of it that is left."""
    import tempfile
    from pathlib import Path

    from tfdeep.models import count
    from tfdeep.recipes.measure import cpu_in_turn
    from tfdeep.recipes.training import test_arrays

    images = test_arrays(context)[0][:64]
    both = {"before": model, "after": small}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, each in both.items():
            path = Path(folder) / f"{name}.weights.h5"
            each.save_weights(path)
            files[name] = path.stat().st_size
    calls = {
        name: partial(each.predict_on_batch, images)
        for name, each in both.items()
    }
    seconds = cpu_in_turn(calls, context.settings.turns)
    before, after = count(model), count(small)
    widths = [
        sum(layer.gamma.shape[0] for layer in scales(each))
        for each in both.values()
    ]
    return {
        "channels_left": widths[1] / widths[0],
        "parameters": after.parameters,
        "parameters_left": after.parameters / before.parameters,
        "multiply_adds_left": after.multiply_adds / before.multiply_adds,
        "file_left": files["after"] / files["before"],
        "time_left": seconds["after"] / seconds["before"],
    }


def kinds(results):
    return [a.partition(", ")[0] for a in results.arms if a.endswith(SPARSE)]


def half(results):
    """Fewer than half of the channels are left, at little loss."""
    found, held = [], True
    for kind in kinds(results):
        left = results.spread(f"{kind}, {SPARSE}", "channels_left")
        before = results.spread(f"{kind}, {PLAIN}", "trained_error")
        after = results.spread(f"{kind}, {SPARSE}", "test_error")
        held &= left.mean <= 0.5 and after.mean - before.mean <= 0.01
        found.append(
            f"{kind}: {left.mean:.0%} of the channels, test error {before} to "
            f"{after}"
        )
    return Verdict(held, "; ".join(found))


def sparsity(results):
    """The penalty is what makes channels superfluous."""
    gaps = {
        kind: results.difference(
            f"{kind}, {PLAIN}", f"{kind}, {SPARSE}", "pruned_error"
        )
        for kind in kinds(results)
    }
    return Verdict(
        all(gap.clear for gap in gaps.values()),
        "; ".join(
            f"{kind}: test error lower by {g}" for kind, g in gaps.items()
        ),
    )


def pictures(results):
    """The widths before and after, by layer, of a run of each net."""
    from tfdeep.visualization.bars import bar_chart

    found = {}
    for kind in kinds(results):
        arm = f"{kind}, {SPARSE}"
        seed = next(iter(results.by_seed(arm, "test_error")))
        history = results.entry(arm, seed).history
        names = [key for key in history if key.startswith("channels/")]
        kept = [history[name][1] for name in names]
        gone = [history[name][0] - history[name][1] for name in names]
        series = {"kept": kept, "removed": gone}
        found[f"widths-{kind}.png"] = bar_chart(names, series)
    return found


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "nets": ("conv",),
        "width": 32,
        "ratio": 0.5,
        "strength": 1e-2,
        "epochs": 40,
        "tune_epochs": 10,
        "tune_rate": 0.01,
        "batch_size": 64,
        "learning_rate": 0.05,
        "drops": (0.8,),
        "turns": 5,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="slimming",
    title="Half of the channels, with and without sparsity",
    paper="Liu et al. 2017, arXiv:1708.06519",
    claims=(
        Claim(
            "half of the channels",
            "Without half of its channels the fine-tuned net has at most 0.01 "
            "more test error than the whole one without sparsity.",
            "VGG-19 without 70 %: 93.77 to 93.78 on CIFAR-10 (table 1)",
            half,
        ),
        Claim(
            "sparsity is needed",
            "Before it is fine-tuned, the net that was trained with the "
            "penalty has a lower test error than the one without.",
            "figure 5",
            sparsity,
        ),
    ),
    data="digits",
    scales={
        "quick": scale("4 minutes of CPU time"),
        "full": scale(
            "an hour on 2 cores",
            "fashion_mnist",
            nets=("conv", "pre_activation", "dense"),
            width=16,
            strength=1e-3,
            epochs=15,
            tune_epochs=5,
            limit=10000,
        ),
        "paper": scale(
            "days on one GPU",
            "cifar10",
            seeds=1,
            nets=("conv", "pre_activation", "dense"),
            width=64,
            strength=1e-4,
            epochs=160,
            tune_epochs=160,
            tune_rate=0.1,
            learning_rate=0.1,
            drops=(0.5, 0.75),
        ),
    },
    arms=arms,
    run=run,
    metrics=("trained_error", "pruned_error", "test_error"),
    pictures=pictures,
)
