"""AutoInit sets the scales that keep the signal, and nothing else."""

import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tfdeep.initializers import AutoInit, propagate, signal_rule
from tfdeep.initializers.auto_init.weights import draw

GOLDEN = json.loads(
    (Path(__file__).parent / "autoinit_golden.json").read_text("utf-8")
)


def golden_model(spec):
    """The network of a golden case, its kernels at the golden deviations."""
    tensors = {"input": keras.Input(spec["input"], name="input")}
    made = {}
    for node in spec["layers"]:
        name = node["name"]
        if not (node.get("reuse") and name in made):
            kind = getattr(layers, node["class"])
            made[name] = kind(name=name, **node["kwargs"])
        inputs = [tensors[source] for source in node["inputs"]]
        if node["call"] == "args":
            outputs = made[name](*inputs)
        else:
            many = node["call"] == "list"
            outputs = made[name](inputs if many else inputs[0])
        tensors[node.get("output", name)] = outputs
    model = keras.Model(tensors["input"], tensors[spec["output"]])
    rng = np.random.default_rng(0)
    for name, measured in spec["measured"].items():
        for path, deviation in measured["deviations"].items():
            kernels = [
                v
                for v in made[name].weights
                if v.path.endswith(f"/{path}")
                or path == "depthwise_kernel"
                and v.path.endswith("/kernel")
            ]
            (kernel,) = kernels
            values = rng.standard_normal(kernel.shape)
            values -= values.mean()
            kernel.assign(values * (deviation / values.std()))
    return model


def mlp(depth=3, width=64, activation="relu", inputs=32):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            *(layers.Dense(width, activation) for _ in range(depth)),
            layers.Dense(10),
        ]
    )


def values_of(model):
    return [np.array(v) for v in model.variables]


# The law of this second moment is skewed: the sixteen golden draws of ten
# outputs lie 3.6 of their own standard errors low. It is measured anew.
SKEWED = ("resnet_nobn", "dense_0")


@pytest.mark.parametrize("name", GOLDEN)
def test_predictions_meet_many_measured_draws(name):
    spec = GOLDEN[name]
    report = propagate(golden_model(spec))
    for layer, measured in spec["measured"].items():
        if (name, layer) == SKEWED:
            continue
        second, error = measured["second"], measured["error"]
        allowed = max(3 * error, 0.02 * second)
        assert abs(report[layer].second - second) <= allowed, layer


def some_inputs(model, count=32):
    """Standard normal inputs; what varies most are the draws of weights."""
    x = np.random.default_rng(1).normal(size=(count, *model.input.shape[1:]))
    return ((x - x.mean()) / x.std()).astype("float32")


def test_the_skewed_one_meets_more_draws():
    model, layer = golden_model(GOLDEN[SKEWED[0]]), SKEWED[1]
    report = propagate(model, draws=8)
    verified = report.verify(some_inputs(model), draws=40)
    assert verified.within(0.1)[verified.names.index(layer)]


# Their draws scatter widely: a chain of fifty, and a single output.
SCATTERED = ("merges", "plain_cnn50_1x1")


@pytest.mark.slow
@pytest.mark.tensorflow  # Statistics of many draws; slow, and alike on JAX.
@pytest.mark.parametrize("name", GOLDEN)
def test_the_last_layer_has_the_variance_asked_for(name):
    model = golden_model(GOLDEN[name])
    init = AutoInit(seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        init.initialize_model(model)
    assert bool(caught) == (name == "mlp_gelu"), caught
    records = init.report.records
    last = max(i for i, record in enumerate(records) if record.scale)
    if name != "all_cnn_c":  # Its last convolution ends in a ReLU.
        assert records[last].second == pytest.approx(1.0, rel=1e-3)
    draws = 32 if name in SCATTERED else 16
    verified = init.report.verify(some_inputs(model), draws)
    predicted, error = records[last].second, verified.standard_error[last]
    allowed = max(0.1 * predicted, 3 * error)
    assert abs(verified.measured[last] - predicted) <= allowed


class TestScales:
    def test_a_chain_of_dense_layers(self):
        init = AutoInit(seed=0)
        init.initialize_model(mlp(4, 128, inputs=64))
        scales = [record.scale for record in init.report.records]
        expected = [1 / 8, *[(2 / 128) ** 0.5] * 4]
        np.testing.assert_allclose(scales, expected, rtol=1e-6)

    def test_a_chain_with_batch_normalization(self):
        """Keras' epsilon of 1e-3 counts: a signal of variance v leaves with
        v / (v + epsilon). Here it is left out, as if v were large."""
        x = inputs = keras.Input((64,))
        for _ in range(3):
            x = layers.BatchNormalization(epsilon=1e-8)(layers.Dense(128)(x))
            x = layers.ReLU()(x)
        init = AutoInit(seed=0)
        init.initialize_model(keras.Model(inputs, layers.Dense(10)(x)))
        scales = [record.scale for record in init.report.records]
        found = [scale for scale in scales if scale]
        expected = [1 / 8, *[(2 / 128) ** 0.5] * 3]
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_inputs_with_a_mean(self):
        init = AutoInit(5.0, 0.01, 4.0, seed=0)
        init.initialize_model(mlp(1, 16, inputs=64))
        expected = (4 / (64 * 25.01)) ** 0.5
        np.testing.assert_allclose(init.report.records[0].scale, expected)

    def test_a_valid_convolution(self):
        model = keras.Sequential(
            [keras.Input((9, 9, 4)), layers.Conv2D(8, 3, activation="relu")]
        )
        init = AutoInit(seed=0)
        init.initialize_model(model)
        np.testing.assert_allclose(
            init.report.records[0].scale, 1 / 6, rtol=1e-6
        )

    def test_padding_counts_the_taps_inside(self):
        model = keras.Sequential(
            [keras.Input((4, 4, 2)), layers.Conv2D(8, 3, padding="same")]
        )
        init = AutoInit(seed=0)
        init.initialize_model(model)
        taps = (10 / 4) ** 2  # Of 3 along each axis: 2, 3, 3 and 2.
        np.testing.assert_allclose(
            init.report.records[0].scale, (2 * taps) ** -0.5, rtol=1e-6
        )

    @pytest.mark.parametrize(
        "layer,fan",
        [
            (layers.DepthwiseConv2D(3), 9),
            (layers.Conv2D(8, 3, groups=4), 9),
            (layers.Conv2DTranspose(8, 2, 2), 4),
            (layers.EinsumDense("abcd,de->abce", (None, None, 8)), 4),
        ],
    )
    def test_fans_are_what_a_layer_sums(self, layer, fan):
        model = keras.Sequential([keras.Input((6, 6, 4)), layer])
        init = AutoInit(seed=0)
        init.initialize_model(model)
        np.testing.assert_allclose(
            init.report.records[0].scale, fan**-0.5, rtol=1e-5
        )

    @pytest.mark.parametrize(
        "law", ["truncated_normal", "untruncated_normal", "uniform"]
    )
    def test_distributions_have_the_deviation(self, law):
        values = draw(np.random.default_rng(0), (400, 500), 0.3, law)
        np.testing.assert_allclose(values.std(), 0.3, rtol=0.01)
        assert abs(values.mean()) < 0.005
        limit = {"truncated_normal": 2 / 0.87962566, "uniform": 3**0.5}
        assert np.abs(values).max() <= 0.3 * limit.get(law, np.inf)

    @pytest.mark.parametrize("shape", [(20, 50), (50, 20), (3, 3, 4, 8)])
    def test_orthogonal_kernels_have_the_deviation(self, shape):
        values = draw(np.random.default_rng(0), shape, 0.3, "orthogonal")
        flat = values.reshape(-1, shape[-1])
        small = flat if flat.shape[0] > flat.shape[1] else flat.T
        gram = small.T @ small
        np.testing.assert_allclose(values.std(), 0.3, rtol=0.02)
        np.testing.assert_allclose(
            gram, 0.09 * small.shape[0] * np.eye(len(gram)), atol=1e-9
        )


class TestTheModel:
    def test_only_kernels_change(self):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Conv2D(4, 3),
                layers.BatchNormalization(),
                layers.Dropout(0.5, seed=1),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )
        model.compile("sgd", "mse")
        before = {v.path: np.array(v) for v in model.variables}
        optimizer = model.optimizer
        assert AutoInit(seed=0).initialize_model(model) is model
        assert model.optimizer is optimizer
        for variable in model.variables:
            same = np.array_equal(np.array(variable), before[variable.path])
            assert same == ("kernel" not in variable.path), variable.path

    def test_seeds(self):
        first, second, other = (mlp() for _ in range(3))
        AutoInit(seed=1).initialize_model(first)
        AutoInit(seed=1).initialize_model(second)
        AutoInit(seed=2).initialize_model(other)
        for a, b in zip(values_of(first), values_of(second), strict=True):
            np.testing.assert_array_equal(a, b)
        assert np.any(values_of(first)[0] != values_of(other)[0])

    def test_rescale_keeps_the_direction(self):
        model = mlp(1)
        before = values_of(model)[0]
        AutoInit(seed=0).initialize_model(model, mode="rescale")
        after = values_of(model)[0]
        np.testing.assert_allclose(
            after / before, after[0, 0] / before[0, 0], rtol=1e-4
        )
        np.testing.assert_allclose(np.mean(after**2), 1 / 32, rtol=1e-4)

    def test_frozen_and_zero_weights_are_left_and_reported(self):
        model = mlp(2)
        frozen, zero = model.layers[:2]
        frozen.trainable = False
        zero.kernel.assign(np.zeros(zero.kernel.shape))
        before = values_of(model)
        init = AutoInit(seed=0)
        init.initialize_model(model)
        reasons = dict(init.report.skipped)
        assert reasons[frozen.name] == "not trainable"
        assert reasons[zero.name] == "its weights are zero"
        assert reasons[model.layers[2].name] == "its inputs are zero"
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_analysis_changes_nothing(self):
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dropout(0.5, seed=3)]
            + [layers.Dense(8, "relu"), layers.BatchNormalization()]
        )
        before = values_of(model)
        report = propagate(model)
        report.verify(draws=2)
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("weight", ["kernel", "bias", "gamma", "frozen"])
    @pytest.mark.parametrize("what", ["resample", "rescale", "propagate"])
    def test_weights_that_are_not_finite_are_named(self, what, weight, value):
        model = mlp(2)
        model.add(layers.BatchNormalization())
        model.layers[1].trainable = False
        broken = {
            "kernel": model.layers[0].kernel,
            "bias": model.layers[0].bias,
            "gamma": model.layers[3].gamma,
            "frozen": model.layers[1].kernel,
        }[weight]
        values = np.array(broken)
        values.flat[0] = value
        broken.assign(values)
        before = values_of(model)
        init = AutoInit(seed=0)
        if (what, weight) == ("resample", "kernel"):  # It is drawn anew.
            init.initialize_model(model, what)
            assert all(np.all(np.isfinite(v)) for v in values_of(model))
            return
        message = f"Weight '{broken.path}' came with values"
        with pytest.raises(ValueError, match=message):
            if what == "propagate":
                propagate(model)
            else:
                init.initialize_model(model, what)
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)
        assert init.report is None

    def test_a_failure_leaves_the_model_as_it_was(self):
        class Failing(layers.Layer):
            def call(self, x):
                if self.failing:
                    raise RuntimeError("no")
                return x

        last = Failing()
        last.failing = False
        model = keras.Sequential([*mlp().layers, last])
        model.build((None, 32))
        before = values_of(model)
        last.failing = True
        with pytest.raises(RuntimeError, match="no"):
            AutoInit(seed=0).initialize_model(model)
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)
        # Calls are no longer watched.
        assert keras.layers.Layer.__call__.__module__.startswith("keras")


class Chain(keras.Model):
    """A subclassed model of many layers."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def call(self, x):
        for layer in self.chain:
            x = layer(x)
        return x


class TwoInputs(keras.Model):
    """A subclassed model that takes a dictionary."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(64, "relu")
        self.last = layers.Dense(10)

    def call(self, parts):
        joined = ops.concatenate([parts["a"], parts["b"]], -1)
        return self.last(self.hidden(joined))


class NotSymbolic(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = layers.Dense(2)

    def build(self, input_shape):
        self.last.build(input_shape)

    def call(self, x):
        return self.last(x * float(ops.convert_to_numpy(x)[0, 0]))


class TestHandWritten:
    """Subclassed models, which know only the shape they were called with."""

    def test_like_the_same_layers_in_a_graph(self):
        hidden = [layers.Dense(64, "relu") for _ in range(9)]
        model = Chain(hidden)
        model(np.zeros((2, 32), "float32"))
        init = AutoInit(seed=0)
        assert init.initialize_model(model) is model
        found = values_of(model)
        AutoInit(seed=0).initialize_model(
            keras.Sequential([keras.Input((32,)), *hidden])
        )
        for one, other in zip(found, values_of(model), strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(init.report) == len(propagate(model)) == 9

    def test_several_inputs(self):
        model = TwoInputs()
        x = np.random.default_rng(0).normal(5, 1, (512, 16)).astype("float32")
        data = {"a": x, "b": 0.1 * x}
        model(data)
        AutoInit.from_data(data, seed=0).initialize_model(model)
        outputs = ops.convert_to_numpy(model(data))
        assert np.mean(np.square(outputs)) == pytest.approx(1, rel=0.5)

    def test_a_list_of_inputs(self):
        class Listed(TwoInputs):
            def call(self, parts):
                return super().call({"a": parts[0], "b": parts[1]})

        model = Listed()
        model([np.zeros((2, 3), "float32"), np.zeros((2, 5), "float32")])
        init = AutoInit(seed=0)
        init.initialize_model(model)
        scales = [r.scale for r in init.report.records if r.scale]
        assert scales[0] == pytest.approx(8**-0.5, rel=1e-5)

    def test_several_arguments(self):
        class Two(keras.Model):
            def __init__(self):
                super().__init__()
                self.last = layers.Dense(2)

            def call(self, a, b):
                return self.last(a + b)

        model = Two()
        model(np.ones((2, 3), "float32"), np.ones((2, 3), "float32"))
        with pytest.raises(ValueError, match="one argument for all inputs"):
            AutoInit().initialize_model(model)

    def test_a_call_that_needs_values(self):
        class Needs(Chain):
            def call(self, x):
                return super().call(x) if float(ops.mean(x)) < 9 else x

        model = Needs([layers.Dense(3)])
        model(np.ones((2, 3), "float32"))
        with pytest.raises(ValueError, match="Use keras.ops in its `call`"):
            AutoInit().initialize_model(model)

    def test_what_cannot_be_known(self):
        model = NotSymbolic()
        model(np.ones((2, 3), "float32"))
        with pytest.raises(ValueError, match="cannot be called with a symb"):
            AutoInit().initialize_model(model)
        words = Chain([layers.Embedding(5, 4), layers.Dense(2)])
        words(np.zeros((2, 3), "int32"))
        with pytest.raises(ValueError, match="Take them from data"):
            AutoInit().initialize_model(words)
        x = np.arange(60).reshape(20, 3) % 5
        AutoInit.from_data(x, seed=0).initialize_model(words)

    def test_wrappers(self):
        wrapper = tfdeep.BatchEntropyRegularizer(mlp())
        with pytest.raises(TypeError, match="Pass its `base`"):
            AutoInit().initialize_model(wrapper)


class TestKindsOfModels:
    def last(self, model, **kwargs):
        init = AutoInit(seed=0)
        init.initialize_model(model, **kwargs)
        return init.report

    def test_a_thousand_layers(self):
        model = Chain([layers.Dense(8, "relu") for _ in range(1000)])
        inputs = keras.Input((8,))
        report = self.last(keras.Model(inputs, model(inputs)))
        assert sum(r.scale is not None for r in report.records) == 1000

    def test_a_shared_layer_is_set_once(self):
        shared = layers.Dense(16, "relu")
        inputs = keras.Input((16,))
        model = keras.Model(inputs, shared(shared(inputs)))
        report = self.last(model)
        assert [r.scale for r in report.records] == [0.25, 0.25]

    def test_nested_models_and_several_inputs(self):
        a, b = keras.Input((8,)), keras.Input((8,))
        inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, "relu")])
        joined = layers.Concatenate()([inner(a), b])
        model = keras.Model([a, b], layers.Dense(4)(joined))
        init = AutoInit([0.0, 1.0], [1.0, 3.0], seed=0)
        init.initialize_model(model)
        second = init.report.records[-1]
        np.testing.assert_allclose(
            second.scale, (16 * (0.5 + 4.0) / 2) ** -0.5, rtol=1e-5
        )

    def test_a_dict_of_inputs(self):
        a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
        outputs = layers.Dense(4)(layers.Concatenate()([b, a]))
        model = keras.Model({"b": b, "a": a}, outputs)
        init = AutoInit({"a": 0.0, "b": 2.0}, {"a": 1.0, "b": 5.0}, seed=0)
        init.initialize_model(model)
        np.testing.assert_allclose(
            init.report.records[-1].scale, (8 * 1 + 4 * 9) ** -0.5, rtol=1e-5
        )
        data = {"a": np.ones((6, 8)), "b": np.zeros((6, 4))}
        init = AutoInit.from_data(data, seed=0)
        init.initialize_model(model)
        np.testing.assert_allclose(
            init.report.records[-1].scale, 8**-0.5, rtol=1e-5
        )

    @pytest.mark.parametrize("make", [lambda a, b: [b, a], lambda a, b: [a, b]])
    def test_a_dict_for_a_list_of_inputs_goes_by_name(self, make):
        a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
        outputs = [layers.Dense(4, name="of_a")(a), layers.Dense(4)(b)]
        model = keras.Model(make(a, b), outputs)
        x = np.random.default_rng(0).standard_normal((64, 8))
        for init in (
            AutoInit(0.0, {"a": 100.0, "b": 1.0}, seed=0),
            AutoInit.from_data({"a": 10 * x, "b": x, "more": x}, seed=0),
        ):
            init.initialize_model(model)
            expected = pytest.approx(800**-0.5, rel=0.1)
            assert init.report["of_a"].scale == expected

    def test_nodes_of_keras_ops_are_functions_or_measured(self):
        inputs = keras.Input((6, 16))
        y = layers.Dense(16)(inputs)
        y = keras.ops.softsign(y)  # Of each value.
        y = keras.ops.reshape(y, (-1, 96))
        first, _ = keras.ops.split(y, 2, axis=-1)
        model = keras.Model(inputs, keras.ops.softmax(3.0 * first))
        records = {r.layer: r for r in self.last(model).records}
        z = np.random.default_rng(0).standard_normal(10**6)
        expected = np.mean((z / (1 + np.abs(z))) ** 2)
        np.testing.assert_allclose(
            records["Softsign"].second, expected, rtol=0.01
        )
        np.testing.assert_allclose(records["Split"].second, expected, rtol=0.05)
        assert records["Softmax"].mean == pytest.approx(1 / 48, rel=1e-3)

    def test_a_function_of_keras_ops(self):
        inputs = keras.Input((64,))
        y = layers.Dense(64)(inputs)
        y = y + keras.ops.relu(y)
        model = keras.Model(inputs, layers.Dense(8)(y))
        report = self.last(model)
        # E (x + relu(x))^2 = (1 + 4) / 2.
        np.testing.assert_allclose(
            report.records[-1].scale, (64 * 2.5) ** -0.5, rtol=0.02
        )

    def test_integer_inputs_and_a_mask(self):
        inputs = keras.Input((12,), dtype="int32")
        x = layers.Embedding(50, 16, mask_zero=True)(inputs)
        x = layers.MultiHeadAttention(2, 8)(x, x)
        model = keras.Model(inputs, layers.LSTM(8)(x))
        report = self.last(model)
        assert report["embedding"].scale == 1.0
        assert np.isfinite([r.second for r in report.records]).all()

    def test_unknown_sizes_and_half_precision(self):
        inputs = keras.Input((None, None, 3))
        conv = layers.Conv2D(8, 3, activation="relu", dtype="mixed_float16")
        x = layers.GlobalAveragePooling2D()(conv(inputs))
        report = self.last(keras.Model(inputs, layers.Dense(2)(x)))
        np.testing.assert_allclose(report.records[0].scale, 27**-0.5, rtol=1e-5)

    def test_sizes_that_are_tried_and_do_not_do(self):
        def model():
            x = inputs = keras.Input((None, None, 3))
            for _ in range(4):
                x = layers.Conv2D(4, 5, strides=2)(x)
            return keras.Model(inputs, layers.GlobalMaxPooling2D()(x))

        small = model()
        before = values_of(small)
        with pytest.raises(ValueError, match="failed at 32.*from_data"):
            AutoInit().initialize_model(small)
        for old, new in zip(before, values_of(small), strict=True):
            np.testing.assert_array_equal(old, new)
        x = np.random.default_rng(0).standard_normal((8, 80, 80, 3))
        AutoInit.from_data(x).initialize_model(model())

    def test_a_batch_of_fixed_size(self):
        inputs = keras.Input((8,), batch_size=16)
        x = keras.ops.reshape(layers.Dense(8)(inputs), (4, 32))
        report = self.last(keras.Model(inputs, layers.Dense(2)(x)))
        assert report.records[-1].scale == pytest.approx(32**-0.5)

    @pytest.mark.parametrize(
        "net",
        [
            lambda: tfdeep.models.ResNet(14, survival_probability=0.5),
            lambda: tfdeep.models.ResNet(14, preactivation=True),
            lambda: tfdeep.models.DenseNet(10, recompute=True),
            lambda: tfdeep.models.ResNeXt(11, 4, 8, input_shape=(8, 8, 3)),
        ],
        ids=["resnet", "preactivation", "densenet", "resnext"],
    )
    def test_our_nets(self, net):
        init = AutoInit(seed=0)
        init.initialize_model(net())
        verified = init.report.verify(draws=10)
        assert not init.report.probed
        assert verified.within(0.02).mean() >= 0.9
        assert verified.within(0.1).mean() >= 0.97


class TestUnknownLayers:
    class Odd(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return 3.0 * x * self.scale

    def model(self):
        return keras.Sequential(
            [keras.Input((16,)), self.Odd(), layers.Dense(4)]
        )

    def test_without_weights_too(self):
        class Half(layers.Layer):
            def call(self, x):
                return 0.5 * x

        model = keras.Sequential([keras.Input((16,)), Half()])
        with pytest.warns(UserWarning, match="No rule is known for 'half"):
            assert propagate(model).records[0].second == pytest.approx(0.25)
        with pytest.raises(NotImplementedError, match="'half"):
            propagate(model, strict=True)

    def test_they_are_measured(self):
        init = AutoInit(seed=0)
        with pytest.warns(UserWarning, match="No rule is known for 'odd"):
            init.initialize_model(self.model())
        assert len(init.report.probed) == 1
        np.testing.assert_allclose(init.report.records[0].second, 9, rtol=1e-3)

    def test_so_they_are_where_nothing_is_changed(self):
        with pytest.warns(UserWarning, match="No rule is known for 'odd"):
            assert len(propagate(self.model()).probed) == 1

    def test_or_refused(self):
        model = self.model()
        before = values_of(model)
        message = r"^The model came with 'odd\S*', for which there is no rule"
        with pytest.raises(NotImplementedError, match=message):
            AutoInit(seed=0).initialize_model(model, strict=True)
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_or_given_a_rule(self):
        class Triple(self.Odd):
            pass

        @signal_rule(Triple)
        def triple(state, layer, call, args, kwargs):
            before, y = state.signal(args[0]), call(*args, **kwargs)
            return state.give(y, before.replace(second=9 * before.second))

        model = keras.Sequential([keras.Input((16,)), Triple()])
        report = propagate(model, strict=True)
        np.testing.assert_allclose(report.records[0].second, 9.0)


class Twice(layers.Layer):
    """It says itself what becomes of the signal."""

    def call(self, x):
        return 2.0 * x

    def get_signal_moments(self, mean, variance):
        return 2 * mean, 4 * variance


class Joined(layers.Layer):
    def call(self, parts):
        return parts[0] + 3.0 * parts[1], parts[1]

    def get_signal_moments(self, mean, variance):
        return mean[0] + 3 * mean[1], variance[0] + 9 * variance[1]


class TestLayersThatSayThemselves:
    def test_one_input(self):
        model = keras.Sequential([keras.Input((16,)), Twice(), Twice()])
        report = propagate(model, 3.0, 0.5, strict=True)
        found = [(r.mean, r.variance) for r in report.records]
        np.testing.assert_allclose(found, [(6.0, 2.0), (12.0, 8.0)])

    def test_several_inputs_and_outputs(self):
        a, b = keras.Input((8,)), keras.Input((8,))
        model = keras.Model([a, b], layers.Dense(4)(Joined()([a, b])[0]))
        init = AutoInit([0.0, 1.0], [1.0, 1.0], seed=0)
        init.initialize_model(model, strict=True)
        expected = pytest.approx((8 * (9 + 10)) ** -0.5, rel=1e-5)
        assert init.report.records[-1].scale == expected

    def test_the_nearest_class_counts(self):
        class Constant(layers.Dense):
            def get_signal_moments(self, mean, variance):
                return 0.0, 7.0

        class Registered(Twice):
            pass

        @signal_rule(Registered)
        def five(state, layer, call, args, kwargs):
            before, y = state.signal(args[0]), call(*args, **kwargs)
            return state.give(y, before.replace(second=5 * before.second))

        for layer, second in ((Constant(16), 7.0), (Registered(), 5.0)):
            model = keras.Sequential([keras.Input((16,)), layer])
            report = propagate(model, strict=True)
            np.testing.assert_allclose(report.records[0].second, second)

    @pytest.mark.parametrize(
        "moments", [None, 1.0, (0.0, -1.0), (float("nan"), 1.0), ("a", 1.0)]
    )
    def test_what_are_no_moments(self, moments):
        class Wrong(Twice):
            def get_signal_moments(self, mean, variance):
                return moments

        model = keras.Sequential([keras.Input((16,)), layers.Dense(4), Wrong()])
        before = values_of(model)
        with pytest.raises(ValueError, match="`get_signal_moments` of layer"):
            AutoInit(seed=0).initialize_model(model)
        for old, new in zip(before, values_of(model), strict=True):
            np.testing.assert_array_equal(old, new)


class TestUnstableChains:
    def test_a_warning(self):
        with pytest.warns(UserWarning, match="polish=True"):
            AutoInit(seed=0).initialize_model(mlp(20, 128, "swish"))

    @pytest.mark.parametrize("seed", [0, 4, 6])
    @pytest.mark.parametrize("activation", ["swish", "gelu", "mish"])
    def test_a_polish(self, activation, seed):
        """Single inputs differ by orders of magnitude: it takes many."""
        model = mlp(20, 128, activation)
        AutoInit(seed=seed).initialize_model(model, polish=True)
        x = np.random.default_rng(7).standard_normal((65536, 32))
        y = model.predict(x, batch_size=4096, verbose=0)
        assert 0.9 < np.mean(np.square(y)) < 1.1

    @pytest.mark.parametrize("seed", [5, 7])
    def test_a_polish_of_kernels_that_are_kept(self, seed):
        keras.utils.set_random_seed(seed)
        model = mlp(20, 64, "swish", inputs=64)
        AutoInit(seed=seed).initialize_model(model, "rescale", polish=True)
        x = np.random.default_rng(99).standard_normal((2**17, 64))
        y = model.predict(x, batch_size=8192, verbose=0)
        assert 0.9 < np.mean(np.square(y)) < 1.1

    def test_relu_is_stable(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            AutoInit(seed=0).initialize_model(mlp(20, 64))


class TestReport:
    def test_conversions(self, tmp_path):
        init = AutoInit.from_data(np.full((10, 32), 2.0), seed=0)
        init.initialize_model(mlp(2))
        report = init.report
        path = tmp_path / "report.json"
        report.to_json(path)
        assert json.loads(path.read_text()) == report.to_dict()
        assert len(report.to_dict()["records"]) == len(report) == 3
        assert report.records[1].name in str(report)
        with pytest.raises(KeyError, match="not in the report"):
            report["nothing"]

    def test_verification(self):
        init = AutoInit(seed=0)
        init.initialize_model(mlp(2, 256))
        verified = init.report.verify(draws=6)
        assert verified.within(0.02).all()
        assert "standard error" in str(verified)

    @pytest.mark.parametrize("moment", ["mean", "variance"])
    def test_verification_of_another_moment(self, moment):
        model = keras.Sequential(
            [keras.Input((64,)), layers.Dense(256, "softplus")]
        )
        init = AutoInit(3.0, 0.5, seed=0)
        init.initialize_model(model)
        verified = init.report.verify(draws=8, moment=moment)
        expected = getattr(init.report.records[0], moment)
        assert verified.predicted[0] == expected
        assert verified.within(0.02).all()
        assert f"{moment.capitalize()}s" in str(verified)

    def test_verification_of_no_moment(self):
        with pytest.raises(ValueError, match="`moment` came as 'third'"):
            propagate(mlp()).verify(moment="third")

    def test_a_picture(self, tmp_path):
        pytest.importorskip("matplotlib", reason="an extra")
        path = tmp_path / "signal.png"
        propagate(mlp(4)).plot(path)
        assert path.stat().st_size > 5000

    def test_no_picture_of_nothing(self, tmp_path):
        pytest.importorskip("matplotlib", reason="an extra")
        inputs = keras.Input((4,))
        report = propagate(keras.Model(inputs, inputs))
        assert report.plot(tmp_path / "signal.png") is None


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"input_mean": float("inf")}, "`input_mean` came as inf"),
        ({"input_variance": 0.0}, "`input_variance` came as 0.0"),
        ({"input_variance": "1"}, "`input_variance` came as '1'"),
        ({"seed": "abc"}, "`seed` came as 'abc'"),
        ({"signal_variance": float("nan")}, "`signal_variance` came as nan"),
        ({"distribution": "normal"}, "`distribution` came as 'normal'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AutoInit(**arguments)


@pytest.mark.parametrize(
    "data,message",
    [
        (np.ones((5, 31)), "array of shape .5, 31."),
        (np.ones((0, 32)), "`input_mean` came as nan"),
        (np.full((5, 32), np.nan), "`input_mean` came as nan"),
        ([np.ones((5, 32))] * 2, "came with 2 inputs"),
    ],
)
def test_bad_data(data, message):
    model = mlp()
    before = values_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of an empty mean.
        with pytest.raises(ValueError, match=message):
            AutoInit.from_data(data).initialize_model(model)
    for old, new in zip(before, values_of(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "data,message",
    [
        ({"a": np.ones((5, 8)), "c": np.ones((5, 8))}, "inputs 'a', 'c'. The"),
        ({"a": np.ones((5, 8)), "b": np.ones((4, 8))}, r"\[5, 4\] samples"),
    ],
)
def test_bad_data_for_several_inputs(data, message):
    inputs = {name: keras.Input((8,), name=name) for name in "ab"}
    outputs = layers.Dense(2)(layers.Add()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    before = values_of(model)
    with pytest.raises(ValueError, match=message):
        AutoInit.from_data(data).initialize_model(model)
    for old, new in zip(before, values_of(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.tensorflow
def test_a_data_set_whose_lengths_differ():
    import tensorflow as tf

    def batches():
        for length, value in ((3, 2.0), (4, 9.0), (3, 2.0)):
            yield np.full((2, length, 8), value), np.zeros(2)

    of = tf.TensorSpec((2, None, 8)), tf.TensorSpec(2)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=of)
    init = AutoInit.from_data(dataset, seed=0)
    model = keras.Sequential([keras.Input((None, 8)), layers.Dense(4)])
    init.initialize_model(model)
    assert init.report.records[0].scale == pytest.approx(32**-0.5)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.ones((3, 8)), np.zeros(3)


@pytest.mark.parametrize(
    "data,message",
    [
        ("abc", "a single text"),
        (None, "a NoneType of dtype object"),
        ({"a": ["b"]}, "a single text"),
        (Batches(), "a Batches of dtype object"),
        (np.ones((3, 8), "O"), "a ndarray of dtype object"),
        (np.ones((3, 8), "complex64"), "a ndarray of dtype complex64"),
        (np.zeros((3, 8), "datetime64[s]"), "a ndarray of dtype datetime64"),
    ],
)
def test_data_of_no_numbers(data, message):
    with pytest.raises(TypeError, match=f"{message}.*takes numbers"):
        AutoInit.from_data(data)


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["complex64", "bfloat16"])
def test_a_data_set_of_numbers_of_another_kind(dtype):
    import tensorflow as tf

    x = tf.cast(np.arange(24).reshape(3, 8), dtype)
    for data in (x, tf.data.Dataset.from_tensors(x)):
        if dtype == "complex64":
            with pytest.raises(TypeError, match="complex64.*takes numbers"):
                AutoInit.from_data(data)
        else:
            init = AutoInit.from_data(data, seed=0)
            assert init.input_mean == [11.5]
            init.initialize_model(mlp(1, inputs=8))


@pytest.mark.parametrize("dtype", ["U", "S", "O"])
def test_text_for_a_model_of_numbers(dtype):
    model = mlp(1)
    before = values_of(model)
    data = np.full((5, 32), "a", dtype)
    with pytest.raises(ValueError, match="came as text for the input"):
        AutoInit.from_data(data).initialize_model(model)
    for old, new in zip(before, values_of(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", ["Dense", int, layers.Dense(2)])
def test_a_rule_for_no_class_of_layers(kind):
    with pytest.raises(TypeError, match="takes classes of layers"):
        signal_rule(kind)


def test_one_draw_has_no_standard_error():
    with pytest.raises(ValueError, match="`draws` came as 1"):
        propagate(mlp()).verify(draws=1)


def test_bad_models():
    init = AutoInit()
    with pytest.raises(TypeError, match="`model` came as Dense"):
        init.initialize_model(layers.Dense(2))
    with pytest.raises(ValueError, match="without known inputs"):
        init.initialize_model(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="`mode` came as 'add'"):
        init.initialize_model(mlp(), mode="add")
    with pytest.raises(ValueError, match="came for 2 inputs"):
        AutoInit([0.0, 1.0]).initialize_model(mlp())


def adapted():
    model = mlp(2)
    model.layers[1].enable_lora(2)
    return model


def adapted_inside():
    """Where the signal is not followed."""
    layer = layers.SpectralNormalization(layers.Dense(4))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layer])
    layer.layer.enable_lora(2)
    return model


def quantized():
    model = mlp(2)
    model.layers[1].quantize("int8")
    return model


@pytest.mark.parametrize("make", [adapted, adapted_inside, quantized])
def test_layers_that_multiply_with_something_else(make):
    model = make()
    before = values_of(model)
    message = r"^Layer 'dense\S*' came (with LoRA|quantized \(int8\))\. [^\n]*$"
    with pytest.raises(ValueError, match=message):
        AutoInit(seed=0).initialize_model(model)
    for old, new in zip(before, values_of(model), strict=True):
        np.testing.assert_array_equal(old, new)
