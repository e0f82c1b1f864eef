"""Looking into models that are written by hand, symbolically or by report."""

import keras
import pytest
from keras import layers, ops

from tests.training.harness import EAGER, GRAPH, fit, logs_of
from tfdeep.layers import BatchEntropy, batch_entropy
from tfdeep.training import BatchEntropyRegularizer, DeepSupervision, Head


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


def test_a_layer_joins_the_regularizer_around_it(data, crossentropy):
    model = HandWritten()
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **GRAPH)
    logs = logs_of(fit(wrapper, data))
    expected = float(batch_entropy(model.first(data[0])))
    assert wrapper.names == ["probe"]
    assert logs["batch_entropy/probe"] == pytest.approx(expected, rel=1e-5)


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
    with pytest.raises(
        ValueError, match="'probe' must not be called within a traced"
    ):
        fit(wrapper, data)


@pytest.mark.tensorflow
@pytest.mark.parametrize("control", [under_condition, in_a_loop])
def test_control_flow_of_python_reports(control, data, crossentropy):
    model = Controlled(control)
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    expected = float(batch_entropy(model.first(data[0])))
    assert logs["batch_entropy/probe"] == pytest.approx(expected, rel=1e-5)


def test_a_layer_that_is_never_called_is_missed(data, crossentropy):
    wrapper = BatchEntropyRegularizer(Controlled(lambda x, probe: x))
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.raises(ValueError, match=r"\['probe'\], which are not called"):
        fit(wrapper, data)


def test_a_layer_called_twice_counts_by_its_mean(data, crossentropy):
    model = Controlled(lambda x, probe: probe(2.0 * probe(x)))
    wrapper = BatchEntropyRegularizer(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    x = model.first(data[0])
    expected = float(batch_entropy(x) + batch_entropy(2.0 * x)) / 2
    assert logs["batch_entropy/probe"] == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_looked_into_has_no_layers_by_name():
    model = Controlled(lambda x, probe: x)
    model.call = lambda inputs: model.last(model.first(inputs).numpy())
    model.build((None, 8))
    for wrap in (
        lambda: DeepSupervision(model, {"first": Head()}).build((None, 8)),
        lambda: BatchEntropyRegularizer(model, ["first"]).build((None, 8)),
    ):
        with pytest.raises(ValueError, match="hand-written and does not"):
            wrap()


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
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    expected = float(batch_entropy(ops.relu(model.first(data[0]))))
    assert logs["batch_entropy/relu"] == pytest.approx(expected, rel=1e-5)
