"""Trains on two devices that share a batch, and on one to compare with.

A process of its own, as devices are made before anything else is done. It
writes what it found to the file that its argument names.
"""

import contextlib
import importlib.util
import pickle
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from tfdeep.privacy import (
    AdaptiveClipping,
    GaussianMechanism,
    Plan,
    PrivateModel,
    gradient_rule,
    tf_privacy,
)

X = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
Y = np.arange(16) % 3
NOTHING = np.zeros(16)


def trained(
    scope,
    mechanism="gaussian",
    optimizer=lambda: keras.optimizers.SGD(1.0),
    weight=None,
    reduction="sum_over_batch_size",
    clip=1.0,
    method="auto",
):
    """How two updates moved the weights, and what was seen on the way."""
    start = keras.initializers.GlorotUniform
    with scope():
        base = keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(300, "tanh", kernel_initializer=start(1)),
                keras.layers.Dense(3, kernel_initializer=start(2)),
            ]
        )
        before = base.get_weights()
        model = PrivateModel(
            base, mechanism=mechanism, l2_norm_clip=clip, method=method
        )
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction=reduction
        )
        model.compile(optimizer(), loss)
        history = model.fit(
            X, Y, batch_size=8, shuffle=False, verbose=0, sample_weight=weight
        )
        replicas = tf.distribute.get_strategy()
        return {
            "updates": model.count_of_updates(),
            "moved": [
                a - b for a, b in zip(base.get_weights(), before, strict=True)
            ],
            "logs": history.history,
            "state": [v.numpy() for v in model.mechanism_state],
            "copies": [
                [
                    copy.numpy()
                    for copy in replicas.experimental_local_results(v.value)
                ]
                for v in base.trainable_variables
            ],
        }


def unequal(strategy) -> dict:
    """Three steps of a loop of one's own, one device with a row too many."""
    with strategy.scope():
        plan = Plan(
            num_examples=16,
            batch_size=8,
            steps=3,
            delta=1e-3,
            noise_multiplier=1.0,
            sampling="shuffled",
        )
        model = PrivateModel(
            keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]), plan
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1.0), loss)
    before = model.base.get_weights()

    def rows(context):
        count = 5 if context.replica_id_in_sync_group == 0 else 4
        return tf.constant(X[:count]), tf.constant(Y[:count])

    for _ in range(3):
        data = strategy.experimental_distribute_values_from_function(rows)
        strategy.run(model.train_step, (data,))
    return {
        "moved": [
            a - b for a, b in zip(model.base.get_weights(), before, strict=True)
        ],
        "counts": model.memory.counts(),
    }


class Tripled(keras.layers.Dense):
    """A layer whose gradient rule is wrong."""


@gradient_rule(Tripled)
def tripled(layer, x, g):
    kernel = keras.ops.einsum("bi,bo->bio", x, g)
    return {id(layer.kernel): 3.0 * kernel, id(layer.bias): g}


def wrong_rule(strategy) -> dict:
    """A step of a loop of one's own, of an engine that is wrong."""
    with strategy.scope():
        net = keras.Sequential([keras.Input((8,)), Tripled(3)])
        model = PrivateModel(net, mechanism=GaussianMechanism(0.0))
        model.compile("sgd", "mse")
    step = tf.function(lambda: strategy.run(model.train_step, ((X, X[:, :3]),)))
    before = model.describe_clipping()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        step()
    return {
        "before": before,
        "after": model.describe_clipping(),
        "warnings": [str(each.message) for each in seen],
    }


def nine_rows(strategy) -> str:
    """What is said of batches that two devices cannot share."""
    with strategy.scope():
        net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
        model = PrivateModel(net, mechanism=GaussianMechanism(1.0))
        model.compile("sgd", "mse")
    try:
        model.fit(X, X[:, :3], batch_size=9, verbose=0)
    except ValueError as error:
        return str(error)
    return "nothing"


def native(shared, alone):
    """The norms of examples lie on both sides of the clip, which moves."""

    def adaptive(scope, **more):
        mechanism = AdaptiveClipping(noise_multiplier=0.0, batch_size=8)
        return trained(scope, mechanism, clip=3.0, **more)

    return {
        "alone": adaptive(alone),
        "shared": adaptive(shared),
        "shared, sums of losses": adaptive(shared, reduction="sum"),
        "noise": trained(shared, GaussianMechanism(1.0), weight=NOTHING),
    }


def optimizers(shared, alone):
    """Alone all routes do the same, which other tests see to."""

    def by(name, scope, noise=0.0, **more):
        def optimizer():
            return getattr(tf_privacy, name)(1.0, noise, learning_rate=1.0)

        return trained(scope, optimizer=optimizer, **more)

    return {
        "dp alone": by("DPKerasSGDOptimizer", alone),
        "dp shared, their code": by(
            "DPKerasSGDOptimizer", shared, method="tf_privacy"
        ),
        "dp shared": by("VectorizedDPKerasSGDOptimizer", shared),
        "dp noise": by("DPKerasSGDOptimizer", shared, 1.0, weight=NOTHING),
    }


def main(path):
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = native(strategy.scope, contextlib.nullcontext)
    runs["unequal"] = unequal(strategy)
    runs["wrong rule"] = wrong_rule(strategy)
    runs["nine rows"] = nine_rows(strategy)
    if importlib.util.find_spec("tensorflow_privacy"):
        runs |= optimizers(strategy.scope, contextlib.nullcontext)
    with open(path, "wb") as file:
        pickle.dump(runs, file)


if __name__ == "__main__":
    main(sys.argv[1])
