"""What runs on a whole batch keeps the examples of it apart: tried.

A sample of layers here, all of them by `make claims`; every axis and operation
in both.
"""

import keras
import numpy as np
import pytest
from keras import layers

from tests.privacy.isolation import make
from tests.privacy.isolation.cases import (
    axis_cases,
    inputs_of,
    keras_cases,
    operations,
    own_cases,
)
from tests.privacy.isolation.trial import Mixes, check_keeps_apart
from tfdeep.graph.trace import calls_between, ends
from tfdeep.privacy.per_example import isolation

KERAS, OWN, AXES, OPERATIONS = (
    keras_cases(), own_cases(), axis_cases(), operations()
)  # fmt: skip
KEPT = {
    "Softmax(-1)", "Softmax(1)", "LayerNormalization((1, 2))",
    "Concatenate(2)", "UnitNormalization(-1)", "EinsumDense(abc,cd->abd)",
    "EinsumDense(...c,cd->...d)",
}  # fmt: skip
MIXING = {
    "MelSpectrogram", "Equalization", "AugMix", "CutMix", "MixUp", "Lambda",
    "SpectralNormalization", "BatchEntropy",
}  # fmt: skip


def trusted(model) -> bool:
    """Whether all calls of a model, or a layer, may run on a whole batch."""
    if not isinstance(model, keras.Model):
        return isolation.layer_isolates(model)
    return all(
        isolation.layer_isolates(call.operation, call.rank)
        if isinstance(call.operation, keras.layers.Layer)
        else isolation.operation_isolates(call)
        for call in calls_between(*ends(model))
    )


def made(make_model):
    """The model; `None` where it cannot be made, or called."""
    try:
        model = make_model()
        model(inputs_of(model))
    except Exception:  # No such axis, or another number of inputs.
        return None
    return model


def check(make_model) -> bool:
    """Whether it is trusted; if so, it must keep examples apart."""
    model = made(make_model)
    if model is None or not trusted(model):
        return False
    check_keeps_apart(model, inputs_of(model))
    return True


def test_no_axis_or_equation_is_trusted_that_mixes(subtests):
    found = set()
    for name, case in AXES.items():
        with subtests.test(name):
            if check(case):
                found.add(name)
    assert found >= KEPT
    assert not any("0" in name for name in found)


@pytest.mark.slow
def test_no_operation_is_trusted_that_mixes(subtests):
    found = set()
    for name, case in OPERATIONS.items():
        with subtests.test(name):
            if check(case):
                found.add(name)
    assert found >= {"relu", "tanh", "mean(1)", "softmax(-1)", "columns"}
    refused = {
        "reversed",
        "half",
        "row",
        "roll",
        "flatter",
        "mean(0)",
        "flip(0)",
    }
    assert not found & refused and refused <= set(OPERATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*list(KERAS)[::6], *list(OWN)[::6]])
def test_a_layer_of_the_table(name):
    check({**KERAS, **OWN}[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["StochasticDepth", "StochasticBlock", "AddedStochasticDepth"]
)
def test_a_branch_that_is_skipped_may_run_on_a_whole_batch(name):
    assert check(OWN[name])


@pytest.mark.claim
def test_the_table_is_what_trials_find():
    """On this backend; its version may be another."""
    kinds, reasons = make.found()
    again, table = make.made(kinds, isolation.table()), isolation.table()
    here = keras.config.backend()
    assert make.passing(again, here) == make.passing(table, here), reasons
    assert again["layers"] == table["layers"]


def test_a_line_holds_for_the_backends_it_passed_on(monkeypatch):
    name = isolation.name_of(layers.Dense)
    here = keras.config.backend()
    found = {**isolation.table(), "not_on": {here: [], "another": [name]}}
    monkeypatch.setattr(isolation, "table", lambda: found)
    try:
        for backend, expected in (
            (here, True),
            ("another", False),
            ("untried", False),
        ):
            monkeypatch.setattr(keras.config, "backend", lambda b=backend: b)
            isolation.has_line.cache_clear()
            assert isolation.has_line(layers.Dense) is expected
    finally:
        isolation.has_line.cache_clear()


def test_the_table_of_one_backend_keeps_that_of_others():
    here = keras.config.backend()
    name = isolation.name_of(layers.Dense)
    others = {
        "keras": [keras.version()],
        "backends": {"another": "1.0", here: "0.1"},
        "layers": {name: "line", "tfdeep.Old": "here"},
        "not_on": {"another": ["tfdeep.Old"], here: []},
    }
    table = make.made([layers.ReLU], others)
    assert make.passing(table, "another") == {name}
    assert make.passing(table, here) == {isolation.name_of(layers.ReLU)}
    assert table["backends"]["another"] == "1.0" != table["backends"][here]
    assert set(make.made([], {**others, "keras": ["0"]})["backends"]) == {here}


def test_what_mixes_has_no_line():
    names = {name.rpartition(".")[2] for name in isolation.table()["layers"]}
    assert not names & MIXING
    assert {"Dense", "Conv2D", "MultiHeadAttention", "BasicBlock"} <= names


def test_a_trial_sees_what_mixes():
    for name in ("MelSpectrogram", "Equalization"):
        model = KERAS[name]()
        with pytest.raises(Mixes):
            check_keeps_apart(model, inputs_of(model))


def test_another_version_of_keras(monkeypatch):
    """A class keeps its line as long as its source is the same."""
    monkeypatch.setattr(keras, "version", lambda: "99.0")
    isolation.has_line.cache_clear()
    try:
        assert isolation.has_line(layers.Dense)
        monkeypatch.setattr(isolation, "source_of", lambda kind: "another")
        isolation.has_line.cache_clear()
        assert not isolation.has_line(layers.Dense)
    finally:
        isolation.has_line.cache_clear()


def test_a_subclass_and_functions_of_ones_own_are_not_trusted():
    def centred(x):
        return x - keras.ops.mean(x, axis=0)

    class Mine(layers.Dense):
        """The same, as far as anybody knows."""

    kept = layers.GRU(3)
    assert isolation.layer_isolates(kept, 3)
    for layer in (
        Mine(3),
        layers.Dense(3, centred),
        layers.GRU(3, recurrent_activation=centred),
        layers.Activation(lambda x: centred(x)),
        keras.Sequential([layers.Dense(3), layers.Activation(centred)]),
    ):
        layer.build((None, 4, 5))
        assert not isolation.layer_isolates(layer, 3), layer
    patched = layers.Dense(3)
    patched.call = centred
    assert not isolation.layer_isolates(patched, 2)


def test_rows_of_one_that_is_spoiled_are_seen_by_the_trial():
    """It is sharp: a millionth of another row is found."""
    inputs = keras.Input((4,))
    leak = layers.Lambda(lambda x: x + 1e-6 * keras.ops.flip(x, axis=0))
    model = keras.Model(inputs, leak(inputs))
    x = np.ones((4, 4), "float32")
    with pytest.raises(Mixes):
        check_keeps_apart(model, x)
