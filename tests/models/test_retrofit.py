"""Stochastic depth and drop path, put into models and taken out again."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.graph.test_rewrite import state_of, step
from tests.helpers import (
    BACKEND,
    Probe,
    arrays,
    images,
    randomize,
    training_step,
)
from tests.models.residual_nets import NETS, chain, data_for
from tests.models.retrofitting import (
    ADD,
    added,
    described,
    each_form,
    each_net,
    outputs,
)
from tests.training.harness import GRAPH, in_modes
from tfdeep.models import (
    add_drop_path,
    add_stochastic_depth,
    find_residual_branches,
    remove_stochastic_depth,
)


@each_form
@each_net
def test_there_and_back(name, form, tmp_path):
    """At inference the function is the same, to the bit; so is what is left."""
    model, (x, _) = NETS[name][0](), data_for(name)
    randomize(model)
    before, expected = arrays(model.variables), outputs(model, x)
    new = ADD[form](model, seed=0)
    np.testing.assert_array_equal(outputs(new, x), expected)
    count = len(find_residual_branches(model))
    assert len(added(new, form)) == (
        1 if (name, form) == ("shared", "stochastic depth") else count
    )
    trainable = [v.path.split("/")[-2:] for v in model.trainable_variables]
    assert sorted(
        v.path.split("/")[-2:] for v in new.trainable_variables
    ) == sorted(trainable)
    for old, now in zip(before, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(now, old, "the given model has moved")
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    np.testing.assert_array_equal(outputs(loaded, x), expected)
    for source in (new, loaded):
        plain = remove_stochastic_depth(source)
        np.testing.assert_array_equal(outputs(plain, x), expected)
        if name == "by hand":
            continue
        assert type(plain) is type(model) and plain.name == model.name
        assert described(plain) == described(model)
        for one, other in zip(plain.weights, model.weights, strict=True):
            assert one.trainable == other.trainable
            np.testing.assert_array_equal(*arrays([one, other]))
    if name != "by hand":  # Files of weights fit, from either side.
        for source, target in ((plain, model), (model, plain)):
            source.save_weights(tmp_path / "own.weights.h5")
            target.load_weights(tmp_path / "own.weights.h5")
            np.testing.assert_array_equal(outputs(target, x), expected)


@in_modes("eager", "graph", "xla")
@each_form
@pytest.mark.parametrize("name", ["chain", "own drop path", "attention"])
def test_it_trains(name, form, mode):
    model, data = NETS[name][0](), data_for(name)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", **mode)
    new = ADD[form](model, seed=0)
    before = arrays(new.trainable_variables)
    losses = []
    for _ in range(4):
        losses += step(new, *data)["loss"]
    assert np.all(np.isfinite(losses))
    for variable, old in zip(new.trainable_variables, before, strict=True):
        if "key" not in variable.path:  # A bias there moves no attention.
            assert not np.array_equal(arrays([variable])[0], old), variable.path


@pytest.mark.parametrize("name", ["nested", "shared", "frozen", "mixed"])
@each_form
def test_hard_nets_train_where_they_did(name, form):
    model, data = NETS[name][0](), data_for(name)
    model.compile(
        keras.optimizers.SGD(1e-4), "mse", jit_compile=BACKEND == "jax"
    )
    new = ADD[form](model, seed=0)
    frozen = [v for v in new.weights if not v.trainable and "kernel" in v.path]
    before = arrays(frozen)
    assert bool(frozen) == (name == "frozen")
    assert np.all(np.isfinite(step(new, *data)["loss"]))
    for one, other in zip(arrays(frozen), before, strict=True):
        np.testing.assert_array_equal(one, other)


@each_form
def test_neutral_settings_train_as_the_plain_model_does(form):
    """With its optimizer's momenta, there and back."""
    model, data = chain(), data_for("chain")
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", **GRAPH)
    for _ in range(2):
        step(model, *data)
    neutral = {"stochastic depth": 1.0, "drop path": 0.0}[form]
    new = ADD[form](model, neutral)
    assert int(new.optimizer.iterations) == 2
    logs = step(new, *data)
    plain = remove_stochastic_depth(new)
    expected = step(model, *data)
    np.testing.assert_allclose(logs["loss"], expected["loss"], 1e-6)
    after, expected = step(plain, *data), step(model, *data)
    np.testing.assert_allclose(after["loss"], expected["loss"], 1e-5)
    for one, other in zip(state_of(plain), state_of(model), strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5)


def test_momenta_follow_their_weights():
    model, data = chain(), data_for("chain")
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    step(model, *data)
    new = add_stochastic_depth(model)
    ours, theirs = (
        {
            weight.path.split("/", 1)[-1]: np.array(slot)
            for weight, slot in zip(
                each.trainable_variables,
                arrays(each.optimizer.momentums),
                strict=True,
            )
        }
        for each in (new, model)
    )
    assert set(ours) == set(theirs) and len(ours) == len(theirs)
    for path, slot in theirs.items():
        np.testing.assert_array_equal(ours[path], slot, path)


class TestStochasticDepth:
    def test_probabilities_fall_linearly(self):
        found = added(add_stochastic_depth(chain(), 0.4), "stochastic depth")
        assert [layer.survival_probability for layer in found] == (
            pytest.approx([0.8, 0.6, 0.4])
        )
        assert all(layer.inverted for layer in found)
        seeds = {
            layer.seed
            for layer in added(
                add_stochastic_depth(chain(), seed=1), "stochastic depth"
            )
        }
        assert len(seeds) == 3 and None not in seeds

    def test_training_scales_what_is_kept(self):
        inputs = keras.Input((4,))
        branch = layers.Dense(4, name="branch")
        model = keras.Model(inputs, inputs + branch(inputs))
        x = images(3, 4)
        f = np.array(branch(x))
        for inverted, scale in ((True, 4.0), (False, 1.0)):
            new = add_stochastic_depth(model, 0.25, inverted=inverted, seed=0)
            kept = []
            for _ in range(60):
                y = np.array(new(x, training=True)) - x
                kept.append(bool(np.any(y)))
                np.testing.assert_allclose(y, kept[-1] * scale * f, 1e-5, 1e-5)
            assert abs(sum(kept) - 15) < 4 * np.sqrt(60 * 0.25 * 0.75)
            expected = x + (1.0 if inverted else 0.25) * f
            np.testing.assert_allclose(outputs(new, x), expected, 1e-5, 1e-5)

    def test_the_paper_form_is_scaled_at_inference(self):
        model, (x, _) = chain(), data_for("chain")
        new = add_stochastic_depth(model, inverted=False)
        assert not np.allclose(outputs(new, x), outputs(model, x))

    def test_what_is_skipped_is_not_computed(self):
        x = inputs = keras.Input((4,))
        for name in ("first", "last"):
            y = layers.Dense(4, name=name)(x)
            x = layers.Add()([x, Probe(name=f"{name}_probe")(y)])
        model = keras.Model(inputs, x)
        new = add_stochastic_depth(model, last=0.0, seed=0)
        first, last = (
            layer.layer.layers[-1].count
            for layer in added(new, "stochastic depth")
        )
        run, passes = training_step(new, training=True), 40
        for _ in range(passes):
            run(images(2, 4))
        assert last["forward"] == last["backward"] == 0
        spread = 4 * np.sqrt(passes * 0.25)
        assert 0 < abs(first["backward"] - passes / 2) + 1 < spread

    def test_calls_of_one_branch_have_probabilities_of_their_own(self):
        new = add_stochastic_depth(NETS["shared"][0](), 0.4)
        (layer,) = added(new, "stochastic depth")
        calls = [
            call.kwargs.get("survival_probability", layer.survival_probability)
            for call in tfdeep.graph.graph_of(new).calls
            if call.operation is layer
        ]
        assert calls == pytest.approx([0.8, 0.6, 0.4])

    def test_layers_that_are_shared_in_part_are_told(self, tmp_path):
        x = inputs = keras.Input((4,), name="in")
        tied = layers.Dense(4, name="tied")
        for number in (1, 2):
            own = layers.Dense(4, name=f"own{number}")
            x = layers.Add(name=f"sum{number}")([x, tied(own(x))])
        model = keras.Model(inputs, x)
        with pytest.warns(UserWarning, match="tied are called within a branch"):
            new = add_stochastic_depth(model)
        assert new.count_params() == model.count_params()
        y = images(2, 4)
        plain = remove_stochastic_depth(new)
        np.testing.assert_array_equal(outputs(new, y), outputs(model, y))
        assert described(plain) == described(model)
        plain.save(tmp_path / "plain.keras")
        loaded = keras.models.load_model(tmp_path / "plain.keras")
        np.testing.assert_array_equal(outputs(loaded, y), outputs(model, y))

    def test_a_mask_that_the_branch_ends_stays_ended(self):
        class Ending(layers.Layer):
            def call(self, inputs):
                return inputs * 2.0

        tokens = keras.Input((3,), dtype="int32")
        x = layers.Embedding(5, 4, mask_zero=True)(tokens)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras says that it ends there.
            y = Ending()(layers.Dense(4)(x))
            y = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
            model = keras.Model(tokens, y)
            new = add_stochastic_depth(model)
            z = np.array([[1, 2, 0], [3, 0, 0]])
            np.testing.assert_array_equal(outputs(new, z), outputs(model, z))


class TestDropPath:
    def test_rates_grow_linearly_from_0(self):
        found = added(add_drop_path(chain(), 0.3), "drop path")
        assert [layer.rate for layer in found] == pytest.approx([0, 0.15, 0.3])

    def test_each_example_decides(self):
        inputs = keras.Input((4,))
        branch = layers.Dense(4, name="branch")
        new = add_drop_path(
            keras.Model(inputs, inputs + branch(inputs)), 0.5, seed=0
        )
        x = images(400, 4)
        y, f = np.array(new(x, training=True)) - x, np.array(branch(x))
        kept = np.any(np.abs(y) > 1e-6, axis=1)
        np.testing.assert_allclose(y, 2 * f * kept[:, None], 1e-4, 1e-5)
        assert abs(kept.sum() - 200) < 40
