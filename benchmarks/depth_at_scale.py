"""Start, step and memory of deep nets, stacked and unrolled.

    python benchmarks/depth_at_scale.py [--csv FILE] [--only TABLE ...]

Seven tables. *blocks*: residual blocks of two 3x3 convolutions, 16 channels, on
8x8 images, and of two dense layers, batch 16; *turns*: steps of these, stacked
and unrolled, taken in turn in one process; *start*: the same up to the first
step, from 200 to 1,000 blocks, batch 8; *nets*: ResNet-1202 and
pre-activation ResNet-1001 on 32x32 images, batch 8, with the time to save and
load them; *memory*: 200 convolutional blocks on 32x32 images, batch 16, with
and without recomputation; *survival*: 200 blocks with stochastic depth;
*depths*: from how many blocks on it pays to stack them, on 16x16 images.

JAX compiles one block after the other, at last in more memory than most
machines have: there at most 50 are unrolled, and as many stacked beside them.

Every point is a fresh process. Times are CPU seconds; *start* is building the
model, compiling it and the first training step. Memory is the peak of the
process less what it held before the model was made.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time

import numpy as np
from measure import (
    alternate,
    batch,
    compared,
    forget_peak,
    in_fresh_process,
    peak_gib,
    resident_gib,
)
from measure import report as print_report

MOST_UNROLLED = {"jax": 50}
TABLES = ("blocks", "turns", "start", "nets", "memory", "survival", "depths")


def dense_block(width):
    from keras import layers

    import tfdeep

    class Residual(tfdeep.layers.StochasticDepth):
        """x + f(x)."""

        def call(self, inputs, training=None):
            return super().call(inputs, inputs, training=training)

    from keras import Sequential

    branch = Sequential(
        [
            layers.BatchNormalization(),
            layers.Dense(width, "relu"),
            layers.Dense(width),
        ]
    )
    return Residual(branch, 1.0)


def block(kind):
    import tfdeep

    if kind == "dense":
        return dense_block(64)
    return tfdeep.layers.PreActivationBlock(16)


def chain(kind, count, stacked, survival, recompute, size):
    """A stem, equal blocks, a classifier."""
    import keras
    from keras import layers

    import tfdeep

    shape = (64,) if kind == "dense" else (size, size, 16)
    x = inputs = keras.Input(shape)
    chances = tfdeep.layers.linear_survival(count) if survival else None
    if stacked:
        x = tfdeep.layers.Repeat(block(kind), count, chances, recompute)(x)
    else:
        for index in range(count):
            part = block(kind)
            if survival:
                part.survival_probability = chances[index]
            x = part(x)
    if kind != "dense":
        x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def net(kind, stacked):
    import tfdeep

    depth, preactivation = {"1202": (1202, False), "1001": (1001, True)}[kind]
    return tfdeep.models.ResNet(
        depth, preactivation=preactivation, stacked=stacked
    )


def measure(point) -> dict:
    """One point, in this process."""
    import keras

    # Keras imports what it serializes with, TensorFlow where it is installed.
    keras.layers.Dense(1).get_config()
    before = resident_gib()
    start = time.process_time()
    if point["kind"] in ("1202", "1001"):
        model = net(point["kind"], point["stacked"])
    else:
        model = chain(
            point["kind"],
            point["blocks"],
            point["stacked"],
            point.get("survival", False),
            point.get("recompute", False),
            point.get("size", 8),
        )
    build = time.process_time() - start
    compiled(model, point.get("jit", "auto"))
    x, y = batch(point["batch"], model.input.shape[1:], 10)
    model.train_on_batch(x, y)
    first = time.process_time() - start - build
    forget_peak()
    seconds = []
    for _ in range(point["steps"]):
        start = time.process_time()
        model.train_on_batch(x, y)
        seconds.append(time.process_time() - start)
    return {
        "build": build,
        "first step": first,
        "start": build + first,
        "step": float(np.median(seconds)),
        "mean step": float(np.mean(seconds)),
        "GiB": peak_gib() - before,
        **(saved(model) if point.get("save") else {}),
    }


def compiled(model, jit="auto"):
    import keras

    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    return model


def turns(point) -> dict:
    """Steps of both forms in turn, in this process."""
    models = {
        form: compiled(
            chain(
                point["kind"],
                point["blocks"],
                stacked=form == "stacked",
                survival=False,
                recompute=False,
                size=8,
            )
        )
        for form in ("stacked", "unrolled")
    }
    x, y = batch(point["batch"], models["stacked"].input.shape[1:], 10)
    return compared(alternate(models, x, y, point["steps"]))


def saved(model) -> dict:
    """Seconds to save and load, and the file's size."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        start = time.perf_counter()
        model.save(path)
        middle = time.perf_counter()
        keras.models.load_model(path, compile=False)
        end = time.perf_counter()
        size = os.path.getsize(path) / 2**20
    return {"save": middle - start, "load": end - middle, "MiB": size}


def points(table, backend, options) -> list[dict]:
    """What is measured for a table on a backend."""
    most, found = MOST_UNROLLED.get(backend, float("inf")), []
    if table == "turns":
        return [
            {"kind": kind, "blocks": min(200, most), "batch": 16}
            | {"steps": 3 * options.steps, "turns": True}
            for kind in ("conv", "dense")
        ]
    for point in all_points(table, options):
        if not point["stacked"] and point["blocks"] > most:
            fewer = {**point, "blocks": most}
            found += [{**fewer, "stacked": True}, fewer]
        else:
            found.append(point)
    return [p for i, p in enumerate(found) if p not in found[:i]]


def all_points(table, options) -> list[dict]:
    """What is measured for a table where memory allows it."""
    shared = {"batch": 16, "steps": options.steps}
    both = ({"stacked": True}, {"stacked": False})
    if table == "blocks":
        return [
            {"kind": kind, "blocks": 200, **form, **shared}
            for kind in ("conv", "dense")
            for form in both
        ]
    if table == "start":
        shared = {"batch": 8, "steps": 2}
        return [
            {"kind": kind, "blocks": count, "stacked": True, **shared}
            for kind in ("conv", "dense")
            for count in (200, 1000)
        ]
    if table == "nets":
        shared = {"batch": 8, "steps": 2, "save": True}
        return [
            {"kind": kind, "blocks": count, "stacked": True, **shared}
            for kind, count in (("1202", 600), ("1001", 333))
        ]
    if table == "depths":
        return [
            {"kind": "conv", "blocks": count, "size": 16, **form, **shared}
            for count in (8, 16, 32, 64, 128)
            for form in both
        ]
    base = {"kind": "conv", "blocks": 200, **shared}
    if table == "survival":
        base.update(steps=3 * options.steps, size=16, stacked=True)
        return [base, {**base, "survival": True}]
    base.update(size=32, steps=2)
    return [
        {**base, "stacked": False},
        *(
            {**base, "stacked": True, "recompute": recompute}
            for recompute in (False, True, "sqrt")
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--csv", help="the start of the files' names")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        point = json.loads(options.point)
        print(json.dumps((turns if "turns" in point else measure)(point)))
        return
    backends = [b for b in options.backends if importlib.util.find_spec(b)]
    for table in options.only:
        names = ("kind", "blocks")
        if table != "turns":
            names += ("stacked", "recompute", "survival")
        rows = []
        for backend in backends:
            for point in points(table, backend, options):
                found = in_fresh_process(
                    __file__, "--point", json.dumps(point), backend=backend
                )
                shown = {name: point.get(name, False) for name in names}
                rows.append({"backend": backend, **shown, **found})
                print(rows[-1], file=sys.stderr, flush=True)
        path = f"{options.csv}-{table}.csv" if options.csv else None
        print_report(f"Depth at scale: {table}", rows, path)


if __name__ == "__main__":
    main()
