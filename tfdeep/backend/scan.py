"""A function applied over and over, as one loop in the program.

    carry_{i+1}, y_i = f(carry_i, x_i),    i = 0, ..., n - 1

Compile time and the size of the program do not grow with n. What the backward
pass needs is kept step by step, or computed again:

    recompute   kept                                    forward passes
    False       all values inside f, n times            1
    True        carry_i, n times                        2
    "sqrt"      carry_i, about 2 sqrt(n) times          3

"sqrt" is one level of checkpoints (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", 2016): an outer loop over chunks keeps the carry of
each, an inner loop those within one. More levels would keep O(log n).
"""

import math

from keras import ops

from tfdeep.backend.dispatch import _module
from tfdeep.checks import check_choice

RECOMPUTE = (False, True, "sqrt")


def scan(function, carry, inputs, reverse=False, recompute=False):
    """Apply `function` to each slice of the inputs, handing on the carry.

    Can be differentiated any number of times, by the carry and by the inputs.
    What `function` takes a gradient of must be among its arguments: it may
    close over constants only. For a loop with a backward pass of its own,
    call this within the functions that `custom_vjp` takes.

    Args:
        function: `function(carry, inputs) -> (carry, outputs)`, four lists
            of tensors. The carry keeps its shapes and dtypes.
        carry: list of tensors, the first carry.
        inputs: non-empty list of tensors with the same first size n >= 1;
            step i gets their entries i.
        reverse: boolean, whether to go from the last entry to the first.
        recompute: `False`, `True` or `"sqrt"`, as in the table above.

    Returns:
        `(carry, outputs)`: the last carry, and the outputs of all steps
        stacked in the order of the inputs.
    """
    check_choice("recompute", recompute, RECOMPUTE)
    if recompute == "sqrt":
        return _scan_by_chunks(function, list(carry), list(inputs), reverse)
    return _module("scan").scan(
        function, list(carry), list(inputs), reverse, recompute
    )


def _scan_by_chunks(function, carry, inputs, reverse):
    """Chunks of about sqrt(n) steps, and what is left over as one more."""
    count = inputs[0].shape[0]
    size = math.isqrt(count)
    whole = count // size * size

    def steps(carry, inputs):
        return scan(function, carry, inputs, reverse, recompute=True)

    def chunks(carry, inputs):
        parts = [ops.reshape(x, (-1, size, *x.shape[1:])) for x in inputs]
        carry, outputs = scan(steps, carry, parts, reverse, recompute=True)
        return carry, [ops.reshape(y, (whole, *y.shape[2:])) for y in outputs]

    if whole == count:
        return chunks(carry, inputs)
    runs = [
        (chunks, [x[:whole] for x in inputs]),
        (steps, [x[whole:] for x in inputs]),
    ]
    outputs = []
    for run, part in reversed(runs) if reverse else runs:
        carry, values = run(carry, part)
        outputs.append(values)
    pairs = zip(*(reversed(outputs) if reverse else outputs), strict=True)
    return carry, [ops.concatenate(pair, axis=0) for pair in pairs]
