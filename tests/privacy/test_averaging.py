"""The average of the weights, and its evaluation beside them."""

import numpy as np
import pytest

from tests.helpers import close
from tfdeep import privacy
from tfdeep.privacy.averaging import decay_after


def test_decay_of_the_average():
    assert float(decay_after(0.0, 0.999)) == pytest.approx(0.1)
    assert float(decay_after(1e6, 0.999)) == pytest.approx(0.999)


def test_an_average_is_evaluated_beside_the_weights(private, budget, data):
    model = private(plan=budget(), averaging=privacy.Averaging(0.3))
    expected = [np.array(w) for w in model.base.get_weights()]
    for step in range(4):
        part = slice(8 * step, 8 * step + 8)
        model.train_on_batch(*(each[part] for each in data))
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [
            decay * mean + (1 - decay) * new
            for mean, new in zip(
                expected, model.base.get_weights(), strict=True
            )
        ]
    weights = [np.array(w) for w in model.base.get_weights()]
    copy = model.averaged_model()
    close(copy.get_weights(), expected)
    copy.compile(loss=model.loss)
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    assert logs["averaged_loss"] == pytest.approx(
        copy.evaluate(*data, verbose=0), rel=1e-5
    )
    assert logs["loss"] != pytest.approx(logs["averaged_loss"], rel=1e-4)
    assert "clipped_fraction" not in logs
    close(model.base.get_weights(), weights, 0, 0)


def test_validation_shows_both(private, budget, data):
    model = private(plan=budget(), averaging=privacy.Averaging())
    history = model.fit(*data, batch_size=8, validation_data=data, verbose=0)
    assert {"val_loss", "val_averaged_loss"} <= set(history.history)
    assert "val_clipped_fraction" not in history.history
    assert "clipped_fraction" in history.history


def test_there_is_none_unless_asked_for(private):
    with pytest.raises(ValueError, match="must keep averages"):
        private().averaged_model()
