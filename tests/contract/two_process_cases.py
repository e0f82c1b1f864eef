"""What two processes that share each batch are asked to do."""

import keras
import numpy as np

from tests.contract.harness import BACKEND, model_of, targets, values


def batches():
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 4)).astype("float32")
    return x, targets(8)


def compiled(name: str, **kwargs) -> keras.Model:
    model = model_of(name, **kwargs)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    return model


def train(worker, name: str, **kwargs) -> list:
    """The weights after two steps on batches of four."""
    model = worker.make(lambda: compiled(name, **kwargs))
    worker.steps(model, *batches(), 4)
    return [w.tolist() for w in values(model)]


def fail(worker) -> None:
    """The second process fails where the first waits for it."""
    if worker.index == 1:
        raise RuntimeError("This is the second process.")
    worker.steps(worker.make(lambda: compiled("BasicBlock")), *batches(), 4)
