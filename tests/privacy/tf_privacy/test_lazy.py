"""The extra is imported when it is used, and leaves nothing behind."""

import keras
import pytest

from tfdeep.privacy import tf_privacy
from tfdeep.privacy.tf_privacy import importing

USE = "from tfdeep.privacy.tf_privacy import DPKerasSGDOptimizer"


def test_importing_tfdeep_imports_no_tf_privacy(fresh_process):
    code = (
        "import sys, tfdeep.privacy.tf_privacy\n"
        "print('tensorflow_privacy' in sys.modules)"
    )
    assert fresh_process(code) == "False"


def test_jax_goes_without_tensorflow(fresh_process):
    code = (
        "import sys, tfdeep.privacy.tf_privacy\n"
        "print('tensorflow' in sys.modules)"
    )
    assert fresh_process(code, "jax") == "False"


def test_other_backends_are_named(fresh_process):
    code = f"try:\n  {USE}\nexcept ImportError as error: print(error)"
    assert "jax backend" in fresh_process(code, "jax")


@pytest.mark.tensorflow
def test_without_the_extra_the_error_says_what_to_install(fresh_process):
    code = (
        "import sys\n"
        "sys.modules['tensorflow_privacy'] = None\n"
        "import tfdeep\n"
        f"try:\n  {USE}\nexcept ImportError as error: print(error)"
    )
    message = fresh_process(code)
    assert "tensorflow-privacy 0.9.0" in message
    assert "pip install 'tfdeep[privacy]'" in message


def test_a_broken_import_leaves_no_switch_behind(monkeypatch):
    import sys

    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ImportError, match="tensorflow-privacy"):
        importing.submodule("no_such_module")
    assert not hasattr(sys, "skip_tf_privacy_import")


def test_names_are_listed_and_others_unknown():
    assert set(tf_privacy.__all__) <= set(dir(tf_privacy))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = tf_privacy.NoSuchOptimizer


@pytest.mark.parametrize("name", ["DPKerasAdamOptimizer", "GaussianSumQuery"])
def test_every_name_is_registered_before_it_is_made(name):
    assert f"tfdeep>{name}" in keras.saving.get_custom_objects()
