"""Deep capsule networks train by skip connections, in memory that stays flat."""

import json
import os
import subprocess
import sys
from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

CAPSNET, PLAIN, MOMENTUM = "CapsNet", "plain capsules", "MomentumCapsNet"
RESIDUAL = "residual"
MARGIN = 0.01  # Of the accuracy: what counts as equal.
DRAWN: dict = {}  # What the run has drawn anew.


def capsnet(context, blocks):
    """The compiled net without a decoder."""
    from tfdeep.models import MomentumCapsNet

    settings = context.settings
    return compiled(
        context,
        MomentumCapsNet(
            blocks,
            context.shape,
            context.classes,
            filters=settings.filters,
            num_capsules=settings.capsules,
            kernel_size=settings.kernel,
            decoder=False,
        ),
    )


def plain(context, blocks):
    """As deep as the residual net, without skip connections."""
    import keras

    from tfdeep.layers import RoutingCapsules

    model = capsnet(context, 1)
    capsules, x = context.settings.capsules, model.get_layer("hidden").output
    deviation = model.get_layer("blocks").kernel_initializer.stddev
    for _ in range(2 * blocks):
        start = keras.initializers.RandomNormal(0.0, deviation)
        x = RoutingCapsules(capsules, 8, kernel_initializer=start)(x)
    for name in ("classes", "length"):
        layer = model.get_layer(name)
        x = type(layer).from_config(layer.get_config())(x)
    return compiled(context, keras.Model(model.input, x))


def compiled(context, model):
    """Adam, whose rate falls by 4 % each epoch, and the margin loss."""
    import keras

    from tfdeep.losses import MarginLoss
    from tfdeep.recipes.training import steps_per_epoch

    rate = keras.optimizers.schedules.ExponentialDecay(
        context.settings.learning_rate, steps_per_epoch(context), 0.96
    )
    model.compile(
        keras.optimizers.Adam(rate), MarginLoss(), metrics=["accuracy"]
    )
    return model


def arms(context):
    blocks = context.settings.blocks
    return {
        CAPSNET: partial(capsnet, context, 0),
        PLAIN: partial(plain, context, blocks),
        MOMENTUM: partial(capsnet, context, blocks),
    }


def run(context):
    from tfdeep.recipes.capsule_images import reconstructions
    from tfdeep.recipes.training import train

    for run in context.runs():
        train(run, batch_size=context.settings.batch_size)
    for form in (RESIDUAL, MOMENTUM):
        for depth in context.settings.depths:
            context.interruption.check()
            context.record(
                f"{form}, {depth} blocks",
                context.seeds[0],
                memory_mib=memory(form, depth, context.settings.memory_batch),
            )
    DRAWN.clear()
    DRAWN.update(reconstructions(context))


def memory(form: str, blocks: int, batch: int) -> float:
    """MiB that a training step takes for a batch, in a new process."""
    from tfdeep.recipes.measure import HANDED_BACK

    done = subprocess.run(
        [sys.executable, "-m", __name__, form, str(blocks), str(batch)],
        env={**os.environ, **HANDED_BACK},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(form: str, blocks: int, batch: int) -> float:
    """What `memory` reports, of this process.

    That of the batch less that of one. The blocks are frozen, and a layer below
    them is trained: gradients of all their weights, stacked at the end of a
    step, would be its peak.
    """
    import keras
    import numpy as np

    from tfdeep.layers import ReversibleCapsule
    from tfdeep.recipes.measure import memory_of

    layer = ReversibleCapsule(32, 8, blocks, recompute=form == MOMENTUM)
    layer.trainable = False
    below = keras.layers.Dense(8)
    model = keras.Sequential([keras.Input((32, 8)), below, layer])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(batch, 32, 8))

    def step(x):
        model.train_on_batch(x, x)
        steps = [lambda: model.train_on_batch(x, x)] * 5
        return float(np.median([memory_of(step) for step in steps]))

    return step(x) - step(x[:1])


def accuracies(results, *arms):
    return [1 - results.spread(arm, "test_error").mean for arm in arms]


def plain_dies(results):
    dead, alive = accuracies(results, PLAIN, MOMENTUM)
    return Verdict(
        dead < 0.3 < 0.7 < alive,
        f"test accuracy: plain {dead:.3f}, residual {alive:.3f}",
    )


def as_accurate(results):
    base, ours = accuracies(results, CAPSNET, MOMENTUM)
    return Verdict(
        ours >= base - MARGIN,
        f"test accuracy: CapsNet {base:.3f}, MomentumCapsNet {ours:.3f}",
    )


def memories(results, form) -> dict[int, float]:
    """MiB by the number of blocks."""
    found = {}
    for arm in results.arms:
        kind, _, depth = arm.removesuffix(" blocks").partition(", ")
        if kind == form and depth:
            found[int(depth)] = results.spread(arm, "memory_mib").mean
    return found


def flat_memory(results):
    ours, plain = (memories(results, form) for form in (MOMENTUM, RESIDUAL))
    low, high = min(ours), max(ours)
    return Verdict(
        ours[high] < 1.3 * ours[low] and ours[high] < plain[high] / 2,
        f"{low} to {high} blocks: reversible {ours[low]:.0f} to "
        f"{ours[high]:.0f} MiB, residual {plain[low]:.0f} to "
        f"{plain[high]:.0f} MiB",
    )


def pictures(results):
    """Memory by depth, and the images that the decoder draws."""
    from tfdeep import visualization

    figures = {"memory.png": memory_figure(results)}
    for name, rows in DRAWN.items():
        figures[f"{name}.png"] = visualization.image_rows(rows)
    return figures


def memory_figure(results):
    from tfdeep.visualization.figure import clean, color, new_figure

    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    for index, form in enumerate((RESIDUAL, MOMENTUM)):
        found = sorted(memories(results, form).items())
        depths, values = zip(*found, strict=True)
        axes.plot(depths, values, "o-", color=color(index), label=form)
    axes.set_xlabel("residual capsule blocks")
    axes.set_ylabel("MiB of a training step")
    axes.set_ylim(0)
    axes.legend()
    clean(axes)
    return figure


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "batch_size": 128,
        "learning_rate": 1e-3,
        "kernel": 9,
        "depths": (4, 32),
        "memory_batch": 512,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="capsules",
    title="Capsule networks of residual blocks that run backwards",
    paper="Gugglberger et al. 2022, arXiv:2201.11091",
    claims=(
        Claim(
            "plain dies",
            "Deep capsules without skip connections stay below an accuracy of "
            "30 %, those with them get above 70 %.",
            "section 1: training fails when layers are added",
            plain_dies,
        ),
        Claim(
            "as accurate",
            "MomentumCapsNet is at most a percentage point less accurate than "
            "CapsNet.",
            "table 1: higher on MNIST, SVHN, CIFAR-10 and CIFAR-100",
            as_accurate,
        ),
        Claim(
            "flat memory",
            "Memory of a training step grows by less than 1.3 times over "
            "eight times the blocks, and ends below half of plain residual "
            "blocks'.",
            "fig. 3: almost independent of the number of blocks",
            flat_memory,
        ),
    ),
    data="mnist5k",
    scales={
        "quick": scale(
            "3 minutes on 2 cores",
            blocks=3,
            filters=32,
            capsules=16,
            epochs=4,
            batch_size=64,
        ),
        "full": scale(
            "some hours on 2 cores",
            "mnist",
            blocks=3,
            filters=64,
            capsules=32,
            epochs=10,
            depths=(4, 8, 16, 32, 64),
        ),
        "paper": scale(
            "a day on one GPU; also with --data svhn_cropped or cifar10",
            "mnist",
            blocks=5,
            filters=256,
            capsules=32,
            epochs=30,
            depths=(4, 8, 16, 32, 64),
        ),
    },
    arms=arms,
    run=run,
    curves=("val_accuracy",),
    metrics=("test_error", "memory_mib"),
    pictures=pictures,
)

if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
