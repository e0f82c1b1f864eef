"""Each clipping bounds the gradients of examples as its formula says."""

import numpy as np
import pytest

from tests.helpers import arrays, close
from tests.privacy.reference import gradient, norm_of, row
from tfdeep import privacy

LAYERS = ([0, 1], [2, 3])  # Kernel and bias of either.


def flat(grads, clip):
    return [min(1.0, clip / norm_of(grads)) * each for each in grads]


def automatic(grads, clip, stability):
    return [clip / (norm_of(grads) + stability) * each for each in grads]


def per_layer(grads, clip):
    found = [None] * 4
    for layer in LAYERS:
        clipped = flat([grads[i] for i in layer], clip / np.sqrt(2))
        for index, each in zip(layer, clipped, strict=True):
            found[index] = each
    return found


def over(clip, grads):
    return [each / clip for each in grads]


# The norms of the four examples are 1.50, 1.83, 1.50 and 1.77.
CASES = {
    "flat": (1.6, lambda g: flat(g, 1.6)),
    "all clipped": (0.3, lambda g: flat(g, 0.3)),
    "rescaled": (
        privacy.FlatClipping(0.3, rescaled=True),
        lambda g: over(0.3, flat(g, 0.3)),
    ),
    "rescaled, none clipped": (
        privacy.FlatClipping(30.0, rescaled=True),
        lambda g: over(30.0, g),
    ),
    "automatic": (
        privacy.AutomaticClipping(2.0, stability=0.5),
        lambda g: automatic(g, 2.0, 0.5),
    ),
    "automatic, rescaled": (
        privacy.AutomaticClipping(2.0, rescaled=True),
        lambda g: automatic(g, 1.0, 0.01),
    ),
    "per layer": (privacy.PerLayerClipping(1.6), lambda g: per_layer(g, 1.6)),
    "per layer, rescaled": (
        privacy.PerLayerClipping(0.9, rescaled=True),
        lambda g: over(0.9, per_layer(g, 0.9)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sum_is_that_of_the_formula(name, private, data):
    clipping, formula = CASES[name]
    model = private(l2_norm_clip=clipping)
    x, y = (each[:4] for each in data)
    each = [gradient(model, row(x, i), row(y, i)) for i in range(4)]
    sums = arrays(model.clipped_sum(x, y))
    close(sums, [sum(a) for a in zip(*map(formula, each), strict=True)])


def test_a_model_clips_to_one_and_tells_the_norms_before(private, data):
    model = private()
    x, y = (each[:4] for each in data)
    each = [gradient(model, row(x, i), row(y, i)) for i in range(4)]
    assert 1.0 < max(map(norm_of, each))
    expected = [sum(a) for a in zip(*(flat(g, 1.0) for g in each), strict=True)]
    close(arrays(model.clipped_sum(x, y)), expected)
    weight = np.array([1, 0, 2, 1], "float32")
    x = np.concatenate([x[:3], np.full_like(x[3:], np.nan)])
    (norms,) = arrays([model.per_example_norms(x, y, weight)])
    expected = [norm_of(each[0]), 0.0, 2 * norm_of(each[2]), 0.0]
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
