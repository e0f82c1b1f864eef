"""GradInit: golden trajectories, what stays untouched, what is refused."""

import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.helpers import BACKEND, double_precision, images
from tfdeep.initializers.grad_init import GradInit
from tfdeep.initializers.half_batches import half_batches, join
from tfdeep.initializers.scale_gradients import (
    ScaleAdam,
    ScaleGradients,
    first_step,
    gradient_norm,
    gradient_quotient,
)
from tfdeep.initializers.scaled_loss import ScaledLoss
from tfdeep.initializers.without_noise import without_noise

GOLDEN = np.load(Path(__file__).with_name("gradinit_golden.npz"))
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def float64():
    """Double precision, on JAX for as long as the test runs."""
    before = keras.config.floatx()
    with double_precision():
        keras.config.set_floatx("float64")
        try:
            yield
        finally:
            keras.config.set_floatx(before)


def mlp(classes=3, compiled=True, **kwargs):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="tanh", **kwargs),
            layers.Dense(classes),
        ]
    )
    if compiled:
        model.compile(keras.optimizers.SGD(0.1), LOGITS)
    return model


def labelled(count=32, features=4, classes=3):
    return images(count, features), np.arange(count) % classes


def quick(iterations=3, **kwargs):
    return GradInit(iterations=iterations, verbose=0, **kwargs)


def snapshot(model):
    return [np.array(w) for w in model.get_weights()]


def same(model, before):
    return all(
        np.array_equal(a, b)
        for a, b in zip(model.get_weights(), before, strict=True)
    )


# The mathematics.


def slow_scale_steps(gradients, kinds, lr, minimum):
    """The steps of the scales, one scalar and one formula at a time."""
    path = []
    scales = [1.0] * len(minimum)
    first = {kind: [0.0] * len(minimum) for kind in (False, True)}
    count = {False: 0, True: 0}
    second = [0.0] * len(minimum)
    for gradient, kind in zip(gradients, kinds, strict=True):
        count[kind] += 1
        for i, d in enumerate(gradient):
            d = min(max(d, -1.0), 1.0)
            first[kind][i] = 0.9 * first[kind][i] + 0.1 * d
            second[i] = 0.999 * second[i] + 0.001 * d * d
            m = first[kind][i] / (1 - 0.9 ** count[kind])
            v = second[i] / (1 - 0.999 ** sum(count.values()))
            step = lr * m / (v**0.5 + 1e-8)
            scales[i] = max(scales[i] - step, minimum[i])
        path.append(list(scales))
    return path


def test_scale_steps_equal_the_slow_reference():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(40, 3)) * [0.1, 1.0, 10.0]
    kinds = [bool(k) for k in rng.integers(0, 2, 40)]
    minimum = [0.01, 0.0, 0.9]
    adam, scales, path = ScaleAdam(0.05, minimum), np.ones(3), []
    for gradient, kind in zip(gradients, kinds, strict=True):
        scales = adam.step(scales, gradient, kind)
        path.append(scales)
    expected = slow_scale_steps(gradients, kinds, 0.05, minimum)
    np.testing.assert_allclose(path, expected, rtol=1e-12)
    assert scales[2] >= 0.9


def test_norms_and_steps():
    g = [np.array([3.0, 0.0], "float32"), np.array([[-4.0]], "float32")]
    assert float(gradient_norm(g, "sgd")) == 5.0
    assert float(gradient_norm(g, "adam")) == 7.0

    def step(*arguments):
        return [np.asarray(a).ravel().tolist() for a in first_step(*arguments)]

    assert step(g, "sgd", False) == [[3.0, 0.0], [-4.0]]
    assert step(g, "adam", True) == [[1.0, 0.0], [-1.0]]
    np.testing.assert_allclose(
        np.concatenate(step(g, "sgd", True)), [0.6, 0.0, -0.8], rtol=1e-6
    )
    zero = [np.zeros(2, "float32")]
    assert step(zero, "sgd", True) == [[0.0, 0.0]]


def test_gradient_quotient_of_two_tensors():
    g = [np.array([1.0, -1.0]), np.array([0.0])]
    hg = [np.array([2.0, 3.0]), np.array([0.5])]
    expected = (2 / 1.1 + 3 / 1.1 + 0.5 / 0.1) / 3
    value = float(gradient_quotient(g, hg, epsilon=0.1))
    assert value == pytest.approx(expected, rel=1e-6)


# Trajectories of another implementation, in float64.


@pytest.mark.parametrize(
    "name,settings",
    [
        ("sgd", {"learning_rate": 0.1, "gamma": 1.0}),
        ("adam", {"learning_rate": 0.01, "gamma": 12.0, "normalize": False}),
    ],
)
def test_golden_trajectory(name, settings, float64):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(16, activation="tanh"),
            layers.Dense(4),
        ]
    )
    model.set_weights([GOLDEN[f"{name}/initial/{i}"] for i in range(6)])
    x, y = GOLDEN[f"{name}/x"], GOLDEN[f"{name}/y"]
    # Seven half-batches in turn, two in each batch.
    pairs = [((2 * i) % 7, (2 * i + 1) % 7) for i in range(7)]
    batches = [(x[[*p]].reshape(16, 8), y[[*p]].reshape(16)) for p in pairs]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    init = quick(60, algorithm=name, **settings)
    init.initialize_model(model, batches, loss)
    assert init.history["constraint"] == GOLDEN[f"{name}/constraint"].tolist()
    # XLA's tanh on a CPU has half of the digits.
    atol = 1e-10 if BACKEND == "tensorflow" else 1e-6
    np.testing.assert_allclose(
        init.history["scales"], GOLDEN[f"{name}/scales"], rtol=0, atol=atol
    )
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_allclose(
            weight, GOLDEN[f"{name}/final/{i}"], rtol=0, atol=atol
        )


def conv_net(norm):
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, strides=2),
            layers.BatchNormalization() if norm else layers.Identity(),
            layers.Activation("swish"),
            layers.AveragePooling2D(2, strides=1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize(
    "objective,gamma",
    [("gradinit", 1e-6), ("gradinit", 1e6), ("gradient_quotient", 1.0)],
)
def test_gradient_of_the_scales_is_the_slope_of_the_value(
    objective, gamma, float64
):
    # XLA's square roots on a CPU have half of the digits: too few for that.
    model = conv_net(BACKEND == "tensorflow" or objective == "gradinit")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    settings = quick(objective=objective, gamma=gamma)
    scaled = ScaledLoss(model, loss)
    gradients = ScaleGradients(scaled, settings)
    half = images(6, 6, 6, 2), np.arange(6) % 3, None
    batch = tuple(join(part, part) for part in half)

    def at(scales):
        return gradients(scales, itertools.repeat(half))

    def value(scales):
        if gamma < 1e3:
            return at(scales)[1]["objective"]
        # The step is held fast, as nothing is differentiated through it.
        constants = (*gradients._constants(batch), step)
        scales = ops.convert_to_tensor(scales)
        return float(gradients.after_step(scales, constants)[0])

    scales = np.linspace(0.8, 1.2, len(scaled.names))
    start = ops.convert_to_tensor(scales)
    with without_noise(model):
        step = gradients.norm(start, gradients._constants(batch))[1][1]
        d, record = at(scales)
        slopes = [
            (value(scales + unit) - value(scales - unit)) / 2e-5
            for unit in np.eye(len(scales)) * 1e-5
        ]
    assert record["constraint"] == (gamma < 1)
    # The quotient has a kink wherever an entry of the gradient is 0.
    rtol = 1e-5 if BACKEND == "tensorflow" else 1e-2
    if objective == "gradient_quotient":
        rtol = max(rtol, 1e-3)
    np.testing.assert_allclose(d, slopes, rtol=rtol, atol=1e-6)


def test_first_loss_is_that_of_the_model():
    model = mlp()
    x, y = labelled()
    expected = float(LOGITS(y, model(x)))
    init = quick(1)
    init.initialize_model(model, [(x, y), (x, y)])
    assert init.history["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert init.history["scales"][-1] == list(init.scales.values())


def test_it_mends_an_initialization_that_is_too_large():
    """The claim in small: bounded gradient, and lower loss after a step."""
    rng = keras.initializers.RandomNormal(0.0, 3.0, seed=1)
    model = mlp(kernel_initializer=rng)
    data = labelled(64)
    init = GradInit(
        iterations=60, scale_learning_rate=0.05, seed=0, gamma=0.2, verbose=0
    )
    init.initialize_model(model, data, batch_size=64)
    norm, loss = init.history["norm"], init.history["loss"]
    assert norm[0] > 0.2
    assert np.mean(norm[-10:]) < 0.25
    assert loss[-1] < loss[0]


def test_metainit_lowers_its_quotient():
    model = mlp()
    init = quick(
        40,
        objective="gradient_quotient",
        scale_learning_rate=0.03,
        learning_rate=7.0,
    )
    init.initialize_model(model, [labelled(64)])
    assert init.history["objective"][-1] < 0.9 * init.history["objective"][0]
    assert not any(init.history["constraint"])


# Data.


def test_half_batches_of_arrays_are_shuffled_and_endless():
    x = np.arange(10)
    stream = half_batches((x, -x), 8, seed=3)
    taken = [next(stream) for _ in range(6)]
    assert all(part[0].shape == (4,) for part in taken)
    assert all(np.array_equal(a, -b) for a, b, _ in taken)
    one_pass = np.concatenate([part[0] for part in taken[:2]])
    assert len(set(one_pass.tolist())) == 8
    again = half_batches((x, -x), 8, seed=3)
    assert all(np.array_equal(next(again)[0], part[0]) for part in taken)


def test_batches_are_cut_in_two_and_start_again():
    x = np.arange(11)
    batches = [(x[:4], x[:4]), (x[4:8], x[4:8]), (x[8:], x[8:])]
    stream = half_batches(batches, 0, None)
    taken = [next(stream)[0].tolist() for _ in range(6)]
    assert taken == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [0, 1]]


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return labelled(16)


def test_sources_of_data():
    x, y = labelled(16)
    weights = np.ones(16, "float32")
    sources = [
        (x, y),
        (x, y, weights),
        [(x, y)],
        [(x, y, weights)],
        ((x, y) for _ in range(2)),
        Sequence(),
    ]
    results = []
    for source in sources:
        keras.utils.set_random_seed(0)
        model = mlp()
        quick(1, overlap=False).initialize_model(model, source, batch_size=8)
        results.append(model.get_weights()[0])
    np.testing.assert_array_equal(results[2], results[3])
    np.testing.assert_array_equal(results[2], results[4])
    np.testing.assert_array_equal(results[2], results[5])


@pytest.mark.tensorflow
def test_a_tf_data_set():
    import tensorflow as tf

    x, y = labelled(16)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    assert next(half_batches(dataset, 0, None))[0].shape == (4, 4)
    init = quick(4)
    init.initialize_model(mlp(), dataset)
    assert len(init.history["loss"]) == 4


def test_several_inputs_and_outputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate()([a, b])
    model = keras.Model(
        {"a": a, "b": b},
        {
            "one": layers.Dense(1, name="one")(joined),
            "two": layers.Dense(2, name="two")(joined),
        },
    )
    model.compile("sgd", {"one": "mse", "two": "mae"})
    x = {"a": images(8, 3), "b": images(8, 2)}
    y = {"one": images(8, 1), "two": images(8, 2)}
    assert quick(2).initialize_model(model, (x, y), batch_size=4) is model
    model.fit(x, y, verbose=0)


def test_seeds_repeat():
    def run(seed):
        keras.utils.set_random_seed(0)
        model = mlp()
        quick(4, seed=seed).initialize_model(model, labelled(), batch_size=8)
        return model.get_weights()[0]

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


# What is left alone.


def noisy_net():
    """Every kind of noise, and batch normalization."""
    x = inputs = keras.Input((6, 8))
    x = layers.SpatialDropout1D(0.4)(x)
    x = layers.Conv1D(8, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GaussianNoise(0.5)(x)
    x = layers.AlphaDropout(0.3)(x)
    x = layers.MultiHeadAttention(2, 4, dropout=0.3)(x, x)
    x = layers.Attention(dropout=0.3)([x, x])
    x = layers.LSTM(
        5, dropout=0.3, recurrent_dropout=0.3, return_sequences=True
    )(x)
    x = tfdeep.layers.DropPath(0.4)(x)
    branch = keras.Sequential([layers.Dense(5), layers.Dropout(0.5)])
    x = x + tfdeep.StochasticDepth(branch, 0.5)(x)
    x = layers.GaussianDropout(0.3)(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile(keras.optimizers.Adam(0.01), LOGITS)
    return model


def quiet_loss(model, x, y):
    with without_noise(model):
        scaled = ScaledLoss(model)
        return [
            float(scaled(scaled.weights, scaled.state, (x, y, None)))
            for _ in range(2)
        ]


def test_dropout_is_off_while_batch_normalization_trains():
    model = noisy_net()
    x, y = images(8, 6, 8), np.arange(8) % 3
    seeds = [v for v in model.non_trainable_variables if "seed" in v.path]
    assert len(seeds) >= 7
    configs = [layer.get_config() for layer in model.layers]
    first, second = quiet_loss(model, x, y)
    assert first == second
    # Other seeds, the same loss; other statistics, the same loss.
    for variable in seeds:
        variable.assign(variable.value + 7)
    norm = next(
        layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
    )
    norm.moving_mean.assign(norm.moving_mean.value + 5.0)
    assert quiet_loss(model, x, y)[0] == first
    assert [layer.get_config() for layer in model.layers] == configs
    noisy = [float(LOGITS(y, model(x, training=True))) for _ in range(2)]
    assert noisy[0] != noisy[1]


def test_nothing_but_the_scaled_weights_moves():
    model = noisy_net()
    x, y = images(16, 6, 8), np.arange(16) % 3
    model.fit(x, y, batch_size=8, verbose=0)
    frozen = [np.array(v) for v in model.non_trainable_variables]
    state = [np.array(v) for v in model.optimizer.variables]
    loss, optimizer = model.loss, model.optimizer
    before = snapshot(model)
    init = quick(2, seed=0)
    init.initialize_model(model, (x, y), batch_size=8)
    assert model.loss is loss and model.optimizer is optimizer
    for values, variables in (
        (frozen, model.non_trainable_variables),
        (state, model.optimizer.variables),
    ):
        for value, variable in zip(values, variables, strict=True):
            np.testing.assert_array_equal(value, np.array(variable))
    paths = [v.path for v in model.weights]
    for path, old, new in zip(paths, before, model.get_weights(), strict=True):
        scale = np.float32(init.scales.get(path, 1.0))
        np.testing.assert_array_equal(new, old * scale)


def test_frozen_weights_and_zeros_are_skipped():
    model = mlp()
    model.layers[0].trainable = False
    before = snapshot(model)
    init = quick(2)
    init.initialize_model(model, labelled(), batch_size=8)
    assert list(init.scales) == [model.layers[1].kernel.path]
    after = model.get_weights()
    for index in (0, 1, 3):
        np.testing.assert_array_equal(after[index], before[index])
    assert not np.array_equal(after[2], before[2])


def test_weight_penalties_are_left_out_and_come_back():
    model = mlp(kernel_regularizer=keras.regularizers.L2(10.0))
    plain = mlp()
    plain.set_weights(model.get_weights())
    for each in (model, plain):
        quick(2).initialize_model(each, [labelled()])
    np.testing.assert_array_equal(
        model.get_weights()[0], plain.get_weights()[0]
    )
    assert len(model.losses) == 1


def test_biases_may_go_to_zero_and_kernels_not():
    model = mlp(bias_initializer="ones")
    init = quick(3, scale_learning_rate=5.0, gamma=1e-9, min_scale=0.3)
    init.initialize_model(model, [labelled()])
    for path, scale in init.scales.items():
        assert scale >= (0.0 if "bias" in path else 0.3)
    assert min(init.scales.values()) == 0.0


def test_a_net_of_ours():
    net = tfdeep.models.ResNet(
        8,
        input_shape=(8, 8, 3),
        classes=3,
        survival_probability=0.5,
        classifier_activation=None,
        seed=0,
    )
    init = quick(2, seed=0)
    init.initialize_model(
        net, (images(16, 8, 8, 3), np.arange(16) % 3), LOGITS, batch_size=8
    )
    assert net.get_layer("stage1_block1").survival_probability < 1
    assert all(np.isfinite(init.history["norm"]))


# All or nothing.


def test_a_model_within_a_wrapper():
    model = tfdeep.BatchEntropyRegularizer(mlp(compiled=False))
    model.compile("adamw", "sparse_categorical_crossentropy")
    before = snapshot(model.base)
    quick().initialize_model(model, [labelled()])
    assert not same(model.base, before)
    model.fit(*labelled(), verbose=0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_error_in_the_data_leaves_the_old_weights(error):
    def batches():
        for _ in range(4):
            yield labelled()
        raise error

    model = mlp()
    before = snapshot(model)
    init = quick(100)
    with pytest.raises(error):
        init.initialize_model(model, batches())
    assert same(model, before)
    assert init.history == {} == init.scales


def test_an_interrupt_while_writing_brings_the_old_weights_back():
    model = mlp()
    before = snapshot(model)
    scaled = ScaledLoss(model)
    stop = model.layers[1].kernel
    assign, calls = stop.assign, []

    def interrupted(value):
        calls.append(value)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return assign(value)

    scaled.variables = [
        Assigned(v, interrupted) if v is stop else v for v in scaled.variables
    ]
    with pytest.raises(KeyboardInterrupt):
        scaled.write_back(np.array([0.5, 0.5]))
    assert len(calls) == 2
    assert same(model, before)


class Assigned:
    def __init__(self, variable, assign):
        self.value, self.assign = variable.value, assign


def test_noise_comes_back_after_an_error():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dropout(0.3), layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="labels"):
        quick().initialize_model(model, [(images(8, 4), images(8, 9))], LOGITS)
    assert model.layers[0].rate == 0.3


# The report.


def test_to_dict_and_save(tmp_path):
    init = quick(2, seed=5)
    init.initialize_model(mlp(), labelled(), batch_size=8)
    path = init.save(tmp_path / "grad_init.json")
    saved = json.loads(path.read_text())
    assert saved == init.to_dict()
    assert GradInit(**saved["settings"]).to_dict()["settings"]["seed"] == 5
    assert len(saved["history"]["scales"]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["grad_init.json"]


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    init = quick(2)
    with pytest.raises(RuntimeError, match="no history"):
        init.plot()
    init.initialize_model(mlp(), [labelled()])
    figure = init.plot(tmp_path / "grad_init.png")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss", "norm", "scales",
    ]  # fmt: skip
    assert (tmp_path / "grad_init.png").stat().st_size > 1000


def test_plot_without_matplotlib(monkeypatch):
    init = quick(1)
    init.initialize_model(mlp(), [labelled()])
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"tfdeep\[plot\]"):
        init.plot()


def test_progress_counts_the_steps(capsys):
    GradInit(iterations=2, verbose=2).initialize_model(mlp(), [labelled()])
    shown = capsys.readouterr().out
    assert "constraint steps" in shown and "norm" in shown


# What is refused, and that nothing moved.


@pytest.mark.parametrize(
    "name,value",
    [
        ("algorithm", "rmsprop"),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("gamma", -1.0),
        ("scale_learning_rate", "fast"),
        ("iterations", 0),
        ("iterations", 2.5),
        ("min_scale", 1.5),
        ("min_scale", -0.1),
        ("normalize", "yes"),
        ("overlap", None),
        ("objective", "loss"),
        ("verbose", 3),
        ("seed", 1.5),
    ],
)
def test_parameters_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"`{name}` came as .* Pass|pass"):
        GradInit(**{name: value})


def quantized():
    model = mlp()
    for layer in model.layers:
        layer.quantize("int8")
    return model


def adapted():
    model = mlp()
    model.layers[0].enable_lora(2)
    return model


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: mlp(dtype="mixed_float16"), "float16.*float32"),
        (lambda: mlp(dtype="mixed_bfloat16"), "bfloat16.*float32"),
        (quantized, "quantized"),
        (adapted, "LoRA"),
        (lambda: mlp(compiled=False), "not compiled"),
    ],
)
def test_models_that_are_refused(make, message):
    model = make()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        quick().initialize_model(model, [labelled()])
    assert same(model, before)


def test_a_model_without_weights_to_scale():
    model = mlp()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.raises(ValueError, match="other than zero"):
        quick().initialize_model(model, [labelled()])
    model.trainable = False
    with pytest.raises(ValueError, match="other than zero"):
        quick().initialize_model(model, [labelled()])


def test_a_model_that_is_not_built():
    model = keras.Sequential([layers.Dense(3)])
    with pytest.raises(ValueError, match="not built.*model.build"):
        quick().initialize_model(model, [labelled()], LOGITS)
    assert not model.built


def test_something_that_is_no_model():
    with pytest.raises(TypeError, match="Dense.*keras.Model"):
        quick().initialize_model(layers.Dense(3), [labelled()], LOGITS)


def test_compiled_with_no_loss():
    model = mlp(compiled=False)
    model.compile("sgd")
    with pytest.raises(ValueError, match="with no loss"):
        quick().initialize_model(model, [labelled()])


@pytest.mark.parametrize("loss", ["hinge-ish", 3])
def test_a_loss_that_does_not_exist(loss):
    model = mlp()
    with pytest.raises((ValueError, TypeError), match="`loss` came as"):
        quick().initialize_model(model, [labelled()], loss)


@pytest.mark.parametrize("explicit", [True, False])
def test_labels_of_the_wrong_shape(explicit):
    model = mlp()
    before = snapshot(model)
    data = images(8, 4), images(8, 5, 2)
    loss = LOGITS if explicit else None
    with pytest.raises(ValueError, match=r"labels of shape \(4, 5, 2\)"):
        quick().initialize_model(model, [data], loss)
    assert same(model, before)


class HandWritten(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize("hand_written", [False, True])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_no_class(label, hand_written):
    model = HandWritten() if hand_written else mlp()
    model.compile("sgd", LOGITS)
    model(images(2, 4))
    before = snapshot(model)
    data = images(8, 4), np.full(8, label)
    with pytest.raises(ValueError, match="0 to 2"):
        quick().initialize_model(model, [data])
    assert same(model, before)


def test_a_class_that_is_missing_in_a_later_batch():
    model = mlp()
    before = snapshot(model)
    x, y = labelled(8)
    with pytest.raises(ValueError, match="0 to 2"):
        quick().initialize_model(model, [(x, y), (x, y + 1)])
    assert same(model, before)


def two_heads(named, hand_written=False):
    """A model that tells apart three classes and, elsewhere, five."""
    if hand_written:
        return HandWrittenHeads(named)
    inputs = keras.Input((4,))
    outputs = {
        "three": layers.Dense(3, name="three")(inputs),
        "five": layers.Dense(5, name="five")(inputs),
    }
    return keras.Model(inputs, outputs if named else list(outputs.values()))


class HandWrittenHeads(keras.Model):
    def __init__(self, named):
        super().__init__()
        self.named = named
        self.three, self.five = layers.Dense(3), layers.Dense(5)

    def call(self, x):
        outputs = {"three": self.three(x), "five": self.five(x)}
        return outputs if self.named else list(outputs.values())


# What to compile with, and how many labels of `three` and `five` come.
NAME = "sparse_categorical_crossentropy"
LOSSES = {
    "list": [LOGITS, NAME],
    "one": NAME,
    "function": [keras.losses.sparse_categorical_crossentropy] * 2,
    "dict": {"five": LOGITS, "three": "SparseCategoricalCrossentropy"},
    "partial": [None, LOGITS],
}


CASES = [
    ("list", False, "list"),
    ("one", False, "list"),
    ("one", True, "dict"),
    ("function", False, "tuple"),
    ("dict", True, "dict"),
    ("partial", False, "last"),
    ("partial", False, "list"),
]
# Of a hand-written model Keras does not know what outputs in a list are called.
NAMED_BY_LAYERS = [("dict", False, "dict"), ("dict", False, "list")]


@pytest.mark.parametrize(
    "loss,named,labels,hand_written",
    [(*case, False) for case in CASES + NAMED_BY_LAYERS]
    + [(*case, True) for case in CASES],
)
def test_classes_of_several_outputs(loss, named, labels, hand_written):
    model = two_heads(named, hand_written)
    model.compile("sgd", LOSSES[loss])
    x = images(8, 4)
    model(x)

    def data(three, five):
        five = np.arange(8) % five
        three = np.arange(8) % three
        y = {
            "list": [three, five],
            "tuple": (three, five),
            "dict": {"three": three, "five": five},
            "last": [five],
        }[labels]
        return [(x, y)]

    quick(1).initialize_model(model, data(3, 5))
    before = snapshot(model)
    with pytest.raises(ValueError, match="output .* from 0 to 5.*0 to 4"):
        quick(1).initialize_model(model, data(3, 6))
    if loss != "partial":
        with pytest.raises(ValueError, match="output .* from 0 to 3.*0 to 2"):
            quick(1).initialize_model(model, data(4, 5))
    assert same(model, before)


def test_classes_of_two_outputs_of_one_layer():
    one, other = keras.Input((4,)), keras.Input((4,))
    layer = layers.Dense(3)
    model = keras.Model([one, other], [layer(one), layer(other)])
    model.compile("sgd", [LOGITS, LOGITS])
    x, y = labelled(8)
    quick(1).initialize_model(model, [((x, x), (y, y))])
    for wrong in ((y + 1, y), (y, y + 1)):
        with pytest.raises(ValueError, match="output .* came from 1 to 3"):
            quick(1).initialize_model(model, [((x, x), wrong)])


def test_classes_beside_another_loss():
    model = two_heads(named=True)
    model.compile("sgd", {"three": "mse", "five": LOGITS})
    y = {"three": images(8, 3), "five": np.arange(8) % 5}
    quick(1).initialize_model(model, [(images(8, 4), y)])
    before = snapshot(model)
    y["five"] = y["five"] + 1
    with pytest.raises(ValueError, match="output 'five' came from 1 to 5"):
        quick(1).initialize_model(model, [(images(8, 4), y)])
    assert same(model, before)


@pytest.mark.parametrize(
    "loss", [{"many": [LOGITS, LOGITS], "one": LOGITS}, LOGITS]
)
def test_classes_of_outputs_within_one_another(loss):
    inputs = keras.Input((4,))
    outputs = {
        "many": [layers.Dense(3)(inputs), layers.Dense(5)(inputs)],
        "one": layers.Dense(2)(inputs),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss)

    def data(three, five):
        many = [np.arange(8) % three, np.arange(8) % five]
        return [(images(8, 4), {"many": many, "one": np.arange(8) % 2})]

    quick(1).initialize_model(model, data(3, 5))
    before = snapshot(model)
    for wrong, name in ((data(4, 5), "many/0"), (data(3, 6), "many/1")):
        with pytest.raises(ValueError, match=f"output '{name}' came from 0"):
            quick(1).initialize_model(model, wrong)
    assert same(model, before)


@pytest.mark.parametrize("loss", ["crossentropy", "ce"])
def test_classes_of_a_loss_chosen_by_the_labels(loss):
    def compiled():  # Keras chooses once.
        model = keras.Sequential([mlp(compiled=False), layers.Softmax()])
        model.compile("sgd", loss)
        return model

    x, y = labelled(8)
    model = compiled()
    before = snapshot(model)
    with pytest.raises(ValueError, match="came from 1 to 3.*0 to 2"):
        quick(1).initialize_model(model, [(x, y + 1)])
    assert same(model, before)
    quick(1).initialize_model(model, [(x, y)])
    quick(1).initialize_model(compiled(), [(x, np.eye(3)[y])])


def test_a_class_that_is_ignored_is_no_class():
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=-1
    )
    x, y = labelled(8)
    quick(1).initialize_model(mlp(), [(x, y - (y == 0))], loss)
    with pytest.raises(ValueError, match="came from 0 to 3.*0 to 2"):
        quick(1).initialize_model(mlp(), [(x, y + (y == 2))], loss)


def test_one_loss_for_several_outputs():
    inputs = keras.Input((4,))
    outputs = [layers.Dense(3)(inputs), layers.Dense(1)(inputs)]
    model = keras.Model(inputs, outputs)
    before = snapshot(model)
    x, y = labelled(8)
    with pytest.raises(ValueError, match="predictions of shape .*does not"):
        quick().initialize_model(model, [(x, [y, y])], LOGITS)
    assert same(model, before)


def test_half_a_batch_of_one():
    with pytest.raises(ValueError, match="`batch_size` came as 1.*at least 2"):
        quick().initialize_model(mlp(), labelled(), batch_size=1)


@pytest.mark.parametrize(
    "data,message",
    [
        ((images(8, 4), None), "labels of shape None"),
        ((images(8, 4), np.array(["a"] * 8)), "labels of dtype <U1"),
        ((images(8, 4), np.full(8, None)), "labels of dtype object"),
        ((images(8, 4), np.ones(8, "c8")), "labels of dtype complex64"),
        ((images(8, 4), np.arange(7)), "same number of samples"),
        (labelled(3), "3 samples. A half-batch has 4"),
        ([(images(1, 4), np.zeros(1))], "batches of 1"),
        ([], "ended after 0"),
        ((labelled(8) for _ in range(1)), "ended after 2"),
        ([images(8, 4)], "inputs and labels"),
        ([(images(8, 4),)], "inputs and labels"),
    ],
)
def test_data_that_does_not_do(data, message):
    model = mlp()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        quick().initialize_model(model, data, batch_size=8)
    assert same(model, before)


TEXT = np.array([["a b", "b", "c", ""]] * 8)


@pytest.mark.parametrize("text", [TEXT, TEXT.astype("S"), TEXT.astype("O")])
@pytest.mark.parametrize("hand_written", [False, True])
def test_text_for_a_model_of_numbers(text, hand_written):
    model = HandWritten() if hand_written else mlp()
    model.compile("sgd", LOGITS)
    model(images(2, 4))
    before = snapshot(model)
    data = text, np.zeros(8)
    message = "^`data` came (as|with) text for the (input|model) '[^\n]*$"
    with pytest.raises(ValueError, match=message):
        quick().initialize_model(model, data, batch_size=8)
    assert same(model, before)


@pytest.mark.tensorflow
@pytest.mark.parametrize("text", [TEXT, TEXT.astype("S"), TEXT.astype("O")])
def test_text_for_a_model_of_text(text):
    words = layers.TextVectorization(
        output_sequence_length=2, vocabulary=["a", "b", "c"]
    )
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            words,
            layers.Embedding(5, 4),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    y = np.arange(8) % 3
    quick(1).initialize_model(model, [(text[:, :1], y)], LOGITS)
    with pytest.raises(ValueError, match="came as numbers for the input"):
        quick(1).initialize_model(model, [(images(8, 1), y)], LOGITS)


@pytest.mark.parametrize(
    "x,message",
    [
        (np.ones((8, 4), "O"), "inputs of dtype object"),
        (np.full((8, 4), None), "inputs of dtype object"),
        (np.zeros((8, 4), "datetime64[s]"), "inputs of dtype datetime64"),
        (np.ones((8, 4), "complex64"), "came as complex numbers for the inp"),
        ([images(8, 4), TEXT], "came as text for the input 'two'"),
        ({"two": TEXT, "one": images(8, 4)}, "as text for the input 'two'"),
    ],
)
def test_inputs_that_are_no_numbers(x, message):
    model = mlp()
    if isinstance(x, (list, dict)):
        inputs = [keras.Input((4,), name=name) for name in ("one", "two")]
        outputs = layers.Dense(3)(layers.Add()(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("sgd", LOGITS)
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        quick().initialize_model(model, (x, np.zeros(8)), batch_size=8)
    assert same(model, before)


def test_data_of_another_type():
    with pytest.raises(TypeError, match="`data` came as int"):
        quick().initialize_model(mlp(), 3)


def test_a_gradient_that_is_not_finite_is_named():
    model = mlp()
    before = snapshot(model)
    x, y = labelled(8)
    x[0] = np.inf
    with pytest.raises(ValueError, match="sequential.*kernel.*not a number"):
        quick().initialize_model(model, [(x, y)])
    assert same(model, before)


def test_weights_shared_with_another_network():
    model = mlp()
    inputs = keras.Input((4,))
    features = model.layers[0](inputs)
    probe = keras.Model(model.inputs, model.layers[0].output)
    quick(1).initialize_model(model, [labelled()])
    other = keras.Model(inputs, layers.Dense(2)(features), name="other")
    before = snapshot(model)
    with pytest.raises(ValueError, match="shared with the model 'other'"):
        quick(1).initialize_model(model, [labelled()])
    assert same(model, before)
    del other, features, inputs
    quick(1).initialize_model(model, [labelled()])
    # A model around this one may hold it.
    around = keras.Sequential([keras.Input((4,)), model, layers.Dense(2)])
    quick(1).initialize_model(model, [labelled()])
    assert around.built and probe.built
