"""The mathematics of GradInit, against slow references."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BACKEND, arrays, images
from tests.initializers.grad_init.nets import quick
from tfdeep.initializers.half_batches import join
from tfdeep.initializers.scale_gradients import (
    ScaleAdam,
    ScaleGradients,
    first_step,
    gradient_norm,
    gradient_quotient,
)
from tfdeep.initializers.scaled_loss import ScaledLoss
from tfdeep.initializers.without_noise import without_noise


def slow_scale_steps(gradients, kinds, lr, minimum):
    """The steps of the scales, one scalar and one formula at a time."""
    path = []
    scales = [1.0] * len(minimum)
    first = {kind: [0.0] * len(minimum) for kind in (False, True)}
    count = {False: 0, True: 0}
    second = [0.0] * len(minimum)
    for gradient, kind in zip(gradients, kinds, strict=True):
        count[kind] += 1
        for i, d in enumerate(gradient):
            d = min(max(d, -1.0), 1.0)
            first[kind][i] = 0.9 * first[kind][i] + 0.1 * d
            second[i] = 0.999 * second[i] + 0.001 * d * d
            m = first[kind][i] / (1 - 0.9 ** count[kind])
            v = second[i] / (1 - 0.999 ** sum(count.values()))
            step = lr * m / (v**0.5 + 1e-8)
            if scales[i] != 0.0:
                scales[i] = max(scales[i] - step, minimum[i])
        path.append(list(scales))
    return path


def test_scale_steps_equal_the_slow_reference():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(40, 3)) * [0.1, 1.0, 10.0]
    kinds = [bool(k) for k in rng.integers(0, 2, 40)]
    minimum = [0.01, 0.0, 0.9]
    adam, scales, path = ScaleAdam(0.05, minimum), np.ones(3), []
    for gradient, kind in zip(gradients, kinds, strict=True):
        scales = adam.step(scales, gradient, kind)
        path.append(scales)
    expected = slow_scale_steps(gradients, kinds, 0.05, minimum)
    np.testing.assert_allclose(path, expected, rtol=1e-12)
    assert scales[2] >= 0.9


def test_a_scale_of_zero_stays():
    """That of a bias: its tensor is zero, and zero tensors have no scale."""
    adam, scales = ScaleAdam(0.5, [0.0, 0.01]), np.ones(2)
    for _ in range(4):
        scales = adam.step(scales, [1.0, 1.0], False)
    np.testing.assert_array_equal(scales, [0.0, 0.01])
    for _ in range(40):
        scales = adam.step(scales, [-1.0, -1.0], False)
    assert scales[0] == 0.0 and scales[1] > 1.0


def test_norms_and_steps():
    g = [np.array([3.0, 0.0], "float32"), np.array([[-4.0]], "float32")]
    assert float(gradient_norm(g, "sgd")) == 5.0
    assert float(gradient_norm(g, "adam")) == 7.0

    def step(*arguments):
        return [np.asarray(a).ravel().tolist() for a in first_step(*arguments)]

    assert step(g, "sgd", False) == [[3.0, 0.0], [-4.0]]
    assert step(g, "adam", True) == [[1.0, 0.0], [-1.0]]
    np.testing.assert_allclose(
        np.concatenate(step(g, "sgd", True)), [0.6, 0.0, -0.8], rtol=1e-6
    )
    zero = [np.zeros(2, "float32")]
    assert step(zero, "sgd", True) == [[0.0, 0.0]]


def test_gradient_quotient_of_two_tensors():
    g = [np.array([1.0, -1.0]), np.array([0.0])]
    hg = [np.array([2.0, 3.0]), np.array([0.5])]
    expected = (2 / 1.1 + 3 / 1.1 + 0.5 / 0.1) / 3
    value = float(gradient_quotient(g, hg, epsilon=0.1))
    assert value == pytest.approx(expected, rel=1e-6)


def conv_net(norm):
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, strides=2),
            layers.BatchNormalization() if norm else layers.Identity(),
            layers.Activation("swish"),
            layers.AveragePooling2D(2, strides=1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


class Reference:
    """What GradInit lowers, from plain gradients of the model.

    Args:
        model: a built model.
        batches: S and S~.
        init: the `GradInit`, for its settings.
    """

    def __init__(self, model, batches, init):
        self.model = keras.models.clone_model(model)
        self.model.set_weights(model.get_weights())
        self.batches, self.init = batches, init
        # Made here, to be as precise as the weights.
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.start = arrays(model.trainable_variables)
        self.scaled = [i for i, w in enumerate(self.start) if np.any(w)]

    def gradients(self, theta, batch):
        """The loss in training mode at these weights, and its gradients."""
        x, y, _ = batch
        for variable, value in zip(
            self.model.trainable_variables, theta, strict=True
        ):
            variable.assign(value)
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = self.loss(y, self.model(x, training=True))
            found = tape.gradient(loss, self.model.trainable_variables)
            return float(loss), arrays(found)
        import jax

        def loss_of(trainable, state):
            outputs = self.model.stateless_call(
                trainable, state, x, training=True
            )
            return self.loss(y, outputs[0])

        loss, found = jax.value_and_grad(loss_of)(
            [v.value for v in self.model.trainable_variables],
            [v.value for v in self.model.non_trainable_variables],
        )
        return float(loss), arrays(found)

    def theta(self, scales):
        """The weights at these scales."""
        theta = list(self.start)
        for index, scale in zip(self.scaled, scales, strict=True):
            theta[index] = theta[index] * scale
        return theta

    def norm(self, scales):
        """||g||_2"""
        _, g = self.gradients(self.theta(scales), self.batches[0])
        return float(np.sqrt(sum(np.sum(np.square(part)) for part in g)))

    def after_step(self, at):
        """L(theta - eta g; S~) / eta, by the scales; g is that at `at`."""
        _, g = self.gradients(self.theta(at), self.batches[0])
        eta = self.init.learning_rate

        def value(scales):
            pairs = zip(self.theta(scales), g, strict=True)
            moved = [weight - eta * part for weight, part in pairs]
            return self.gradients(moved, self.batches[1])[0] / eta

        return value

    def quotient(self, scales, step=1e-5):
        """The gradient quotient, with H g as a difference of gradients."""
        theta = self.theta(scales)
        _, g = self.gradients(theta, self.batches[0])
        ends = [
            self.gradients(
                [w + t * part for w, part in zip(theta, g, strict=True)],
                self.batches[0],
            )[1]
            for t in (step, -step)
        ]
        hg = [(a - b) / (2 * step) for a, b in zip(*ends, strict=True)]
        parts = [[each[i] for i in self.scaled] for each in (g, hg)]
        return float(gradient_quotient(*parts))


CASES = {
    "norm": {"gamma": 1e-6},
    "after_step": {
        "gamma": 1e6,
        "learning_rate": 0.5,
        "normalize": False,
        "overlap": False,
    },
    "quotient": {"objective": "gradient_quotient"},
}


@pytest.mark.parametrize("kind", CASES)
def test_gradient_of_the_scales_is_the_slope_of_the_value(kind, float64):
    """The value is that of a reference, and d is its slope."""
    # XLA's square roots on a CPU have half of the digits: too few for that.
    model = conv_net(BACKEND == "tensorflow" or kind != "quotient")
    init = quick(**CASES[kind])
    halves = [
        (images(6, 6, 6, 2, seed=seed), (np.arange(6) + seed) % 3, None)
        for seed in range(4)
    ]
    reference = Reference(model, [join(*halves[:2]), join(*halves[2:])], init)
    scaled = ScaledLoss(model, reference.loss)
    gradients = ScaleGradients(scaled, init)
    scales = np.linspace(0.8, 1.2, len(scaled.names))

    def recorded(scales):
        return gradients(scales, iter(halves))[1]["objective"]

    value = getattr(reference, kind)
    if kind == "after_step":
        value = value(scales)
    # Half of the digits ask for larger differences.
    exact = BACKEND == "tensorflow" or kind == "quotient"
    step = 1e-5 if exact else 1e-3
    with without_noise(model):
        d, record = gradients(scales, iter(halves))
        # Differences of differences would leave too few digits.
        sloped = recorded if kind == "quotient" else value
        slopes = [
            (sloped(scales + unit) - sloped(scales - unit)) / (2 * step)
            for unit in np.eye(len(scales)) * step
        ]
        expected = value(scales)
    assert record["constraint"] == (kind == "norm")
    rtol = 1e-5 if BACKEND == "tensorflow" else 1e-2
    assert record["objective"] == pytest.approx(expected, rel=rtol)
    # The quotient has a kink wherever an entry of the gradient is 0.
    if kind == "quotient":
        rtol = max(rtol, 1e-3)
    np.testing.assert_allclose(arrays([d])[0], slopes, rtol=rtol, atol=1e-6)
