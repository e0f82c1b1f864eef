"""Time and memory of an iteration of GradInit beside a training step.

    python benchmarks/grad_init.py [--steps 20] [--norm] [--csv FILE]

A plain net of 3x3 convolutions in the form of VGG. The training step is
that of `train_on_batch` on a whole batch; an iteration of GradInit has the
same batch as two half-batches. Both kinds of iteration are measured: with
the bound at nothing, each one lowers the norm (*constraint*, a gradient of
a gradient); without one, each takes a step (*objective*, two gradients).
*As they come* is the mean of a search at the paper's bound of 1, in which the
two kinds take turns as the norm asks for.
Time: the three alternate in one process. Memory: the peak of a fresh process
during the steps after the first, less what it held before it made the net.
"""

import argparse
import itertools
import json
import sys
import time

import numpy as np
from measure import (
    batch,
    forget_peak,
    in_fresh_process,
    peak_gib,
    report,
    resident_gib,
)

BOUNDS = {"constraint": 1e-12, "objective": 1e12, "as they come": 1.0}
ARMS = ("training step", *BOUNDS)


def net(options):
    import keras
    from keras import layers

    stack = [keras.Input((32, 32, 3))]
    for stage, width in enumerate(options.widths):
        for index in range(2):
            first = stage > 0 and index == 0
            stack.append(
                layers.Conv2D(
                    width,
                    3,
                    strides=2 if first else 1,
                    padding="same",
                    kernel_initializer=keras.initializers.HeNormal(stage),
                )
            )
            if options.norm:
                stack.append(layers.BatchNormalization())
            stack.append(layers.ReLU())
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    model = keras.Sequential(stack)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def iteration(model, gamma, images, labels):
    """A function that runs one iteration, but for the write-back."""
    from tfdeep.initializers import GradInit
    from tfdeep.initializers.scale_gradients import ScaleAdam, ScaleGradients
    from tfdeep.initializers.scaled_loss import ScaledLoss

    scaled = ScaledLoss(model)
    gradients = ScaleGradients(scaled, GradInit(gamma=gamma))
    adam = ScaleAdam(1e-3, np.full(len(scaled.names), 0.01))
    half = len(images) // 2
    halves = itertools.cycle(
        [
            (images[:half], labels[:half], None),
            (images[half:], labels[half:], None),
        ]
    )
    state = {"scales": np.ones(len(scaled.names))}

    def run():
        d, record = gradients(state["scales"], halves)
        assert gamma == 1 or record["constraint"] == (gamma < 1)
        state["scales"] = adam.step(state["scales"], d, record["constraint"])

    return run


def arm(name, options):
    """The model of an arm, and a function that runs it once."""
    model = net(options)
    images, labels = batch(options.batch_size, (32, 32, 3), 10)
    if name == "training step":
        return model, lambda: model.train_on_batch(images, labels)
    return model, iteration(model, BOUNDS[name], images, labels)


def seconds_of(options) -> dict:
    from contextlib import ExitStack

    from tfdeep.initializers.without_noise import without_noise

    seconds: dict = {name: [] for name in ARMS}
    with ExitStack() as stack:
        runs = {}
        for name in ARMS:
            model, runs[name] = arm(name, options)
            if name != "training step":
                stack.enter_context(without_noise(model))
        for step in range(2 + options.steps):
            for name, run in runs.items():
                start = time.process_time()
                run()
                if step >= 2:
                    seconds[name].append(time.process_time() - start)
    return seconds


def memory_of(name, options) -> float:
    from tfdeep.initializers.without_noise import without_noise

    before = resident_gib()
    model, run = arm(name, options)
    with without_noise(model):
        run()
        forget_peak()
        for _ in range(3):
            run()
    return peak_gib() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--norm", action="store_true", help="with BN")
    parser.add_argument("--csv")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    import keras

    backend = keras.backend.backend()
    if options.memory_of:
        print(json.dumps({"gib": memory_of(options.memory_of, options)}))
        return
    seconds = {k: float(np.mean(v)) for k, v in seconds_of(options).items()}
    memory = {
        name: in_fresh_process(
            __file__, *sys.argv[1:], "--memory-of", name, backend=backend
        )["gib"]
        for name in ARMS
    }
    rows = [
        {
            "what": name,
            "backend": backend,
            "BN": options.norm,
            "CPU seconds": seconds[name],
            "ratio of time": seconds[name] / seconds[ARMS[0]],
            "GiB": memory[name],
            "ratio of memory": memory[name] / memory[ARMS[0]],
        }
        for name in ARMS
    ]
    report(f"GradInit, batch {options.batch_size}", rows, options.csv)


if __name__ == "__main__":
    main()
