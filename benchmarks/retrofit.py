"""Time of a training step of a `keras.applications` net with added layers.

    python benchmarks/retrofit.py [--net ResNet50] [--size 64] [--csv FILE]

Beside the plain net: its branches skipped (`models.add_stochastic_depth`) and
dropped for single examples (`models.add_drop_path`), and how far the outputs
at inference are from those of the plain net. With `last=0.5` the mean of the
survival probabilities over L branches is (3L - 1) / 4L, which the time comes
near as far as branches are alike and nothing is outside of them.
"""

import argparse

import keras
import numpy as np
from measure import alternate, batch, report

from tfdeep.models import add_drop_path, add_stochastic_depth


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="ResNet50")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--last", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--csv")
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    shape = (options.size, options.size, 3)
    make = getattr(keras.applications, options.net)
    plain = make(weights=None, input_shape=shape, classes=10)
    models = {
        "plain": plain,
        "skipped": add_stochastic_depth(plain, options.last, seed=options.seed),
        "drop path": add_drop_path(plain, 0.1, seed=options.seed),
    }
    images, labels = batch(options.batch_size, shape, 10)
    expected = np.array(plain(images))
    apart = {
        name: float(np.max(np.abs(np.array(model(images)) - expected)))
        for name, model in models.items()
    }
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            "sparse_categorical_crossentropy",
            jit_compile=options.jit,
        )
    seconds = alternate(models, images, labels, options.steps)
    rows = [
        {
            "net": name,
            "backend": keras.backend.backend(),
            "jit_compile": options.jit,
            "CPU seconds a step": float(np.mean(values)),
            "standard error": float(np.std(values) / len(values) ** 0.5),
            "ratio": float(np.mean(values) / np.mean(seconds["plain"])),
            "largest difference at inference": apart[name],
        }
        for name, values in seconds.items()
    ]
    report(
        f"{options.net}, {options.size} x {options.size}, batch "
        f"{options.batch_size}",
        rows,
        options.csv,
    )


if __name__ == "__main__":
    main()
