"""Starts without a seed, on a process's own part of the data."""

import keras
import numpy as np

from tests.contract.harness import values
from tests.helpers import images
from tfdeep.initializers import AutoInit, GradInit

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net():
    he = keras.initializers.HeNormal
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, "relu", kernel_initializer=he(1)),
            keras.layers.Dense(3, kernel_initializer=he(2)),
        ]
    )


def starts(worker) -> dict:
    """The weights, and the deviations of the first process's own data."""
    x, y = images(32, 8), np.arange(32) % 3
    x[16:] *= 3.0
    x, y = worker.part(x), worker.part(y)
    found = {}

    def note(name, start):
        model = worker.make(net)
        start(model)
        found[name] = [w.tolist() for w in values(model)]

    note("AutoInit", AutoInit().initialize_model)
    init = AutoInit.from_data(x, seed=0)
    note("from_data", init.initialize_model)
    found["scale"] = init.report.records[0].scale
    search = GradInit(iterations=3, verbose=0)
    note(
        "GradInit",
        lambda model: search.initialize_model(model, (x, y), LOSS, 8),
    )
    found["scales"] = list(search.scales.values())
    return found
