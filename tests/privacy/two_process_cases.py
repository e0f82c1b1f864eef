"""What two processes that train privately together are asked to do."""

import keras
import numpy as np

from tfdeep.privacy import NotPrivateError, Plan, PrivateModel, poisson_batches

NUMBER, BATCH = 64, 16


def data():
    """Each example holds its own number."""
    x = np.random.default_rng(0).normal(size=(NUMBER, 4)).astype("float32")
    x[:, 0] = np.arange(NUMBER)
    return x, (np.arange(NUMBER) % 3).astype("int32")


def compiled(sampling: str, sigma: float = 1.0) -> PrivateModel:
    start = keras.initializers.GlorotUniform(1)
    base = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Rescaling([0.01, 1.0, 1.0, 1.0]),
            keras.layers.Dense(3, kernel_initializer=start),
        ]
    )
    plan = Plan(
        *(NUMBER, BATCH, 12, 1e-5),
        noise_multiplier=sigma,
        accountant="rdp",
        sampling=sampling,
    )
    model = PrivateModel(base, plan)  # Its noise is nobody's to predict.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    return model


def sampled(worker) -> dict:
    """The examples of some samples in this process, and trained weights."""
    model = worker.make(lambda: compiled("poisson"))
    batches = worker.make(lambda: poisson_batches(*data(), model.plan))
    drawn = []
    for index in (0, 1, 1):
        x, _, weight = batches[index]
        drawn.append([int(n) for n in x[weight > 0, 0]])
    start = [w.tolist() for w in model.base.get_weights()]
    train(worker, model, batches)
    weights = [w.tolist() for w in model.base.get_weights()]
    return {
        "drawn": drawn,
        "rows": len(weight),
        "start": start,
        "weights": weights,
        "updates": model.count_of_updates(),
        "secret": [int(n) for n in model.noise_generator.state.numpy()],
    }


def train(worker, model, batches) -> None:
    """An epoch, on TensorFlow by a loop: Keras' own `fit` fails there."""
    if worker.strategy is None:
        model.fit(batches, verbose=0)
        return
    import tensorflow as tf

    step = tf.function(
        lambda *batch: worker.strategy.run(model.train_step, (batch,))
    )
    for index in range(len(batches)):
        step(*map(tf.constant, batches[index]))


def shuffled(worker) -> str:
    """What `fit` says to arrays."""
    model = worker.make(lambda: compiled("shuffled"))
    try:
        model.fit(*data(), batch_size=BATCH, verbose=0)
    except NotPrivateError as error:
        return str(error)
    return "trained"
