"""What a report holds, and how it is checked against real draws."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from tests.initializers.auto_init.nets import mlp, single
from tfdeep.initializers import AutoInit, propagate
from tfdeep.initializers.auto_init.report import Verification


def test_conversions(tmp_path):
    """To plain types, JSON and a table."""
    init = AutoInit.from_data(np.full((10, 32), 2.0), seed=0)
    init.initialize_model(mlp(2))
    report = init.report
    path = tmp_path / "report.json"
    report.save(path)
    assert json.loads(path.read_text()) == report.to_dict()
    assert len(report.to_dict()["records"]) == len(report) == 3
    assert report.to_dict()["records"][1]["scale"] == report.records[1].scale
    assert report.to_dict().keys() == {
        "records", "skipped", "probed", "growth", "deviation",
    }  # fmt: skip
    assert report.records[1].name in str(report)
    with pytest.raises(KeyError, match="not in the report"):
        report["nothing"]


def test_verification():
    """Real draws agree, within two percent or three standard errors."""
    init = AutoInit(seed=0)
    init.initialize_model(mlp(2, 256))
    verified = init.report.verify(draws=6)
    assert verified.within(0.02).all()
    assert "standard error" in str(verified)
    assert np.all(verified.measured != verified.predicted)


def test_more_draws_have_a_smaller_standard_error():
    """By the root of their number."""
    init = AutoInit(seed=0)
    init.initialize_model(mlp(2, 64))
    few, many = (
        np.mean(init.report.verify(draws=draws).standard_error)
        for draws in (6, 54)
    )
    assert many / few == pytest.approx(1 / 3, rel=0.4)


def test_what_is_within_a_tolerance():
    """Of what was measured; or within three standard errors."""
    predicted, measured = (
        np.array([1.0, 100.0, 1.0]),
        np.array([1.2, 120.0, 3.0]),
    )
    verified = Verification(
        ["a", "b", "c"], predicted, measured, np.array([0.0, 0.0, 0.7])
    )
    assert verified.within(0.2).tolist() == [True, True, True]
    assert verified.within(0.1).tolist() == [False, False, True]
    assert verified.within(0.1, errors=2.0).tolist() == [False] * 3


def test_moments_are_averaged_over_the_draws():
    """All three: a softmax of four has the mean 1/4 in each.

    Over positions, as there it is measured.
    """
    model = keras.Sequential(
        [keras.Input((4, 8)), layers.Dense(2), layers.Softmax(axis=1)]
    )
    record = propagate(model).records[-1]
    assert record.mean == pytest.approx(0.25)
    assert record.variance == pytest.approx(record.second - 1 / 16, rel=1e-4)
    once = propagate(model, draws=1).records[-1]
    assert once.second != pytest.approx(record.second, rel=1e-3)


@pytest.mark.parametrize("moment", ["mean", "variance"])
def test_verification_of_another_moment(moment):
    model = single(layers.Dense(256, "softplus"), 64)
    init = AutoInit(1.0, 4.0, seed=0)
    init.initialize_model(model)
    verified = init.report.verify(draws=8, moment=moment)
    expected = getattr(init.report.records[0], moment)
    assert verified.predicted[0] == expected
    assert verified.within(0.02).all()
    assert f"{moment.capitalize()}s" in str(verified)


def test_verification_that_is_none():
    """Of no moment, and by one draw, which has no standard error."""
    report = propagate(mlp(), draws=1)
    with pytest.raises(ValueError, match="Received: moment='third'"):
        report.verify(moment="third")
    with pytest.raises(ValueError, match="Received: draws=1"):
        report.verify(draws=1)


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra")
    path = tmp_path / "signal.png"
    propagate(mlp(4), draws=1).plot(path)
    assert path.stat().st_size > 5000


def test_no_picture_of_nothing(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra")
    inputs = keras.Input((4,))
    report = propagate(keras.Model(inputs, inputs))
    with pytest.raises(ValueError, match="something to draw"):
        report.plot(tmp_path / "signal.png")


def test_draws_of_a_deep_and_narrow_net_scatter():
    """It is said when it is initialised, and of what was verified."""
    convs = [
        layers.Conv2D(16, 3, padding="same", activation="relu")
        for _ in range(30)
    ]
    model = keras.Sequential([keras.Input((6, 6, 3), 16), *convs])
    init = AutoInit(seed=0)
    with pytest.warns(UserWarning, match="differs between real draws by"):
        init.initialize_model(model)
    with pytest.warns(UserWarning, match="Real draws scatter at .. of 30"):
        verified = init.report.verify(draws=20)
    relative = (verified.deviation / verified.measured)[-1]
    assert relative > 1.0
    assert init.report.deviation == pytest.approx(relative, rel=0.5)
    np.testing.assert_allclose(
        verified.deviation, verified.standard_error * 20**0.5
    )
    assert "deviation" in str(verified)


def test_of_normalised_nets_they_do_not():
    parts = [
        part
        for _ in range(12)
        for part in (layers.Dense(64, "relu"), layers.LayerNormalization())
    ]
    init = AutoInit(seed=0)
    init.initialize_model(keras.Sequential([keras.Input((64,)), *parts]))
    assert init.report.deviation == 0.0
