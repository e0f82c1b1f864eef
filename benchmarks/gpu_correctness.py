"""A training step on a GPU beside the same step on the CPU.

Both devices get one traced program, the same weights, batch and random
streams, and take three steps, a whole model one. Compared are the outputs at
inference, the logs of each step and by how much every weight and statistic
moved; integers, such as the states of random streams, must be equal.

GPUs multiply float32 matrices in TF32, with 10 digits of the 23, by default:
here `jax_default_matmul_precision` is "highest", so that it is float32 that is
compared.

How far apart may two right results be? No further than rounding moves them,
and how far that is depends on the layer: a ReLU or a routing by agreement
passes a difference on, enlarged or not. So it is measured. The CPU takes the
same steps from inputs and weights that are moved at random by a few roundings,
`MOVED`, five times, and a tensor may be off by

    FACTOR * the most that it moved + ROUNDINGS * epsilon * its size,

in Euclidean norms, plus the rounding of weights, which are kept in float32. In
float32 they move by 2^-20, 8 roundings, and 32 is for convolutions by
Winograd's algorithm, which are that coarse. In bfloat16 they move by 2^-8, one
rounding, and 4 is for the operations of a layer, each of which rounds: where
only XLA's choice of what it rounds differed, tensors were up to 0.3 of their
bound apart. A wrong sign or factor moves a tensor by its own size. Where the
bound is more than half of that the comparison says little, and the tensor is
counted as `undetermined`: in float32 a bias before a normalization, whose
gradient is 0 but for rounding, and a few weights of the deepest net; in
bfloat16 up to half of the weights of a whole model. A weight that no step moved
is listed as `unmoved`.

A ReLU that lets a value near 0 pass on one device alone may fail a case with an
error of a percent in all weights below it. None did between two programs of a
CPU; a fault of a layer would show in its other cases as well.
"""

import math
from functools import partial

import gpu_cases
import gpu_step
import jax
import keras
import numpy as np

DTYPES = ("float32", "mixed_bfloat16")
REPEATS = 5
EPSILON = {"float32": 2.0**-23, "mixed_bfloat16": 2.0**-8}
MOVED = {"float32": 2.0**-20, "mixed_bfloat16": 2.0**-8}
FACTOR = {"float32": 32, "mixed_bfloat16": 4}
ROUNDINGS = 4
# The reference runs a few times and is small: compiling it costs most.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def begin(name, dtype, devices, pool):
    """Trace a case and have it compiled in the background.

    Args:
        name: of `gpu_cases.CASES`.
        dtype: the name of a Keras dtype policy.
        devices: the accelerator and the CPU.
        pool: an executor.

    Returns:
        A function that compares, and returns what it found.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        with jax.default_device(devices[1]):
            model, loss, data = gpu_cases.build(name)
            gpu_step.ready(model, loss, gpu_cases.rate_of(name))
            state = jax.tree.map(np.array, gpu_step.state_of(model))
    finally:
        keras.config.set_dtype_policy(policy)
    step = jax.jit(partial(both, model))
    compiled = []
    for device, options in zip(devices, (None, QUICKLY), strict=True):
        with jax.default_matmul_precision("highest"):
            lowered = step.lower(*jax.device_put((state, data), device))
        compiled.append(pool.submit(lowered.compile, options))
    steps = gpu_cases.steps_of(name)
    return partial(finish, model, steps, state, data, devices, compiled, dtype)


def both(model, state, data):
    """What the model returns at inference, and a step of training."""
    outputs, _ = model.stateless_call(*state[:2], data[0], training=False)
    return outputs, model.train_step(state, data)


def finish(model, steps, state, data, devices, compiled, dtype):
    """Run a compiled case on both devices and compare."""
    on_device, on_cpu = (
        partial(run, model, steps, each.result(), device)
        for each, device in zip(compiled, devices, strict=True)
    )
    found, wanted = on_device(state, data), on_cpu(state, data)
    shaken = [
        on_cpu(*shake(state, data, MOVED[dtype], seed))
        for seed in range(REPEATS)
    ]
    unmoved = [
        variable.path
        for variable in model.trainable_variables
        if not wanted[f"update/{variable.path}"].any()
    ]
    compared = compare(found, wanted, shaken, by_path(model, state), dtype)
    return {**compared, "unmoved": unmoved}


def run(model, steps, program, device, state, data):
    """Some steps on a device, as a dictionary of arrays."""
    first, found = state, {}
    state, data = jax.device_put((state, data), device)
    for step in range(steps):
        outputs, (logs, state) = program(state, data)
        found |= {f"log/{step}/{key}": value for key, value in logs.items()}
    for index, value in enumerate(jax.tree.leaves(outputs)):
        found[f"output/{index}"] = value
    found = {key: np.asarray(value) for key, value in found.items()}
    after = by_path(model, jax.tree.map(np.asarray, state))
    for path, old in by_path(model, first).items():
        if np.issubdtype(old.dtype, np.floating):
            found[f"update/{path}"] = after[path] - old
        else:
            found[f"integer/{path}"] = after[path]
    return found


def by_path(model, state) -> dict:
    """The weights and statistics of a state, by the path of their variable."""
    pairs = zip(gpu_step.variables_of(model)[:2], state[:2], strict=True)
    return {
        variable.path: value
        for variables, values in pairs
        for variable, value in zip(variables, values, strict=True)
    }


def shake(state, data, size, seed):
    """State and data, whose inputs and trained weights moved a little."""
    rng = np.random.default_rng(seed)

    def moved(value):
        noise = rng.uniform(-1, 1, value.shape).astype(value.dtype)
        return value * (1 + size * noise)

    trained = [moved(value) for value in state[0]]
    return (trained, *state[1:]), (moved(data[0]), *data[1:])


def norm(value) -> float:
    return float(np.linalg.norm(value.astype("float64").ravel()))


def compare(found, wanted, shaken, weights, dtype) -> dict:
    """Whether each tensor is as near as rounding lets it be.

    Args:
        found: tensors of the accelerator, by name.
        wanted: those of the CPU.
        shaken: list of those of the CPU that began a few roundings away.
        weights: what the variables were before, by path.
        dtype: of the steps.

    Returns:
        A dictionary: `status`, the relative errors of outputs, logs and
        updates as wholes, the tensor nearest to its bound or beyond it.
    """
    worst, undetermined, squares = (0.0, None), [], {}
    for name, value in wanted.items():
        kind, _, path = name.partition("/")
        off, size = norm(found[name] - value), norm(value)
        bound = 0.0
        if kind != "integer":
            moved = max(norm(each[name] - value) for each in shaken)
            rounded, kept = EPSILON[dtype] * size, 0.0
            if kind == "update":
                kept = 2 * EPSILON["float32"] * norm(weights[path])
            bound = FACTOR[dtype] * moved + ROUNDINGS * rounded + kept
            whole = squares.setdefault(kind, [0.0, 0.0])
            whole[0] += off**2
            whole[1] += size**2
            if bound > size / 2 > 0:
                undetermined.append(name)
        share = off / bound if bound else math.inf if off else 0.0
        if not math.isfinite(off + bound):
            share = math.inf  # Something is no number.
        worst = max(worst, (share, name), key=lambda each: each[0])
    return {
        "status": "passed" if worst[0] <= 1 else "failed",
        **{
            f"{kind} error": (off / max(size, 1e-300)) ** 0.5
            for kind, (off, size) in squares.items()
        },
        "worst": worst[1],
        "of its bound": worst[0],
        "tensors": len(wanted),
        "undetermined": len(undetermined),
    }
