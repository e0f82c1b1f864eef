"""The package as a whole: what importing it does, and the house's rules."""

import ast
import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path

import keras
import pytest

import tfdeep

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tfdeep"
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
each_source = pytest.mark.parametrize("path", SOURCES, ids=NAMES)

# Where a backend may be imported: its primitives, the input pipelines, and
# what adapts TensorFlow Privacy.
BACKEND_FOLDERS = ("backend", "data")
BACKEND_FILES = re.compile(r"privacy/tf_privacy/\w+\.py")
BACKENDS = {"tensorflow", "tensorflow_datasets", "jax", "torch"}


def metadata() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def imported_modules(path: Path) -> set[str]:
    """The full names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def exported(module) -> dict:
    """What a module exports, packages among it searched as well."""
    found = {}
    for name in module.__all__:
        thing = getattr(module, name)
        if thing is tfdeep.privacy.tf_privacy:
            continue  # Documented by TF Privacy, tested in a folder of its own.
        if inspect.ismodule(thing):
            found.update(exported(thing))
        else:
            found[f"{module.__name__}.{name}"] = thing
    return found


EXPORTS = exported(tfdeep)
KERAS_TYPES = (
    keras.layers.Layer,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
)
# Bases to inherit from, which no saved model holds.
ABSTRACT = {"tfdeep.layers.ResidualBlock"}
SERIALIZABLE = {
    name: thing
    for name, thing in EXPORTS.items()
    if inspect.isclass(thing)
    and issubclass(thing, KERAS_TYPES)
    and name not in ABSTRACT
}


def test_import_loads_no_other_backend(fresh_process):
    code = "import sys, tfdeep; print('tensorflow' in sys.modules)"
    assert fresh_process(code, backend="jax") == "False"


def test_import_loads_nothing_that_keras_does_not(fresh_process):
    code = """
import sys, keras
before = {name.partition(".")[0] for name in sys.modules}
import tfdeep
after = {name.partition(".")[0] for name in sys.modules}
print(sorted(after - before - set(sys.stdlib_module_names)))
"""
    assert fresh_process(code) == "['tfdeep']"


def test_the_type_marker_is_installed():
    data = metadata()["tool"]["setuptools"]["package-data"]["tfdeep"]
    assert "py.typed" in data
    assert (PACKAGE / "py.typed").is_file()


def test_installed_version_is_the_source_version():
    assert importlib.metadata.version("tfdeep") == tfdeep.__version__
    assert metadata()["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", tfdeep.__version__)


def test_console_script_exists():
    module, _, function = metadata()["project"]["scripts"]["tfdeep"].partition(
        ":"
    )
    assert callable(getattr(importlib.import_module(module), function))


def test_public_names_are_found():
    top = {"StochasticDepth", "DenseBlock", "BatchEntropyRegularizer"}
    assert {f"tfdeep.{name}" for name in top} <= EXPORTS.keys()
    assert len(SERIALIZABLE) >= 10


@pytest.mark.parametrize("name", SERIALIZABLE)
def test_export_is_registered(name):
    exported_class = SERIALIZABLE[name]
    registered = keras.saving.get_registered_name(exported_class)
    assert registered == f"tfdeep>{exported_class.__name__}"
    assert keras.saving.get_registered_object(registered) is exported_class


@pytest.mark.parametrize("name", EXPORTS)
def test_export_has_a_docstring(name):
    assert inspect.getdoc(EXPORTS[name]), f"{name} has no docstring"


@each_source
def test_only_public_keras(path):
    private = {m for m in imported_modules(path) if "keras.src" in m}
    assert not private, f"private Keras modules: {private}"
    assert "keras.src" not in path.read_text("utf-8")


@each_source
def test_backends_are_imported_in_their_place_only(path):
    inside = path.relative_to(PACKAGE)
    allowed = inside.parts[0] in BACKEND_FOLDERS
    if allowed or BACKEND_FILES.fullmatch(inside.as_posix()):
        return
    roots = {module.partition(".")[0] for module in imported_modules(path)}
    assert not roots & BACKENDS


@each_source
def test_file_is_at_most_300_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300
