"""Noise: how much, how often, and that nobody can draw it again."""

import keras
import numpy as np
import pytest
from keras import layers

from tfdeep.privacy import PrivateModel
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
    """A model of 3,057 weights, which an update moves by what is released."""
    sgd = keras.optimizers.SGD(1.0)
    return private(layers.Dense(300), optimizer=sgd, **arguments)


def largest_correlation(draws):
    """Of two draws; 0.1 is more than five deviations where none is."""
    return np.abs(np.corrcoef(draws) - np.eye(len(draws))).max()


@pytest.mark.parametrize("multiplier, clip", [(1.0, 1.0), (0.5, 3.0)])
def test_standard_deviation(private, budget, multiplier, clip):
    plan = budget(batch_size=16, noise_multiplier=multiplier)
    model = wide(private, plan=plan, l2_norm_clip=clip)
    noise = np.concatenate([moved(model) for _ in range(4)])
    # One deviation of what is measured is 0.6 %.
    assert noise.std() == pytest.approx(multiplier * clip / 16, rel=0.03)
    assert abs(noise.mean()) < 4.5 * noise.std() / np.sqrt(noise.size)


@pytest.mark.slow
def test_standard_deviation_where_xla_draws(budget):
    """Of one weight: XLA takes seconds to compile the draws of several."""
    base = keras.Sequential(
        [keras.Input((8,)), layers.Dense(300, use_bias=False)]
    )
    model = PrivateModel(base, plan=budget(), l2_norm_clip=2.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=True)
    draws = [moved(model), moved(model)]
    assert np.std(draws) == pytest.approx(2.0 / 8, rel=0.06)
    assert largest_correlation(draws) < 0.12


@pytest.mark.slow
def test_noise_is_never_drawn_again(private, budget, tmp_path):
    """Not by an update, a compile, a file, or Keras' random seed."""
    keras.utils.set_random_seed(0)
    model = wide(private, plan=budget())
    draws = [moved(model), moved(model)]
    model.save(tmp_path / "m.keras")
    loaded = [keras.models.load_model(tmp_path / "m.keras") for _ in range(2)]
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    for each in (model, *loaded):
        keras.utils.set_random_seed(0)
        draws.append(moved(each))
    keras.utils.set_random_seed(0)
    draws.append(moved(wide(private, plan=budget())))
    assert largest_correlation(draws) < 0.1


@pytest.mark.slow
def test_a_fixed_seed_repeats_and_goes_on_after_loading(
    private, budget, tmp_path
):
    model, same, other = (
        wide(private, plan=budget(), seed=seed) for seed in (3, 3, 4)
    )
    first = moved(model)
    np.testing.assert_allclose(moved(same), first, atol=1e-6)
    model.save(tmp_path / "m.keras")
    resumed = keras.models.load_model(tmp_path / "m.keras")
    second = moved(model)
    np.testing.assert_allclose(moved(resumed), second, atol=1e-6)
    # Streams of seeds side by side do not run into each other.
    draws = [first, second, moved(other), moved(other)]
    assert largest_correlation(draws) < 0.1


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
