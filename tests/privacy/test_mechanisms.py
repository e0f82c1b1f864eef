"""Settings of mechanisms and clippings: kept, checked, and fit for a plan."""

import keras
import pytest

from tfdeep import privacy

DEFAULTS = {
    privacy.GaussianMechanism: {"noise_multiplier": None},
    privacy.AdaptiveClipping: {
        "quantile": 0.5,
        "learning_rate": 0.2,
        "count_noise": None,
        "noise_multiplier": None,
        "batch_size": None,
    },
    privacy.FlatClipping: {"l2_norm_clip": 1.0, "rescaled": False},
    privacy.PerLayerClipping: {"l2_norm_clip": 1.0, "rescaled": False},
    privacy.AutomaticClipping: {
        "l2_norm_clip": 1.0,
        "rescaled": False,
        "stability": 0.01,
    },
    privacy.Averaging: {"limit": 0.999},
}
OTHERS = [
    privacy.GaussianMechanism(0.7),
    privacy.AdaptiveClipping(0.7, 0.3, 11.0, 1.0, 16),
    privacy.TreeAggregation(0.7, 5),
    privacy.FlatClipping(0.7, True),
    privacy.PerLayerClipping(0.7, True),
    privacy.AutomaticClipping(0.7, True, 0.5),
    privacy.Averaging(0.7),
]


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
def test_defaults_are_those_of_the_documentation(cls):
    assert cls().get_config() == DEFAULTS[cls]


@pytest.mark.parametrize("made", OTHERS, ids=lambda made: type(made).__name__)
def test_a_config_makes_the_same(made):
    config = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(made) and vars(again) == vars(made)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: privacy.GaussianMechanism(-1.0), "noise_multiplier"),
        (lambda: privacy.AdaptiveClipping(quantile=2.0), "quantile"),
        (lambda: privacy.TreeAggregation(1.0, 0), "restart_every"),
        (lambda: privacy.TreeAggregation(None, 4), "noise_multiplier"),
        (lambda: privacy.FlatClipping(0.0), "l2_norm_clip"),
        (lambda: privacy.FlatClipping("1"), "l2_norm_clip"),
        (lambda: privacy.FlatClipping(rescaled="False"), "rescaled"),
        (lambda: privacy.AdaptiveClipping(batch_size="a"), "example 256"),
        (lambda: privacy.AdaptiveClipping(count_noise=-1), "count_noise"),
        (lambda: privacy.AutomaticClipping(1.0, stability=0), "stability"),
        (lambda: privacy.Averaging(1.5), "limit"),
        (lambda: privacy.Views(keras.layers.RandomFlip(), 0), "count"),
    ],
)
def test_settings_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_what_does_not_fit_a_plan(private, budget, data):
    tree = privacy.TreeAggregation(1.0, 4)
    model = private(plan=budget(), mechanism=tree)
    with pytest.raises(ValueError, match="`plan` must be None with"):
        model.fit(*data, batch_size=8, verbose=0)
    model = private(plan=budget(), mechanism=privacy.GaussianMechanism(0.1))
    with pytest.raises(ValueError, match="must be that of the plan"):
        model.fit(*data, batch_size=8, verbose=0)
    with pytest.raises(ValueError, match="must know how much noise"):
        private().fit(*data, verbose=0)
