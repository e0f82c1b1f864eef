"""CPU seconds and memory of a private step, over those of a plain step.

    python benchmarks/private_step.py [--steps 9] [--csv FILE]

A net of four convolutions on 28x28 images, with and without
GroupNormalization, SGD, batches of 64 and 256, TensorFlow without XLA or JAX
(KERAS_BACKEND). Steps of the models that are compared alternate in one
process; the figure is the ratio of the medians. Memory: the peak of a fresh
process less what it held before the first step, over that of the plain step.
TF Privacy is `VectorizedDPKerasSGDOptimizer` with its own code for gradients
and noise; it is left out where it is not installed, and at batch 256, where
its cost grows with the square of the batch.
"""

import argparse
import importlib.util
import json
import os
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


def kinds_for(size: int) -> list[str]:
    """What is compared at a size of batch, the plain step first."""
    found = ["plain", "native", "vectorised"]
    on_tensorflow = os.environ.get("KERAS_BACKEND") != "jax"
    installed = importlib.util.find_spec("tensorflow_privacy") is not None
    if on_tensorflow and installed and size == 64:
        found.append("TF Privacy")
    return found


def data(size: int):
    """A batch of tensors, made once."""
    from keras import ops

    return [ops.convert_to_tensor(part) for part in batch(size, SHAPE, 10)]


def rows_of(norm: bool, size: int, steps: int) -> list[dict]:
    """CPU seconds and memory of each kind, over those of the plain step."""
    kinds = kinds_for(size)
    models = {kind: compiled(kind, norm) for kind in kinds}
    seconds = alternate(models, *data(size), steps)
    medians = {kind: statistics.median(seconds[kind]) for kind in kinds}
    extra = {
        kind: in_fresh_process(
            __file__,
            *("--point", kind, "norm" if norm else "none", str(size)),
            backend=os.environ.get("KERAS_BACKEND", "tensorflow"),
        )["extra"]
        for kind in kinds
    }
    return [
        {
            "net": "GroupNorm" if norm else "plain CNN",
            "batch": size,
            "kind": kind,
            "CPU seconds": medians[kind],
            "over plain": medians[kind] / medians["plain"],
            "extra GiB": extra[kind],
            "memory over plain": extra[kind] / extra["plain"],
        }
        for kind in kinds
    ]


def one_point(kind, norm, size):
    """Extra memory of three steps, in this process."""
    model = compiled(kind, norm)
    images, labels = data(size)
    before = resident_gib()
    forget_peak()
    for _ in range(3):
        model.train_on_batch(images, labels)
    print(json.dumps({"extra": peak_gib() - before}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--csv")
    parser.add_argument("--point", nargs=3)
    arguments = parser.parse_args()
    if arguments.point:
        kind, norm, size = arguments.point
        one_point(kind, norm == "norm", int(size))
        return
    rows = [
        row
        for norm in (False, True)
        for size in (64, 256)
        for row in rows_of(norm, size, arguments.steps)
    ]
    report("A private step", rows, arguments.csv)


if __name__ == "__main__":
    main()
