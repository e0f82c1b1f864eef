"""Time of a ResNet-110 training step with stochastic depth.

    python benchmarks/stochastic_depth.py [--steps 40] [--jit] [--csv FILE]

Beside the constant-depth net: branches that are skipped
(`tfdeep.layers.StochasticDepth`) and branches that are computed and then
masked per sample (`tfdeep.layers.DropPath`, what most libraries call
stochastic depth). The ideal of the skipping net is the expected depth,
(3L - 1) / 4 of L = 54 blocks: 0.745 of the blocks.
"""

import argparse

import keras
import numpy as np
from measure import alternate, batch, report

import tfdeep


def masked(model):
    """The same net with each skipped branch masked per sample instead."""

    def convert(layer):
        clone = layer.__class__.from_config(layer.get_config())
        if isinstance(clone, tfdeep.layers.ResidualBlock):
            return MaskedBlock.of(clone)
        return clone

    return keras.models.clone_model(model, clone_function=convert)


class MaskedBlock(tfdeep.layers.BasicBlock):
    """A basic block that computes its branch and then masks it."""

    @classmethod
    def of(cls, block):
        config = block.get_config()
        rate = 1.0 - config.pop("survival_probability")
        masked = cls(**{**config, "dtype": "float32"})
        masked.drop_rate = rate
        return masked

    def branch_layers(self, channels):
        drop = tfdeep.layers.DropPath(self.drop_rate, seed=self.seed)
        return [*super().branch_layers(channels), drop]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=110)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--csv")
    options = parser.parse_args()

    def net(last):
        return tfdeep.models.ResNet(
            options.depth, survival_probability=last, seed=options.seed
        )

    skipping = net(0.5)
    models = {
        "constant depth": net(1.0),
        "skipped (StochasticDepth)": skipping,
        "masked (DropPath)": masked(skipping),
    }
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
            jit_compile=options.jit,
        )
    images, labels = batch(options.batch_size, (32, 32, 3), 10)
    seconds = alternate(models, images, labels, options.steps)
    constant = np.mean(seconds["constant depth"])
    rows = [
        {
            "net": name,
            "backend": keras.backend.backend(),
            "jit_compile": options.jit,
            "CPU seconds a step": float(np.mean(values)),
            "standard error": float(np.std(values) / len(values) ** 0.5),
            "ratio": float(np.mean(values) / constant),
        }
        for name, values in seconds.items()
    ]
    report(
        f"ResNet-{options.depth}, batch {options.batch_size}", rows, options.csv
    )


if __name__ == "__main__":
    main()
