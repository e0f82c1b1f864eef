"""Memory and time of DenseNet-BC(100, 12) with and without recomputation.

    python benchmarks/densenet_memory.py [--steps 8] [--csv FILE]

Each point runs in a fresh process: TensorFlow, TensorFlow with XLA, and JAX
where they are installed. "Extra memory" is the peak of the resident memory
during the timed steps, after a step of the full batch had compiled its
program, less what the process held after a step of one example had built
everything else: what the compiler needs for a while does not count.
"""

import argparse
import importlib.util
import json
import sys
import time

from measure import (
    batch,
    forget_peak,
    in_fresh_process,
    peak_gib,
    report,
    resident_gib,
)

POINTS = (("tensorflow", False), ("tensorflow", True), ("jax", True))


def measure(recompute: bool, jit: bool, options) -> dict:
    """One point, in this process."""
    import keras

    import tfdeep

    model = tfdeep.models.DenseNet(
        options.depth,
        growth_rate=12,
        recompute=recompute,
        weight_decay=0.0,
        seed=options.seed,
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "sparse_categorical_crossentropy",
        jit_compile=jit,
    )
    images, labels = batch(options.batch_size, (32, 32, 3), 10)
    model.train_on_batch(images[:1], labels[:1])
    forget_peak()
    before = resident_gib()
    model.train_on_batch(images, labels)
    forget_peak()
    seconds = []
    for _ in range(options.steps):
        start = time.process_time()
        model.train_on_batch(images, labels)
        seconds.append(time.process_time() - start)
    return {
        "seconds": sorted(seconds)[len(seconds) // 2],
        "memory": peak_gib() - before,
    }


def point(backend: str, jit: bool, options) -> list[dict]:
    """Both arms of one point, each in a fresh process."""
    measured = {}
    for recompute in (False, True):
        measured[recompute] = in_fresh_process(
            __file__,
            *sys.argv[1:],
            "--point",
            json.dumps([recompute, jit]),
            backend=backend,
        )
    plain = measured[False]
    return [
        {
            "backend": backend,
            "jit_compile": jit,
            "recompute": recompute,
            "extra GiB": result["memory"],
            "memory ratio": result["memory"] / plain["memory"],
            "CPU seconds a step": result["seconds"],
            "time ratio": result["seconds"] / plain["seconds"],
        }
        for recompute, result in measured.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(*json.loads(options.point), options)))
        return
    rows = []
    for backend, jit in POINTS:
        if importlib.util.find_spec(backend):
            rows += point(backend, jit, options)
    report(f"DenseNet-BC({options.depth}, 12)", rows, options.csv)


if __name__ == "__main__":
    main()
