"""A private step over its own framework's plain step, ours and other packages.

    python benchmarks/private_peers.py [--opacus PYTHON] [--jax-privacy PYTHON]

The nets and batches of `private_step.py`. Opacus and jax-privacy are looked for
by the interpreters that are named, or by the variables TFDEEP_PEERS_OPACUS and
TFDEEP_PEERS_JAX_PRIVACY; what is in neither is left out. Each is a process of
its own, with one core. Opacus takes each of its ways to the gradients of
examples; on contiguous images all of them are right. Steps alternate with plain
ones of the same framework; the figure is the ratio of the medians of CPU
seconds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NETS, SIZES = ("bare", "norm"), (64, 256)
SHAPE, CLASSES = (28, 28, 1), 10
WIDTHS = ((16, 1), (32, 2), (32, 1), (64, 2))
MODES = ("hooks", "functorch", "ew", "ghost")
PROGRAMS = {
    "ours, TensorFlow": ("ours", "tensorflow"),
    "ours, JAX": ("ours", "jax"),
    "jax-privacy": ("jax-privacy", "jax"),
    "Opacus": ("opacus", ""),
}


class Torch:
    """A model of Opacus, or a plain one, with Keras' `train_on_batch`."""

    def __init__(self, norm: bool, size: int, mode: str | None):
        import torch
        from torch import nn

        torch.set_num_threads(1)
        parts, channels = [], SHAPE[-1]
        for width, stride in WIDTHS:
            parts.append(nn.Conv2d(channels, width, 3, stride, padding=1))
            parts += [nn.GroupNorm(8, width)] if norm else []
            parts.append(nn.ReLU())
            channels = width
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        head.append(nn.Linear(channels, CLASSES))
        self.model = nn.Sequential(*parts, *head)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.loss = nn.CrossEntropyLoss()
        if mode:
            self._wrap(mode, size)

    def _wrap(self, mode, size):
        import torch
        from opacus import PrivacyEngine
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.zeros(4 * size, 1), torch.zeros(4 * size))
        found = PrivacyEngine().make_private(
            module=self.model,
            optimizer=self.optimizer,
            data_loader=DataLoader(data, batch_size=size),
            criterion=self.loss,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        self.model, self.optimizer, *more = found
        if mode == "ghost":
            self.loss = more[0]

    def train_on_batch(self, images, labels):
        self.optimizer.zero_grad()
        self.loss(self.model(images), labels).backward()
        self.optimizer.step()


def torch_models(norm, size):
    """A plain step and Opacus' in each of its modes, on contiguous images."""
    import torch
    from measure import batch

    images, labels = batch(size, (SHAPE[-1], *SHAPE[:-1]), CLASSES)
    models = {mode: Torch(norm, size, mode) for mode in MODES}
    data = torch.from_numpy(images), torch.from_numpy(labels).long()
    return {"plain": Torch(norm, size, None), **models}, data


def keras_net(norm):
    import keras
    from keras import layers

    stack = [keras.Input(SHAPE)]
    for width, stride in WIDTHS:
        stack.append(layers.Conv2D(width, 3, strides=stride, padding="same"))
        stack += [layers.GroupNormalization(8)] if norm else []
        stack.append(layers.ReLU())
    return keras.Sequential(
        [*stack, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    )


def keras_models(package, norm, size):
    """A plain step and a private one of ours or of jax-privacy."""
    import keras
    from measure import batch

    def compiled(model):
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=keras.backend.backend() == "jax",
        )
        return model

    wrap = with_ours if package == "ours" else with_jax_privacy
    models = {
        "plain": compiled(keras_net(norm)),
        "private": wrap(keras_net(norm), size, compiled),
    }
    data = tuple(map(keras.ops.convert_to_tensor, batch(size, SHAPE, CLASSES)))
    return models, data


def with_ours(net, size, compiled):
    from tfdeep import privacy

    noise = privacy.GaussianMechanism(noise_multiplier=1.0)
    return compiled(privacy.PrivateModel(net, mechanism=noise))


def with_jax_privacy(net, size, compiled):
    from jax_privacy import keras_api

    settings = keras_api.DPKerasConfig(
        epsilon=1e3,
        delta=1e-5,
        clipping_norm=1.0,
        batch_size=size,
        gradient_accumulation_steps=1,
        train_steps=100,
        train_size=100 * size,
        noise_multiplier=1.0,
    )
    return keras_api.make_private(compiled(net), settings)


def one_point(package, norm, size, steps):
    """Print the ratio of each private step to the plain one."""
    from measure import alternate

    if package == "opacus":
        models, data = torch_models(norm, size)
    else:
        models, data = keras_models(package, norm, size)
    seconds = alternate(models, *data, steps)
    median = {kind: statistics.median(each) for kind, each in seconds.items()}
    plain = median.pop("plain")
    ratios = {kind: value / plain for kind, value in median.items()}
    print(json.dumps({"plain": plain, "ratios": ratios}))


def measured(python, program, norm, size, steps):
    """`one_point` in a fresh process of one core."""
    package, backend = PROGRAMS[program]
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend or "jax",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if package == "ours":
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    point = [package, "norm" if norm else "bare", str(size), str(steps)]
    done = subprocess.run(
        [python, __file__, "--point", *point],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=one_core,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def one_core():
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def table(pythons, nets, sizes, steps):
    """A row for each net, batch, package and way."""
    rows = []
    for norm in (net == "norm" for net in nets):
        for size in sizes:
            for program, python in pythons.items():
                found = measured(python, program, norm, size, steps)
                for way, ratio in found["ratios"].items():
                    rows.append(
                        {
                            "net": "4 conv, GroupNorm" if norm else "4 conv",
                            "batch": size,
                            "package": program,
                            "way": way,
                            "plain, CPU seconds": found["plain"],
                            "over plain": ratio,
                        }
                    )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    variables = {"opacus": "OPACUS", "jax-privacy": "JAX_PRIVACY"}
    for name, end in variables.items():
        default = os.environ.get(f"TFDEEP_PEERS_{end}")
        parser.add_argument(f"--{name}", metavar="PYTHON", default=default)
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--csv")
    parser.add_argument("--point", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        package, norm, size, steps = options.point
        one_point(package, norm == "norm", int(size), int(steps))
        return
    from measure import report

    others = {"Opacus": options.opacus, "jax-privacy": options.jax_privacy}
    pythons = {
        program: others[program] if program in others else sys.executable
        for program in PROGRAMS
    }
    pythons = {name: python for name, python in pythons.items() if python}
    settings = options.nets, options.sizes, options.steps
    report("A private step", table(pythons, *settings), options.csv)


if __name__ == "__main__":
    main()
