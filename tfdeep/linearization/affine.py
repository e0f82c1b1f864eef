"""Convolutions and matrix products that follow each other, as one.

With kernels of sizes k1, k2, strides s1, s2 and dilations d1, d2, and nothing
nonlinear between, conv2(conv1(x)) is a convolution of

    size     (k1 - 1) d1 + (k2 - 1) d2 s1 + 1        stride   s1 s2
    kernel[p d1 + r d2 s1] += kernel1[p] @ kernel2[r]        for all p, r
    bias     b2 + sum_r b1 @ kernel2[r]

wherever no zeros of padding come between. A Dense layer is the case without
space.
"""

import math
from dataclasses import dataclass, replace

import numpy as np


class NotExact(Exception):
    """Raised with the reason why two layers are not one."""


@dataclass(frozen=True, eq=False)
class Affine:
    """A convolution, or a matrix product, in numbers.

    Args:
        kernel: (*sizes, inputs, outputs), float64, without groups.
        bias: (outputs,).
        strides: one for each axis of space.
        dilation: likewise.
        padding: `"valid"`, `"same"` or `"causal"`.
        size: the sizes of the input in space, `None` where unknown.
        pads: zeros before and after on each axis, if they are put there by
            hand; the padding is `"valid"` then.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: str = "valid"
    size: tuple[int | None, ...] = ()
    pads: tuple[tuple[int, int], ...] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of the kernel on each axis of space."""
        return self.kernel.shape[:-2]

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a matrix product at each place."""
        return math.prod(self.sizes) == 1

    def scaled(self, factor: np.ndarray, shift: np.ndarray) -> "Affine":
        """With a normalization after it: outputs * factor + shift."""
        return replace(
            self,
            kernel=self.kernel * factor,
            bias=self.bias * factor + shift,
        )

    def with_identity(self) -> "Affine":
        """With its input added to what it computes.

        Raises:
            NotExact: if these do not lie on one another.
        """
        inputs, outputs = self.kernel.shape[-2:]
        centred = self.padding == "same" and all(k % 2 for k in self.sizes)
        if (
            inputs != outputs
            or math.prod(self.strides) != 1
            or self.pads
            or not (centred or self.is_pointwise)
        ):
            raise NotExact("the sum is not of a centred kernel and its input")
        kernel = self.kernel.copy()
        kernel[tuple(k // 2 for k in self.sizes)] += np.eye(inputs)
        return replace(self, kernel=kernel)


def composed(first: Affine, second: Affine) -> Affine:
    """One convolution that does what two do, one after the other.

    Raises:
        NotExact: where the padding of one is not that of both.

    Example:
        >>> import numpy as np
        >>> one = Affine(np.array([[[1.0]], [[2.0]]]), np.ones(1), (1,), (1,))
        >>> two = Affine(np.array([[[3.0]], [[-1.0]]]), np.full(1, 0.5),
        ...              (1,), (1,))
        >>> both = composed(one, two)
        >>> both.kernel.ravel().tolist(), both.bias.tolist()
        ([3.0, 5.0, -2.0], [2.5])
    """
    padding, pads = _padding(first, second)
    kernel, dilation = _kernel(first, second)
    taps = second.kernel.reshape(-1, *second.kernel.shape[-2:])
    strides = (
        s * t for s, t in zip(first.strides, second.strides, strict=True)
    )
    return Affine(
        kernel,
        second.bias + first.bias @ taps.sum(0),
        tuple(strides),
        dilation,
        padding,
        first.size,
        pads,
    )


def _kernel(first: Affine, second: Affine) -> tuple:
    """The kernel of both, and its dilation."""
    if second.is_pointwise:  # One tap leaves the places of the other one's.
        dilation = first.dilation
    elif first.is_pointwise and math.prod(first.strides) == 1:
        dilation = second.dilation
    else:
        dilation = (1,) * len(first.strides)
    places = zip(
        *(first.dilation, second.dilation, first.strides, dilation),
        strict=True,
    )
    # Of an axis with one tap no step is taken.
    steps = [(d1 // d, d2 * s // d) for d1, d2, s, d in places]
    sizes = [
        (k1 - 1) * a + (k2 - 1) * b + 1
        for k1, k2, (a, b) in zip(first.sizes, second.sizes, steps, strict=True)
    ]
    kernel = np.zeros((*sizes, first.kernel.shape[-2], second.kernel.shape[-1]))
    for p in np.ndindex(*first.sizes):
        for r in np.ndindex(*second.sizes):
            place = tuple(
                i * a + j * b for i, j, (a, b) in zip(p, r, steps, strict=True)
            )
            kernel[place] += first.kernel[p] @ second.kernel[r]
    return kernel, tuple(dilation)


def _padding(first: Affine, second: Affine) -> tuple:
    """The padding of both, and zeros that are put there by hand."""
    if second.padding != "valid" and not second.is_pointwise:
        # Its zeros lie where the first one's output is not zero.
        if second.padding == "causal" or first.pads:
            raise NotExact("zeros of the second one's padding lie between")
        if not (first.is_pointwise and math.prod(first.strides) == 1):
            raise NotExact(
                "the second one is padded, which is another thing than "
                "padding the input of both"
            )
        if np.any(first.bias):
            raise NotExact(
                "the second one is padded with zeros, where the bias between "
                "is none"
            )
        return second.padding, None
    if first.padding == "valid":
        return "valid", first.pads
    if second.is_pointwise and math.prod(second.strides) == 1:
        return first.padding, None
    if first.padding == "causal" or None in first.size:
        raise NotExact("how the first one is padded depends on the stride")
    sizes = [int(size or 0) for size in first.size]
    axes = zip(sizes, first.sizes, first.strides, first.dilation, strict=True)
    return "valid", tuple(zeros(*axis) for axis in axes)


def zeros(size: int, kernel: int, stride: int, dilation: int) -> tuple:
    """How many zeros "same" puts before and after an axis.

    Example:
        >>> zeros(8, 3, 2, 1), zeros(8, 3, 1, 1)
        ((0, 1), (1, 1))
    """
    reach = (kernel - 1) * dilation + 1
    total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def without_groups(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a grouped convolution, with zeros between the groups.

    Args:
        kernel: (*sizes, inputs / groups, outputs).
        groups: how many groups there are.
    """
    *sizes, width, outputs = kernel.shape
    each = outputs // groups
    full = np.zeros((*sizes, width * groups, outputs))
    for g in range(groups):
        rows, columns = (
            slice(g * width, (g + 1) * width),
            slice(g * each, (g + 1) * each),
        )
        full[..., rows, columns] = kernel[..., columns]
    return full


def of_depthwise(kernel: np.ndarray) -> np.ndarray:
    """A depthwise kernel (*sizes, channels, multiplier), as a full one."""
    *sizes, channels, multiplier = kernel.shape
    grouped = kernel.reshape(*sizes, 1, channels * multiplier)
    return without_groups(grouped, channels)
