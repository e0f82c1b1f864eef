"""Sums of tensors, which may have ancestors in common."""

import numpy as np
from keras import layers

from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.initializers.auto_init.tensors import is_tensor, to_numpy


def summing(signs):
    """A rule for a sum with these signs and one factor."""

    def apply(state, layer, call, args, kwargs):
        x = first(args, kwargs)
        parts = list(x) if isinstance(x, (list, tuple)) else list(args)
        y = call(*args, **kwargs)
        if not all(
            is_tensor(p) and len(p.shape) == len(y.shape) for p in parts
        ):
            return computed(state, layer, lambda *a, **k: y, args, kwargs)
        before = [state.signal(part) for part in parts]
        state.sums(before)
        sign = np.array(signs(len(parts)))
        values = [to_numpy(p).astype("float64") for p in parts]
        second = sum(
            s * s * b.second for s, b in zip(sign, before, strict=True)
        )
        mixed = [
            2 * sign[i] * sign[j] * float(np.mean(values[i] * values[j]))
            for i in range(len(parts))
            for j in range(i)
            if not before[i].uncorrelated(before[j])
        ]
        for product in mixed:
            second = second + product
        second = np.maximum(second, 0.0)
        total = sum(b.q for b in before) or 1.0
        return state.give(
            y,
            before[0].replace(
                mean=float(
                    sum(s * b.mean for s, b in zip(sign, before, strict=True))
                ),
                second=second,
                gaussian=all(b.gaussian for b in before) and not mixed,
                draws=frozenset().union(*(b.draws for b in before)),
                fresh=None,
                sensitivity=sum(b.sensitivity * b.q for b in before) / total,
                scatter=sum(b.scatter * b.q**2 for b in before) / total**2,
            ),
        )

    return apply


plus = summing(lambda n: [1.0] * n)
minus = summing(lambda n: [1.0, -1.0])
rule(layers.Add, "add")(plus)
rule(layers.Subtract, "subtract")(minus)
rule(layers.Average)(summing(lambda n: [1.0 / n] * n))
