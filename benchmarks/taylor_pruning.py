"""CPU time and memory of a step with Taylor pruning, beside one without.

    python benchmarks/taylor_pruning.py [--steps 20] [--turns 9] [--memory]

A small residual net and a wide chain, by form of the scores. Steps that are
compared take turns, 20 of them at a time, of which the last ones prune.
Goal: at most 1.10 of a plain step, and 1.05 of its memory: that of weights
and of all else that is kept, and the most that a step needs besides. On JAX it
is told by XLA; on TensorFlow resident memory rises by it during a step, in a
fresh process for each.
"""

import argparse
import json

import keras
import numpy as np
from keras import layers, optimizers
from measure import batch, in_fresh_process, report

import tfdeep
from tfdeep.pruning import TaylorPruning
from tfdeep.recipes.measure import HANDED_BACK, cpu_in_turn, memory_of


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


KINDS = {"plain": None, "batch_norm": "batch_norm", "weight": "weight"}


def compiled(make, form, options):
    """A net with the optimizer of a kind."""
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
    return model


def steps(make, shape, form, options):
    """A function that takes a number of steps."""
    model = compiled(make, form, options)
    x, y = batch(options.batch, shape, 10)

    def run():
        for _ in range(options.steps):
            model.train_on_batch(x, y)

    return run


def memory(make, shape, form, options):
    """MiB of what is kept, and of what a step needs besides."""
    model = compiled(make, form, options)
    x, y = batch(options.batch, shape, 10)
    model.optimizer.build(model.trainable_variables)
    kept = {id(v): v for v in [*model.variables, *model.optimizer.variables]}
    arrays = [keras.ops.convert_to_numpy(v) for v in kept.values()]
    state = sum(array.nbytes for array in arrays) / 2**20
    del arrays
    if keras.backend.backend() == "jax":
        import jax
        from gpu_step import Step

        step = Step(model, (x, y), jax.devices()[0]).compile()
        return {"state": state, "step": step.memory() / 2**20}
    for _ in range(3):
        model.train_on_batch(x, y)
    rises = [memory_of(lambda: model.train_on_batch(x, y)) for _ in range(9)]
    return {"state": state, "step": float(np.median(rises))}


def memory_rows(name, options):
    rows = []
    for kind in KINDS:
        arguments = ["--memory-of", kind, "--nets", name]
        arguments += ["--batch", str(options.batch)]
        arguments += ["--xla"] * options.xla
        backend = keras.backend.backend()
        found = in_fresh_process(
            __file__, *arguments, backend=backend, **HANDED_BACK
        )
        total = sum(found.values())
        rows.append({"net": name, "scores": kind, "MiB": total})
        rows[-1]["ratio"] = total / rows[0]["MiB"]
        rows[-1] |= {f"MiB of {key}": value for key, value in found.items()}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--csv")
    options = parser.parse_args()
    if keras.backend.backend() == "jax":
        options.xla = True
    if options.memory_of:
        (name,) = options.nets
        kind = KINDS[options.memory_of]
        return print(json.dumps(memory(*NETS[name], kind, options)))
    rows = []
    for name in options.nets:
        if options.memory:
            rows += memory_rows(name, options)
            continue
        calls = {
            kind: steps(*NETS[name], form, options)
            for kind, form in KINDS.items()
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
