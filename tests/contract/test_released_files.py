"""Models saved by released versions load and return what they did then.

The files are written by `tests/assets/make.py`, once, and never again.
"""

import keras
import numpy as np
import pytest

from tests.contract.exports import exports_of
from tests.contract.harness import ROOT, run_child

ASSETS = sorted((ROOT / "tests" / "assets").glob("*.keras"))

of_keras_3_15 = pytest.mark.skipif(
    tuple(map(int, keras.version().split(".")[:2])) < (3, 15),
    reason="needs Keras 3.15: an older one cannot read the files of it",
)


@of_keras_3_15
@pytest.mark.slow
def test_frozen_models_return_what_they_did(tmp_path):
    recorded = {}
    for path in ASSETS:
        (tmp_path / path.name).write_bytes(path.read_bytes())
        recorded[path.stem] = np.load(path.with_suffix(".npz"))
        np.save(tmp_path / f"{path.stem}.input.npy", recorded[path.stem]["x"])
    run_child("load", tmp_path)
    for stem, arrays in recorded.items():
        y = np.load(tmp_path / f"{stem}.output.npy")
        np.testing.assert_allclose(y, arrays["y"], 1e-5, 1e-5, err_msg=stem)


@of_keras_3_15
def test_every_layer_is_frozen():
    models = [keras.models.load_model(path) for path in ASSETS]
    frozen = {
        type(layer).__name__ for model in models for layer in model.layers
    }
    layers = [name for name in exports_of("layer") if "layers." in name]
    assert {name.partition(".")[2] for name in layers} <= frozen


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.stem)
def test_frozen_files_are_small(path):
    record = path.with_suffix(".npz")
    assert path.stat().st_size + record.stat().st_size < 300_000
