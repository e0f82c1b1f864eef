"""Why a MobileNet collapses when channels go by the scale.

    python benchmarks/slimming_separable.py [--seeds 3] [--csv FILE]

A net of plain convolutions and one of depthwise separable ones, trained on
digits with the penalty of network slimming (2 minutes of CPU time). Test
errors: of the whole net, with the scales of half of the channels set to 0,
without these channels, and when the statistics of the normalizations were
taken again, with all weights as they were.
"""

import argparse

import keras
import numpy as np
from keras import layers
from measure import report

import tfdeep.data
from tfdeep.pruning import BatchNormScale, ChannelGraph, Slimming
from tfdeep.recipes.pruning_nets import classified, conv, normalized

STEPS = 40 * 23


def separable(shape, classes, width):
    """The same widths, by depthwise and pointwise convolutions."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(inputs)
    x = normalized(x)
    for filters, strides in ((1, 1), (2, 2), (2, 1)):
        x = layers.DepthwiseConv2D(3, strides, "same", use_bias=False)(x)
        x = layers.Conv2D(filters * width, 1, use_bias=False)(normalized(x))
        x = normalized(x)
    return classified(inputs, x, classes)


def compiled(model):
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [STEPS * 4 // 5], [0.05, 0.005]
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def errors(make, seed, data, test):
    """Test errors of a net and what is left of it, by what was done."""

    def error(model):
        return 1 - model.evaluate(*test, batch_size=512, verbose=0)[1]

    keras.utils.set_random_seed(seed)
    model = compiled(make(data[0].shape[1:], 10, 32))
    Slimming(1e-2).attach(model)
    model.fit(*data, batch_size=64, epochs=40, verbose=0)
    found = {"whole": error(model)}
    graph = ChannelGraph(model)
    plan = graph.plan(BatchNormScale().scores(graph), ratio=0.5)
    small = compiled(plan.compact(model))
    for group in graph.free:
        for member in group.members:
            if member.variable.path.endswith("gamma"):
                scale = np.array(member.variable)
                scale[plan.removed.get(group.name, [])] = 0
                member.variable.assign(scale)
    found["scales at 0"] = error(model)
    found["without"] = error(small)
    rng = np.random.default_rng(seed)
    for _ in range(40):
        small(data[0][rng.permutation(len(data[0]))[:256]], training=True)
    return {**found, "new statistics": error(small)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--csv")
    options = parser.parse_args()
    data, test = (
        tfdeep.data.load("digits", split, as_numpy=True)
        for split in ("train", "test")
    )
    rows = [
        {"net": make.__name__, "seed": seed} | errors(make, seed, data, test)
        for make in (conv, separable)
        for seed in range(options.seeds)
    ]
    report("Test errors", rows, options.csv)


if __name__ == "__main__":
    main()
