"""What all residual blocks share: shortcuts, survival, norms, formats."""

import keras
import numpy as np
import pytest

from tests.helpers import (
    arrays,
    close,
    copy_weights,
    flat,
    gradients,
    images,
    randomize,
    training_step,
)
from tests.layers import reference as ref
from tfdeep.layers import (
    AggregatedBlock,
    BasicBlock,
    BottleneckBlock,
    PreActivationBlock,
    PreActivationBottleneckBlock,
    StochasticDepth,
    WideBlock,
    ZeroPadShortcut,
)

BLOCKS = [
    (BasicBlock, {}),
    (BottleneckBlock, {}),
    (AggregatedBlock, {"cardinality": 2, "base_width": 32}),
    (PreActivationBlock, {}),
    (PreActivationBottleneckBlock, {}),
    (WideBlock, {"rate": 0.3}),
]
every_block = pytest.mark.parametrize("cls,options", BLOCKS)


def built(block, shape):
    block.build(shape)
    randomize(block)
    return block


@every_block
def test_branch_and_shortcut_are_exposed(cls, options):
    block = built(cls(4, 2, **options), (2, 6, 6, 4))
    assert isinstance(block.branch, keras.Sequential)
    assert isinstance(block.shortcut, keras.Sequential)
    assert (block.preactivation is None) == (not cls.preactivated)
    assert len(block.shortcut.layers) == (1 if cls.preactivated else 2)

    same = built(cls(4, **options), (2, 6, 6, 4 * cls.expansion))
    assert same.shortcut is None and same.preactivation is None

    option_a = built(cls(4, 2, shortcut="A", **options), (2, 6, 6, 4))
    assert isinstance(option_a.shortcut, ZeroPadShortcut)
    skipped = built(
        cls(4, 2, survival_probability=0.5, **options), (2, 6, 6, 4)
    )
    assert isinstance(skipped.branch, StochasticDepth)


@every_block
@pytest.mark.parametrize("strides", [1, 2])
def test_it_is_the_sum_of_its_parts(cls, options, strides):
    shape = (2, 6, 6, 4)
    block = built(cls(4, strides, **options), shape)
    x = images(*shape)
    inner = x
    if block.preactivation is not None:
        inner = block.preactivation(x, training=False)
    y = block.branch(inner, training=False)
    y = y + (inner if block.shortcut is None else block.shortcut(inner))
    expected = y if cls.preactivated else ref.relu(y)
    y = gradients(block, x, training=False)[0]
    close([y], arrays([expected]), rtol=1e-4, atol=1e-5)


@every_block
def test_survival_draws_between_block_and_shortcut(cls, options):
    """Dropped: the (activated) input. Kept: the plain block."""
    shape = (3, 4, 4, 4 * cls.expansion)
    options = {**options, "rate": 0.0} if "rate" in options else options
    plain = built(cls(4, **options), shape)
    block = cls(4, survival_probability=0.5, seed=1, **options)
    block.build(shape)
    for new, old in zip(
        block.trainable_variables, plain.trainable_variables, strict=True
    ):
        new.assign(old.value)
    x = images(*shape)
    kept = flat(gradients(plain, x, training=True))
    dropped_y = x if cls.preactivated else np.maximum(x, 0)
    # One block as a graph, too; the others draw in the same way.
    step = training_step(block, cls is BasicBlock or None, training=True)
    seen = set()
    for _ in range(8):
        result = flat(step(x))
        dropped = bool(np.all(result[0] == dropped_y))
        seen.add(dropped)
        if dropped:
            assert not any(np.any(gradient) for gradient in result[2:])
        else:
            close(result, kept, rtol=1e-3, atol=1e-4)
    assert seen == {False, True}


@pytest.mark.parametrize("cls", [BasicBlock, PreActivationBlock])
def test_inference_scales_the_branch(cls):
    shape = (2, 4, 4, 4)
    block = built(cls(4, survival_probability=0.3), shape)
    plain = built(cls(4), shape)
    x = images(*shape)
    y = x + 0.3 * np.asarray(plain.branch(x, training=False))
    expected = y if cls.preactivated else np.maximum(y, 0)
    for new, old in zip(
        block.branch.layer.weights, plain.branch.weights, strict=True
    ):
        new.assign(old.value)
    close([gradients(block, x, training=False)[0]], [expected])


@every_block
def test_group_norm_sees_one_sample_at_a_time(cls, options):
    """Its output for a sample does not depend on the batch."""
    shape = (3, 4, 4, 4)
    options = {**options, "rate": 0.0} if "rate" in options else options
    block = built(cls(4, 2, norm="group", **options), shape)
    x = images(*shape)
    assert block.non_trainable_variables == []
    whole = gradients(block, x, training=True)[0]
    one = gradients(block, x[:1], training=True)[0]
    close([whole[:1]], [one], rtol=1e-4, atol=1e-5)


def test_group_norm_values():
    shape = (2, 4, 4, 6)
    block = built(
        PreActivationBlock(6, norm="group", data_format="channels_last"), shape
    )
    g1, b1, k1, g2, b2, k2 = arrays(block.trainable_variables)
    x = images(*shape)
    # 2 groups: the greatest common divisor of 6 channels and 32.
    y = ref.conv(ref.relu(ref.group_norm(x, g1, b1, 2)), k1)
    y = x + ref.conv(ref.relu(ref.group_norm(y, g2, b2, 2)), k2)
    close([gradients(block, x)[0]], arrays([y]), rtol=1e-4, atol=1e-4)


@every_block
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_channels_first_is_the_transpose(cls, options, shortcut):
    arguments = {"strides": 2, "shortcut": shortcut, **options}
    last = built(cls(4, data_format="channels_last", **arguments), (2, 6, 6, 4))
    first = cls(4, data_format="channels_first", **arguments)
    first.build((2, 4, 6, 6))
    copy_weights(last, first)
    x = images(2, 6, 6, 4)
    x_first = x.transpose(0, 3, 1, 2)
    expected = gradients(last, x, training=False)[0].transpose(0, 3, 1, 2)
    assert first.compute_output_shape(x_first.shape) == expected.shape
    y = np.asarray(first(x_first, training=False))
    close([y], [expected], rtol=1e-4, atol=1e-5)


@every_block
def test_a_bias_for_each_convolution(cls, options):
    block = built(cls(4, use_bias=True, **options), (2, 6, 6, 4))
    plain = built(cls(4, **options), (2, 6, 6, 4))
    biases = [w for w in block.weights if w.path.endswith("bias")]
    kernels = [w for w in block.weights if w.path.endswith("kernel")]
    assert len(biases) == len(kernels)
    extra = block.count_params() - plain.count_params()
    assert extra == sum(int(np.prod(w.shape)) for w in biases)


@every_block
def test_bad_arguments(cls, options):
    with pytest.raises(ValueError, match="Received: filters=0"):
        cls(0, **options)
    with pytest.raises(ValueError, match="Received: strides=0"):
        cls(4, 0, **options)
    with pytest.raises(ValueError, match="'A-average'.*Received: shortcut='D'"):
        cls(4, shortcut="D", **options)
    with pytest.raises(ValueError, match="Received: survival_probability=2"):
        cls(4, survival_probability=2, **options)
    with pytest.raises(ValueError, match="shortcut='none'.*'A', 'B' or 'C'"):
        cls(4, shortcut="none", survival_probability=0.5, **options)
    with pytest.raises(ValueError, match="must be images, a tensor of rank 4"):
        cls(4, **options).build((2, 4))
