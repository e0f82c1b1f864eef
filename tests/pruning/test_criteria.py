"""Scores are those of the authors, of a peer, or of their formulas."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

import tfdeep
from tests.pruning.zoo import EXACT, filled, inputs_for
from tfdeep.pruning import (
    BatchNormScale,
    ChannelGraph,
    Magnitude,
    Oracle,
    PruningPlan,
    Random,
    Scores,
    Taylor,
)

LOSS = losses.SparseCategoricalCrossentropy(from_logits=True)
# Where the authors' gates are in our groups; the trunk has one for both.
GATES = {
    "conv1": "gate1",
    "conv2": "gate_skip",
    "conv3": "gate3",
    "fc1": "gate5",
}


@functools.cache
def golden() -> dict:
    with np.load(Path(__file__).parent / "golden" / "taylor.npz") as file:
        return dict(file)


def convolution(x, filters, strides, name):
    x = layers.ZeroPadding2D(1)(x)
    return layers.Conv2D(filters, 3, strides, use_bias=False, name=name)(x)


def norm(x, name):
    return layers.BatchNormalization(epsilon=1e-5, name=name)(x)


@pytest.fixture(scope="module")
def net():
    """The net of the reference figures."""
    i = keras.Input((12, 12, 3))
    x = layers.ReLU()(norm(convolution(i, 8, 1, "conv1"), "bn1"))
    y = layers.ReLU()(norm(convolution(x, 12, 2, "conv2"), "bn2"))
    x = layers.ReLU()(norm(convolution(y, 10, 1, "conv3"), "bn3"))
    x = norm(convolution(x, 12, 1, "conv4"), "bn4")
    x = ops.mean(layers.ReLU()(layers.Add()([y, x])), axis=(1, 2))
    x = layers.Dense(16, "relu", name="fc1")(x)
    model = keras.Model(i, layers.Dense(10, name="fc2")(x))
    for layer in model.layers:
        if layer.weights:
            count = range(len(layer.weights))
            layer.set_weights([golden()[f"{layer.name}/{n}"] for n in count])
    return model


@pytest.fixture(scope="module")
def graph(net):
    return ChannelGraph(net)


def data():
    return list(zip(golden()["x"], golden()["y"], strict=True))


def scores(criterion, graph):
    return criterion.scores(graph, data(), loss=LOSS, training=True)


def check(found, expected, name):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= 1e-4, name


@pytest.mark.parametrize(
    ("criterion", "key"),
    [
        (Taylor(), "m22_taylor_gate_fo"),
        (Taylor(order=2), "m11_taylor_gate_so"),
        (Oracle(verbose=False), "m40_oracle_abs"),
    ],
)
def test_gates_are_those_of_the_authors(graph, criterion, key):
    before = [np.array(v.value) for v in graph.model.variables]
    found = scores(criterion, graph)
    assert set(found) == set(GATES)
    for group, gate in GATES.items():
        check(found[group], golden()[f"{key}/{gate}"].mean(0), group)
    for variable, old in zip(graph.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old, "statistics have moved")


def test_weights_are_those_of_the_authors(graph):
    found = scores(Taylor(form="weight"), graph)
    key = "m0_taylor_weight_fo"
    for group, gate in (
        ("conv1", "gate1"),
        ("conv3", "gate3"),
        ("fc1", "gate5"),
    ):
        check(found[group], golden()[f"{key}/{gate}"].mean(0), group)
    both = golden()[f"{key}/gate2"] + golden()[f"{key}/gate4"]
    check(found["conv2"], both.mean(0), "the trunk has two convolutions")


def test_batch_norm_is_the_gate_behind_it(graph):
    found = scores(Taylor(form="batch_norm"), graph)
    assert set(found) == {"conv1", "conv2", "conv3"}
    slopes = {n: golden()[f"bn_gradform/gate{n}"] for n in (1, 2, 3, 4)}
    check(found["conv1"], (slopes[1] ** 2).mean(0), "conv1")
    check(found["conv3"], (slopes[3] ** 2).mean(0), "conv3")
    both = (slopes[2] + slopes[4]) ** 2
    check(found["conv2"], both.mean(0), "summed up, then squared")
    apart = scores(Taylor(form="batch_norm", reduce="square_then_sum"), graph)
    each = slopes[2] ** 2 + slopes[4] ** 2
    check(apart["conv2"], each.mean(0), "squared, then summed up")


def test_gates_of_their_own(graph):
    """The gradients of a trunk's gates add up to that of one gate for all."""
    apart = scores(Taylor(reduce="square_then_sum"), graph)
    one = scores(Taylor(), graph)
    np.testing.assert_allclose(apart["conv1"], one["conv1"], 1e-4)
    assert not np.allclose(apart["conv2"], one["conv2"], 1e-2)


NETS = {
    **{
        name: EXACT[name][0]
        for name in ("shared", "squeeze_excite", "concatenated", "operations")
    },
    "blocks": lambda: tfdeep.models.ResNet(
        8,
        input_shape=(8, 8, 3),
        classes=3,
        survival_probability=0.5,
        classifier_activation=None,
    ),
    "dense blocks": lambda: tfdeep.models.DenseNet(
        10, 4, input_shape=(8, 8, 3), classes=3, classifier_activation=None
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_a_gate_of_zero_is_the_model_without_the_channel(name):
    """The oracle is right about nets of all forms."""
    model = filled(NETS[name]())
    graph = ChannelGraph(model)
    x = inputs_for(model)
    y = model.predict(x, verbose=0)
    y = y + np.random.default_rng(0).normal(size=y.shape) * np.abs(y).max()
    found = Oracle(verbose=False).scores(graph, x, y, loss="mse")
    whole = np.mean((model.predict(x, verbose=0) - y) ** 2)
    groups = graph.free[:: max(len(graph.free) // 4, 1)]
    assert len(groups) >= 2
    for group in groups:
        plan = PruningPlan({group.name: [0]}, graph)
        small = plan.compact(model).predict(x, verbose=0)
        expected = abs(np.mean((small - y) ** 2) - whole)
        np.testing.assert_allclose(
            found[group.name][0], expected, 2e-3, 1e-5 * whole, err_msg=name
        )


class TestWithoutData:
    def test_magnitude(self, graph):
        rows = np.abs(golden()["conv1/0"]).sum((0, 1, 2))
        columns = np.abs(golden()["conv2/0"]).sum((0, 1, 3))
        gamma = np.abs(golden()["bn1/0"])
        members = np.array([rows, columns, gamma])
        for reduce, expected in (
            ("first", rows),
            ("mean", members.mean(0)),
            ("sum", members.sum(0)),
            ("max", members.max(0)),
        ):
            found = Magnitude(1, reduce).scores(graph)["conv1"]
            np.testing.assert_allclose(found, expected, 1e-6)
        found = Magnitude(2, "first").scores(graph)["conv1"]
        squares = (golden()["conv1/0"].astype("float64") ** 2).sum((0, 1, 2))
        np.testing.assert_allclose(found, squares, 1e-6)

    def test_flattened_columns_are_summed_by_channel(self):
        model = filled(EXACT["chain"][0]())
        graph = ChannelGraph(model)
        kernel = np.abs(np.array(model.layers[-1].kernel))
        columns = kernel.reshape(36, 6, 3).sum((0, 2))
        rows = np.abs(np.array(model.get_layer("b").kernel)).sum((0, 1, 2))
        found = Magnitude().scores(graph)["b"]
        np.testing.assert_allclose(found, (rows + columns) / 2, 1e-6)

    def test_batch_norm_scale(self, graph):
        found = BatchNormScale().scores(graph)
        assert set(found) == {"conv1", "conv2", "conv3"}
        gammas = np.abs([golden()["bn2/0"], golden()["bn4/0"]])
        np.testing.assert_allclose(found["conv2"], gammas.mean(0), 1e-6)
        most = BatchNormScale("max").scores(graph)["conv2"]
        np.testing.assert_allclose(most, gammas.max(0), 1e-6)

    def test_random(self, graph):
        one, two = (Random(seed=1).scores(graph) for _ in "12")
        np.testing.assert_array_equal(one["fc1"], two["fc1"])
        other = Random(seed=2).scores(graph)
        assert abs(one.correlation(other).pearson) < 0.5


class TestScores:
    def test_correlation(self):
        one = Scores({"a": [1.0, 2.0, 3.0], "b": [4.0]})
        two = Scores({"a": [1.0, 4.0, 9.0], "b": [16.0]})
        found = one.correlation(two)
        x, y = np.array([1, 2, 3, 4.0]), np.array([1, 4, 9, 16.0])
        assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
        assert found.spearman == pytest.approx(1.0)
        ties = Scores({"a": [1.0, 1.0, 2.0], "b": [0.0]})
        ranks = np.array([1.5, 1.5, 3.0, 0.0]), np.array([0, 1, 2, 3.0])
        expected = np.corrcoef(*ranks)[0, 1]
        assert ties.correlation(one).spearman == pytest.approx(expected)

    def test_of_another_model(self):
        with pytest.raises(ValueError, match="of the same model"):
            Scores({"a": [1.0]}).correlation(Scores({"b": [1.0]}))

    def test_report(self, tmp_path):
        one = Scores({"a": [1.0, 2.0]})
        assert one.to_dict() == {"a": [1.0, 2.0]}
        assert str(one).splitlines()[1].split() == ["a", "2", "1", "1.5", "2"]
        one.save(tmp_path / "scores.json")
        assert (tmp_path / "scores.json").exists()


class TestRefused:
    def test_no_data(self, graph):
        with pytest.raises(ValueError, match="`x` and `y` must be given"):
            Taylor().scores(graph, loss=LOSS)

    def test_no_loss(self, graph):
        with pytest.raises(ValueError, match="`loss` must be given"):
            Taylor().scores(graph, data())

    def test_no_batch_norm(self):
        graph = ChannelGraph(EXACT["grouped"][0]())
        with pytest.raises(ValueError, match="BatchNormalization"):
            BatchNormScale().scores(graph)
        with pytest.raises(ValueError, match="form='batch_norm'"):
            Taylor(form="batch_norm").scores(graph, data(), loss=LOSS)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Taylor(order=3),
            lambda: Taylor(order=2, form="weight"),
            lambda: Taylor(reduce="mean"),
            lambda: Magnitude(reduce="least"),
            lambda: Magnitude(p=-1),
            lambda: BatchNormScale("first"),
            lambda: Random(seed=0.5),
            lambda: Oracle(max_channels=0),
        ],
    )
    def test_settings(self, make):
        with pytest.raises(ValueError, match="must be"):
            make()


def test_only_some_channels_are_measured(graph):
    few = Oracle(max_channels=5, verbose=False)
    found = scores(few, graph)
    finite = sum(np.isfinite(values).sum() for values in found.values())
    assert finite == 5
    every = scores(Oracle(verbose=False), graph)
    assert found.correlation(every).pearson == pytest.approx(1.0)
    plan = graph.plan(found, ratio=0.05)
    assert sum(map(len, plan.removed.values())) == 3


def test_the_compiled_loss_is_the_default(net, graph):
    net.compile("sgd", LOSS)
    found = Taylor().scores(graph, data(), training=True)
    expected = scores(Taylor(), graph)
    np.testing.assert_allclose(found["fc1"], expected["fc1"], 1e-5)
    x, y = np.concatenate(golden()["x"]), np.concatenate(golden()["y"])
    again = Taylor().scores(graph, x, y, batch_size=16, training=True)
    np.testing.assert_allclose(again["fc1"], expected["fc1"], 1e-5)
