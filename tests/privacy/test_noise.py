"""Noise: how much, how often, and that nobody can draw it again."""

import keras
import numpy as np
import pytest
from keras import layers

from tfdeep.privacy.noise import NoiseSource


def moved(model):
    """What one update without an example does to the weights."""
    before = model.base.get_weights()
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    model.train_on_batch(x, y, np.zeros(8, "float32"))
    after = model.base.get_weights()
    return np.concatenate(
        [np.ravel(a - b) for a, b in zip(after, before, strict=True)]
    )


def wide(private, **arguments):
    sgd = keras.optimizers.SGD(1.0)
    return private(layers.Dense(300), optimizer=sgd, **arguments)


@pytest.mark.parametrize("multiplier, clip", [(1.0, 1.0), (0.5, 3.0)])
def test_standard_deviation(private, budget, multiplier, clip):
    plan = budget(batch_size=16, noise_multiplier=multiplier)
    model = wide(private, plan=plan, l2_norm_clip=clip)
    noise = np.concatenate([moved(model) for _ in range(4)])
    assert noise.std() == pytest.approx(multiplier * clip / 16, rel=0.03)
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size)


def test_fresh_on_each_update_and_after_recompiling(private, budget):
    model = wide(private, plan=budget())
    draws = [moved(model), moved(model)]
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    draws += [moved(model), moved(model)]
    close = np.corrcoef(draws) - np.eye(4)
    assert np.abs(close).max() < 0.1


def test_the_global_seed_has_no_say(private, budget):
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        draws.append(moved(wide(private, plan=budget())))
    assert abs(np.corrcoef(draws)[0, 1]) < 0.1


def test_loading_twice_does_not_repeat_it(private, budget, tmp_path):
    model = wide(private, plan=budget())
    moved(model)
    model.save(tmp_path / "m.keras")
    loaded = [keras.models.load_model(tmp_path / "m.keras") for _ in range(2)]
    draws = [moved(each) for each in (model, *loaded)]
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.1


def test_a_fixed_seed_repeats(private, budget):
    one, other = (moved(wide(private, plan=budget(), seed=3)) for _ in range(2))
    np.testing.assert_allclose(one, other, atol=1e-6)  # Weights are added.


def test_a_fixed_seed_goes_on_after_loading(private, budget, tmp_path):
    model = wide(private, plan=budget(), seed=3)
    first = moved(model)
    model.save(tmp_path / "m.keras")
    resumed = keras.models.load_model(tmp_path / "m.keras")
    second = moved(model)
    np.testing.assert_allclose(moved(resumed), second, atol=1e-6)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_seeds_side_by_side_do_not_share_noise(private, budget):
    models = [wide(private, plan=budget(), seed=seed) for seed in (3, 4)]
    draws = [moved(model) for model in models for _ in range(2)]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.1


def test_places_in_the_stream_are_drawn_from_the_system():
    source = NoiseSource()
    states = set()
    for _ in range(5):
        states.add(tuple(np.asarray(source.generator.state.numpy()).tolist()))
        source.refresh()
    assert len(states) == 5
    fixed = NoiseSource(seed=1)
    before = fixed.generator.state.numpy()
    fixed.refresh()
    np.testing.assert_array_equal(fixed.generator.state.numpy(), before)
