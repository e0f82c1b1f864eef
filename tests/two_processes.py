"""Run a case in two real processes that share each batch, on loopback.

    results = run_in_two("tests.layers.cases:train", {"rate": 0.5})

The case is a function `(worker, **arguments)` in a module that can be
imported; each process calls it with a `Worker` and returns what it returned,
which must be JSON.  On TensorFlow the worker holds a
`MultiWorkerMirroredStrategy`, and `worker.steps` trains by a loop of its own,
as the `fit` of Keras fails under that strategy; on JAX `jax.distributed` is
initialized and a `DataParallel` distribution set, and the loop is `fit`.

    python -m tests.two_processes INDEX PORT,PORT CASE ARGUMENTS
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MARK = "RESULT "


class ProcessError(AssertionError):
    """One of the processes failed or did not end in time."""


def free_ports() -> list[int]:
    """Two ports of the loopback that nothing listens on."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run_in_two(case: str, arguments: dict | None = None, seconds=120) -> list:
    """Run `case` in two processes; return what each of them returned.

    Args:
        case: `"module:function"`.
        arguments: keyword arguments of the function, of JSON types.
        seconds: how long both may take together.

    Raises:
        ProcessError: with the end of what it printed, if one fails, waits
            for ever, or is left alone by the other.
    """
    import keras

    ports = ",".join(map(str, free_ports()))
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "tests.two_processes"]
    rest = [ports, case, json.dumps(arguments or {})]
    processes = [
        subprocess.Popen(
            [*command, str(index), *rest],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        _wait(processes, time.monotonic() + seconds)
    finally:
        ended = [process.poll() for process in processes]
        for process in processes:
            process.kill()
        printed = [process.communicate()[0] for process in processes]
    if ended != [0, 0]:
        # Of one that only waited for the other there is nothing to tell.
        told = [i for i, code in enumerate(ended) if code] or [0, 1]
        raise ProcessError(
            "\n".join(
                f"Process {i} ({'exit' if ended[i] else 'did not end'}"
                f" {ended[i]}): ...{printed[i][-3000:]}"
                for i in told
            )
        )
    return [_result(text) for text in printed]


def _wait(processes: list, end: float) -> None:
    """Wait until both have ended; not for the other of one that failed."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            time.sleep(1.0)  # The other may have something to say, too.
            return
        if time.monotonic() > end:
            return
        time.sleep(0.05)


def _result(text: str) -> Any:
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    return json.loads(lines[-1].removeprefix(MARK))


@dataclass
class Worker:
    """What a case knows of the process it runs in.

    Args:
        index: integer, 0 or 1.
        strategy: on TensorFlow the strategy that both share; else `None`.
    """

    index: int
    strategy: Any = None

    def part(self, array):
        """The rows of a batch that this process takes."""
        half = len(array) // 2
        return array[self.index * half : (self.index + 1) * half]

    def make(self, function):
        """Make a compiled model, under the strategy if there is one."""
        if self.strategy is None:
            return function()
        with self.strategy.scope():
            return function()

    def steps(self, model, x, y, batch_size: int) -> None:
        """Train on whole batches in order, half of each in each process."""
        starts = range(0, len(x), batch_size)
        x, y = (
            np.concatenate([self.part(a[i : i + batch_size]) for i in starts])
            for a in (x, y)
        )
        size = batch_size // 2
        if self.strategy is None:
            model.fit(x, y, batch_size=size, shuffle=False, verbose=0)
            return
        import tensorflow as tf

        step = tf.function(
            lambda *data: self.strategy.run(model.train_step, (data,))
        )
        for i in range(0, len(x), size):
            step(*(tf.constant(a[i : i + size]) for a in (x, y)))


def _tensorflow(index: int, ports: list[str]) -> Worker:
    workers = [f"127.0.0.1:{port}" for port in ports]
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": workers},
            "task": {"type": "worker", "index": index},
        }
    )
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert strategy.num_replicas_in_sync == 2
    return Worker(index, strategy)


def _jax(index: int, ports: list[str]) -> Worker:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{ports[0]}", 2, index)
    assert jax.process_count() == 2
    import keras

    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
    )
    return Worker(index)


def main(index: str, ports: str, case: str, arguments: str) -> None:
    backend = os.environ["KERAS_BACKEND"]
    start = {"tensorflow": _tensorflow, "jax": _jax}[backend]
    # Before anything of Keras is used: the processes meet here.
    worker = start(int(index), ports.split(","))
    module, _, name = case.partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        result = function(worker, **json.loads(arguments))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # Leaving in peace would wait for the other process.
    print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
