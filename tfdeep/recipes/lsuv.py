"""LSUV, the start from data that AutoInit is compared with."""

import keras
import numpy as np
from keras import ops

from tfdeep.graph.within import run_showing


def lsuv(model, x, seed=0, tolerance=0.01, iterations=10):
    """Give each kernel, in the order of the pass, outputs of variance 1.

    Kernels are drawn orthonormal; then each is divided by the standard
    deviation of its outputs on one batch until that is 1. The model is in
    training mode, so that dropout counts.

    Reference: Mishkin and Matas, "All you need is a good init", 2016,
    algorithm 1.

    Args:
        model: built model, whose layers with a kernel have no activation.
        x: a batch of inputs.
        seed: integer, of the draws.
        tolerance: how near to 1 the variance shall come.
        iterations: how often a kernel is rescaled at most.
    """
    seeds = keras.random.SeedGenerator(seed)
    orthonormal = keras.initializers.Orthogonal(seed=seeds)
    seen = set()

    def handler(layer, call, args, kwargs):
        kernel = getattr(layer, "kernel", None)
        if kernel is None or id(layer) in seen:
            return call(*args, **kwargs)
        seen.add(id(layer))
        kernel.assign(orthonormal(kernel.shape))
        for _ in range(iterations):
            outputs = call(*args, **kwargs)
            variance = float(np.var(ops.convert_to_numpy(outputs)))
            if abs(variance - 1.0) < tolerance or variance == 0:
                break
            kernel.assign(kernel / variance**0.5)
        return call(*args, **kwargs)

    run_showing(handler, model, (x,), {"training": True})
