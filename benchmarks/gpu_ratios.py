"""Ratios on a GPU: each of two forms of one net, in one run.

Steps are those of compiled programs, taken in turn: a few of the one, then as
many of the other, and `block_until_ready` once for each turn. Times are wall
seconds of a step, as a GPU works while the CPU waits; a ratio is the median
over the turns. Nets are in float32, whose products a GPU takes in TF32 by
default, as users do.

Memory is what XLA sets aside for the values within a step
(`memory_analysis().temp_size_in_bytes` of the compiled program): exact, the
same in every run, and known before the step runs. The device's own peak
(`memory_stats()["peak_bytes_in_use"]`) is the highest of the whole process:
after the first model it tells nothing of the second.

A start is what a user waits for: building the model, compiling it and
`train_on_batch`, in a fresh process for each form, whose device is awake.
Within one process the second form would find what the first has tuned.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import gpu_step
import jax
import keras
import numpy as np
from keras import layers
from measure import batch, compared, in_fresh_process
from private_step import SHAPE
from private_step import net as private_net

import tfdeep

# How long a turn takes at least, and the longest that turns take together.
TURN, TOGETHER, TURNS = 0.02, 6.0, 30
SEED = 0


def in_turn(forms: dict, data, device, found: dict, tiny: bool) -> dict:
    """Compare the steps of two forms.

    Args:
        forms: functions that make a model and its loss, by name; the first is
            compared with the second.
        data: `(x, y)`.
        device: where they run.
        found: gets what is known, as soon as it is.
        tiny: whether a few turns do.
    """
    steps = {}
    for name, make in forms.items():
        keras.utils.set_random_seed(SEED)
        with jax.default_device(jax.devices("cpu")[0]):
            model = gpu_step.ready(*make(), 1e-3)
        steps[name] = gpu_step.Step(model, data, device)
    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(gpu_step.Step.compile, steps.values()))
    bytes_of = {name: step.memory() for name, step in steps.items()}
    first, second = bytes_of.values()
    found["memory"] = {
        **{f"{name} MiB": size / 2**20 for name, size in bytes_of.items()},
        "ratio": first / max(second, 1),
    }
    turns, seconds = alternate(steps, tiny)
    found["step"] = {**compared(seconds), **turns}
    return found


def alternate(steps: dict, tiny: bool) -> tuple[dict, dict]:
    """Wall seconds of a step of each, in turn."""
    for step in steps.values():
        jax.block_until_ready(step(2))
    slowest = max(timed(step, 2) for step in steps.values())
    times = 1 if tiny else int(np.clip(np.ceil(TURN / slowest), 1, 50))
    turns = TOGETHER / (len(steps) * slowest * times)
    turns = 2 if tiny else int(np.clip(turns, 3, TURNS))
    seconds: dict = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            seconds[name].append(timed(step, times))
    return {"turns": turns, "steps in a turn": times}, seconds


def timed(step, times: int) -> float:
    """Seconds of one of so many steps."""
    start = time.perf_counter()
    jax.block_until_ready(step(times))
    return (time.perf_counter() - start) / times


def of_images(shape, size, classes=10):
    """A batch of noise, on no device yet."""
    return batch(size, shape, classes, SEED)


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def reversible(blocks, device, tiny, found):
    """Blocks that are undone, beside a plain residual net of the same."""
    width, size, count = (8, 8, 2) if tiny else (64, 32, 64)
    blocks = min(blocks, 3) if tiny else blocks
    found["net"] = (
        f"{blocks} blocks of BatchNormalization, ReLU and a 3x3 convolution, "
        f"{width} channels, {size}x{size}, batch {count}"
    )

    def branch():
        return keras.Sequential(
            [
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Conv2D(width, 3, padding="same", use_bias=False),
            ]
        )

    def net(**settings):
        stack = [branch() for _ in range(blocks)]
        stack = tfdeep.layers.ReversibleStack(stack, **settings)
        return classifier(stack, (size, size, width)), crossentropy()

    forms = {"reversible": net, "plain": partial(net, gamma=0, recompute=False)}
    data = of_images((size, size, width), count)
    return in_turn(forms, data, device, found, tiny)


def classifier(layer, shape):
    """The layers of a net between its input and its logits, as a model."""
    parts = [keras.Input(shape), layer, layers.GlobalAveragePooling2D()]
    return keras.Sequential([*parts, layers.Dense(10)])


def private(size, device, tiny, found):
    """A private step beside a plain one, four convolutions on 28x28 images."""

    def native():
        noise = tfdeep.privacy.GaussianMechanism(noise_multiplier=1.0)
        model = tfdeep.PrivateModel(private_net(norm=True), mechanism=noise)
        return model, crossentropy()

    forms = {
        "private": native,
        "plain": lambda: (private_net(norm=True), crossentropy()),
    }
    size = 4 if tiny else size
    found["net"] = f"4 convolutions, GroupNormalization, batch {size}"
    data = of_images(SHAPE, size)
    return in_turn(forms, data, device, found, tiny)


def stochastic_depth(stacked, device, tiny, found):
    """A net whose blocks are dropped at random, beside one that keeps all."""
    depth, size, count = (8, 8, 2) if tiny else (110, 32, 128)
    found["net"] = f"ResNet-{depth}, {size}x{size}, batch {count}"

    def net(last):
        settings = {"survival_probability": last, "stacked": stacked}
        model = tfdeep.models.ResNet(
            depth,
            input_shape=(size, size, 3),
            classifier_activation=None,
            seed=SEED,
            **settings,
        )
        return model, crossentropy()

    forms = {"survival 0.5": partial(net, 0.5), "none": partial(net, 1.0)}
    data = of_images((size, size, 3), count)
    found["expected share of blocks"] = float(
        np.mean(tfdeep.layers.linear_survival((depth - 2) // 2))
    )
    return in_turn(forms, data, device, found, tiny)


def recompute(form, device, tiny, found):
    """Blocks whose insides are computed again, beside those that keep them."""
    width, size, count = (8, 8, 2) if tiny else (64, 32, 64)
    make, again, blocks = {
        "Recompute": (row, True, 2 if tiny else 12),
        "Repeat": (loop, True, 4 if tiny else 48),
        "Repeat-sqrt": (loop, "sqrt", 4 if tiny else 48),
    }[form]
    found["net"] = (
        f"{blocks} PreActivationBlocks, {width} channels, {size}x{size}, "
        f"batch {count}"
    )

    def net(again):
        layer = make(width, blocks, again)
        return classifier(layer, (size, size, width)), crossentropy()

    forms = {"recomputed": partial(net, again), "plain": partial(net, False)}
    data = of_images((size, size, width), count)
    return in_turn(forms, data, device, found, tiny)


def row(width, blocks, again=False):
    """Blocks one after the other, each in `Recompute` or not."""
    parts = [tfdeep.layers.PreActivationBlock(width) for _ in range(blocks)]
    if again:
        parts = [tfdeep.layers.Recompute(part) for part in parts]
    return keras.Sequential(parts)


def loop(width, blocks, again=False):
    """The same blocks as one layer."""
    block = tfdeep.layers.PreActivationBlock(width)
    return tfdeep.layers.Repeat(block, blocks, recompute=again)


def start_of(kind, stacked, tiny) -> dict:
    """Seconds to the first step of a net, in this process."""
    wake()
    size = {"ResNet": 14 if tiny else 56, "Repeat": 3 if tiny else 24}[kind]
    count = 2 if tiny else 64
    start = time.perf_counter()
    if kind == "ResNet":
        net = f"ResNet-{size}"
        settings = {"classifier_activation": None, "seed": SEED}
        model = tfdeep.models.ResNet(size, stacked=stacked, **settings)
    else:
        net = f"{size} PreActivationBlocks, 16 channels"
        blocks = (loop if stacked else row)(16, size)
        model = classifier(blocks, (32, 32, 16))
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), crossentropy())
    built = time.perf_counter()
    x, y = of_images(model.input_shape[1:], count)
    model.train_on_batch(x, y)  # Returns the loss: the step has been taken.
    end = time.perf_counter()
    return {
        "net": f"{net}, 32x32, batch {count}",
        "build": built - start,
        "first step": end - built,
        "start": end - start,
    }


def wake():
    """Have the device load its libraries for matrices and convolutions."""
    ones = jax.numpy.ones((1, 8, 8, 8))
    convolve = jax.jit(
        partial(jax.lax.conv, window_strides=(1, 1), padding="SAME")
    )
    jax.block_until_ready(convolve(ones, ones) @ ones)


def start(kind, device, tiny, found, seconds_left):
    """Time to the first step, of a loop and of blocks in a row."""
    del device  # A fresh process takes the first one, as this one does.
    for form in ("stacked", "plain"):
        found[form] = in_fresh_process(
            str(Path(__file__).with_name("gpu.py")),
            "--start",
            json.dumps([kind, form == "stacked", tiny]),
            "--seconds",
            str(seconds_left()),
            backend="jax",
        )
    found["ratio"] = found["stacked"]["start"] / found["plain"]["start"]
    return found
