"""Time of a training step with batch-entropy regularisation.

    python benchmarks/batch_entropy.py [--layers 50] [--jit] [--csv FILE]

A fully connected net of 50 layers of width 128, beside the same net in
`tfdeep.BatchEntropyRegularizer`. Bound: 1.25 of the plain step.
"""

import argparse
import time

import keras
import numpy as np
from measure import batch, report

import tfdeep


def net(layers: int, width: int) -> keras.Model:
    """A chain of Dense layers with ReLU, ten outputs."""
    hidden = [keras.layers.Dense(width, "relu") for _ in range(layers)]
    parts = [keras.Input((28 * 28,)), *hidden, keras.layers.Dense(10)]
    return keras.Sequential(parts)


def alternate_fits(models, images, labels, batch_size, rounds):
    """CPU seconds a step of each model, by one epoch after the other.

    `train_on_batch` would reset every metric at every step.
    """
    steps = len(labels) // batch_size
    seconds = {name: [] for name in models}
    for round_ in range(rounds + 1):  # The first one compiles.
        for name, model in models.items():
            start = time.process_time()
            model.fit(images, labels, batch_size=batch_size, verbose=0)
            if round_:
                spent = time.process_time() - start
                seconds[name].append(spent / steps)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40, help="an epoch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--csv")
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    plain, wrapped = (net(options.layers, options.width) for _ in range(2))
    models = {
        "plain": plain,
        "regularised": tfdeep.BatchEntropyRegularizer(wrapped),
    }
    jit = options.jit or keras.backend.backend() == "jax"
    for model in models.values():
        model.compile(
            keras.optimizers.Adam(1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit,
        )
    samples = options.steps * options.batch_size
    images, labels = batch(samples, (28 * 28,), 10)
    seconds = alternate_fits(
        models, images, labels, options.batch_size, options.rounds
    )
    rows = [
        {
            "net": name,
            "backend": keras.backend.backend(),
            "jit_compile": jit,
            "CPU seconds a step": float(np.mean(values)),
            "standard error": float(np.std(values) / len(values) ** 0.5),
            "ratio": float(np.mean(values) / np.mean(seconds["plain"])),
        }
        for name, values in seconds.items()
    ]
    report(
        f"{options.layers} layers of width {options.width}, batch "
        f"{options.batch_size}",
        rows,
        options.csv,
    )


if __name__ == "__main__":
    main()
