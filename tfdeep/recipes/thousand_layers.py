"""A thousand layers that start in seconds, and train."""

import json
import subprocess
import sys
from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

STACKED, UNROLLED = "stacked, {} blocks", "unrolled, {} blocks"


def residual_mlp(shape, classes, blocks, width, stacked=True):
    """A dense layer, equal residual blocks of two, a classifier."""
    import keras
    from keras import layers

    from tfdeep.layers import Repeat

    def block():
        x = inputs = keras.Input((width,))
        for _ in range(2):
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Dense(width, use_bias=False)(layers.ReLU()(x))
        return keras.Model(inputs, inputs + x)

    inputs = keras.Input(shape)
    x = layers.Dense(width)(layers.Flatten()(inputs))
    if stacked:
        x = Repeat(block(), blocks)(x)
    else:
        for _ in range(blocks):
            x = block()(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Dense(classes, "softmax")(x))


def net(context, depth):
    """The compiled net of a depth: blocks of an MLP, or layers of a ResNet."""
    from tfdeep.recipes.training import compiled, input_options

    settings = context.settings
    if settings.width:
        model = residual_mlp(
            context.shape, context.classes, depth, settings.width
        )
    else:
        from tfdeep.models import ResNet

        model = ResNet(
            depth,
            block="basic",
            preactivation=settings.preactivation,
            survival_probability=0.5,
            stacked=True,
            **input_options(context),
        )
    return compiled(context, model)


def arms(context):
    return {
        f"depth {depth}": partial(net, context, depth)
        for depth in context.settings.depths
    }


def run(context):
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)
    for form, depths in context.settings.starts.items():
        for depth in depths:
            context.interruption.check()
            stacked = form == STACKED
            context.record(
                form.format(depth), context.seeds[0], **start(depth, stacked)
            )


def start(blocks: int, stacked: bool) -> dict:
    """CPU seconds until the first step is done, and memory, of a new process."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(blocks), str(int(stacked))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(blocks: int, stacked: bool) -> dict:
    """What `start` reports, of this process."""
    import numpy as np

    from tfdeep.recipes.measure import Timer, memory_of

    timer = Timer()

    def first_step():
        with timer:
            model = residual_mlp((8, 8, 1), 10, blocks, 64, stacked)
            model.compile("sgd", "sparse_categorical_crossentropy")
            model.train_on_batch(np.ones((8, 8, 8, 1)), np.arange(8))

    risen = memory_of(first_step)
    return {"start_cpu_seconds": timer.cpu, "start_mib": risen}


def trains(results):
    shallow, deep = (arm for arm in results.arms if arm.startswith("depth"))
    gap = results.difference(deep, shallow, "test_error")
    errors = [results.spread(arm, "test_error") for arm in (shallow, deep)]
    return Verdict(
        gap.mean < 0.02,
        f"test error: {shallow} {errors[0]}, {deep} {errors[1]}",
    )


def starts(results, form, metric="start_cpu_seconds") -> dict[int, float]:
    """The figure of each depth that was measured in a form."""
    found = {}
    for arm in results.arms:
        kind, _, depth = arm.removesuffix(" blocks").partition(", ")
        if form.startswith(kind):
            found[int(depth)] = results.spread(arm, metric).mean
    return found


def starts_alike(results):
    found = starts(results, STACKED)
    low, high = sorted(found)[-2:]
    ratio = found[high] / found[low]
    return Verdict(
        ratio < 2,
        f"{low} blocks {found[low]:.1f} s, {high} blocks {found[high]:.1f} s",
    )


def starts_sooner(results):
    ours, plain = (starts(results, form) for form in (STACKED, UNROLLED))
    depth = max(set(ours) & set(plain))
    return Verdict(
        ours[depth] < plain[depth] / 4,
        f"{depth} blocks: stacked {ours[depth]:.1f} s, unrolled "
        f"{plain[depth]:.1f} s",
    )


def pictures(results):
    """Time and memory until the first step is done, by depth."""
    from tfdeep.visualization.figure import clean, color, new_figure, panels

    figure = new_figure(9, 4)
    labels = {
        "start_cpu_seconds": "CPU seconds until the first step is done",
        "start_mib": "MiB of the process, more than at its start",
    }
    axes = panels(figure, len(labels))
    for part, (metric, label) in zip(axes, labels.items(), strict=True):
        for index, form in enumerate((UNROLLED, STACKED)):
            found = sorted(starts(results, form, metric).items())
            depths, values = zip(*found, strict=True)
            name = form.partition(",")[0]
            part.plot(depths, values, "o-", color=color(index), label=name)
        part.set_xlabel("blocks")
        part.set_ylabel(label)
        part.set_ylim(0)
        clean(part)
    axes[0].legend()
    return {"starts.png": figure}


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "batch_size": 64,
        "preactivation": False,
        "starts": {STACKED: (50, 100, 200, 1000), UNROLLED: (50, 100, 200)},
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="thousand-layers",
    title="Nets of hundreds of equal blocks, as one loop",
    paper="He et al. 2015, Huang et al. 2016: ResNet-1202",
    claims=(
        Claim(
            "depth trains",
            "The deep net's test error is higher than the shallow one's by no "
            "more than two percentage points.",
            "Huang et al., fig. 3: 1202 layers 4.91 %, 110 layers 5.25 %",
            trains,
        ),
        Claim(
            "starts alike",
            "Five times the blocks take less than twice the time to the end "
            "of the first step.",
            "none: a property of the program",
            starts_alike,
        ),
        Claim(
            "starts sooner",
            "At the same depth it takes less than a quarter of the time of "
            "blocks that are not stacked.",
            "none: a property of the program",
            starts_sooner,
        ),
    ),
    data="digits",
    scales={
        "quick": scale(
            "4 minutes on 2 cores",
            depths=(20, 200),
            width=64,
            epochs=10,
            learning_rate=0.03,
        ),
        "full": scale(
            "an hour on 2 cores",
            "mnist5k",
            1,
            depths=(110, 1202),
            width=None,
            epochs=3,
            batch_size=16,
            # As the authors have it, 1202 layers do not learn in so few steps.
            preactivation=True,
            learning_rate=0.03,
        ),
        "paper": scale(
            "some days on one GPU",
            "cifar10",
            1,
            depths=(110, 1202),
            width=None,
            epochs=500,
            batch_size=128,
            learning_rate=0.1,
            augment=True,
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "start_cpu_seconds", "start_mib"),
    pictures=pictures,
)

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2] == "1")))
