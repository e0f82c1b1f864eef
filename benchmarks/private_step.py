"""CPU seconds and memory of a private step, over those of a plain step.

    python benchmarks/private_step.py [--steps 9] [--csv FILE]
    python benchmarks/private_step.py --beside TREE [--pairs 7] [--csv FILE]

A net of four convolutions on 28x28 images, with and without
GroupNormalization, SGD, batches of 64 and 256, TensorFlow without XLA or JAX
(KERAS_BACKEND). Steps of the models that are compared alternate in one
process; the figure is the ratio of the medians. Memory: the peak of a fresh
process less what it held before the first step, over that of the plain step.
TF Privacy is `VectorizedDPKerasSGDOptimizer` with its own code for gradients
and noise; it is left out where it is not installed, and at batch 256, where
its cost grows with the square of the batch.

`--beside` compares this tree with another one, an older commit of it in a
`git worktree`: the native step over the plain one, each in a fresh process of
either tree in turn. The figure is the median, over the pairs, of the ratio of
this tree to the other.
"""

import argparse
import json
import pathlib
import statistics
import sys

from measure import (
    alternate,
    batch,
    forget_peak,
    in_fresh_process,
    peak_gib,
    report,
    resident_gib,
)

SHAPE = (28, 28, 1)


def net(norm: bool):
    """Four convolutions and a classifier."""
    import keras
    from keras import layers

    stack = [keras.Input(SHAPE)]
    for width, stride in ((16, 1), (32, 2), (32, 1), (64, 2)):
        stack.append(layers.Conv2D(width, 3, strides=stride, padding="same"))
        if norm:
            stack.append(layers.GroupNormalization(8))
        stack.append(layers.ReLU())
    return keras.Sequential(
        [*stack, layers.GlobalAveragePooling2D(), layers.Dense(10)]
    )


def compiled(kind: str, norm: bool):
    """A compiled model: plain, native or one step of TF Privacy."""
    import keras

    from tfdeep import privacy

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = net(norm)
    if kind == "TF Privacy":
        return TFPrivacyStep(model)
    if kind != "plain":
        method = "vectorized" if kind == "vectorised" else "auto"
        mechanism = privacy.GaussianMechanism(noise_multiplier=1.0)
        model = privacy.PrivateModel(model, mechanism=mechanism, method=method)
    model.compile(
        keras.optimizers.SGD(0.1),
        loss,
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


class TFPrivacyStep:
    """TF Privacy's gradients, noise and update, compiled as one function."""

    def __init__(self, model):
        import keras
        import tensorflow as tf

        sys.skip_tf_privacy_import = True
        from tensorflow_privacy.privacy.optimizers import (
            dp_optimizer_keras_vectorized as vectorized,
        )

        del sys.skip_tf_privacy_import

        class Named(keras.optimizers.SGD):
            _name = "sgd"

        make = vectorized.make_vectorized_keras_optimizer_class
        optimizer = make(Named)(
            l2_norm_clip=1.0, noise_multiplier=1.0, learning_rate=0.1
        )
        losses = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )
        optimizer.build(model.trainable_variables)
        weights = [v.value for v in model.trainable_variables]

        @tf.function
        def step(images, labels):
            with tf.GradientTape() as tape:
                loss = losses(labels, model(images, training=True))
            grads = optimizer._compute_gradients(loss, weights, tape=tape)
            grads = [g for g, _ in grads]
            optimizer.apply_gradients(
                zip(grads, model.trainable_variables, strict=True)
            )

        self.train_on_batch = step


KINDS = ("plain", "native", "vectorised", "TF Privacy")


def tensors(size):
    """A batch of noise, on the backend already."""
    from keras import ops

    return tuple(map(ops.convert_to_tensor, batch(size, SHAPE, 10)))


def one_point(kind, norm, size):
    """Memory of a step beyond what the process held before, in GiB."""
    model, arrays = compiled(kind, norm), tensors(size)
    before = resident_gib()
    forget_peak()
    for _ in range(3):
        model.train_on_batch(*arrays)
    print(json.dumps({"extra": peak_gib() - before}))


def memory(kind, norm, size):
    """`one_point` in a fresh process."""
    import keras

    arguments = ("--point", kind, "norm" if norm else "bare", str(size))
    backend = keras.backend.backend()
    return in_fresh_process(__file__, *arguments, backend=backend)["extra"]


def over_plain(norm, sizes, steps):
    """Print the native step over the plain one, for each size of a batch."""
    models = {kind: compiled(kind, norm) for kind in ("plain", "native")}
    found = {}
    for size in sizes:
        seconds = alternate(models, *tensors(size), steps)
        medians = {kind: statistics.median(s) for kind, s in seconds.items()}
        found[size] = medians["native"] / medians["plain"]
    print(json.dumps(found))


def beside(tree, norm, sizes, pairs, steps):
    """A row for each size: this tree over another one, in pairs."""
    import keras

    backend = keras.backend.backend()
    here = pathlib.Path(__file__).parents[1]
    found: dict = {here: [], pathlib.Path(tree).absolute(): []}
    for _ in range(pairs):
        for path, ratios in found.items():
            arguments = ("--over-plain", "norm" if norm else "bare")
            numbers = ("--steps", str(steps), "--sizes", *map(str, sizes))
            ratios.append(
                in_fresh_process(
                    __file__,
                    *arguments,
                    *numbers,
                    backend=backend,
                    PYTHONPATH=str(path),
                )
            )
    new, old = found.values()
    return [
        {
            "backend": backend,
            "net": "4 conv, GroupNorm" if norm else "4 conv",
            "batch": size,
            "over plain": statistics.median(each[str(size)] for each in new),
            "the other": statistics.median(each[str(size)] for each in old),
            "this over the other": statistics.median(
                one[str(size)] / other[str(size)]
                for one, other in zip(new, old, strict=True)
            ),
        }
        for size in sizes
    ]


def kinds_at(size, chosen):
    """What is compared at a batch size, on this backend."""
    import keras

    skipped = set()
    if keras.backend.backend() != "tensorflow" or size > 64:
        skipped.add("TF Privacy")
    return [kind for kind in chosen if kind not in skipped]


def rows_of(norm, size, steps, chosen):
    """A row of the table for each kind."""
    import keras

    models = {kind: compiled(kind, norm) for kind in kinds_at(size, chosen)}
    seconds = alternate(models, *tensors(size), steps)
    median = {kind: statistics.median(s) for kind, s in seconds.items()}
    held = {kind: memory(kind, norm, size) for kind in models}
    return [
        {
            "backend": keras.backend.backend(),
            "net": "4 conv, GroupNorm" if norm else "4 conv",
            "batch": size,
            "step": kind,
            "CPU seconds": median[kind],
            "over plain": median[kind] / median["plain"],
            "extra GiB": held[kind],
        }
        for kind in models
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--csv")
    parser.add_argument("--beside", metavar="TREE")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--over-plain", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.over_plain:
        over_plain(options.over_plain == "norm", options.sizes, options.steps)
        return
    if options.point:
        kind, norm, size = options.point
        one_point(kind, norm == "norm", int(size))
        return
    rows = []
    if options.beside:
        rows = beside(
            options.beside, True, options.sizes, options.pairs, options.steps
        )
        report("A private step beside another tree's", rows, options.csv)
        return
    for norm in (False, True):
        for size in options.sizes:
            rows += rows_of(norm, size, options.steps, options.kinds)
    report("A private step", rows, options.csv)


if __name__ == "__main__":
    main()
