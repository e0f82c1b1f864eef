"""Parameters, multiply-adds and time of inference, before and after folding.

    python benchmarks/fold_linear.py [--steps 20] [--csv FILE]

Nets of which all units are linear: a chain of wide Dense layers, inverted
residual blocks (1x1 to six times the channels, depthwise 3x3, 1x1), and pairs
of valid 3x3 convolutions, folded only with `always=True`.
"""

import argparse
import time

import keras
import numpy as np
from keras import layers
from measure import report

from tfdeep.linearization import fold_linear
from tfdeep.models import multiply_adds


def dense() -> keras.Model:
    """Wide layers between narrow ones."""
    parts = [layers.Dense(width) for _ in range(4) for width in (1024, 64)]
    return keras.Sequential([keras.Input((64,)), *parts])


def inverted() -> keras.Model:
    """Expand, filter each channel, project."""
    parts = [keras.Input((32, 32, 24))]
    for _ in range(3):
        parts += [
            layers.Conv2D(144, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3),
            layers.BatchNormalization(),
            layers.Conv2D(24, 1, use_bias=False),
        ]
    return keras.Sequential(parts)


def pairs() -> keras.Model:
    """3x3 convolutions without padding."""
    parts = [layers.Conv2D(32, 3) for _ in range(4)]
    return keras.Sequential([keras.Input((32, 32, 32)), *parts])


NETS = {
    "wide Dense": (dense, False),
    "inverted residual": (inverted, False),
    "3x3 pairs, always": (pairs, True),
}


def measured(name: str, steps: int) -> dict:
    """Sizes, and the median CPU seconds of a batch, in turn."""
    make, always = NETS[name]
    before = make()
    after = fold_linear(before, always=always)
    x = np.random.default_rng(0).normal(size=(32, *before.input_shape[1:]))
    seconds: dict[str, list] = {"before": [], "after": []}
    for _ in range(steps + 2):
        for key, model in (("before", before), ("after", after)):
            start = time.process_time()
            model.predict_on_batch(x)
            seconds[key].append(time.process_time() - start)
    old, new = (np.median(s[2:]) for s in seconds.values())
    gap = np.abs(before.predict_on_batch(x) - after.predict_on_batch(x)).max()
    return {
        "net": name,
        "parameters": before.count_params(),
        "folded": after.count_params(),
        "multiply-adds": multiply_adds(before),
        "of these": multiply_adds(after),
        "ms": 1e3 * old,
        "folded ms": 1e3 * new,
        "ratio": new / old,
        "largest gap": float(gap),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--csv")
    options = parser.parse_args()
    rows = [measured(name, options.steps) for name in NETS]
    report("Folding what is linear", rows, options.csv)


if __name__ == "__main__":
    main()
