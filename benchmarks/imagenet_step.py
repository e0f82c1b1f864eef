"""Step time of ResNet-50 and DenseNet-121 beside `keras.applications`.

    python benchmarks/imagenet_step.py [--steps 10] [--csv FILE]

Same input, same optimizer, no weight decay on either side. The nets of
`keras.applications` carry convolution biases and, in ResNet-50, the stride
on the first 1x1 convolution (fewer multiply-adds than ours); both counts are
printed.
"""

import argparse

import keras
import numpy as np
from measure import alternate, batch, report

import tfdeep


def pairs(seed: int) -> dict:
    """The nets to compare, ours first."""
    ours = {"form": "imagenet", "weight_decay": 0.0, "seed": seed}
    peers = keras.applications
    return {
        "ResNet-50": (
            tfdeep.models.ResNet(50, **ours),
            peers.ResNet50(weights=None),
        ),
        "DenseNet-121": (
            tfdeep.models.DenseNet(121, **ours),
            peers.DenseNet121(weights=None),
        ),
    }


def compare(name: str, ours, peer, options) -> dict:
    """One row: CPU seconds of a step of both, and their ratio."""
    models = {"ours": ours, "peer": peer}
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
            jit_compile=options.jit,
        )
    data = batch(options.batch_size, (224, 224, 3), 1000)
    seconds = alternate(models, *data, options.steps)
    ratios = np.array(seconds["ours"]) / np.array(seconds["peer"])
    return {
        "net": name,
        "backend": keras.backend.backend(),
        "jit_compile": options.jit,
        "tfdeep, CPU seconds": float(np.median(seconds["ours"])),
        "keras.applications": float(np.median(seconds["peer"])),
        "ratio": float(np.median(ratios)),
        "GMAC": tfdeep.models.multiply_adds(ours) / 1e9,
        "GMAC, peer": tfdeep.models.multiply_adds(peer) / 1e9,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--csv")
    options = parser.parse_args()
    rows = [
        compare(name, *nets, options)
        for name, nets in pairs(options.seed).items()
    ]
    report(f"Training step, batch {options.batch_size}", rows, options.csv)


if __name__ == "__main__":
    main()
