"""What two processes that train a wrapped model together are asked to do."""

from pathlib import Path

import keras
import numpy as np

from tests.contract.harness import BACKEND
from tests.helpers import arrays
from tests.training.harness import SINGLE


def data():
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    return x, (np.arange(16) % 3).astype("int32")


def wrapped(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden = [
        keras.layers.Dense(6, "relu", name=f"hidden_{index}")
        for index in range(3)
    ]
    parts = [keras.Input((8,)), *hidden, keras.layers.Dense(3, name="out")]
    model = SINGLE[name](keras.Sequential(parts))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=BACKEND == "jax")
    return model


def refused(worker, name: str, row: int, what: str) -> str:
    """What `fit` says of a row that only one of the processes has.

    Args:
        worker: the process.
        name: of the wrapper.
        row: the number of the row.
        what: `"input"`, which is NaN, or `"label"`, which is no class.
    """
    model = worker.make(lambda: wrapped(name))
    x, y = data()
    if what == "input":
        x[row, 3] = np.nan
    else:
        y[row] = 7
    x, y = worker.part(x), worker.part(y)
    try:
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    except (FloatingPointError, ValueError) as error:
        return str(error)
    return "nothing"


def train(worker, name: str, path: str, rows: list[int]) -> list:
    """The weights after training on some rows, from a file if there is one.

    Args:
        worker: the process.
        name: of the wrapper.
        path: of the file; the first process writes it at the end.
        rows: the first row and the one behind the last.
    """
    begun = Path(path).exists()

    def make():
        return keras.saving.load_model(path) if begun else wrapped(name)

    # Weights start alike in both before the file's take their place.
    keras.utils.set_random_seed(0)
    model = worker.make(make)
    x, y = (array[slice(*rows)] for array in data())
    worker.steps(model, x, y, 8)
    # On JAX both take part in gathering what is saved.
    model.save(path if worker.index == 0 else f"{path}.second.keras")
    return [w.tolist() for w in arrays(model.trainable_variables)]
