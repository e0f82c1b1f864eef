"""The regulariser: its loss, its gradients, which layers, what is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.helpers import BACKEND, arrays
from tfdeep import backend
from tfdeep.layers import BatchEntropy, batch_entropy
from tfdeep.training import BatchEntropyRegularizer
from tfdeep.training.entropy_regularizer import entropy_target

COMPILED = [False, True] if BACKEND == "tensorflow" else [True]


def slow_loss(model, names, alphas, alpha_min, beta, loss, data):
    """The formula, layer by layer, from a plain forward pass."""
    x, y = data
    taps, value = [], x
    for layer in model.layers:
        value = layer(value)
        if layer.name in names:
            taps.append(float(batch_entropy(value)))
    task = float(loss(y, value))
    gaps = [
        h - max(abs(float(a)), alpha_min)
        for h, a in zip(taps, alphas, strict=True)
    ]
    return task * (1 + beta * np.mean(np.square(gaps))), task, taps


@pytest.mark.parametrize("jit_compile", COMPILED)
def test_the_first_step_is_that_of_the_formula(
    net, data, crossentropy, jit_compile
):
    model = net()
    wrapper = BatchEntropyRegularizer(model, alpha=1.5, beta=0.3)
    wrapper.alphas.assign([0.9, 0.1, -2.0])
    total, task, taps = slow_loss(
        *(model, wrapper.names, [0.9, 0.1, -2.0], 0.2, 0.3, crossentropy),
        data,
    )
    wrapper.compile(
        keras.optimizers.SGD(0.0), crossentropy, jit_compile=jit_compile
    )
    history = wrapper.fit(*data, verbose=0).history
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)
    assert history["task_loss"][0] == pytest.approx(task, rel=1e-5)
    assert history["batch_entropy"][0] == pytest.approx(np.mean(taps), rel=1e-5)
    for name, entropy in zip(wrapper.names, taps, strict=True):
        logged = history[f"batch_entropy/{name}"][0]
        assert logged == pytest.approx(entropy, rel=1e-5)


def numerical(function, weights, index, position, step=1e-2):
    """A central difference of `function()` by one entry of one weight."""
    old = weights[index].numpy()
    values = []
    for sign in (1, -1):
        new = old.copy()
        new[position] += sign * step
        weights[index].assign(new)
        values.append(function())
    weights[index].assign(old)
    return (values[0] - values[1]) / (2 * step)


def test_gradients_are_those_of_differences(net, data, crossentropy):
    """One SGD step at rate 1 is minus the gradient."""
    model = net(activation="tanh")
    wrapper = BatchEntropyRegularizer(model, alpha=1.0, beta=2.0)
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy)
    weights = wrapper.trainable_variables

    def loss():
        alphas = wrapper.alphas.numpy()
        return slow_loss(
            *(model, wrapper.names, alphas, 0.2, 2.0, crossentropy), data
        )[0]

    wanted = {}
    for index, weight in enumerate(weights):
        position = tuple(size // 2 for size in weight.shape)
        wanted[index, position] = numerical(loss, weights, index, position)
    before = arrays(weights)
    wrapper.train_on_batch(*data)
    for (index, position), gradient in wanted.items():
        moved = before[index] - weights[index].numpy()
        assert moved[position] == pytest.approx(gradient, rel=0.02, abs=2e-4)


@pytest.mark.parametrize(
    "alpha, target, slope",
    [(2.0, 2.0, 1.0), (-2.0, 2.0, -1.0), (0.1, 0.2, 0.0), (0.2, 0.2, 0.5)],
)
def test_the_target_and_its_slope(alpha, target, slope):
    value, (gradient,) = backend.value_and_gradients(
        lambda tensors: ops.sum(entropy_target(tensors[0], 0.2)),
        [ops.convert_to_tensor(np.float32(alpha))],
    )
    assert float(value) == pytest.approx(target)
    assert float(gradient) == pytest.approx(slope)


def test_beta_0_is_the_plain_model(net, data, crossentropy):
    plain, wrapped = net(), net()
    wrapper = BatchEntropyRegularizer(wrapped, beta=0.0)
    for model in (plain, wrapper):
        model.compile(keras.optimizers.Adam(0.01), crossentropy)
        model.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(
        wrapped.get_weights(), plain.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_penalties_stay_outside_the_product(data, crossentropy):
    dense = layers.Dense(
        4, "relu", kernel_regularizer="l2", activity_regularizer="l1"
    )
    model = keras.Sequential([keras.Input((8,)), dense, layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.0), crossentropy)
    with_penalties = model.evaluate(*data, verbose=0)
    wrapper = BatchEntropyRegularizer(model, beta=0.5)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
    history = wrapper.fit(*data, verbose=0).history
    task = float(crossentropy(data[1], model(data[0])))
    factor = 1 + 0.5 * (history["batch_entropy"][0] - 2.0) ** 2
    assert history["task_loss"][0] == pytest.approx(task, rel=1e-5)
    expected = with_penalties + task * (factor - 1)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_alphas_never_decay_and_others_do(net, data, crossentropy):
    wrapper = BatchEntropyRegularizer(net(), alpha=3.0, beta=0.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    twin = BatchEntropyRegularizer(net(), alpha=3.0, beta=0.0)
    before = [np.array(w) for w in wrapper.base.trainable_variables]
    wrapper.compile(optimizer, crossentropy)
    twin.compile(keras.optimizers.Adam(0.1), crossentropy)
    for each in (wrapper, twin):
        each.fit(*data, verbose=0)
    np.testing.assert_array_equal(wrapper.alphas.numpy(), 3.0)
    decayed, plain = (each.base.trainable_variables for each in (wrapper, twin))
    for a, b, old in zip(decayed, plain, before, strict=True):
        lost = b.numpy() - a.numpy()
        expected = 0.0 if "bias" in a.path else 0.05 * old
        np.testing.assert_allclose(lost, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("when", ["built", "scaled", "unbuilt", "excluded"])
def test_alphas_never_decay_in_any_optimizer(net, data, crossentropy, when):
    model = net()
    if when == "unbuilt":
        model = keras.Sequential(
            [layers.Dense(4, "relu"), layers.Dense(3, name="out")]
        )
    wrapper = BatchEntropyRegularizer(model, beta=0.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    if when == "built":
        optimizer.build(wrapper.trainable_variables)
    elif when == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapper.compile(optimizer, crossentropy)
    if when == "excluded":
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    wrapper.fit(*data, verbose=0)
    np.testing.assert_array_equal(wrapper.alphas.numpy(), 2.0)


class HandWritten(keras.Model):
    """A model that only Python can look into."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(5, "relu")
        self.probe = BatchEntropy(name="probe")
        self.last = layers.Dense(3)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.last.build((None, 5))

    def call(self, inputs):
        if isinstance(inputs, keras.KerasTensor) and not self.built:
            raise TypeError("no symbols, please")
        x = {"hidden": self.first(inputs)}
        assert not isinstance(x["hidden"], keras.KerasTensor) or self.built
        return self.last(self.probe(x["hidden"]))

    def get_config(self):
        return {}


def test_a_layer_joins_the_regulariser_around_it(data, crossentropy):
    model = HandWritten()
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
    history = wrapper.fit(*data, verbose=0).history
    expected = float(batch_entropy(model.first(data[0])))
    assert wrapper.names == ["probe"]
    assert history["batch_entropy/probe"] == [pytest.approx(expected, rel=1e-5)]


class Controlled(HandWritten):
    """It calls its layer within a condition or a loop of the program."""

    def __init__(self, control):
        super().__init__()
        self.control = control

    def call(self, inputs):
        return self.last(self.control(self.first(inputs), self.probe))


def under_condition(x, probe):
    return ops.cond(ops.sum(x) > -1.0, lambda: probe(x), lambda: x)


def in_a_loop(x, probe):
    def body(step, x):
        return step + 1, probe(x)

    return ops.while_loop(
        lambda step, _: step < 2, body, (0, x), maximum_iterations=2
    )[1]


@pytest.mark.parametrize("control", [under_condition, in_a_loop])
def test_a_call_within_control_flow_says_what_to_do(
    control, data, crossentropy
):
    """JAX finds out only when it has compiled, and says it in its words."""
    wrapper = BatchEntropyRegularizer(Controlled(control))
    wrapper.compile("sgd", crossentropy, jit_compile=False)
    with pytest.raises(ValueError, match="'probe' came called within a traced"):
        wrapper.fit(*data, verbose=0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("control", [under_condition, in_a_loop])
def test_control_flow_of_python_reports(control, data, crossentropy):
    model = Controlled(control)
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, run_eagerly=True)
    history = wrapper.fit(*data, batch_size=32, verbose=0).history
    expected = float(batch_entropy(model.first(data[0])))
    assert history["batch_entropy/probe"] == [pytest.approx(expected, rel=1e-5)]


def test_a_symbolic_subclass_is_looked_into(data, crossentropy):
    class Symbolic(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(5, name="first")
            self.drop = layers.Dropout(0.5)
            self.last = layers.Dense(3, name="last")

        def call(self, inputs, training=None):
            x = ops.relu(self.first(inputs))
            return self.last(self.drop(x, training=training))

    model = Symbolic()
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
    history = wrapper.fit(*data, verbose=0).history
    expected = float(batch_entropy(ops.relu(model.first(data[0]))))
    assert history["batch_entropy/relu"] == [pytest.approx(expected, rel=1e-5)]


def test_outputs_keep_their_names(data, crossentropy):
    """A dictionary of losses and targets for a list of outputs."""
    x, y = data
    inputs = keras.Input((8,))
    hidden = layers.Dense(6, "relu", name="hidden")(inputs)
    outputs = [
        layers.Dense(units, name=name)(hidden)
        for units, name in [(1, "size"), (3, "kind")]
    ]
    wrapper = BatchEntropyRegularizer(keras.Model(inputs, outputs))
    wrapper.compile(
        keras.optimizers.SGD(0.0), {"size": "mse", "kind": crossentropy}
    )
    history = wrapper.fit(x, {"size": x[:, :1], "kind": y}, verbose=0).history
    parts = history["size_loss"][0] + history["kind_loss"][0]
    assert history["task_loss"] == [pytest.approx(parts, rel=1e-5)]


def reporting():
    """A block of which the equal copies may stand in a loop."""
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, "tanh"), BatchEntropy(name="probe")]
    )


def around(block):
    """A model of a hidden layer, a block and logits of 3 classes."""
    first = layers.Dense(8, "relu", name="first")
    return keras.Sequential(
        [keras.Input((8,)), first, block, layers.Dense(3, name="out")]
    )


@pytest.mark.parametrize(
    "wrap, message",
    [
        (lambda each: tfdeep.StochasticDepth(each(), 0.5), "may be skipped"),
        (lambda each: tfdeep.layers.Repeat(each(), 3), "a Repeat, whose"),
        (
            lambda each: tfdeep.layers.Repeat(
                tfdeep.layers.Recompute(
                    tfdeep.layers.Repeat(each(), 2, name="inner")
                ),
                2,
            ),
            "a Repeat, whose",
        ),
        (
            lambda each: tfdeep.layers.Recompute(
                tfdeep.layers.Repeat(each(), 2)
            ),
            "a Repeat, whose",
        ),
        (
            lambda each: tfdeep.layers.ReversibleStack([each(), each()]),
            "a ReversibleStack, whose equal blocks",
        ),
        (
            lambda each: tfdeep.layers.ReversibleStack(
                [each(), each()], recompute=False
            ),
            "a ReversibleStack, whose equal blocks",
        ),
    ],
)
def test_where_a_layer_cannot_report(wrap, message):
    """It is named at once, rather than left out without a word."""
    with pytest.raises(ValueError, match=f"layer 'probe' came.*{message}"):
        BatchEntropyRegularizer(around(wrap(reporting)))


def test_copies_made_plain_report_one_by_one(data, crossentropy):
    stacked = around(tfdeep.layers.Repeat(reporting(), 3, name="copies"))
    wrapper = BatchEntropyRegularizer(tfdeep.models.unstack(stacked))
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
    history = wrapper.fit(*data, verbose=0).history
    assert len(wrapper.names) == 3
    x, model = data[0], wrapper.base
    for index in range(4):
        x = model.layers[index](x)
    expected = float(batch_entropy(x))  # Of the last copy.
    logged = [history[f"batch_entropy/{name}"][0] for name in wrapper.names]
    assert logged[-1] == pytest.approx(expected, rel=1e-5)
    assert len({round(value, 6) for value in logged}) == 3


def test_layers_that_are_named_need_no_report():
    repeat = tfdeep.layers.Repeat(reporting(), 3)
    wrapper = BatchEntropyRegularizer(around(repeat), ["first"])
    assert wrapper.names == ["first"]


@pytest.mark.parametrize(
    "wrap",
    [
        tfdeep.layers.Recompute,
        lambda inner: tfdeep.layers.ReversibleStack([inner]),
    ],
)
def test_an_entropy_out_of_a_recomputed_layer_trains_it(
    wrap, data, crossentropy
):
    """As one of a plain layer does; JAX cannot, and says so."""

    def model(wrap):
        dense = layers.Dense(
            8, "relu", kernel_initializer=keras.initializers.HeNormal(0)
        )
        inner = keras.Sequential([keras.Input((8,)), dense, BatchEntropy()])
        last = layers.Dense(3, kernel_initializer="zeros")
        return keras.Sequential([keras.Input((8,)), wrap(inner), last]), dense

    if BACKEND == "jax":
        with pytest.raises(ValueError, match="no gradient on JAX"):
            BatchEntropyRegularizer(model(wrap)[0])
        return
    kernels = []
    for each in (lambda inner: inner, wrap):
        net, dense = model(each)
        wrapper = BatchEntropyRegularizer(net, beta=5.0)
        wrapper.compile(keras.optimizers.SGD(0.1), crossentropy)
        wrapper.fit(*data, verbose=0)
        kernels.append(dense.kernel.numpy())
    np.testing.assert_allclose(*kernels, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, wanted, values, example",
    [
        ("alpha", "a finite number", ["2", None], "2"),
        ("alpha_min", "a finite number from 0", [-0.1, "1"], "0.2"),
        ("beta", "a finite number from 0", [-1.0, None, True], "0.1"),
    ],
)
def test_numbers_outside_their_range(net, name, wanted, values, example):
    for value in [*values, float("nan"), float("inf")]:
        with pytest.raises(ValueError) as error:
            BatchEntropyRegularizer(net(), **{name: value})
        assert str(error.value) == (
            f"`{name}` came as {value!r}. It must be {wanted}. Pass for "
            f"example {example}."
        )


def test_an_unknown_layer_is_refused_at_once(net):
    with pytest.raises(ValueError, match="Did you mean 'hidden_1'"):
        BatchEntropyRegularizer(net(), ["hiden_1"])


@pytest.mark.parametrize(
    "samples, arguments",
    [
        (8, {"batch_size": 1}),
        (9, {"batch_size": 4}),
        (1, {}),
        (12, {"batch_size": 4, "validation_split": 0.25}),
    ],
)
def test_a_batch_of_one_is_refused_before_the_first_step(
    net, data, crossentropy, samples, arguments
):
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile("sgd", crossentropy)
    x, y = (array[:samples] for array in data)
    with pytest.raises(ValueError, match="a batch of 1"):
        wrapper.fit(x, y, verbose=0, **arguments)
    assert int(wrapper.optimizer.iterations.numpy()) == 0


class Stream(keras.utils.PyDataset):
    """Batches of these sizes; nobody knows them beforehand."""

    def __init__(self, data, sizes):
        super().__init__()
        self.data, self.sizes = data, sizes

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return tuple(array[: self.sizes[index]] for array in self.data)


def test_a_left_over_in_a_stream_is_trained_without(net, data, crossentropy):
    stream = Stream(data, [4, 1])
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile(keras.optimizers.SGD(0.1), crossentropy)
    history = wrapper.fit(stream, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(w).all() for w in wrapper.get_weights())
    start = BatchEntropyRegularizer(net())  # Means over the first batch alone.
    start.compile(keras.optimizers.SGD(0.1), crossentropy)
    alone = start.fit(*(a[:4] for a in data), verbose=0).history
    assert history["batch_entropy"] == pytest.approx(alone["batch_entropy"])


def test_a_stream_of_single_samples_ends_at_once(net, data, crossentropy):
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(ValueError, match="a (first )?batch of 1"):
        wrapper.fit(Stream(data, [1] * 8), shuffle=False, verbose=0)


def test_a_nan_names_the_layer_where_it_began(net, data, crossentropy):
    model = net(activation="tanh")
    wrapper = BatchEntropyRegularizer(model)
    kernel = model.layers[1].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(FloatingPointError, match="not finite is 'hidden_1'"):
        wrapper.fit(*data, batch_size=8, verbose=0)


def test_it_keeps_the_signal_of_a_deep_net_alive(data, crossentropy):
    """The claim in small: from a start that lets it die."""

    def train(beta):
        keras.utils.set_random_seed(1)
        small = keras.initializers.VarianceScaling(
            1 / 3, distribution="uniform"
        )
        hidden = [
            layers.Dense(16, "relu", kernel_initializer=small)
            for _ in range(20)
        ]
        model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3)])
        wrapper = BatchEntropyRegularizer(model, beta=beta)
        wrapper.compile(keras.optimizers.Adam(3e-3), crossentropy)
        history = wrapper.fit(*data, epochs=150, verbose=0).history
        return history["batch_entropy/" + wrapper.names[-1]][-1]

    assert train(0.0) < 1e-3 and train(0.1) > 0.5
