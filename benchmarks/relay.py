"""Cost of a training step with relay backpropagation, in FLOPs and time.

    python benchmarks/relay.py [--blocks 4] [--jit] [--csv FILE]

A plain net of convolutions in blocks, beside the same net with heads on the
ends of its blocks but the last: all of them reaching everything (deep
supervision), and relay with overlaps of no layer, one layer, and one block.
On TensorFlow the FLOPs are those of all operations that a step needs, on JAX
those of the compiled program. Bound: 1.35 of the plain step with one block of overlap.
"""

import argparse

import keras
import numpy as np
from keras import layers
from measure import alternate, batch, report

from tfdeep.training import DeepSupervision, Head, RelayBackpropagation


def net(options) -> keras.Model:
    """Blocks of convolutions; each halves the image and doubles the width."""
    x = inputs = keras.Input((options.size, options.size, 3))
    for block in range(options.blocks):
        for index in range(options.depth):
            strides = 2 if block and not index else 1
            width = options.width * 2**block
            x = layers.Conv2D(width, 3, strides, padding="same")(x)
            x = layers.ReLU(name=f"relu_{block}_{index}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def models(options) -> dict[str, keras.Model]:
    """The net alone, supervised, and with relays of growing overlap."""
    ends = range(options.blocks - 1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def heads():
        last = options.depth - 1
        return {f"relu_{block}_{last}": Head(loss=loss) for block in ends}

    made = {
        "plain": net(options),
        "deep supervision": DeepSupervision(net(options), heads()),
    }
    for name, overlap in (
        ("no layer", 0),
        ("one layer", 1),
        ("one block", options.depth),
        ("two blocks", 2 * options.depth),
    ):
        made[f"relay, overlap of {name}"] = RelayBackpropagation(
            net(options), heads(), overlap=overlap
        )
    for model in made.values():
        sgd = keras.optimizers.SGD(0.01)
        model.compile(sgd, loss, jit_compile=options.jit)
    return made


def flops(model: keras.Model, images, labels) -> float:
    """Floating-point operations of one training step."""
    if keras.backend.backend() == "jax":
        return jax_flops(model, images, labels)
    import tensorflow as tf

    step = tf.function(lambda x, y: model.train_step((x, y)))
    graph = step.get_concrete_function(images, labels).graph
    used = [t.op for t in graph.outputs] + list(graph.control_outputs)
    kept = tf.compat.v1.graph_util.extract_sub_graph(
        graph.as_graph_def(), [operation.name for operation in used]
    )
    needed = {node.name for node in kept.node}
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    quiet = profiler.ProfileOptionBuilder(options).with_empty_output().build()
    waiting = [profiler.profile(graph, cmd="scope", options=quiet)]
    total = 0
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children)
        total += node.float_ops if node.name in needed else 0
    return float(total)


def jax_flops(model: keras.Model, images, labels) -> float:
    import jax

    state = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        [v.value for v in model.optimizer.variables],
        [v.value for v in model.metrics_variables],
    )
    step = jax.jit(model.train_step).lower(state, (images, labels)).compile()
    return step.cost_analysis()["flops"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--depth", type=int, default=3, help="of a block")
    parser.add_argument("--width", type=int, default=16, help="first block's")
    parser.add_argument("--size", type=int, default=32, help="of the images")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--csv")
    options = parser.parse_args()
    options.jit |= keras.backend.backend() == "jax"

    keras.utils.set_random_seed(options.seed)
    compared = models(options)
    shape = (options.size, options.size, 3)
    images, labels = batch(options.batch_size, shape, 10)
    seconds = alternate(compared, images, labels, options.steps)
    counts = {n: flops(m, images, labels) for n, m in compared.items()}
    rows = [
        {
            "step": name,
            "GFLOPs": counts[name] / 1e9,
            "FLOPs ratio": counts[name] / counts["plain"],
            "CPU seconds": float(np.mean(values)),
            "standard error": float(np.std(values) / len(values) ** 0.5),
            "time ratio": float(np.mean(values) / np.mean(seconds["plain"])),
        }
        for name, values in seconds.items()
    ]
    title = f"{options.blocks} blocks of {options.depth} convolutions"
    backend = keras.backend.backend()
    report(f"{title}, {backend}, XLA: {options.jit}", rows, options.csv)


if __name__ == "__main__":
    main()
