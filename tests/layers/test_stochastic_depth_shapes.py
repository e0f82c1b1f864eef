"""StochasticDepth keeps the shapes and the precision of its branch."""

import keras
import numpy as np
import pytest

from tests.helpers import images, training_step
from tfdeep.layers import StochasticDepth


def convolution():
    return keras.layers.Conv2D(5, 3, strides=2, padding="same")


class TestShapes:
    def test_a_branch_that_changes_shape(self):
        layer = StochasticDepth(convolution(), 0.5, seed=0)
        x = images(2, 7, 6, 3)
        layer.build(x.shape)
        assert layer.compute_output_shape(x.shape) == (2, 4, 3, 5)
        step = training_step(layer, training=True)
        outputs = [step(x)[0] for _ in range(12)]
        assert {y.shape for y in outputs} == {(2, 4, 3, 5)}
        assert {bool(np.any(y)) for y in outputs} == {False, True}

    def test_unknown_sizes_train_at_any_size(self):
        inputs = keras.Input((None, None, 3))
        y = StochasticDepth(convolution(), 0.5, seed=0)(inputs)
        assert y.shape == (None, None, None, 5)
        model = keras.Model(inputs, convolution()(inputs) + y)
        model.compile("sgd", "mse")
        for size in (4, 7):
            half = -(-size // 2)
            targets = np.zeros((8, half, half, 5))
            x = images(8, size, size, 3)
            model.fit(x, targets, batch_size=2, verbose=0)
            assert model.predict(x, verbose=0).shape == targets.shape

    @pytest.mark.tensorflow
    @pytest.mark.parametrize("survival", [0.0, 0.5])
    def test_sizes_unknown_to_the_graph(self, survival):
        import tensorflow as tf

        layer = StochasticDepth(convolution(), survival, seed=0)
        layer.build((None, None, None, 3))
        signature = [tf.TensorSpec([None, None, None, 3])]
        step = tf.function(
            lambda x: layer(x, training=True), input_signature=signature
        )
        for size in (4, 7):
            half = -(-size // 2)
            for _ in range(6):
                y = step(images(2, size, size, 3))
                assert tuple(y.shape) == (2, half, half, 5)

    def test_an_integer_input(self):
        branch = keras.layers.Embedding(10, 3)
        layer = StochasticDepth(branch, 0.5, seed=0)
        tokens = np.array([[1, 2]])
        outputs = [np.asarray(layer(tokens, training=True)) for _ in range(12)]
        assert {bool(np.any(y)) for y in outputs} == {False, True}


class TestPrecision:
    def kernel(self):
        """A value that float16 would round to 1."""
        return np.full((1, 1), 1 + 2.0**-12, "float32")

    @pytest.mark.parametrize("nested", [False, True])
    @pytest.mark.parametrize("training", [False, True])
    def test_a_float32_branch_is_not_rounded(self, nested, training):
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            dense = keras.layers.Dense(1, use_bias=False, dtype="float32")
            branch = keras.Sequential([dense], name="b") if nested else dense
            inputs = keras.Input((1,), dtype="float32")
            layer = StochasticDepth(branch, 0.5, seed=0)
            model = keras.Model(inputs, layer(inputs))
        finally:
            keras.config.set_dtype_policy(policy)
        dense.kernel.assign(self.kernel())
        assert str(dense.kernel.dtype) == "float32"
        x = np.ones((1, 1), "float32")
        outputs = {
            float(np.asarray(model(x, training=training))[0, 0])
            for _ in range(12)
        }
        value = float(self.kernel()[0, 0])
        if nested and training:
            # The Sequential's own policy makes its output float16.
            value = 1.0
        assert outputs == ({0.0, value} if training else {0.5 * value})

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
    def test_a_half_precision_branch_stays_so(self, dtype):
        branch = keras.layers.Dense(3, dtype=dtype)
        layer = StochasticDepth(branch, 0.5, seed=0)
        x = images(2, 4)
        half = dtype.removeprefix("mixed_")
        for training in [False, *[True] * 8]:
            y = layer(x, training=training)
            assert keras.backend.standardize_dtype(y.dtype) == half
        assert str(branch.kernel.dtype) == "float32"


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (2, 4, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_a_shortcut_of_another_shape(shape, training):
    layer = StochasticDepth(keras.layers.Dense(4), 0.5, seed=0)
    with pytest.raises(ValueError, match="`shortcut` must have the shape"):
        layer(images(2, 3), images(*shape), training=training)
