"""EinsumDense: a tensor between any axes; it is within attention as well."""

import math
import re

from keras import ops

from tfdeep.privacy.per_example.gradients import Product
from tfdeep.privacy.per_example.rules import Rule, by_example, summed_to


class EinsumDenseRule(Rule):
    """Rule of `keras.layers.EinsumDense`, where examples are the first axis."""

    def __init__(self, layer):
        super().__init__(layer)
        self.axes = sorted_axes(layer.equation, len(layer.kernel.shape))

    def fits(self, args, kwargs):
        if not super().fits(args, kwargs) or self.axes is None:
            return False
        return len(self.axes["input"]) == len(args[0].shape)

    def forward(self, tap, x):
        x = self.cast(x)
        z = ops.einsum(self.layer.equation, x, self.cast(self.layer.kernel))
        if self.layer.bias is not None:
            z = ops.add(z, self.cast(self.layer.bias))
        return self.activated(tap(z)), [x]

    def forms(self, kept, grads, views):
        (x,), (dz,) = kept, grads
        axes = self.axes
        found = [
            (
                self.layer.kernel,
                Product(
                    [by_example(_sorted(x, axes["input"], axes, "in"), views)],
                    by_example(_sorted(dz, axes["output"], axes, "out"), views),
                    self._fold,
                ),
            )
        ]
        if self.layer.bias is not None:
            found.append((self.layer.bias, self._bias(dz, views)))
        return found

    def _fold(self, product):
        """(..., groups, in, out) -> (..., *kernel)."""
        kernel, axes = self.layer.kernel, self.axes
        sizes = dict(zip(axes["kernel"], kernel.shape, strict=True))
        order = axes["groups"] + axes["in"] + axes["out"]
        lead = len(product.shape) - 3
        product = ops.reshape(
            product,
            (*ops.shape(product)[:lead], *(sizes[each] for each in order)),
        )
        back = [lead + order.index(each) for each in axes["kernel"]]
        return ops.transpose(product, (*range(lead), *back))

    def _bias(self, dz, views):
        shape = self.layer.bias.shape
        missing = len(dz.shape) - 1 - len(shape)
        full = (1,) * missing + tuple(shape)
        axes = tuple(
            axis
            for axis, size in enumerate(full, start=1)
            if size == 1 and dz.shape[axis] != 1
        )
        instances = summed_to(dz, views, axes)
        count = ops.shape(instances.tensor)[0]
        instances.tensor = ops.reshape(instances.tensor, (count, *shape))
        return instances


def sorted_axes(equation: str, rank: int) -> dict[str, str] | None:
    """The letters of an equation by their part; `None` if it has others.

    `in` are summed over, `out` are new, `groups` are in all three, and
    `positions` are in the input and the output alone.
    """
    match = re.fullmatch(r"(\w+),(\w+)->(\w+)", equation.replace(" ", ""))
    if match is None:
        return None
    inputs, kernel, outputs = match.groups()
    parts = {
        "input": inputs,
        "kernel": kernel,
        "output": outputs,
        "in": "".join(c for c in kernel if c in inputs and c not in outputs),
        "out": "".join(c for c in kernel if c in outputs and c not in inputs),
        "groups": "".join(c for c in kernel if c in inputs and c in outputs),
        "positions": "".join(
            c for c in inputs[1:] if c in outputs and c not in kernel
        ),
    }
    known = parts["in"] + parts["out"] + parts["groups"]
    whole = (
        inputs[0] == outputs[0] not in kernel
        and sorted(known) == sorted(kernel)
        and sorted(parts["positions"] + parts["in"] + parts["groups"])
        == sorted(inputs[1:])
        and sorted(parts["positions"] + parts["out"] + parts["groups"])
        == sorted(outputs[1:])
        and all(len(set(part)) == len(part) for part in match.groups())
    )
    return parts if whole and len(kernel) == rank else None


def _sorted(tensor, letters: str, axes: dict, last: str):
    """-> (rows, positions, groups, in or out)."""
    names = ("positions", "groups", last)
    order = "".join(axes[name] for name in names)
    tensor = ops.transpose(
        tensor, (0, *(letters.index(each) for each in order))
    )
    shape = ops.shape(tensor)  # Numbers where known, else scalar tensors.
    sizes = dict(zip(order, shape[1:], strict=True))
    return ops.reshape(
        tensor,
        (
            shape[0],
            *(math.prod(sizes[each] for each in axes[name]) for name in names),
        ),
    )
