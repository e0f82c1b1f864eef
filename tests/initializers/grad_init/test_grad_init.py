"""GradInit does what it promises, and takes what its docstring says."""

import inspect
import json

import keras
import numpy as np
import pytest

import tfdeep
from tests.helpers import images
from tests.initializers.grad_init.nets import LOGITS, labelled, mlp, quick
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import GradInit


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
    """The other objective knows no constraint."""
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


def test_a_net_of_ours(eager):
    """Stochastic depth is off meanwhile, and on again afterwards."""
    net = tfdeep.models.ResNet(
        8,
        input_shape=(8, 8, 3),
        classes=3,
        survival_probability=0.5,
        classifier_activation=None,
        seed=0,
    )
    init = quick(1, seed=0)
    data = images(16, 8, 8, 3), np.arange(16) % 3
    init.initialize_model(net, data, LOGITS, batch_size=8)
    assert net.get_layer("stage1_block1").survival_probability < 1
    assert all(np.isfinite(init.history["norm"]))


def test_a_model_within_a_wrapper():
    """It is the model inside whose weights change, and it trains on."""
    model = tfdeep.BatchEntropyRegularizer(mlp(compiled=False))
    model.compile("adamw", "sparse_categorical_crossentropy")
    before = model.base.get_weights()
    quick().initialize_model(model, [labelled()])
    for old, new in zip(
        before[::2], model.base.get_weights()[::2], strict=True
    ):
        assert np.any(old != new)
    model.train_on_batch(*labelled())


def test_seeds_repeat(eager):
    """The order in which arrays are drawn is that of the seed."""

    def run(seed):
        keras.utils.set_random_seed(0)
        model = mlp()
        quick(2, seed=seed).initialize_model(model, labelled(), batch_size=8)
        return model.get_weights()[0]

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_defaults_are_those_of_the_docstring():
    """And every argument but `verbose` is among the settings."""
    settings = GradInit().report.to_dict()["settings"]
    assert settings == {
        "algorithm": "sgd",
        "learning_rate": 0.1,
        "gamma": 1.0,
        "scale_learning_rate": 0.01,
        "iterations": 390,
        "min_scale": 0.01,
        "normalize": True,
        "overlap": True,
        "objective": "gradinit",
        "seed": None,
    }
    assert {*settings, "verbose"} == {*inspect.signature(GradInit).parameters}


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
    """They are refused by name, with what to pass."""
    with pytest.raises(ValueError, match=f"Received: {name}=.*[Pp]ass"):
        GradInit(**{name: value})


def test_half_a_batch_of_one():
    """A batch holds two half-batches."""
    with pytest.raises(ValueError, match="at least 2.*Received: batch_size=1"):
        quick().initialize_model(mlp(), labelled(), batch_size=1)


def test_a_gradient_that_is_not_finite_is_named():
    """The message has the first weight with such a gradient."""
    model = mlp()
    x, y = labelled(8)
    x[0] = np.inf
    kernel = model.layers[0].kernel.path
    message = f"gradient by {kernel} .*not a number at a loss of"
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, [(x, y)])


def test_report_and_picture(tmp_path, monkeypatch, capsys, eager):
    """Settings, scales and history are plain; they are drawn and shown."""
    init = GradInit(
        iterations=2, seed=5, algorithm="adam", gamma=1000.0, verbose=2
    )
    init.initialize_model(mlp(), labelled(), batch_size=8)
    shown = capsys.readouterr().out
    assert "constraint steps" in shown and "norm" in shown
    path = init.report.save(tmp_path / "grad_init.json")
    saved = json.loads(path.read_text())
    assert saved == init.report.to_dict()
    again = GradInit(**saved["settings"]).report.settings
    assert again == saved["settings"]
    assert (again["seed"], again["algorithm"]) == (5, "adam")
    assert saved["scales"] == init.scales
    assert {len(values) for values in saved["history"].values()} == {2}
    assert saved["history"].keys() == {
        "loss", "norm", "constraint", "objective", "scales",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["grad_init.json"]
    pytest.importorskip("matplotlib", reason="an extra")
    figure = init.report.plot(tmp_path / "grad_init.png")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss", "norm", "scales",
    ]  # fmt: skip
    assert (tmp_path / "grad_init.png").stat().st_size > 1000
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"tfdeep\[plot\]"):
        init.report.plot()
