"""tfdeep on a GPU: results beside those of the CPU, and ratios of steps.

    python benchmarks/gpu.py [--seconds 480] [--only NAME ...] [--out FILE]

It needs JAX on a GPU and Keras, and nothing else: no TensorFlow, no network,
no installed tfdeep. Two parts, by name:

`correctness/CASE/DTYPE`: a compiled training step of every layer, model and
wrapper, on the GPU and on the CPU of the same process, in float32 and
mixed_bfloat16; see `gpu_correctness.py` for what is compared, and how near it
must be. `ratio/CASE`: memory, step and start of two forms of one net, in turn;
see `gpu_ratios.py`.

The file is written anew after each case: a run that is stopped keeps what it
has. Cases begin with those of most worth and end within `--seconds`; those that
did not fit are recorded as "not run: out of time". An error in a case is
recorded with its message, and the next one begins. The exit status is 1 if a
case failed or had an error. `--only` takes names or parts of them, such as
`ratio`, `BasicBlock` or `reversible/100`. `--tiny` tries the script on a CPU,
with small nets: without a GPU it compares the CPU with itself, and its figures
mean nothing.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import measure
from gpu_run import Case, Record, elapsed, run_all, stop_late

FOLDER = Path(__file__).resolve().parent


def set_up() -> None:
    """Choose JAX, beside its CPU; find tfdeep without an installation."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    # The start is measured in processes that share the GPU with this one.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms and "cpu" not in platforms.split(","):
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
    sys.path.insert(0, str(FOLDER.parent))


def devices_of() -> tuple:
    """The accelerator and the CPU; without a GPU, the last and first CPU."""
    import jax

    cpus = jax.devices("cpu")
    first = jax.devices()[0]
    return (cpus[-1] if first.platform == "cpu" else first), cpus[0]


def machine_of(device) -> dict:
    """What a result depends on, without names."""
    import jax
    import jaxlib
    import keras
    import numpy

    import tfdeep

    driver = Path("/proc/driver/nvidia/version")
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "platform version": device.client.platform_version,
        "driver": driver.read_text().split("\n")[0]
        if driver.exists()
        else None,
        "host": measure.machine(),
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "keras": keras.version(),
        "numpy": numpy.__version__,
        "tfdeep": tfdeep.__version__,
    }


def head_of(device, options) -> dict:
    """What the file says before its cases."""
    import gpu_cases
    import gpu_correctness as correctness
    import gpu_ratios

    kind = device.device_kind
    compared = f"{kind} with the CPU of the same process"
    if device.platform == "cpu":
        compared = "CPU with CPU: there is no GPU, and no figure is of one"
    return {
        "compared": compared,
        "machine": machine_of(device),
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "command": shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "seeds": {"nets": gpu_cases.SEED, "ratios": gpu_ratios.SEED},
        "tiny": options.tiny,
        "bounds": {
            "explained in": "benchmarks/gpu_correctness.py",
            "inputs and weights moved by": correctness.MOVED,
            "times": correctness.FACTOR,
            "matmul precision": "highest",
        },
        "exports without a case": gpu_cases.missing(),
    }


def all_cases(devices, pool, options, left) -> list[Case]:
    """Every case, those of most worth first."""
    import gpu_cases
    import gpu_correctness as correctness
    import gpu_ratios as ratios

    def compared(name, dtype):
        def begin(found):
            finish = correctness.begin(name, dtype, devices, pool)
            return lambda: found.update(finish())

        return Case(f"correctness/{name}/{dtype}", begin, 0 if tiny else 5)

    def ratio(name, function, argument, needs=20, **more):
        def begin(found):
            return partial(function, argument, devices[0], tiny, found, **more)

        return Case(f"ratio/{name}", begin, 0 if tiny else needs, timed=True)

    tiny = options.tiny
    first = [name for name in gpu_cases.CASES if "-" not in name]
    variants = [name for name in gpu_cases.CASES if "-" in name]
    single, half = correctness.DTYPES
    clock = {"seconds_left": left}
    return [
        *(compared(name, single) for name in first),
        *(ratio(f"reversible/{n}", ratios.reversible, n) for n in (10, 100)),
        *(ratio(f"private/{n}", ratios.private, n) for n in (256, 64, 1024)),
        ratio("stochastic-depth/stacked", ratios.stochastic_depth, True),
        *(
            ratio(f"recompute/{form}", ratios.recompute, form)
            for form in ("Recompute", "Repeat", "Repeat-sqrt")
        ),
        ratio("start/Repeat", ratios.start, "Repeat", 45, **clock),
        *(compared(name, half) for name in first),
        ratio("stochastic-depth/plain", ratios.stochastic_depth, False, 60),
        ratio("start/ResNet", ratios.start, "ResNet", 60, **clock),
        *(
            compared(name, dtype)
            for name in variants
            for dtype in (single, half)
        ),
    ]


def chosen(cases: list[Case], only) -> list[Case]:
    """The cases that are named, wholly or in part."""
    if not only:
        return cases
    unknown = [w for w in only if not any(named(c, w) for c in cases)]
    if unknown:
        names = "\n".join(case.name for case in cases)
        sys.exit(f"--only came with {unknown}, which names none of\n{names}")
    return [case for case in cases if any(named(case, w) for w in only)]


def named(case: Case, words: str) -> bool:
    return f"/{words}/" in f"/{case.name}/"


def default_path(device, tiny) -> Path:
    kind = re.sub("[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")
    return FOLDER / "results" / f"gpu_{kind}{'_tiny' * tiny}.json"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--out", help="default: results/gpu_DEVICE.json")
    parser.add_argument("--tiny", action="store_true", help="try it on a CPU")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    set_up()
    if os.environ["KERAS_BACKEND"] != "jax":
        print("Nothing is measured: it needs KERAS_BACKEND=jax, or unset.")
        return 0
    if options.start:
        stop_late(lambda: 3, options.seconds)
        import gpu_ratios

        print(json.dumps(gpu_ratios.start_of(*json.loads(options.start))))
        return 0
    devices = devices_of()
    if devices[0].platform == "cpu" and not options.tiny:
        print("Nothing is measured: JAX finds no GPU. --tiny tries a CPU.")
        return 0

    def left():
        return options.seconds - elapsed()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        cases = chosen(all_cases(devices, pool, options, left), options.only)
        path = options.out or default_path(devices[0], options.tiny)
        names = [case.name for case in cases]
        record = Record(path, head_of(devices[0], options), names)
        late = stop_late(record.end, options.seconds)
        run_all(cases, record, left)
        late.cancel()
    return record.end()


if __name__ == "__main__":
    sys.exit(main())
