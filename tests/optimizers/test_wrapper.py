"""Optimizers around optimizers: each does what any optimizer does in Keras."""

import json

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.contract.exports import exports_of, in_tf_privacy, thing_of
from tests.helpers import BACKEND, arrays, close
from tests.optimizers.harness import (
    CASES,
    INNER,
    X,
    Y,
    equal,
    inner_state,
    net,
    trained,
)
from tfdeep.graph import rewrite
from tfdeep.optimizers import OptimizerWrapper
from tfdeep.optimizers.wrapper import innermost

each_case = pytest.mark.parametrize("name", CASES)
each_neutral = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.neutral]
)
MODES = [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}]


def sgd(**kwargs):
    return optimizers.SGD(0.1, momentum=0.9, **kwargs)


def test_every_exported_wrapper_has_a_case():
    exported = {
        name.rpartition(".")[2]
        for name in exports_of("optimizer")
        if not in_tf_privacy(name)
        and issubclass(thing_of(name), OptimizerWrapper)
    }
    assert "OptimizerWrapper" in exported and exported <= set(CASES)


@each_neutral
@pytest.mark.parametrize("inner", INNER)
def test_a_neutral_one_is_the_optimizer_inside_bit_for_bit(name, inner):
    plain = trained(INNER[inner]())
    run = trained(CASES[name].neutral(INNER[inner]()))
    equal(run["weights"], plain["weights"])
    equal(inner_state(run), plain["state"])
    assert run["logs"] == plain["logs"]
    assert int(run["model"].optimizer.iterations) == int(
        plain["model"].optimizer.iterations
    )


@each_case
def test_modes_agree(name):
    runs = [trained(CASES[name].make(sgd()), **mode) for mode in MODES]
    for run in runs[1:]:
        close(run["weights"], runs[0]["weights"], 1e-4, 1e-6)
        close(run["state"], runs[0]["state"], 1e-4, 1e-6)


@each_case
def test_its_configuration_makes_it_again(name):
    optimizer = CASES[name].make(sgd(clipnorm=0.5), name="mine")
    data = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    twin = keras.optimizers.deserialize(data)
    assert type(twin) is type(optimizer) and twin.name == "mine"
    assert twin.inner_optimizer.clipnorm == twin.clipnorm == 0.5
    assert keras.optimizers.serialize(twin) == keras.optimizers.serialize(
        optimizer
    )


@each_case
def test_callbacks_set_the_learning_rate(name):
    seen: list[float] = []
    lower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    flat = keras.callbacks.ReduceLROnPlateau("loss", 0.1, 1, min_delta=1e3)
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["learning_rate"])
    )
    run = trained(
        CASES[name].make(sgd()), epochs=3, callbacks=[lower, flat, note]
    )
    optimizer = run["model"].optimizer
    assert seen[0] == pytest.approx(0.05)
    assert float(optimizer.inner_optimizer.learning_rate) < 0.004
    assert float(optimizer.learning_rate) == float(
        optimizer.inner_optimizer.learning_rate
    )


@each_case
def test_a_schedule_moves_the_learning_rate(name):
    optimizer = CASES[name].make(INNER["Schedule"]())
    trained(optimizer)
    assert float(optimizer.learning_rate) == pytest.approx(0.1 * 0.5**4)
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        optimizer.learning_rate = 0.1


@each_neutral
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_averaged_weights_are_swapped(name, policy):
    """By the callback of Keras, in a wrapper in a LossScaleOptimizer too."""

    def run(wrap):
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        adam = optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
        return trained(wrap(adam), net(policy), callbacks=[swap])

    plain = run(lambda inner: inner)
    equal(run(CASES[name].neutral)["weights"], plain["weights"])
    with pytest.raises(ValueError, match="use_ema"):
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        trained(CASES[name].neutral(sgd()), callbacks=[swap])


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if not case.bound]
)
def test_decay_is_decoupled_and_leaves_out_what_is_excluded(name):
    optimizer = CASES[name].make(optimizers.SGD(0.5, weight_decay=0.5))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias = (
        keras.Variable([2.0, 4.0], name=n) for n in ("kernel", "bias")
    )
    optimizer.build([kernel, bias])
    optimizer.apply([ops.zeros((2,)), ops.zeros((2,))])
    expected = 0.0 if name == "Masking" else 1.5
    assert float(kernel[0]) == pytest.approx(expected)
    assert float(kernel[1]) == pytest.approx(3.0)
    assert float(bias[1]) == 4.0


@each_case
def test_accumulated_batches_are_one_update(name):
    halves = trained(CASES[name].make(sgd(gradient_accumulation_steps=2)))
    model = net()
    model.compile(CASES[name].make(sgd()), "mse")
    model.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    close(halves["weights"], arrays(model.weights), 1e-4, 1e-6)
    optimizer = halves["model"].optimizer
    assert optimizer.gradient_accumulation_steps == 2
    assert int(optimizer.iterations) == int(model.optimizer.iterations) == 2


@each_case
def test_float16_is_scaled_by_keras(name):
    case = CASES[name]
    model = net("mixed_float16")
    run = trained(case.make(sgd()), model)
    scaling = model.optimizer
    assert isinstance(scaling, optimizers.LossScaleOptimizer)
    assert type(scaling.inner_optimizer) is type(case.make(sgd()))
    assert isinstance(innermost(scaling), optimizers.SGD)
    # At a loss of about one the scale that Keras begins with is no trouble.
    close(run["weights"], trained(case.make(sgd()))["weights"], 0.05, 0.02)
    assert np.isfinite(
        np.concatenate([np.ravel(w) for w in run["weights"]])
    ).all()


@each_case
def test_a_step_that_keras_leaves_out_changes_nothing(name):
    model = net("mixed_float16")
    trained(CASES[name].make(sgd()), model)
    before = arrays(
        [*model.weights, *model.optimizer.inner_optimizer.variables]
    )
    model.train_on_batch(X * np.inf, Y)
    after = arrays([*model.weights, *model.optimizer.inner_optimizer.variables])
    equal(after, before)


@each_case
def test_training_is_resumed_from_a_file(name, tmp_path):
    whole = trained(CASES[name].make(sgd()), epochs=3)
    half = trained(CASES[name].make(sgd()), epochs=1)
    half["model"].save(tmp_path / "half.keras")
    model = keras.models.load_model(tmp_path / "half.keras")
    assert type(model.optimizer) is type(half["model"].optimizer)
    equal(arrays(model.optimizer.variables), half["state"])
    run = trained(None, model, epochs=2)
    equal(run["weights"], whole["weights"])
    equal(run["state"], whole["state"])


@each_case
def test_its_variables_are_set_as_a_whole(name):
    first = trained(CASES[name].make(sgd()))
    second = trained(CASES[name].make(sgd()), epochs=1)["model"].optimizer
    second.set_weights(first["state"])
    equal(arrays(second.variables), first["state"])


@each_case
def test_a_rewritten_model_trains_on(name):
    model = trained(CASES[name].make(sgd()))["model"]
    new = rewrite(model)
    equal(arrays(new.optimizer.variables), arrays(model.optimizer.variables))
    runs = [trained(None, each, epochs=1) for each in (model, new)]
    close(runs[1]["weights"], runs[0]["weights"], 1e-6, 1e-7)
    close(runs[1]["state"], runs[0]["state"], 1e-6, 1e-7)


@each_case
@pytest.mark.skipif(
    BACKEND == "tensorflow", reason="Keras has no stateless_apply there"
)
def test_stateless_apply_is_apply(name):
    import jax

    def built():
        weights = CASES[name].weights()
        optimizer = CASES[name].make(sgd())
        optimizer.build(weights)
        return optimizer, weights

    one, weights = built()
    rng = np.random.default_rng(0)
    gradients = [ops.array(rng.normal(size=w.shape)) for w in weights]
    for _ in range(2):
        one.apply(gradients)
    other, others = built()
    before = arrays(others)
    state = [v.value for v in others], [v.value for v in other.variables]
    step = jax.jit(lambda w, s: other.stateless_apply(s, gradients, w))
    for _ in range(2):
        state = step(*state)
    close(arrays(state[0]), arrays(weights))
    close(arrays(state[1]), arrays(one.variables))
    equal(arrays(others), before)


MIRRORED = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
import numpy as np
from tests.helpers import close
from tests.optimizers.harness import CASES, INNER, net, trained
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
settings = {"float32": "decayed SGD", "mixed_float16": "SGD"}
for name, case in CASES.items():
    for policy, inner in settings.items():  # Keras clips on each device.
        with strategy.scope():
            model = net(policy)
            optimizer = case.make(INNER[inner]())
            model.compile(optimizer, "mse", jit_compile=False)
        shared = trained(None, model)
        for each in [*model.variables, *model.optimizer.variables]:
            values = strategy.experimental_local_results(each.value)
            assert len(values) == 2
            np.testing.assert_array_equal(*values, err_msg=each.path)
        if policy == "float32":
            alone = trained(case.make(INNER[inner]()), run_eagerly=True)
            close(shared["weights"], alone["weights"], 1e-4, 1e-6)
            close(shared["state"], alone["state"], 1e-4, 1e-6)
print("as one device")
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_two_devices_train_as_one(fresh_process):
    """Statistics of gradients are those of both, and so are masks."""
    assert fresh_process(MIRRORED).endswith("as one device")


DATA_PARALLEL = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras
from tests.helpers import close
from tests.optimizers.harness import CASES, INNER, trained
alone = {n: trained(c.make(INNER["AdamW"]())) for n, c in CASES.items()}
keras.distribution.set_distribution(keras.distribution.DataParallel())
for name, case in CASES.items():
    run = trained(case.make(INNER["AdamW"]()))
    close(run["weights"], alone[name]["weights"], 1e-4, 1e-6)
    close(run["state"], alone[name]["state"], 1e-4, 1e-6)
print("as one device")
"""


@pytest.mark.jax
@pytest.mark.slow
def test_two_devices_of_jax_train_as_one(fresh_process):
    assert fresh_process(DATA_PARALLEL).endswith("as one device")
