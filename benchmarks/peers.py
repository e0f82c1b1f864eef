"""The same work in ours and in other packages, one process each.

    python benchmarks/peers.py [--torch PYTHON] [--keras PYTHON] [--out FOLDER]

Nets of the ImageNet form on small images, residual blocks that are dropped,
and blocks that are computed again in the backward pass. *build*: making the
model and compiling it; *first step*: the first training step, with its
tracing; *step*: the mean of those after it, in CPU seconds; *memory*: the
peak of the process less what it held before; *file*: the saved
model, in Keras with the optimizer's momentum, in PyTorch without.

Packages that are not in this environment are looked for by the interpreters
named by `--keras` and `--torch`, or by the variables TFDEEP_PEERS_KERAS and
TFDEEP_PEERS_TORCH; what is in neither is left out, and named. PyTorch runs
eagerly, its default. Every process has one core. A repeat runs every program
once, in turn; a ratio is ours over the peer's within a repeat: the median, the
least and the greatest.
"""

import argparse
import csv
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from statistics import median

from measure import batch, forget_peak, machine, peak_gib, resident_gib
from peers_chart import draw

HERE = pathlib.Path(__file__).resolve().parent
OURS = "tfdeep"
NETS = {"shape": (64, 64, 3), "batch": 8, "classes": 1000}
DROPPED = {"shape": (16, 16, 32), "batch": 32, "classes": 10, "blocks": 24}
CHAIN = {"shape": (32, 32, 16), "batch": 16, "classes": 10, "blocks": 50}
SETTINGS = {
    "ResNet-50": NETS,
    "DenseNet-121": NETS,
    "ResNeXt-50, 32x4d": NETS,
    "DenseNet-121, recomputed": NETS,
    "blocks dropped per sample": DROPPED,
    "blocks dropped per batch": DROPPED,
    "residual blocks, recomputed": CHAIN,
    "coupling blocks, recomputed": CHAIN,
}
# The first of each is ours; where it comes from, by program.
PROGRAMS = {
    "ResNet-50": (OURS, "keras.applications", "keras-hub", "torchvision", "timm"),
    "DenseNet-121": (
        OURS, "keras.applications", "keras-hub", "torchvision", "timm",
    ),
    "ResNeXt-50, 32x4d": (OURS, "torchvision", "timm"),
    "DenseNet-121, recomputed": (
        "tfdeep, recompute=True",
        "torchvision, memory_efficient",
        "timm, memory_efficient",
    ),
    "blocks dropped per sample": (OURS, "keras.layers", "torchvision", "timm"),
    "blocks dropped per batch": (OURS, "torchvision"),
    "residual blocks, recomputed": (
        "tfdeep, recompute=True",
        "Keras, nothing recomputed",
        "keras.remat",
        "tf.recompute_grad",
        "torch.utils.checkpoint",
    ),
    "coupling blocks, recomputed": ("tfdeep, recompute=True", "MemCNN"),
}  # fmt: skip
PACKAGES = {
    "tfdeep": "tfdeep",
    "keras.applications": "keras",
    "keras.layers": "keras",
    "Keras": "keras",
    "keras.remat": "keras",
    "keras-hub": "keras_hub",
    "tf.recompute_grad": "tensorflow",
    "torch.utils.checkpoint": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "MemCNN": "memcnn",
}
IN_TORCH = ("torch", "torchvision", "timm", "memcnn")
MEASURED = ("build", "first step", "step", "memory", "file")


def package_of(program: str) -> str:
    return PACKAGES[program.partition(",")[0]]


def measure(work: str, program: str, steps: int) -> dict:
    """All figures of a program, in this process, on one core."""
    # Threads that wait for one another in a loop would count as work.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    package = package_of(program)
    if package in IN_TORCH:
        import peers_torch as framework
    else:
        import peers_keras as framework

    settings = SETTINGS[work]
    images, labels = batch(
        settings["batch"], settings["shape"], settings["classes"]
    )
    framework.ready()
    forget_peak()
    before, start = resident_gib(), time.process_time()
    model = framework.build(work, program, settings)
    built = time.process_time()
    step = framework.training_step(model, images, labels)
    step()
    first = time.process_time()
    for _ in range(steps):
        step()
    end = time.process_time()
    return {
        "version": importlib.import_module(package).__version__,
        "parameters": framework.parameters(model),
        "build": built - start,
        "first step": first - built,
        "step": (end - first) / steps,
        "memory": peak_gib() - before,
        "file": framework.saved_mib(model),
    }


def interpreter(package: str, options) -> str | None:
    """The first interpreter that has a package."""
    other = options.torch if package in IN_TORCH else options.keras
    for python in filter(None, (sys.executable, other)):
        code = f"import importlib.util as u; assert u.find_spec({package!r})"
        if process(python, "-c", code, stderr=subprocess.DEVNULL) is not None:
            return python
    return None


def process(*command: str, **kwargs) -> str | None:
    """What a command prints, or `None` if it fails."""
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        "KERAS_BACKEND": "tensorflow",
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, **kwargs
    )
    return None if result.returncode else result.stdout


def run(work: str, options) -> dict:
    """What was found of a work, a list of figures by program."""
    pythons = {
        program: interpreter(package_of(program), options)
        for program in PROGRAMS[work]
    }
    found: dict = {}
    for program in PROGRAMS[work] * options.repeats:
        if pythons[program] is None:
            continue
        point = json.dumps([work, program, options.steps])
        printed = process(pythons[program], __file__, "--point", point)
        if printed is None:
            pythons[program] = None
            found.pop((work, program), None)
            continue
        figures = json.loads(printed.strip().splitlines()[-1])
        print(work, program, figures, file=sys.stderr, flush=True)
        found.setdefault((work, program), []).append(figures)
    for program in PROGRAMS[work]:
        if (work, program) not in found:
            print(f"{work}: {program} is left out, not installed or failed")
    return found


def rows_of(found: dict) -> list[dict]:
    """The medians over the repeats."""
    return [
        {
            "work": work,
            "program": program,
            "version": runs[0]["version"],
            "million parameters": f"{runs[0]['parameters'] / 1e6:.3g}",
            "build, s": f"{middle(runs, 'build'):.2f}",
            "first step, s": f"{middle(runs, 'first step'):.2f}",
            "step, s": f"{middle(runs, 'step'):.3f}",
            "memory, GiB": f"{middle(runs, 'memory'):.2f}",
            "file, MiB": f"{middle(runs, 'file'):.2f}",
            "machine": machine(),
        }
        for (work, program), runs in found.items()
    ]


def middle(runs, name) -> float:
    return median(run[name] for run in runs)


def ratios_of(found: dict) -> dict:
    """Ours over a peer's, a list per measure, by work and peer."""
    ratios = {}
    for (work, program), theirs in found.items():
        ours = found.get((work, PROGRAMS[work][0]))
        if ours and theirs is not ours:
            ratios[work, program] = {
                name: [
                    one[name] / other[name]
                    for one, other in zip(ours, theirs, strict=True)
                ]
                for name in MEASURED
            }
    return ratios


def spread(values) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def write(rows: list[dict], path: pathlib.Path) -> None:
    if not rows:
        return
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def publish(found: dict, folder: pathlib.Path) -> None:
    """Write what was found so far: two tables and a picture."""
    ratios = ratios_of(found)
    write(rows_of(found), folder / "peers.csv")
    table = [
        {
            "work": work,
            "peer": peer,
            **{name: spread(values) for name, values in each.items()},
        }
        for (work, peer), each in ratios.items()
    ]
    write(table, folder / "peers_ratios.csv")
    draw(folder / "peers_ratios.csv", folder / "peers.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=SETTINGS)
    for name in ("keras", "torch"):
        default = os.environ.get(f"TFDEEP_PEERS_{name.upper()}")
        parser.add_argument(f"--{name}", metavar="PYTHON", default=default)
    parser.add_argument(
        "--out", type=pathlib.Path, default=HERE / "results", metavar="FOLDER"
    )
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(*json.loads(options.point))))
        return
    options.out.mkdir(exist_ok=True)
    found: dict = {}
    for work in options.only:
        found.update(run(work, options))
        publish(found, options.out)


if __name__ == "__main__":
    main()
