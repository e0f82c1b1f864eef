"""The package as a whole: what importing it does, and the house's rules."""

import ast
import importlib.metadata
import inspect
import io
import os
import re
import tokenize
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdeep
from tfdeep import keras_internals

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tfdeep"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES = 300

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


A_NEW_PROCESS = """
import runpy, sys, keras
before = {name.partition(".")[0] for name in sys.modules}
import tfdeep
after = {name.partition(".")[0] for name in sys.modules}
print(sorted(after - before - set(sys.stdlib_module_names)))
print(keras.saving.get_registered_object("tfdeep>RandomPadCrop").__name__)
print("tfdeep.recipes" in sys.modules, len(tfdeep.recipes.MODULES) > 9)
sys.argv = ["tfdeep", "list"]
runpy.run_module("tfdeep", run_name="__main__")
"""


@pytest.mark.slow
def test_import_loads_nothing_that_keras_does_not(fresh_process):
    """And `python -m tfdeep` runs the command line, which exits with 0."""
    printed = fresh_process(A_NEW_PROCESS)
    loaded, layer, recipes, *_ = printed.splitlines()
    assert loaded == "['tfdeep']"
    assert layer == "RandomPadCrop" and recipes == "False True"
    assert "To run it: tfdeep run NAME" in printed


def test_only_what_users_need_is_offered():
    offered = set(dir(tfdeep))
    assert offered == {*tfdeep.__all__, "__version__"}
    assert {"data", "visualization", "recipes"} <= offered
    assert not {"backend", "checks", "inside", "keras"} & offered
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tfdeep.nothing


WITHOUT_A_BACKEND = """
import sys
sys.modules["jax"] = None
try:
    import tfdeep
except ModuleNotFoundError as error:
    print(error, error.__cause__, error.__suppress_context__)
"""


def test_a_backend_that_is_not_there_is_one_sentence(fresh_process):
    text = fresh_process(WITHOUT_A_BACKEND, backend="jax")
    assert text.startswith("Keras' backend 'jax' is not installed.")
    assert "KERAS_BACKEND" in text and text.endswith("None True")


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


def test_exports_are_registered():
    for name, exported_class in SERIALIZABLE.items():
        registered = keras.saving.get_registered_name(exported_class)
        assert registered == f"tfdeep>{exported_class.__name__}", name
        assert keras.saving.get_registered_object(registered) is exported_class


def test_exports_have_docstrings():
    assert not [name for name in EXPORTS if not inspect.getdoc(EXPORTS[name])]


def named(paths) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_only_public_keras():
    def private(path):
        modules = " ".join(imported_modules(path))
        return "keras.src" in modules + path.read_text("utf-8")

    assert not named(filter(private, SOURCES))


def own_private_names() -> set[str]:
    """The underscore names that the package itself defines."""
    names = {"_replace"}  # Of every named tuple.
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and _is_own(node):
                if isinstance(node.ctx, ast.Store):
                    names.add(node.attr)
    return names


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def foreign_private_names(path: Path, own: set[str]) -> set[str]:
    """The underscore names of others that a file reads or writes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "hasattr", "setattr", "delattr"):
                (_, name, *_) = node.args
                if isinstance(name, ast.Constant):
                    found.add(name.value)
    private = {n for n in found if re.match(r"_[a-zA-Z]", n)}
    return private - own - set(dir(os))


def test_private_names_of_keras_are_read_in_one_place():
    """What adapts TensorFlow Privacy reads private names of that."""
    own = own_private_names()
    elsewhere = {
        path.relative_to(PACKAGE).as_posix(): names
        for path in SOURCES
        if (names := foreign_private_names(path, own))
        and path.parts[-2] not in ("backend", "tf_privacy")
        and path.name != "keras_internals.py"
    }
    assert not elsewhere


def test_keras_has_the_private_names_that_are_read():
    """If a release removes one, its function fails here by name."""
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(2)
    tensor = layer(inputs)
    model = keras.Model(inputs, tensor)
    assert keras_internals.layers_of(model)[-1] is layer
    assert any(part is layer for part in keras_internals.kept_layers(model))
    node = keras_internals.node_of(tensor)
    assert node.operation is layer
    assert keras_internals.calls_of(layer) == [node]
    after = keras_internals.node_of(keras.layers.Dense(2)(tensor))
    assert keras_internals.calls_after(node) == [after]
    assert keras_internals.calls_after(after) == []
    with keras_internals.calls_forgotten(model):
        model(inputs)
        layer(inputs)
    assert keras_internals.calls_of(layer) == [node]
    ran = keras_internals.nodes_as_run(model)
    assert [each.operation for each in ran] == model.operations
    later = keras.layers.Dense(2)(inputs)
    numbers = [keras_internals.number_of(t) for t in (tensor, later)]
    assert numbers[0] < numbers[1]
    assert keras_internals.node_of(keras.KerasTensor((2,))) is None
    mask = keras.KerasTensor((None,), "bool")
    keras_internals.put_mask_on(tensor, mask)
    assert keras_internals.mask_on(tensor) is mask
    with keras.StatelessScope():
        late = keras.Variable("ones", shape=(1,))
        assert isinstance(
            keras_internals.initializer_of(late), keras.initializers.Ones
        )
    first, second = (
        keras.optimizers.AdamW(1.0, weight_decay=0.5) for _ in "12"
    )
    first.exclude_from_weight_decay(var_names=["bias"])
    first.build(model.trainable_variables)
    key = keras_internals.key_of(first, layer.kernel)
    keras_internals.exclude(first, {key})
    keras_internals.copy_exclusions(first, second)
    before = model.get_weights()
    for optimizer in (first, second):
        optimizer.apply(
            [keras.ops.zeros_like(v) for v in model.trainable_variables],
            model.trainable_variables,
        )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _hides(value: ast.AST) -> bool:
    """Whether it is a tuple of one, or a function of nothing but a name."""
    if isinstance(value, ast.Tuple):
        return len(value.elts) == 1
    return isinstance(value, ast.Lambda) and not value.args.args


def test_what_keras_must_not_track_is_held_in_one_way():
    """By `tfdeep.untracked.Untracked`, and not in tuples and functions."""
    hidden = {
        f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assign) and _hides(node.value)
        if any(
            isinstance(t, ast.Attribute) and _is_own(t) for t in node.targets
        )
    }
    assert not hidden


def test_backends_are_imported_in_their_place_only():
    def misplaced(path):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] in BACKEND_FOLDERS:
            return False
        if BACKEND_FILES.fullmatch(inside.as_posix()):
            return False
        roots = {module.partition(".")[0] for module in imported_modules(path)}
        return bool(roots & BACKENDS)

    assert not named(filter(misplaced, SOURCES))


def test_a_file_has_at_most_300_lines_of_code():
    """Blank lines, comments and docstrings do not count."""

    def too_long(path):
        source = path.read_text("utf-8")
        longer = source.count("\n") > MOST_LINES
        return longer and lines_of_code(source) > MOST_LINES

    assert not named(filter(too_long, (*SOURCES, *TESTS)))


NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(source: str) -> int:
    """How many lines hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, text.end_lineno + 1))
    return len(lines)


def test_docstrings_comments_and_blank_lines_are_no_code():
    source = '''"""Two
lines."""

# A comment.
x = [  # One line of three.
    "# no comment",
]


def f():
    """Text."""
    return """no
    docstring"""
'''
    assert lines_of_code(source) == 6
