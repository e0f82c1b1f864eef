"""Layers and models in other processes: loaded, frozen, exported, shared.

loading     a file returns what it did, where `import tfdeep` is all that
            is known: also of wrappers, of what transforms made, and of
            models compiled with our optimizers
frozen      there, and cloned, the same weights train and the same
            statistics move, be all frozen, the normalization, or one part
export      a SavedModel returns the same for every batch size
devices     two that share a batch train as one does, where a sample's
            result depends on that sample alone; StochasticDepth is not
            among the exceptions: all replicas take one decision per step;
            of layers, as the nets are made of them
"""

import json

import keras
import numpy as np
import pytest

from tests.contract import test_optimizers as optimizers
from tests.contract import test_transforms as transforms
from tests.contract import test_wrappers as wrappers
from tests.contract.cases import CASES
from tests.contract.expected import failing
from tests.contract.hard_use import FROZEN
from tests.contract.harness import (
    BACKEND,
    HAS_TENSORFLOW,
    HAS_TF_PRIVACY,
    disturb,
    run_child,
)
from tests.contract.together import (
    FEW,
    LAYERS,
    MAIN,
    frozen,
    inputs_of,
    outputs_of,
    together,
    trains,
)

pytestmark = pytest.mark.slow
NAMES = list(CASES) if BACKEND == "tensorflow" else FEW
OTHERS = [*wrappers.WRAPPERS, *transforms.NEW]
if HAS_TF_PRIVACY:
    OTHERS += [name.rpartition(".")[2] for name in optimizers.OPTIMIZERS]
# Keras serves layers of augmentation, and what follows them, as in training.
EXPORTED = [name for name in MAIN if name != "RandomPadCrop"]
FROZEN_CASES = [
    (name, what, way)
    for name in FEW
    for what in FROZEN
    for way in ("loaded", "cloned")
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict:
    """What one fresh process says of all files, and what is expected."""
    folder = tmp_path_factory.mktemp("files")
    everything = together(NAMES)
    disturb(everything)
    everything.save(folder / "all.keras")
    found: dict = {"before": {}, "loaded": {}, "cloned": {}}
    found["expected"] = outputs_of(everything, NAMES, inputs_of(NAMES))
    for what in FROZEN:
        model = frozen(what)
        model.save(folder / f"frozen-{what}.keras")
        found["cloned"][what] = trains(keras.models.clone_model(model))
        found["before"][what] = trains(model)
    for module in (wrappers, transforms, optimizers):
        for name, (model, x) in module.files().items():
            model.save(folder / f"{name}.keras")
            np.save(folder / f"{name}.input.npy", x)
            found["expected"][name] = model.predict(x, verbose=0)
    run_child("load", folder)
    found["outputs"] = dict(np.load(folder / "all.npz"))
    for path in folder.glob("*.output.npy"):
        name = path.name.removesuffix(".output.npy")
        found["outputs"][name] = np.load(path)
    for what in FROZEN:
        text = (folder / f"frozen-{what}.json").read_text()
        found["loaded"][what] = json.loads(text)
    return found


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_loaded_in_a_fresh_process(name, loaded):
    np.testing.assert_allclose(
        loaded["outputs"][name], loaded["expected"][name], 1e-6, 1e-6
    )


@pytest.mark.parametrize(
    ("name", "what", "way"), failing("frozen", FROZEN_CASES)
)
def test_frozen(name, what, way, loaded):
    before = loaded["before"][what][name]
    if what == "all":
        assert not any(before["trained"]) and not any(before["moved"])
    assert loaded[way][what][name] == before


@pytest.mark.skipif(
    not HAS_TENSORFLOW, reason="a SavedModel is written by TensorFlow"
)
@pytest.mark.filterwarnings("default")
def test_export_to_saved_model(tmp_path):
    import tensorflow as tf

    model = together(EXPORTED)
    disturb(model)
    model.export(tmp_path / "saved", verbose=False)
    artifact = tf.saved_model.load(tmp_path / "saved")
    exact = 1e-6 if BACKEND == "tensorflow" else 1e-5
    for batch in (2, 3):
        x = inputs_of(EXPORTED, batch)
        expected = outputs_of(model, EXPORTED, x)
        served = zip(EXPORTED, artifact.serve(x), strict=True)
        for name, y in served:
            np.testing.assert_allclose(
                np.array(y), expected[name], exact, exact, err_msg=name
            )


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """A folder with the weights of each case, trained alone and shared."""
    folder = tmp_path_factory.mktemp("devices")
    if BACKEND == "tensorflow":
        run_child("mirrored", folder)
    else:
        flags = "--xla_force_host_platform_device_count=2"
        run_child("parallel", folder, xla_flags=flags)
    return folder


@pytest.mark.parametrize("name", LAYERS)
def test_two_devices_train_as_one(name, devices):
    alone = np.load(devices / f"{name}.alone.npz")
    shared = np.load(devices / f"{name}.shared.npz")
    assert alone.files == shared.files and alone.files
    for key in alone.files:
        np.testing.assert_allclose(
            shared[key], alone[key], 1e-5, 1e-5, err_msg=key
        )
