"""Time of a forward pass, before and after channels are removed.

    python benchmarks/pruning.py [--nets ResNet50 MobileNetV2] [--csv FILE]

Nets of `keras.applications` with random weights, without 30 % and 50 % of
the channels of each group, widths rounded up to multiples of 8. The passes of
the nets that are compared alternate. Besides: CPU seconds for the groups, the
plan and the smaller model. Goal: 1.6 times as fast at 30 % on ResNet-50.
"""

import argparse
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
    options = parser.parse_args()

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
