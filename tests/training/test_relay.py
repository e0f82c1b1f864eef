"""Relay backpropagation between its two ends, and its file."""

import keras
import numpy as np

from tests.helpers import arrays, close
from tests.training.harness import EAGER, fit, logs_of, step
from tests.training.reaches import chain, heads
from tfdeep.training import (
    DeepSupervision,
    RelayBackpropagation,
    describe_reach,
)


def test_reaching_everything_is_deep_supervision(net, data, crossentropy):
    found = []
    for kind, more in (
        (DeepSupervision, {}),
        (RelayBackpropagation, {"overlap": 9}),
    ):
        pair = heads("hidden_0", "hidden_1", alpha=0.5)
        wrapper = kind(net(), pair, **more)
        sgd = keras.optimizers.SGD(0.1, momentum=0.9)
        wrapper.compile(sgd, crossentropy, **EAGER)
        fit(wrapper, data, 2, batch_size=16)
        found.append(arrays(wrapper.trainable_variables))
    close(*found, 0, 0)


def test_without_weight_the_lower_layers_stay(data, crossentropy):
    """alpha = 0: nothing is handed over."""
    wrapper = RelayBackpropagation(chain(), heads("d3", alpha=0.0))
    wrapper.compile(keras.optimizers.SGD(0.5), crossentropy, **EAGER)
    _, moved = step(wrapper, data)
    assert [bool(np.any(each)) for each in moved] == [
        *([False] * 6),
        *([True] * 10),
        *([False] * 2),
    ]


def test_losses_are_logged_as_by_deep_supervision(data, crossentropy):
    """The loss is the sum of all, whatever reaches whom."""
    found = []
    for kind in (DeepSupervision, RelayBackpropagation):
        wrapper = kind(chain(), heads("d2", "d4", alpha=0.5, gamma=0.5))
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
        found.append(logs_of(fit(wrapper, data, batch_size=24)))
    assert found[0].keys() == found[1].keys()
    close(found[0].values(), found[1].values())


def test_settings_survive_a_file(data, crossentropy, tmp_path):
    segments = {"d3": ("d0", "d3"), "output": ("d2", "out")}
    wrapper = RelayBackpropagation(chain(), heads("d3"), segments)
    wrapper.compile("adam", crossentropy, **EAGER)
    fit(wrapper, data)
    wrapper.save(tmp_path / "w.keras")
    read = keras.models.load_model(tmp_path / "w.keras")
    assert describe_reach(read) == describe_reach(wrapper)
    one, other = (logs_of(fit(m, data)) for m in (wrapper, read))
    assert one.keys() == other.keys()
    close(one.values(), other.values())
    wide = RelayBackpropagation(chain(), heads("d3"), overlap=3)
    twin = RelayBackpropagation.from_config(wide.get_config())
    assert describe_reach(twin) == describe_reach(wide)
    assert twin.overlap == 3
