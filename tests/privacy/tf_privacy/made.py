"""Optimizers of TF Privacy by name, and losses whose gradients are known."""

import keras
import numpy as np
from keras import ops

from tests.helpers import images
from tfdeep.privacy import tf_privacy

GAUSSIAN = (
    "DPKerasSGDOptimizer",
    "DPKerasAdamOptimizer",
    "DPKerasAdagradOptimizer",
    "VectorizedDPKerasSGDOptimizer",
    "VectorizedDPKerasAdamOptimizer",
    "VectorizedDPKerasAdagradOptimizer",
)
TREE = "DPFTRLTreeAggregationOptimizer"
EVERY = (
    *GAUSSIAN,
    "GenericDPSGDOptimizer",
    "GenericDPAdamOptimizer",
    "GenericDPAdagradOptimizer",
    TREE,
)
# One of each kind: what they share is tried with these alone.
KINDS = (
    "DPKerasSGDOptimizer",
    "VectorizedDPKerasAdagradOptimizer",
    "GenericDPAdamOptimizer",
    TREE,
)
QUANTILE = {
    "initial_l2_norm_clip": 1.0,
    "noise_multiplier": 0.5,
    "target_unclipped_quantile": 0.5,
    "learning_rate": 0.2,
    "clipped_count_stddev": 0.5,
    "expected_num_records": 10,
}
ROWS = images(10, 3)


def made(name, clip=1.0, noise=0.0, **kwargs):
    """One of the optimizers by its name."""
    cls = getattr(tf_privacy, name)
    if name == TREE:
        kwargs.setdefault("var_list_or_model", [[3]])
    if name.startswith("GenericDP"):
        query = tf_privacy.GaussianSumQuery(clip, clip * noise)
        return cls(query, **kwargs)
    return cls(l2_norm_clip=clip, noise_multiplier=noise, **kwargs)


def quantile_query(noise=0.5):
    """A clip that adapts, with this noise on the sum and on the count."""
    settings = {"noise_multiplier": noise, "clipped_count_stddev": noise}
    return tf_privacy.QuantileAdaptiveClipSumQuery(**{**QUANTILE, **settings})


def weight():
    return keras.Variable(np.ones(3, "float32"), name="w")


def losses(w, rows=ROWS):
    """A loss for each row, whose gradient is that row."""
    return lambda: ops.matmul(ops.convert_to_tensor(rows), w.value)


def gradient(optimizer, w, rows=ROWS):
    """The private gradient of the losses, an array."""
    ((found, _),) = optimizer._compute_gradients(losses(w, rows), [w])
    return np.array(found)


def clipped_mean(rows, clip):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows * np.minimum(1.0, clip / norms)).mean(axis=0)
