"""CPU seconds of AutoInit by depth, beside a start from data.

    python benchmarks/auto_init.py [--repeats 3] [--csv FILE]

Dense nets of 50, 500 and 1,000 layers and a chain of 50 convolutions. The
time is that of `initialize_model` on a built model, the least of a few
repeats; LSUV, the start from data that the recipes compare with, passes one
batch of 256 inputs through the same nets. Memory: what a fresh process holds
at most in the meantime, less what it held before.
"""

import argparse
import json
import sys
import time
import warnings

import numpy as np
from measure import (
    forget_peak,
    in_fresh_process,
    peak_gib,
    report,
    resident_gib,
)

NETS = {
    "50 Dense, width 512": (50, 512),
    "500 Dense, width 64": (500, 64),
    "1,000 Dense, width 64": (1000, 64),
    "50 Conv2D, 16x16, width 64": (50, None),
}


def net(name):
    import keras
    from keras import layers

    depth, width = NETS[name]
    # Keras' own functional build recurses over the layers.
    sys.setrecursionlimit(20_000)
    if width is None:
        stack = [keras.Input((16, 16, 3))]
        for _ in range(depth):
            stack += [layers.Conv2D(64, 3, padding="same"), layers.ReLU()]
        stack.append(layers.GlobalAveragePooling2D())
    else:
        stack = [keras.Input((64,))]
        for _ in range(depth):
            stack += [layers.Dense(width), layers.ReLU()]
    return keras.Sequential([*stack, layers.Dense(10)])


def run(method, model):
    from tfdeep import AutoInit
    from tfdeep.recipes.lsuv import lsuv

    if method == "AutoInit":
        AutoInit(seed=0).initialize_model(model)
    else:
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((256, *model.input_shape[1:]))
        lsuv(model, inputs.astype("float32"))


def measured(name, method, repeats):
    warnings.simplefilter("ignore")
    model = net(name)
    run(method, net("50 Dense, width 512"))  # Imports and first calls.
    before = resident_gib()
    forget_peak()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run(method, model)
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "gib": peak_gib() - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(*options.one, options.repeats)))
        return
    import keras

    rows = []
    for name in NETS:
        points = {
            method: in_fresh_process(
                __file__,
                *("--repeats", str(options.repeats), "--one", name, method),
                backend=keras.backend.backend(),
            )
            for method in ("AutoInit", "LSUV")
        }
        rows.append(
            {
                "net": name,
                "CPU seconds": points["AutoInit"]["seconds"],
                "of LSUV": points["LSUV"]["seconds"],
                "GiB": points["AutoInit"]["gib"],
                "of LSUV, GiB": points["LSUV"]["gib"],
            }
        )
    report("AutoInit", rows, options.csv)
    by_net = {row["net"]: row["CPU seconds"] for row in rows}
    ratio = by_net["1,000 Dense, width 64"] / by_net["500 Dense, width 64"]
    print(f"1,000 over 500 layers: {ratio:.2f}")


if __name__ == "__main__":
    main()
