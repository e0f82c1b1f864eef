"""Routing by agreement: how capsules of one layer choose those of the next.

A capsule is a vector: its direction says what was found, its length how
surely. Capsule i votes for each capsule o of the next layer,

    u_hat_oi = W_oi u_i
    v_o = squash(sum_i c_oi u_hat_oi),    sum_o c_oi = 1

and the coefficients c grow where a vote agrees with the outcome. They are
computed from the votes, without a gradient of their own: the gradient is that
of the last sum. Tensors of votes have the shape (batch, out, in, dim); no
other tensor of that size is made.
"""

import math

from keras import ops

TINY = 1e-8
KEPT = 0.9  # The coefficient of a capsule at half the mean distance.


def norm(x, axis: int = -1, keepdims: bool = False):
    """The Euclidean norm, with a gradient of 0 instead of none at 0."""
    second = ops.sum(ops.square(x), axis=axis, keepdims=keepdims)
    zero = second == 0
    root = ops.sqrt(ops.where(zero, ops.ones_like(second), second))
    return ops.where(zero, ops.zeros_like(root), root)


def squash(s, axis: int = -1):
    """Shrink vectors to lengths below 1 and keep their directions.

        squash(s) = |s|^2 / (1 + |s|^2) * s / (|s| + 1e-8)

    The gradient at s = 0 is 0. Half precision is computed in float32.

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, eq. 1.

    Args:
        s: tensor of vectors.
        axis: integer, the axis of their entries.

    Returns:
        A tensor of the shape and dtype of `s`.

    Example:
        >>> import numpy as np
        >>> from tfdeep.layers import squash
        >>> [round(x, 2) for x in np.asarray(squash(np.array([3.0, 4.0])))]
        [0.58, 0.77]
    """
    s = ops.convert_to_tensor(s)
    wide = _at_least_single(s)
    length = norm(wide, axis, keepdims=True)
    second = ops.square(length)
    scale = second / (1 + second) / (length + TINY)
    return ops.cast(wide * scale, s.dtype)


def _at_least_single(x):
    half = x.dtype in ("float16", "bfloat16") or "16" in str(x.dtype)
    return ops.cast(x, "float32") if half else x


def votes(u, kernel):
    """u_hat_oi = W_oi u_i: `(batch, in, k)` to `(batch, out, in, dim)`.

    A product for each i: one einsum, written so that it is a plain product
    of matrices on every backend.
    """
    out, count, dim, size = kernel.shape
    right = ops.reshape(
        ops.transpose(kernel, (1, 3, 0, 2)), (count, size, out * dim)
    )
    product = ops.matmul(ops.transpose(u, (1, 0, 2)), right)
    # (in, batch, out * dim) -> (batch, out, in, dim)
    split = ops.reshape(product, (count, -1, out, dim))
    return ops.transpose(split, (1, 2, 0, 3))


def weighted_sum(coefficients, u_hat):
    """s_o = sum_i c_oi u_hat_oi."""
    return ops.matmul(coefficients[:, :, None], u_hat)[:, :, 0]


def agreement(u_hat, v):
    """<u_hat_oi, v_o>."""
    return ops.matmul(u_hat, v[..., None])[..., 0]


def dynamic_routing(u_hat, num_routing: int = 3):
    """Routing by agreement: each step adds <u_hat_oi, v_o> to the logits.

        b = 0;  repeat: c = softmax_o(b), v = squash(sum_i c u_hat),
                        b += <u_hat, v>

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, procedure 1.

    Args:
        u_hat: tensor of votes, `(batch, out, in, dim)`.
        num_routing: positive integer, how often the sum is computed.

    Returns:
        The capsules v, `(batch, out, dim)`.

    Example:
        >>> import numpy as np
        >>> from tfdeep.layers import dynamic_routing
        >>> tuple(dynamic_routing(np.ones((2, 5, 6, 4), "float32")).shape)
        (2, 5, 4)
    """
    u_hat = ops.convert_to_tensor(u_hat)
    fixed = ops.stop_gradient(u_hat)
    logits = None
    for _ in range(num_routing - 1):
        v = squash(_routed(logits, fixed))
        agreed = agreement(fixed, v)
        logits = agreed if logits is None else logits + agreed
    return squash(_routed(logits, u_hat))


def sda_routing(u_hat, u, bias=0.1, num_routing: int = 3):
    """Scaled-distance-agreement routing: votes near the outcome count more.

        u_hat <- u_hat min(1, |u| / |u_hat|)
        repeat: v = squash(sum_i c u_hat + bias),  d_oi = |u_hat_oi - v_o|,
                c = softmax_o(t d),
                t = log(0.9 (n - 1)) - log(0.1) / (m / 2 - m)

    with n capsules in the next layer and m the mean of all d, that of the
    batch as in the authors' code: a sample's result depends on its batch.

    Reference:
        Peer et al., "Increasing the Adversarial Robustness and Explainability
        of Capsule Networks with Gamma-Capsules", 2018; t is computed as in
        the code of Gugglberger et al., "Momentum Capsule Networks", 2022.

    Args:
        u_hat: tensor of votes, `(batch, out, in, dim)`.
        u: the capsules that vote, `(batch, in, k)`.
        bias: number or tensor, added to the sums.
        num_routing: positive integer, how often the sum is computed.

    Returns:
        The capsules v, `(batch, out, dim)`.

    Example:
        >>> import numpy as np
        >>> from tfdeep.layers import sda_routing
        >>> votes, capsules = np.ones((2, 5, 6, 4)), np.ones((2, 6, 3))
        >>> tuple(sda_routing(votes, capsules).shape)
        (2, 5, 4)
    """
    u_hat = clipped(ops.convert_to_tensor(u_hat), ops.convert_to_tensor(u))
    fixed = ops.stop_gradient(u_hat)
    offset = ops.stop_gradient(ops.convert_to_tensor(bias, u_hat.dtype))
    logits = None
    for _ in range(num_routing - 1):
        s = _routed(logits, fixed) + offset
        distance = norm(fixed - squash(s)[:, :, None])
        logits = _temperature(distance, fixed.shape[1]) * distance
    s = _routed(logits, u_hat)
    return squash(s + ops.convert_to_tensor(bias, s.dtype))


def clipped(u_hat, u):
    """Votes no longer than the capsules that cast them."""
    length = norm(u_hat, keepdims=True)
    limit = norm(u)[:, None, :, None]
    one = ops.ones_like(length)
    shrink = limit / ops.where(length > limit, length, one)
    return u_hat * ops.where(length > limit, shrink, one)


def _temperature(distance, count: int):
    # `ops.mean` computes float64 in float32 on JAX.
    mean = ops.sum(distance) / ops.cast(ops.size(distance), distance.dtype)
    others = math.log(KEPT * (count - 1)) if count > 1 else 0.0
    return others - math.log(1 - KEPT) / (mean / 2 - mean + 1e-12)


def _routed(logits, u_hat):
    """The sums by the softmax of the logits; by equal shares without any."""
    if logits is None:
        return ops.sum(u_hat, axis=2) / u_hat.shape[1]
    # TensorFlow's softmax transposes: no program for a loop under XLA.
    powers = ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
    # A division for each sum, not for each share: a tenth of a pass under XLA.
    shares = powers * (1 / ops.sum(powers, axis=1, keepdims=True))
    return weighted_sum(shares, u_hat)
