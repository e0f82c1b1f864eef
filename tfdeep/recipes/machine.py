"""The software and the machine that a result comes from."""

import os
import platform
import sys
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter.

    Example:
        >>> sorted(versions())[:2] == ["backend", "keras"]
        True
    """
    import keras
    import numpy as np

    import tfdeep

    backend = keras.config.backend()
    # Keras has imported its backend; tfdeep itself never does.
    version = getattr(sys.modules.get(backend), "__version__", "unknown")
    return {
        "tfdeep": tfdeep.__version__,
        "python": platform.python_version(),
        "keras": keras.version(),
        "backend": f"{backend} {version}",
        "numpy": np.__version__,
    }


def machine() -> dict[str, Any]:
    """Return the kind of machine, without anything that names it.

    Example:
        >>> machine()["cpus"] >= 1
        True
    """
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor(),
        "cpus": usable_cpus(),
        "accelerators": accelerators(),
    }


def processor() -> str:
    """Return the name of the processor's model, as far as it is known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [
        line for line in text.splitlines() if line.startswith("model name")
    ]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def usable_cpus() -> int:
    """Return the number of processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Only Linux knows the affinity.
        return os.cpu_count() or 1


def accelerators() -> int:
    """Return the number of GPUs or TPUs that the backend sees."""
    import keras

    devices = keras.distribution.list_devices()
    return sum(not device.lower().startswith("cpu") for device in devices)
