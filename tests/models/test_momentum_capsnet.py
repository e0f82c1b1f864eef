"""Momentum capsule networks: sizes, training, files."""

import time

import keras
import numpy as np
import pytest

from tests.helpers import images
from tests.models.symbolic import symbolic
from tests.training.harness import EAGER
from tfdeep.losses import MarginLoss
from tfdeep.models import MomentumCapsNet, capsule_classifier

SMALL = {"filters": 8, "num_capsules": 6, "capsule_dim": 4, "seed": 1}


@pytest.mark.parametrize(
    ("blocks", "arguments", "count"),
    [
        (1, {}, 9_272_336),
        (2, {}, 9_272_336 + 131_072),
        (5, {}, 9_272_336 + 4 * 131_072),
        (1, {"decoder": False}, 7_860_992),
        # 8x8 positions instead of 6x6, 3 channels, 3,072 pixels.
        (1, {"input_shape": (32, 32, 3)}, 13_494_016),
        (0, {}, 8_215_568),  # CapsNet of Sabour et al.
    ],
)
def test_parameter_counts(blocks, arguments, count):
    model = symbolic(MomentumCapsNet, blocks, **arguments)
    assert model.count_params() == count


def test_options_of_routing_reach_every_layer():
    options = {"num_routing": 2, "routing": "sda", "gamma": 0.7}
    options["kernel_initializer"] = keras.initializers.RandomNormal(0.0, 0.2)
    model = symbolic(MomentumCapsNet, 1, **SMALL, **options)
    for name in ("hidden", "blocks", "classes"):
        config = model.get_layer(name).get_config()
        assert (config["num_routing"], config["routing"]) == (2, "sda")
        assert config["kernel_initializer"]["config"]["stddev"] == 0.2
    assert model.get_layer("blocks").gamma == 0.7


def compiled(model):
    model.compile(
        "adam",
        loss={"length": MarginLoss(), "reconstruction": "mse"},
        loss_weights={"length": 1, "reconstruction": 0.4},
        metrics={"length": "accuracy"},
        **EAGER,
    )
    return model


def test_the_label_chooses_in_training_and_may_be_left_out():
    large = keras.initializers.RandomNormal(0.0, 1.0, seed=1)
    net = MomentumCapsNet(2, (17, 17, 1), 3, **SMALL, kernel_initializer=large)
    model = compiled(net)
    x, y = images(6, 17, 17, 1), np.array([0, 1, 2, 2, 1, 0])
    history = model.fit(
        {"image": x, "label": y},
        {"length": y, "reconstruction": x},
        batch_size=6,
        verbose=0,
    )
    assert np.isfinite(history.history["loss"]).all()
    both = model({"image": x, "label": y})
    alone = model({"image": x, "label": None})
    for key in ("length", "reconstruction"):
        np.testing.assert_allclose(both[key], alone[key], 1e-5, 1e-6)
    drawn = model({"image": x, "label": y}, training=True)
    others = model({"image": x, "label": (y + 1) % 3}, training=True)
    assert np.any(np.array(drawn["reconstruction"]) != others["reconstruction"])
    lengths = capsule_classifier(model)(x)
    np.testing.assert_allclose(lengths, both["length"], 1e-5, 1e-6)


def test_recomputation_trains_as_plain_backpropagation():
    x, y = images(6, 17, 17, 1), np.array([0, 1, 2, 2, 1, 0])
    nets = [
        MomentumCapsNet(
            3, (17, 17, 1), 3, decoder=False, recompute=recompute, **SMALL
        )
        for recompute in (True, False)
    ]
    nets[1].set_weights(nets[0].get_weights())
    for net in nets:
        net.compile(keras.optimizers.SGD(0.1), MarginLoss(), **EAGER)
        net.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    for a, b in zip(*(net.get_weights() for net in nets), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)


def test_fifty_blocks_load_in_seconds(tmp_path):
    """The blocks are one loop, in a file as well."""
    model = MomentumCapsNet(50, (17, 17, 1), 3, decoder=False, **SMALL)
    path, x = tmp_path / "deep.keras", images(2, 17, 17, 1)
    model.save(path)
    start = time.process_time()
    twin = keras.models.load_model(path)
    assert time.process_time() - start < 5
    np.testing.assert_allclose(twin(x), model(x), 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": -1}, "num_blocks"),
        ({"num_blocks": 1.5}, "num_blocks"),
        ({"input_shape": (16, 28, 1)}, "at least 17"),
        ({"input_shape": (None, None, 1)}, "at least 17"),
        ({"classes": 0}, "classes"),
        ({"gamma": 0}, "gamma"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MomentumCapsNet(**{"num_blocks": 1, **SMALL, **arguments})
