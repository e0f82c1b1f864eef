"""The extra is imported when it is used, and leaves nothing behind."""

import importlib.util
import sys

import keras
import numpy as np
import pytest

from tests.privacy.tf_privacy.made import quantile_query
from tfdeep.privacy import PrivateModel, tf_privacy
from tfdeep.privacy.tf_privacy import importing

USE = """
try:
    from tfdeep.privacy.tf_privacy import DPKerasSGDOptimizer
except ImportError as error:
    print(error)
"""
EXTRA = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_privacy") is None,
    reason="needs tensorflow-privacy",
)


@pytest.mark.tensorflow
@pytest.mark.slow
@EXTRA
def test_the_extra_is_imported_when_it_is_used(fresh_process, tmp_path):
    """One process: without the extra, and then a file that makes use of it."""
    path = tmp_path / "model.keras"
    model = PrivateModel(
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    )
    optimizer = tf_privacy.GenericDPSGDOptimizer(quantile_query())
    model.compile(optimizer, "mse")
    model.fit(np.ones((5, 4)), np.ones((5, 3)), verbose=0)
    model.save(path)
    code = (
        "import sys, keras, tfdeep, tfdeep.privacy.tf_privacy\n"
        "print('tensorflow_privacy' in sys.modules)\n"
        f"sys.modules['tensorflow_privacy'] = None\n{USE}"
        "del sys.modules['tensorflow_privacy']\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        "print(type(model.optimizer).__name__, model.count_of_updates())\n"
        "print(*(float(v.value) for v in model.mechanism_state[:1]))"
    )
    imported, message, kind, clip = fresh_process(code).splitlines()
    assert imported == "False"
    assert "tensorflow-privacy 0.9.0" in message
    assert "pip install 'tfdeep[privacy]'" in message
    assert kind == "GenericDPSGDOptimizer 1"
    saved = float(model.mechanism_state[0].value)
    assert float(clip) == pytest.approx(saved) and saved != 1.0


@pytest.mark.slow
def test_jax_goes_without_and_is_named(fresh_process):
    code = (
        "import sys, tfdeep.privacy.tf_privacy\n"
        f"print('tensorflow' in sys.modules)\n{USE}"
    )
    imported, message = fresh_process(code, "jax").splitlines()
    assert imported == "False" and "jax backend" in message


def test_a_broken_import_leaves_no_switch_behind(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ImportError, match="tensorflow-privacy"):
        importing.submodule("no_such_module")
    assert not hasattr(sys, "skip_tf_privacy_import")


def test_names_are_listed_and_others_unknown():
    assert set(tf_privacy.__all__) <= set(dir(tf_privacy))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = tf_privacy.NoSuchOptimizer


def test_every_name_is_registered_before_it_is_made():
    known = keras.saving.get_custom_objects()
    classes = {name for name in tf_privacy.__all__ if "make" not in name}
    assert {f"tfdeep>{name}" for name in classes} <= set(known)
