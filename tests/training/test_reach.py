"""Telling which loss reaches which layer."""

import keras
import pytest
from keras import layers

from tests.training.reaches import CASES, chain, heads
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    RelayBackpropagation,
    describe_reach,
)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_reach_is_told(case):
    make, names, arguments, expected = case
    wrapper = RelayBackpropagation(make(), heads(*names), **arguments)
    reach = describe_reach(wrapper)
    found = {
        loss: " ".join(path.split("/")[-1] for path in paths)
        for loss, paths in reach.reached.items()
    }
    assert found == expected
    lines = str(reach).splitlines()
    assert lines[0].split() == ["layer", *reach.losses]
    assert len(lines) == 1 + len(reach.layers)
    assert sum(line.count(" x") for line in lines[1:]) == sum(
        map(len, reach.reached.values())
    )


def test_the_reach_of_other_models(tmp_path):
    """All losses of supervision, and of a plain model, reach everything."""
    supervised = DeepSupervision(chain(), heads("d2"))
    reach = describe_reach(supervised)
    assert reach.reached["d2"] == ["d0", "d1", "d2"]
    assert len(reach.reached["output"]) == 8
    assert reach.to_dict()["layers"] == reach.reached["output"]
    plain = describe_reach(chain())
    assert plain.losses == ["output"] and len(plain.layers) == 8
    relay = RelayBackpropagation(chain(), heads("d2"))
    outer = describe_reach(BatchEntropyRegularizer(relay))
    assert outer == describe_reach(relay)


def test_a_picture_of_it(tmp_path):
    pytest.importorskip("matplotlib")
    reach = describe_reach(DeepSupervision(chain(), heads("d2")))
    reach.plot(tmp_path / "reach.png")
    assert (tmp_path / "reach.png").read_bytes().startswith(b"\x89PNG")


def test_what_has_no_reach():
    with pytest.raises(TypeError, match="must be a keras.Model"):
        describe_reach("model")
    with pytest.raises(ValueError, match="must be built"):
        describe_reach(keras.Sequential([layers.Dense(3)]))
