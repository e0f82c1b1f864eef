"""Updates are counted, and none is made that the plan does not cover."""

import keras
import pytest

from tests.helpers import arrays, close
from tests.privacy.in_order import InOrder
from tfdeep import privacy

QUIETLY = {"shuffle": False, "verbose": 0}


def fit(model, data, epochs=1, **arguments):
    batches = InOrder(data, 8)
    return model.fit(batches, epochs=epochs, verbose=0, **arguments).history


def test_fit_stops_before_the_update_that_would_exceed_the_plan(
    private, budget, data
):
    model = private(plan=budget(steps=6))
    assert (model.count_of_updates(), model.epsilon()) == (0, 0.0)
    history = fit(model, data, 5)
    assert history["epsilon"] == [4.0, 6.0]
    assert model.count_of_updates() == 6 and model.updates_left() == 0
    assert model.epsilon() == 6.0
    before = model.base.get_weights()
    model.compile("sgd", model.loss)  # Which does not reset the count.
    with pytest.raises(RuntimeError, match="0 updates left"):
        fit(model, data)
    with pytest.raises(RuntimeError, match="0 updates left"):
        model.train_on_batch(data[0][:8], data[1][:8])
    close(model.base.get_weights(), before, 0, 0)


def test_beyond_the_plan_a_step_shows_nothing(private, budget, data):
    """Whatever calls the step: the weights then move by no data."""
    model = private(plan=budget(steps=2))
    batch = [each[:8] for each in data]
    for _ in range(2):
        model.train_on_batch(*batch)
    with pytest.raises(RuntimeError, match="0 updates left"):
        model.train_on_batch(*batch)
    before = model.base.get_weights()
    model.updates_left = lambda: 100
    model.train_on_batch(*batch)
    close(model.base.get_weights(), before, 0, 0)
    assert model.count_of_updates() == 2


def test_several_steps_per_execution_do_not_exceed_it(private, budget, data):
    model = private(plan=budget(steps=7), compiled={"steps_per_execution": 2})
    fit(model, data, 5)
    assert model.count_of_updates() == 6


def test_without_a_plan_nothing_is_claimed(private, data):
    mechanism = privacy.GaussianMechanism(noise_multiplier=1.0)
    model = private(mechanism=mechanism)
    model.train_on_batch(*data)
    assert model.epsilon() == model.updates_left() == float("inf")
    assert "No guarantee" in model.statement()
    assert model.count_of_updates() == 1


def endless(data, size):
    while True:
        yield tuple(each[:size] for each in data)


def test_batches_of_a_stream_are_checked(private, budget, data):
    """An epoch with a batch of too many rows fails, and has shown nothing."""
    model = private(plan=budget())
    model.fit(endless(data, 8), steps_per_epoch=3, **QUIETLY)
    assert model.count_of_updates() == 3
    before = model.base.get_weights()
    with pytest.raises(privacy.NotPrivateError, match="Received: 3 batches"):
        model.fit(endless(data, 12), steps_per_epoch=3, **QUIETLY)
    close(model.base.get_weights(), before, 0, 0)
    assert model.count_of_updates() == 3


@pytest.mark.tensorflow
def test_the_number_of_batches_of_a_stream_is_checked(private, budget, data):
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices(data)
    model = private(plan=budget())
    model.fit(rows.batch(8), **QUIETLY)
    assert model.count_of_updates() == 4
    with pytest.raises(privacy.NotPrivateError, match="stream of 8 batches"):
        model.fit(rows.batch(4), **QUIETLY)


def test_the_count_is_saved_and_resumed(private, budget, data, tmp_path):
    """With all that the next update depends on."""
    model = private(
        plan=budget(steps=6),
        averaging=privacy.Averaging(0.9),
        mechanism=privacy.AdaptiveClipping(),
    )
    fit(model, data)
    model.save(tmp_path / "half.keras")
    model.save_weights(tmp_path / "w.weights.h5")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert type(resumed) is privacy.PrivateModel
    other = privacy.PrivateModel.from_config(model.get_config())
    other.load_weights(tmp_path / "w.weights.h5")
    assert float(model.mechanism_state[0].numpy()) != 1.0
    for each in (resumed, other):
        assert each.count_of_updates() == 4
        for name in ("averages", "mechanism_state"):
            values = [arrays(getattr(m, name)) for m in (each, model)]
            close(*values, 0, 0)
    fit(resumed, data, 3)
    assert resumed.count_of_updates() == 6
