"""CPU seconds from `compile` to the end of the first private step.

    python benchmarks/private_start.py [--pairs 5] [--jit] [--csv FILE]

With and without the comparison of one example's gradients with plain
differentiation, which stands before the first step: a net of four convolutions
on 28x28 images, and ResNet-20 on 32x32 ones, batches of 16, TensorFlow without
XLA unless `--jit`, or JAX (KERAS_BACKEND). Each start is that of a fresh
process, the two kinds in turn; the figure is the ratio of the medians.
"""

import argparse
import json
import statistics
import time

from measure import batch, in_fresh_process, report
from private_step import net

NETS = {
    "4 conv": (28, 28, 1),
    "4 conv, GroupNorm": (28, 28, 1),
    "ResNet-20": (32, 32, 3),
}


def made(name: str):
    """A model to be trained privately."""

    import tfdeep

    if name == "ResNet-20":
        return tfdeep.models.ResNet(
            20, norm="group", classifier_activation=None
        )
    return net("Norm" in name)


def one_start(name: str, kind: str, jit: bool) -> None:
    """Print how long a start takes, and how much of it the comparison does."""
    import keras

    from tfdeep import privacy

    model = privacy.PrivateModel(
        made(name), mechanism=privacy.GaussianMechanism(noise_multiplier=1.0)
    )
    if kind == "unchecked":
        model.check_engine = lambda example: None
    arrays = batch(16, NETS[name], 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    start = time.process_time()
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=jit)
    model.train_on_batch(*arrays)
    print(json.dumps({"seconds": time.process_time() - start}))


def row_of(name: str, pairs: int, jit: bool) -> dict:
    """A row of the table."""
    import keras

    backend = keras.backend.backend()
    seconds: dict = {"checked": [], "unchecked": []}
    for _ in range(pairs):
        for kind, found in seconds.items():
            arguments = ("--start", name, kind, *["--jit"] * jit)
            result = in_fresh_process(__file__, *arguments, backend=backend)
            found.append(result["seconds"])
    median = {kind: statistics.median(s) for kind, s in seconds.items()}
    return {
        "backend": backend,
        "XLA": jit,
        "net": name,
        "CPU seconds": median["checked"],
        "unchecked": median["unchecked"],
        "over unchecked": median["checked"] / median["unchecked"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--csv")
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import keras

    jit = options.jit or keras.backend.backend() == "jax"
    if options.start:
        one_start(*options.start, jit)
        return
    rows = [row_of(name, options.pairs, jit) for name in options.nets]
    report("The start of private training", rows, options.csv)


if __name__ == "__main__":
    main()
