"""What the benchmark scripts share: timing of steps, memory, tables, CSV.

Times are CPU seconds of the process (`time.process_time`), which a busy
machine disturbs least. Steps of the models that are compared alternate
within one process, so that ratios hold when the machine's speed drifts.
Memory is measured in a fresh process per point.
"""

import csv
import ctypes
import gc
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np

GIB = 2**30


def machine() -> str:
    """The kind of machine, without names."""
    return f"{platform.machine()}, {os.cpu_count()} CPU cores"


def resident_gib() -> float:
    """Resident memory of this process, now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / GIB


def forget_peak() -> None:
    """Hand free memory back and start to measure the peak anew (Linux)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_gib() -> float:
    """The most resident memory since `forget_peak`, or since the start."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB


def batch(size: int, shape, classes: int, seed: int = 0):
    """A batch of noise: the time of a step does not depend on the pixels."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((size, *shape)).astype("float32")
    return images, rng.integers(0, classes, size).astype("int32")


def alternate(models: dict, images, labels, steps: int, warmup: int = 2):
    """CPU seconds of `steps` training steps of each model, in turn."""
    seconds = {name: [] for name in models}
    for step in range(warmup + steps):
        for name, model in models.items():
            start = time.process_time()
            model.train_on_batch(images, labels)
            if step >= warmup:
                seconds[name].append(time.process_time() - start)
    return seconds


def compared(seconds: dict) -> dict:
    """The medians, and the quartiles of the first over the second, in turn."""
    first, second = seconds.values()
    low, ratio, high = np.percentile(np.divide(first, second), [25, 50, 75])
    medians = {f"{name} step": np.median(s) for name, s in seconds.items()}
    return {**medians, "25 %": low, "ratio": ratio, "75 %": high}


def in_fresh_process(
    script: str, *arguments: str, backend: str, **environment: str
) -> dict:
    """Run `script arguments` and read the JSON of its last line."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
    }
    result = subprocess.run(
        [sys.executable, script, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(result.stdout.strip().splitlines()[-1])


def report(title: str, rows: list[dict], path: str | None) -> None:
    """Print a table of the rows; write them to a CSV if a path is given."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title} ({machine()})")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console(width=120).print(table)
    if path:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "machine"])
            writer.writeheader()
            writer.writerows({**row, "machine": machine()} for row in rows)


def _text(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
