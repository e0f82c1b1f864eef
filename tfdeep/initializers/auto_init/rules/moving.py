"""Values that change places, are repeated, or are averaged."""

import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init.rules.measuring import followed
from tfdeep.initializers.auto_init.rules.registry import (
    axis_of,
    first,
    rule,
    single,
)
from tfdeep.initializers.auto_init.tensors import to_numpy


@rule(
    layers.Identity,
    layers.ActivityRegularization,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.RepeatVector,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling1D,
    layers.UpSampling3D,
    layers.Concatenate,
)
def moving(state, layer, call, args, kwargs):
    """Values change places, or zeros come between them."""
    x = first(args, kwargs)
    parts = x if isinstance(x, (list, tuple)) else [x]
    before = [state.signal(part) for part in parts]
    y = state.whole(*args, **kwargs)

    def move(arrays):
        full = [
            ops.convert_to_tensor(single(np.broadcast_to(a, (1, *p.shape[1:]))))
            for a, p in zip(arrays, parts, strict=True)
        ]
        moved = layer.call(full if len(full) > 1 else full[0])
        moved = to_numpy(moved).astype("float64")
        if moved.ndim < 3:
            return moved.mean().reshape((1,) * moved.ndim)
        return moved.mean(axis_of(layer, moved.ndim), keepdims=True)

    fresh = before[0].fresh if len(before) == 1 else None
    signal = before[0].replace(
        mean=float(
            move([np.full_like(b.second, b.mean) for b in before]).mean()
        ),
        second=move([b.second for b in before]),
        gaussian=all(b.gaussian for b in before)
        and len({round(b.q, 12) for b in before}) == 1,
        draws=frozenset().union(*(b.draws for b in before)),
        fresh=fresh,
        sensitivity=max(b.sensitivity for b in before),
        scatter=max(b.scatter for b in before),
    )
    return state.give(y, signal)


# Linear images: normal if the input is.
rule(
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.UpSampling2D,
)(followed())
