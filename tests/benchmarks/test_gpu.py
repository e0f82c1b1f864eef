"""The script for GPUs runs, keeps what it finds, and notices what is wrong."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the script runs on JAX")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def script(*arguments, folder, backend=None):
    """Run it in another folder, where tfdeep is not installed."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # The second stands for the GPU.
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
        + " --xla_force_host_platform_device_count=2",
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }
    environment.pop("KERAS_BACKEND", None)
    if backend:
        environment["KERAS_BACKEND"] = backend
    # Without -S the editable installation of tfdeep would be found.
    return subprocess.run(
        [sys.executable, "-S", str(BENCHMARKS / "gpu.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.jax  # As on a machine with a GPU, without TensorFlow.
@pytest.mark.slow
def test_a_tiny_run_compares_and_measures(tmp_path):
    names = ["StochasticDepth", "recompute/Repeat", "start/Repeat"]
    path = tmp_path / "found.json"
    run = script(
        *("--tiny", "--out", str(path), "--only", *names), folder=tmp_path
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(path.read_text())
    assert found["complete"] and found["tiny"]
    assert found["compared"].startswith("CPU with CPU")
    assert {"device", "driver", "jax", "jaxlib", "keras"} <= set(
        found["machine"]
    )
    cases = found["cases"]
    assert {name: case["status"] for name, case in cases.items()} == {
        "correctness/StochasticDepth/float32": "passed",
        "correctness/StochasticDepth/mixed_bfloat16": "passed",
        "ratio/recompute/Repeat": "measured",
        "ratio/start/Repeat": "measured",
    }
    for dtype in ("float32", "mixed_bfloat16"):
        case = cases[f"correctness/StochasticDepth/{dtype}"]
        assert case["unmoved"] == [] and case["of its bound"] <= 1
        assert case["undetermined"] < case["tensors"] / 2
    repeat = cases["ratio/recompute/Repeat"]
    assert 0 < repeat["memory"]["ratio"] < 1 and repeat["step"]["ratio"] > 0
    start = cases["ratio/start/Repeat"]
    assert start["stacked"]["start"] > start["stacked"]["build"] > 0
    # A line for each case, with the time.
    for name in cases:
        assert f"s] {name}: " in run.stdout


def test_nothing_is_measured_where_nothing_can_be(tmp_path):
    for backend, reason in (("tensorflow", "KERAS_BACKEND"), (None, "no GPU")):
        run = script(folder=tmp_path, backend=backend)
        assert run.returncode == 0, run.stderr
        assert "Nothing is measured" in run.stdout and reason in run.stdout


def test_a_name_that_is_none_is_refused():
    import gpu

    case = gpu.Case("ratio/reversible/10", begin=None)
    assert gpu.chosen([case], None) == [case]
    assert gpu.chosen([case], ["reversible"]) == [case]
    assert gpu.chosen([case], ["reversible/10"]) == [case]
    with pytest.raises(SystemExit, match="reversible/1'"):
        gpu.chosen([case], ["reversible/1"])


def test_an_error_is_recorded_and_the_next_case_runs(tmp_path, capsys):
    import gpu_run

    path = tmp_path / "new" / "found.json"
    seen = []

    def wrong(found):
        found["memory"] = {"ratio": 0.5}
        raise MemoryError("too large\nby far")

    def right(found):
        seen.append(json.loads(path.read_text())["cases"])
        return lambda: found.update(ratio=2.0, worst=float("inf"))

    cases = [
        gpu_run.Case("early", wrong),
        gpu_run.Case("late", lambda found: lambda: wrong(found), timed=True),
        gpu_run.Case("right", right, timed=True),
        gpu_run.Case("long", right, needs=60),
    ]
    record = gpu_run.Record(path, {"tiny": True}, [c.name for c in cases])
    gpu_run.run_all(cases, record, left=lambda: 50)
    assert record.end() == 1
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    statuses = [case["status"] for case in found["cases"].values()]
    assert statuses == ["error", "error", "measured", "not run: out of time"]
    for name in ("early", "late"):
        case = found["cases"][name]
        assert case["message"] == "MemoryError: too large\nby far"
        assert case["memory"] == {"ratio": 0.5}  # What was known before.
        assert case["at"][-1].startswith("test_gpu.py:")
    # The file of a run that is stopped holds what was found before.
    (before,) = seen
    assert before["late"]["status"] == "error"
    assert before["right"]["status"] == "not run"
    assert "early: error, memory 0.500, MemoryError" in capsys.readouterr().out


def test_cases_that_time_nothing_are_prepared_ahead(tmp_path):
    import gpu_run

    order = []

    def case(name, timed=False):
        def begin(found):
            order.append(f"begin {name}")
            return lambda: order.append(f"end {name}")

        return gpu_run.Case(name, begin, timed=timed)

    cases = [case("a"), case("b"), case("time", timed=True), case("c")]
    record = gpu_run.Record(tmp_path / "found.json", {}, ["a"])
    gpu_run.run_all(cases, record, left=lambda: 50)
    assert order == [
        f"{what} {name}"
        for what, name in (
            *(("begin", "a"), ("begin", "b"), ("end", "a"), ("end", "b")),
            *(("begin", "time"), ("end", "time")),
            *(("begin", "c"), ("end", "c")),
        )
    ]


def test_a_run_ends_when_its_time_is_over(tmp_path):
    import gpu_run

    path, statuses = tmp_path / "found.json", []
    record = gpu_run.Record(path, {}, ["done", "running"])
    record.note("done", {"status": "passed"})
    gpu_run.stop_late(record.end, 0, leave=statuses.append).join(10)
    assert statuses == [0]
    cases = json.loads(path.read_text())["cases"]
    assert cases["done"]["status"] == "passed"
    assert cases["running"]["status"] == "not run: out of time"


def results(seed=0):
    """What a run might find: an output, a loss, an update, a state."""
    rng = np.random.default_rng(seed)
    return {
        "output/0": rng.normal(size=(8, 3)).astype("float32"),
        "log/0/loss": np.float32(1.5),
        "update/kernel": 0.01 * rng.normal(size=(16, 16)).astype("float32"),
        "integer/seed": np.array([3, 7], "uint32"),
    }


def moved(values, size, only="", seed=1):
    """Those whose name begins so, moved by a share of themselves."""
    rng = np.random.default_rng(seed)
    return {
        name: value * (1 + size * rng.uniform(-1, 1, np.shape(value)))
        if name.startswith(only) and not name.startswith("integer")
        else value
        for name, value in values.items()
    }


def compared(found, dtype="float32"):
    import gpu_correctness

    wanted = results()
    size = gpu_correctness.MOVED[dtype]
    shaken = [moved(wanted, size, seed=seed) for seed in (2, 3)]
    weights = {"kernel": np.ones((16, 16), "float32")}
    return gpu_correctness.compare(found, wanted, shaken, weights, dtype)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_rounding_explains_passes(dtype):
    share = {"float32": 1e-6, "mixed_bfloat16": 2.0**-8}[dtype]
    found = compared(moved(results(), share), dtype)
    assert found["status"] == "passed" and 0 < found["of its bound"] < 1
    assert found["undetermined"] == 0 and found["tensors"] == 4


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["output/0", "log/0/loss", "update/kernel"])
def test_a_wrong_sign_or_factor_fails(name, dtype):
    for factor in (-1.0, 0.5, np.nan):
        wrong = results()
        wrong[name] = wrong[name] * np.float32(factor)
        found = compared(wrong, dtype)
        assert found["status"] == "failed" and found["worst"] == name


def test_a_tf32_matrix_product_is_not_float32():
    found = compared(moved(results(), 2.0**-11, "output"))
    assert found["status"] == "failed" and found["worst"] == "output/0"


def test_integers_must_be_equal():
    wrong = {**results(), "integer/seed": np.array([3, 6], "uint32")}
    assert compared(wrong)["worst"] == "integer/seed"


def test_every_layer_model_and_wrapper_has_a_case():
    import gpu_cases

    assert gpu_cases.missing() == []
