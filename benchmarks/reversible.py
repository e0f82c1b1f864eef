"""Memory and time of residual capsule blocks by depth, reversible and not.

    python benchmarks/reversible.py [--blocks 10 50 100] [--csv FILE]

Three tables. *depth*: blocks of two residual routing layers, 32 to 32 capsules of
size 8, batch 128, coupled by momentum. Forms: `reversible` and `plain` are
`ReversibleCapsule` with and without recomputation; `unrolled` are plain layers
one after the other, `remat` the same with each block in `keras.remat`,
`recompute_grad` in TensorFlow's function of that name. *routing*: a routing
layer from 1,152 capsules beside its votes made by tiling and summing. *turns*:
steps of the reversible and the plain form, taken in turn in one process, of the
blocks and, without XLA, of a whole `MomentumCapsNet` with its decoder on
28x28x1.

Every point is a fresh process, and memory a further one. It is that of a step
of the whole batch less that of a step of one example: what belongs to the
batch. On TensorFlow it is by how much a step raises the process, the median of
nine, where what is freed is handed back at once; on JAX XLA's own analysis of a
gradient. For TensorFlow the blocks of *depth* are frozen, above a layer that is
trained: the gradients of all their weights, stacked at the end of a step, would
be its peak, at which little of the batch is left. Times are CPU seconds, of
steps that train all; "start" is building, compiling and the first step of the
batch, which computes more the more blocks there are, "program" the first step
of one example after that: tracing and compiling, with little to compute.
"""

import argparse
import importlib.util
import json
import sys
import time
from functools import partial

import numpy as np
from measure import alternate, compared, in_fresh_process, report

from tfdeep.recipes.measure import HANDED_BACK, memory_of

TABLES = ("depth", "routing", "turns")
ROUTING = ("tiled", "one product")
TURNS = ("blocks", "MomentumCapsNet")
PLACES = {
    "tensorflow": ("tensorflow", False),
    "tensorflow, XLA": ("tensorflow", True),
    "jax": ("jax", True),
}
FORMS = ("plain", "reversible", "unrolled", "remat", "recompute_grad")


def block(form, blocks):
    """A layer of blocks in one of the forms."""
    import keras

    import tfdeep

    if form in ("plain", "reversible"):
        return tfdeep.ReversibleCapsule(
            32, 8, blocks, recompute=form == "reversible"
        )

    class Chain(keras.layers.Layer):
        """x <- x + v, layer by layer."""

        def build(self, shape):
            self.parts = [
                tfdeep.layers.RoutingCapsules(32, 8) for _ in range(2 * blocks)
            ]
            for part in self.parts:
                part.build(shape)

        def call(self, x):
            v = keras.ops.zeros_like(x)
            for part in self.parts:
                v = 0.9 * v + 0.1 * wrapped(form, part)(x)
                x = x + v
            return x

    return Chain()


def wrapped(form, function):
    """A block as each rival takes it."""
    if form == "remat":
        import keras

        return keras.remat(function)
    if form == "recompute_grad":
        import tensorflow as tf

        return tf.recompute_grad(function)
    return function


def tiled():
    """A routing layer that tiles what it multiplies."""
    from keras import ops

    import tfdeep

    class Tiled(tfdeep.layers.RoutingCapsules):
        def call(self, u):
            out, count = self.kernel.shape[:2]
            many = ops.tile(u[:, None, :, None], (1, out, 1, 8, 1))
            votes = ops.sum(many * self.kernel[None], axis=-1)
            fixed, b = ops.stop_gradient(votes), 0.0
            for step in range(3):
                c = ops.softmax(b + 0 * votes[..., 0], axis=1)
                seen = votes if step == 2 else fixed
                v = tfdeep.layers.squash(ops.sum(c[..., None] * seen, axis=2))
                again = ops.tile(v[:, :, None], (1, 1, count, 1))
                b = ops.stop_gradient(b + ops.sum(fixed * again, axis=-1))
            return v

    return Tiled(32, 8)


def compiled(form, blocks, jit, size, frozen=False):
    """A model with its batch."""
    import keras

    import tfdeep

    if form == "tiled":
        layer, count = tiled(), 1152
    elif form == "one product":
        layer, count = tfdeep.layers.RoutingCapsules(32, 8), 1152
    else:
        layer, count = block(form, blocks), 32
    parts = [keras.Input((count, 8)), layer]
    if frozen:
        layer.trainable = False
        parts.insert(1, keras.layers.Dense(8))
    model = keras.Sequential(parts)
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, count, 8)).astype("float32") * 0.3
    return model, x, x[:, :32]


def measure(form, blocks, jit, steps, size) -> dict:
    """The times of one point, in this process."""
    import tfdeep  # noqa: F401, which takes seconds of its own

    start = time.process_time()
    model, x, y = compiled(form, blocks, jit, size)
    model.train_on_batch(x, y)
    found = {"start": time.process_time() - start}
    seconds = []
    for _ in range(steps):
        begin = time.process_time()
        model.train_on_batch(x, y)
        seconds.append(time.process_time() - begin)
    found["step"] = float(np.median(seconds))
    begin = time.process_time()
    model.train_on_batch(x[:1], y[:1])
    found["program"] = time.process_time() - begin
    return found


def turns(whose, blocks, jit, steps, size) -> dict:
    """Steps of both forms in turn, in this process, after the first's start."""
    import tfdeep  # noqa: F401, which takes seconds of its own

    make = compiled if whose == "blocks" else net
    start = time.process_time()
    model, x, y = make("reversible", blocks, jit, size)
    model.train_on_batch(x, y)
    start = time.process_time() - start
    models = {"reversible": model, "plain": make("plain", blocks, jit, size)[0]}
    return {"start": start, **compared(alternate(models, x, y, steps))}


def net(form, blocks, jit, size):
    """The paper's network with a batch."""
    import keras

    import tfdeep

    recompute = form == "reversible"
    model = tfdeep.models.MomentumCapsNet(blocks, recompute=recompute, seed=0)
    model.compile(
        keras.optimizers.Adam(),
        {"length": tfdeep.losses.MarginLoss(), "reconstruction": "mse"},
        jit_compile=jit,
    )
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(size, 28, 28, 1)).astype("float32")
    label = rng.integers(0, 10, size)
    y = {"length": label, "reconstruction": image}
    return model, {"image": image, "label": label}, y


def memory(form, blocks, jit, steps, size) -> dict:
    """The MiB of one point, in this process."""
    import keras

    analysis = keras.backend.backend() == "jax"
    frozen = form not in ROUTING and not analysis
    model, x, y = compiled(form, blocks, jit, size, frozen)
    step = analysed if analysis else risen
    return {"MiB": step(model, x, y) - step(model, x[:1], y[:1])}


def risen(model, x, y) -> float:
    """By how many MiB a step raises the process, the median of nine."""
    model.train_on_batch(x, y)
    steps = [partial(model.train_on_batch, x, y)] * 9
    return float(np.median([memory_of(step) for step in steps]))


def analysed(model, x, y) -> float:
    """The MiB that XLA sets aside within a gradient, by its own account."""
    import jax
    import keras

    layer = model.layers[-1]

    def loss(weights):
        state = [each.value for each in layer.non_trainable_variables]
        found, _ = layer.stateless_call(weights, state, x, training=True)
        return keras.ops.mean(keras.ops.square(found - y))

    weights = [each.value for each in layer.trainable_variables]
    program = jax.jit(jax.grad(loss)).lower(weights).compile()
    return program.memory_analysis().temp_size_in_bytes / 2**20


MEASURES = {"times": measure, "memory": memory, "turns": turns}


def rows_of(table, options):
    """The rows of a table, each printed as it is measured."""
    forms = {"depth": options.forms, "routing": ROUTING, "turns": TURNS}[table]
    measures = {"times": {}, "memory": HANDED_BACK}
    if table == "turns":
        measures = {"turns": {}}
    for place in options.places:
        backend, jit = PLACES[place]
        if not importlib.util.find_spec(backend):
            continue
        for form in forms:
            rivals = ("remat", "recompute_grad")
            if form in rivals and (jit or backend == "jax"):
                continue  # They are TensorFlow's, or do not run on JAX.
            if form == "MomentumCapsNet" and jit:
                continue  # XLA takes minutes for its convolutions on a CPU.
            for blocks in (1,) if table == "routing" else options.blocks:
                if form == "unrolled" and blocks > 50:
                    continue
                arguments = [
                    form,
                    blocks,
                    jit,
                    options.steps,
                    32 if table == "routing" else options.batch_size,
                ]
                row = {"place": place, "form": form, "blocks": blocks}
                for what, how in measures.items():
                    row |= in_fresh_process(
                        __file__,
                        f"--{what}",
                        json.dumps(arguments),
                        backend=backend,
                        **how,
                    )
                print(row, file=sys.stderr, flush=True)
                yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--csv", help="the start of the files' names")
    for name in MEASURES:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, one in MEASURES.items():
        if getattr(options, name):
            print(json.dumps(one(*json.loads(getattr(options, name)))))
            return
    for table in options.only:
        rows = list(rows_of(table, options))
        path = f"{options.csv}-{table}.csv" if options.csv else None
        report(f"Reversible capsules: {table}", rows, path)


if __name__ == "__main__":
    main()
