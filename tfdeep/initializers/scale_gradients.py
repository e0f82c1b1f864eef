"""The mathematics of GradInit: the gradient of the scales, and their steps.

    theta_i = alpha_i theta_i^0,   g = dL(theta; S) / dtheta

A *constraint step* follows d||g|| / dalpha, which needs the gradient of a
gradient; an *objective step* follows the gradient of the loss after a step
of the optimizer, through which nothing is differentiated.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.initializers.half_batches import join
from tfdeep.initializers.scaled_loss import ScaledLoss


def gradient_norm(gradients, algorithm: str):
    """||g||_2 for SGD, ||g||_1 for Adam, over all tensors together."""
    if algorithm == "adam":
        return sum(ops.sum(ops.abs(g)) for g in gradients)
    return ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))


def first_step(gradients, algorithm: str, normalize: bool) -> list:
    """The direction of the optimizer's first step.

    g / ||g||_2 for SGD (g itself if not normalized), sign(g) for Adam.
    """
    if algorithm == "adam":
        return [ops.sign(g) for g in gradients]
    if not normalize:
        return list(gradients)
    norm = gradient_norm(gradients, "sgd")
    norm = ops.where(norm > 0, norm, ops.ones_like(norm))
    return [g / norm for g in gradients]


def gradient_quotient(gradients, products, epsilon: float = 1e-5):
    """Mean of |Hg / (g + epsilon sign(g))|, with sign(0) = 1.

    By how much a step of size 1 along the gradient changes each entry of the
    gradient, relative to it (Dauphin and Schoenholz 2019).
    """
    total, count = 0.0, 0
    for g, hg in zip(gradients, products, strict=True):
        sign = ops.where(g >= 0, ops.ones_like(g), -ops.ones_like(g))
        total += ops.sum(ops.abs(hg / (g + epsilon * sign)))
        count += int(np.prod(g.shape))
    return total / count


class ScaleAdam:
    """Adam on the scales, with a first moment for each kind of step.

        d = clip(d, -1, 1)
        m_k = 0.9 m_k + 0.1 d            k: constraint or objective
        v = 0.999 v + 0.001 d^2          shared
        alpha = max(alpha - lr m_k^ / (sqrt(v^) + 1e-8), minimum)

    with m_k^ = m_k / (1 - 0.9^(steps of kind k)) and
    v^ = v / (1 - 0.999^(all steps)). A scale of 0 stays 0, as in the authors'
    code, which skips tensors that are zero.
    """

    def __init__(self, learning_rate: float, minimum):
        self.learning_rate = learning_rate
        self.minimum = np.asarray(minimum, "float64")
        self.first = np.zeros((2, len(self.minimum)))
        self.second = np.zeros(len(self.minimum))
        self.count = np.zeros(2, int)

    def step(self, scales, gradient, constraint: bool):
        """Return the scales after one step, in float64."""
        d = np.clip(np.asarray(gradient, "float64"), -1.0, 1.0)
        k = int(constraint)
        self.count[k] += 1
        self.first[k] = 0.9 * self.first[k] + 0.1 * d
        self.second = 0.999 * self.second + 0.001 * d**2
        first = self.first[k] / (1 - 0.9 ** self.count[k])
        second = self.second / (1 - 0.999 ** self.count.sum())
        change = self.learning_rate * first / (np.sqrt(second) + 1e-8)
        scales = np.asarray(scales, "float64")
        return np.where(
            scales == 0, 0.0, np.maximum(scales - change, self.minimum)
        )


class ScaleGradients:
    """Computes d, the gradient of the scales, in compiled programs.

    Called with the scales and a stream of half-batches, it returns d and
    what to record of the iteration.

    Args:
        scaled: the loss as a function of the scales.
        settings: the `GradInit` whose settings hold.
    """

    def __init__(self, scaled: ScaledLoss, settings: Any):
        self.scaled = scaled
        self.settings = settings
        self.norm = backend.compiled_pullback(self._norm)
        self.after_step = backend.compiled_pullback(self._loss_after_step)
        self.quotient = backend.compiled_pullback(self._quotient)

    def __call__(self, scales, batches: Iterator):
        first, second = next(batches), next(batches)
        scales = ops.convert_to_tensor(scales, self.scaled.dtype)
        constants = self._constants(join(first, second))
        if self.settings.objective == "gradient_quotient":
            value, (loss, norm, gradients), pull = self.quotient(
                scales, constants
            )
            constraint = False
        else:
            value, (loss, gradients), pull = self.norm(scales, constants)
            norm = value
            constraint = float(norm) > self.settings.gamma
        self._check_finite(loss, norm, gradients)
        if self.settings.objective == "gradinit" and not constraint:
            del pull  # It keeps what a double backward pass would need.
            first = first if self.settings.overlap else next(batches)
            constants = self._constants(join(first, next(batches)))
            value, _, pull = self.after_step(scales, (*constants, gradients))
        d = ops.convert_to_numpy(pull())
        self._check_scales_finite(d)
        record = {
            "loss": float(loss),
            "norm": float(norm),
            "constraint": constraint,
            "objective": float(value),
        }
        return d, record

    def _constants(self, batch):
        batch = keras.tree.map_structure(
            lambda a: None if a is None else ops.convert_to_tensor(a), batch
        )
        return self.scaled.weights, self.scaled.state, batch

    def _norm(self, scales, constants):
        """||g||, and with it L and g."""
        weights, state, batch = constants
        loss, gradients = backend.value_and_gradients(
            lambda theta: self.scaled(theta, state, batch),
            self.scaled.scale(scales, weights),
        )
        norm = gradient_norm(gradients, self.settings.algorithm)
        return norm, (loss, gradients)

    def _loss_after_step(self, scales, constants):
        """L(theta - eta a(g); S~) / eta."""
        weights, state, batch, gradients = constants
        eta = self.settings.learning_rate
        steps = first_step(
            gradients, self.settings.algorithm, self.settings.normalize
        )
        theta = [
            weight - eta * step
            for weight, step in zip(
                self.scaled.scale(scales, weights), steps, strict=True
            )
        ]
        return self.scaled(theta, state, batch) / eta, ()

    def _quotient(self, scales, constants):
        """The gradient quotient, and with it L, ||g|| and g."""
        weights, state, batch = constants
        theta = self.scaled.scale(scales, weights)

        def gradients_at(theta):
            return backend.value_and_gradients(
                lambda theta: self.scaled(theta, state, batch), theta
            )

        def half_square(theta):
            # Its gradient is Hg.
            return sum(
                ops.sum(ops.square(g)) / 2 for g in gradients_at(theta)[1]
            )

        loss, gradients = gradients_at(theta)
        _, products = backend.value_and_gradients(half_square, theta)
        value = gradient_quotient(
            [gradients[index] for index in self.scaled.scaled],
            [products[index] for index in self.scaled.scaled],
        )
        return value, (loss, gradient_norm(gradients, "sgd"), gradients)

    def _check_finite(self, loss, norm, gradients) -> None:
        if np.isfinite(float(norm)) and np.isfinite(float(loss)):
            return
        for variable, gradient in zip(
            self.scaled.variables, gradients, strict=True
        ):
            if not np.all(np.isfinite(ops.convert_to_numpy(gradient))):
                raise _not_finite(variable.path, float(loss))
        raise _not_finite("all weights together", float(loss))

    def _check_scales_finite(self, d) -> None:
        for name, value in zip(self.scaled.names, d, strict=True):
            if not np.isfinite(value):
                raise _not_finite(f"the scale of {name}")


def _not_finite(name: str, loss: float | None = None) -> ValueError:
    at = "" if loss is None else f" at a loss of {loss:.4g}"
    return ValueError(
        "Gradients must be finite; the weights are as they were. Received: a "
        f"gradient by {name} that is infinite or not a number{at}. Look for "
        "such values in the data, or lower `scale_learning_rate` or the "
        "variance of the initial weights."
    )
