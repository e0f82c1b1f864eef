"""Time of a forward pass, before and after channels are removed.

    python benchmarks/pruning.py [--nets ResNet50 MobileNetV2] [--csv FILE]
    python benchmarks/pruning.py --peer PYTHON

Nets of `keras.applications` with random weights, without 30 % and 50 % of
the channels of each group, widths rounded up to multiples of 8. The passes of
the nets that are compared alternate. Besides: CPU seconds for the groups, the
plan and the smaller model. Goal: 1.6 times as fast at 30 % on ResNet-50.

With `--peer`, no passes: CPU seconds to find the groups of ResNet-50 and to
remove 30 % of each, the least of seven nets, beside Torch-Pruning. `PYTHON` is
that of an environment with torch and torch-pruning.
"""

import argparse
import json
import pathlib
import subprocess
import time

import keras
import numpy as np
from measure import batch, report

import tfdeep
from tfdeep.pruning import ChannelGraph, Magnitude


def timed(function, *args, **kwargs):
    """What a function returns, and its CPU seconds."""
    begin = time.process_time()
    result = function(*args, **kwargs)
    return result, time.process_time() - begin


def smaller(model, ratios):
    """The model and those without a share of its channels; seconds."""
    graph, seconds = timed(ChannelGraph, model)
    scores = Magnitude().scores(graph)
    made, took = {"whole": model}, {"groups": seconds}
    for ratio in ratios:
        plan, planned = timed(
            graph.plan, scores, ratio=ratio, scope="local", round_to=8
        )
        small, seconds = timed(plan.compact, model)
        made[f"without {ratio:.0%}"] = small
        took[f"without {ratio:.0%}"] = planned + seconds
    return made, took


def passes(models, images, repeats):
    """CPU seconds of forward passes, in turn."""
    seconds = {name: [] for name in models}
    for number in range(repeats + 2):
        for name, model in models.items():
            _, took = timed(model.predict_on_batch, images)
            if number >= 2:  # The first ones compile.
                seconds[name].append(took)
    return seconds


def compared_with(python, times=7):
    """Rows of this package and of Torch-Pruning, each the least."""
    ours = []
    for _ in range(times):
        model = keras.applications.ResNet50(weights=None)
        graph, groups = timed(ChannelGraph, model)
        small, seconds = timed(without, graph, 0.3)
        left = small.count_params() / 1e6
        ours.append({"groups": groups, "prune": seconds, "M parameters": left})
    script = pathlib.Path(__file__).with_name("pruning_peer.py")
    found = subprocess.run(
        [python, script, str(times)], check=True, capture_output=True, text=True
    )
    theirs = json.loads(found.stdout.strip().splitlines()[-1])
    return [
        {"package": name}
        | {key: min(run[key] for run in runs) for key in runs[0]}
        for name, runs in (("tfdeep", ours), ("Torch-Pruning", theirs))
    ]


def without(graph, ratio):
    """The model of a graph without a share of each group."""
    plan = graph.plan(Magnitude().scores(graph), ratio=ratio, scope="local")
    return plan.compact(graph.model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--nets", nargs="+", default=["ResNet50", "MobileNetV2"]
    )
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.3, 0.5])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, default=224, help="of the images")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv")
    parser.add_argument("--peer", metavar="PYTHON")
    options = parser.parse_args()
    if options.peer:
        rows = compared_with(options.peer)
        return report("CPU seconds for ResNet-50", rows, options.csv)

    rows = []
    for name in options.nets:
        shape = (options.size, options.size, 3)
        net = getattr(keras.applications, name)
        model = net(weights=None, input_shape=shape)
        models, took = smaller(model, options.ratios)
        print(name, {key: round(value, 2) for key, value in took.items()})
        for size in options.batches:
            images, _ = batch(size, shape, 10)
            seconds = passes(models, images, options.repeats)
            whole = np.median(seconds["whole"])
            for kind, values in seconds.items():
                count = tfdeep.models.count(models[kind])
                rows.append(
                    {
                        "net": name,
                        "channels": kind,
                        "batch": size,
                        "M parameters": count.parameters / 1e6,
                        "G multiply-adds": count.multiply_adds / 1e9,
                        "CPU seconds": float(np.median(values)),
                        "times as fast": float(whole / np.median(values)),
                    }
                )
    backend = keras.backend.backend()
    report(f"Forward passes, {backend}", rows, options.csv)


if __name__ == "__main__":
    main()
