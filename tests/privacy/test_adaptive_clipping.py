"""A clip that follows a quantile of the norms, for the same privacy."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays
from tfdeep import privacy
from tfdeep.privacy.adaptive_clipping import multiplier_of_sums


def test_the_clip_follows_the_quantile(private, budget, data):
    plan = budget(noise_multiplier=0.0, batch_size=32, steps=1000)
    adaptive = privacy.AdaptiveClipping(quantile=0.25, learning_rate=0.5)
    model = private(plan=plan, mechanism=adaptive, l2_norm_clip=0.01)
    model.optimizer.learning_rate = 0.0
    for _ in range(60):
        model.train_on_batch(*data)
    clip = 0.01 * float(model.mechanism_state[0].numpy())
    (norms,) = arrays([model.per_example_norms(*data)])
    assert np.mean(norms <= clip) == pytest.approx(0.25, abs=0.1)


def test_one_step_of_the_clip_is_that_of_the_formula(private, data):
    """Half of the batch is padding, and the batch counts as larger."""
    adaptive = privacy.AdaptiveClipping(
        quantile=0.3, learning_rate=0.4, noise_multiplier=0.0, batch_size=40
    )
    model = private(mechanism=adaptive, l2_norm_clip=1.6)
    weight = np.repeat([1.0, 0.0], 16).astype("float32")
    (norms,) = arrays([model.per_example_norms(*data, weight)])
    below = np.mean(norms[:16] <= 1.6)
    assert 0.2 < below < 0.8
    model.train_on_batch(*data, weight)
    fraction = 16 * (below - 0.5) / 40 + 0.5
    assert float(model.mechanism_state[0].numpy()) == pytest.approx(
        np.exp(-0.4 * (fraction - 0.3)), rel=1e-5
    )


def test_both_releases_are_as_private_as_one():
    z, count_noise = 1.3, 4.0
    left = multiplier_of_sums(z, count_noise)
    assert left**-2 + (2 * count_noise) ** -2 == pytest.approx(z**-2)
    with pytest.raises(ValueError, match="spend all privacy"):
        multiplier_of_sums(2.0, 1.0)


def test_noise_of_sums_and_count(budget):
    """More on the sums than the plan says, as the count has some as well."""
    adaptive = privacy.AdaptiveClipping(count_noise=4.0, learning_rate=1.0)
    adaptive = adaptive.bind(budget(noise_multiplier=1.3, batch_size=16), 16)
    left = multiplier_of_sums(1.3, 4.0)
    assert adaptive.sum_multiplier == pytest.approx(left) and left > 1.3
    zero, one = (keras.ops.convert_to_tensor(v) for v in (0.0, 1.0))
    (noised,), (clip,) = adaptive.add_noise(
        [zero], [zero], [one], 3.0, lambda shape: one
    )
    assert float(noised) == pytest.approx(3.0 * left)
    assert float(clip) == pytest.approx(np.exp(-4.0 / 16))


def test_noise_of_the_count_is_a_twentieth_of_the_batch(budget):
    adaptive = privacy.AdaptiveClipping()
    bound = adaptive.bind(budget(noise_multiplier=1.3, batch_size=200), 200)
    assert bound.sum_multiplier == pytest.approx(multiplier_of_sums(1.3, 10.0))


def test_whole_updates_are_counted(private):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    mechanism = privacy.AdaptiveClipping(noise_multiplier=1.0)
    with pytest.raises(ValueError, match="microbatch_size"):
        private(mechanism=mechanism, optimizer=optimizer)


def test_without_a_batch_size_there_is_no_fraction(private, data):
    mechanism = privacy.AdaptiveClipping(noise_multiplier=1.0)
    with pytest.raises(ValueError, match="must know the batch size"):
        private(mechanism=mechanism).fit(*data, verbose=0)
