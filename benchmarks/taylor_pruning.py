"""CPU time of a step with Taylor pruning, beside one without.

    python benchmarks/taylor_pruning.py [--steps 20] [--turns 9]

A small residual net and a wide chain, by form of the scores. Steps that are
compared take turns, 20 of them at a time, of which the last ones prune.
Goal: at most 1.10 of a plain step.
"""

import argparse

import keras
import numpy as np
from keras import layers, optimizers
from measure import batch, report

import tfdeep
from tfdeep.pruning import TaylorPruning
from tfdeep.recipes.measure import cpu_in_turn


def chain():
    """Wide layers on small images: few operations, many weights."""
    x = inputs = keras.Input((8, 8, 32))
    for filters in (64, 128, 128):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, "softmax")(x))


def residual():
    """Twenty layers of the paper's net for CIFAR."""
    return tfdeep.models.ResNet(20)


NETS = {"chain": (chain, (8, 8, 32)), "ResNet-20": (residual, (32, 32, 3))}


def steps(make, shape, form, options):
    """A function that takes a number of steps."""
    keras.utils.set_random_seed(0)
    model = make()
    optimizer = optimizers.SGD(0.01, momentum=0.9)
    if form is not None:
        optimizer = TaylorPruning(
            optimizer,
            model,
            channels=20 * (options.turns + 1),
            channels_per_step=10,
            frequency=max(options.steps // 2, 1),
            form=form,
        )
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, jit_compile=options.xla)
    x, y = batch(options.batch, shape, 10)

    def run():
        for _ in range(options.steps):
            model.train_on_batch(x, y)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--csv")
    options = parser.parse_args()
    if keras.backend.backend() == "jax":
        options.xla = True
    rows = []
    for name in options.nets:
        kinds = {"plain": None, "batch_norm": "batch_norm", "weight": "weight"}
        calls = {
            kind: steps(*NETS[name], form, options)
            for kind, form in kinds.items()
        }
        seconds = cpu_in_turn(calls, options.turns)
        rows += [
            {
                "net": name,
                "scores": kind,
                "CPU seconds of a step": took / options.steps,
                "ratio": float(np.divide(took, seconds["plain"])),
            }
            for kind, took in seconds.items()
        ]
    backend = keras.backend.backend() + (" by XLA" if options.xla else "")
    report(f"Steps, {backend}", rows, options.csv)


if __name__ == "__main__":
    main()
