"""Which branches are found, what is told of them, and what is none."""

import json

import keras
import pytest
from keras import layers, ops

import tfdeep
from tests.models.residual_nets import NETS, chain, own_drop_path
from tests.models.symbolic import symbolic
from tfdeep.models import find_residual_branches

# Sums of each, and those beside a projection or a pooling.
APPLICATIONS = {
    "ResNet50": (16, 4),
    "ResNet50V2": (16, 7),
    "ResNet101": (33, 4),
    "MobileNetV2": (10, 0),
    "MobileNetV3Small": (6, 0),
    "EfficientNetB0": (9, 0),
    "EfficientNetV2B0": (15, 0),
    "ConvNeXtTiny": (18, 0),
}


@pytest.mark.parametrize("name", NETS)
def test_sums_are_found_in_order(name):
    make, sums = NETS[name]
    found = find_residual_branches(make())
    assert [branch.merge for branch in found] == sums
    assert [branch.depth for branch in found] == [
        number + 1 for number in range(len(sums))
    ]


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name):
    model = symbolic(
        getattr(keras.applications, name), weights=None, input_shape=(32, 32, 3)
    )
    found = find_residual_branches(model)
    projected = [branch for branch in found if branch.shortcut]
    assert (len(found), len(projected)) == APPLICATIONS[name]
    own = [branch.drop_path for branch in found]
    if name.startswith("EfficientNet"):
        assert all(path.endswith("drop") for path in own)
        assert f"{len(own)} with a drop path of the model's own" in str(found)
    else:
        assert own == [None] * len(own)
    inside = [layer for branch in found for layer in branch.layers]
    assert len(set(inside)) == len(inside)


def test_a_branch_of_a_resnet():
    model = symbolic(
        keras.applications.ResNet50, weights=None, input_shape=(32, 32, 3)
    )
    first, second, *_ = find_residual_branches(model).branches
    assert first.merge == "conv2_block1_add"
    assert first.shortcut == ["conv2_block1_0_conv", "conv2_block1_0_bn"]
    assert second.shortcut == []
    assert second.layers == [
        f"conv2_block2_{number}_{kind}"
        for number, kinds in (
            (1, ("conv", "bn", "relu")),
            (2, ("conv", "bn", "relu")),
            (3, ("conv", "bn")),
        )
        for kind in kinds
    ]
    kernels = 256 * 64 + 64 * 64 * 9 + 64 * 256
    assert second.weights == kernels + 5 * (64 + 64 + 256)


def test_the_report_is_printed_and_converted(tmp_path):
    found = find_residual_branches(own_drop_path())
    text = str(found)
    assert "2 residual branches, 2 with a drop path of the model's own" in text
    rows = [line.split() for line in text.splitlines()[2:]]
    assert rows[1] == [
        *("2", "sum2", "conv2", "..", "scale", "(3)", "148", "identity"),
        "drop2",
    ]
    path = found.save(tmp_path / "branches.json")
    assert json.loads(path.read_text()) == found.to_dict()
    assert found.to_dict()["branches"][0]["layers"] == ["conv1", "drop1"]
    found.plot(tmp_path / "branches.png")
    assert (tmp_path / "branches.png").stat().st_size > 1000


def test_the_model_stays_as_it_is():
    model = chain()
    before = model.get_config()
    find_residual_branches(model)
    assert model.get_config() == before


def dense(name, **kwargs):
    return layers.Dense(4, name=name, **kwargs)


def taken_within(x):
    """What is within the branch goes elsewhere, too."""
    y = dense("low")(x)
    return ops.add(x, dense("high")(y)) * y


def taken_behind(x):
    y = dense("low")(x)
    return ops.add(x, y) * y


def two_alike(x):
    """Two ways of the same size, none of which is the shortcut."""
    return ops.add(dense("left")(x), dense("right")(x))


def without_weights(x):
    return ops.add(x, ops.tanh(x))


def of_two_inputs(x):
    other = keras.Input((4,))
    return [other], ops.add(x, dense("low")(other))


def broadcast(x):
    return ops.add(x, layers.Dense(1)(x))


def other_sum(x):
    class Scaled(layers.Add):
        def _merge_function(self, inputs):
            return 2.0 * super()._merge_function(inputs)

    return Scaled()([x, dense("low")(x)])


def common_start(x):
    """The ways part at a tensor that both have, and the sum is of that."""
    y = dense("low")(x)
    return layers.Concatenate()([x, y])


@pytest.mark.parametrize(
    "make",
    [
        taken_within,
        taken_behind,
        two_alike,
        without_weights,
        of_two_inputs,
        broadcast,
        other_sum,
        common_start,
    ],
)
def test_what_is_no_branch(make):
    inputs = keras.Input((4,))
    result = make(inputs)
    more, outputs = result if isinstance(result, tuple) else ([], result)
    found = find_residual_branches(keras.Model([inputs, *more], outputs))
    assert found.branches == [] and len(found) == 0
    assert "has no residual branches: no sum of two" in str(found)


def test_what_the_model_returns_is_no_branch():
    inputs = keras.Input((4,))
    y = dense("low")(inputs)
    model = keras.Model(inputs, [y, ops.add(inputs, y)])
    assert find_residual_branches(model).branches == []


def test_several_branches_of_one_sum():
    inputs = keras.Input((4,))
    left, right = dense("left")(inputs), dense("high")(dense("low")(inputs))
    model = keras.Model(inputs, layers.Add(name="sum")([left, inputs, right]))
    found = find_residual_branches(model)
    assert [branch.layers for branch in found] == [["left"], ["low", "high"]]
    assert [branch.depth for branch in found] == [1, 1]


def test_blocks_of_this_package_say_so():
    found = find_residual_branches(tfdeep.models.ResNet(8))
    assert "tfdeep.layers take `survival_probability`" in str(found)


class TestRefused:
    def test_no_model(self):
        with pytest.raises(TypeError, match="must be a keras.Model"):
            find_residual_branches(layers.Dense(3))

    def test_a_model_that_is_not_built(self):
        with pytest.raises(ValueError, match="must be built"):
            find_residual_branches(keras.Sequential([layers.Dense(3)]))
