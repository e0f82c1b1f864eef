"""Published settings: figures, parts, and a small step."""

import keras
import numpy as np
import pytest

from tfdeep import privacy
from tfdeep.models import WideResNet


@pytest.mark.parametrize(
    "epsilon, noise, steps",
    [(1, 10, 875), (2, 6, 1125), (3, 5, 1593), (4, 4, 1687), (8, 3, 2468)],
)
def test_published_noise_spends_no_more_than_epsilon(epsilon, noise, steps):
    plan = privacy.recipe("de2022", epsilon).plan
    assert (plan.noise_multiplier, plan.steps) == (noise, steps)
    assert (plan.num_examples, plan.batch_size) == (50_000, 4_096)
    assert plan.sampling == "poisson" and plan.accountant == "rdp"
    assert 0.88 * epsilon <= plan.epsilon <= epsilon


@pytest.mark.parametrize("epsilon", [0.5, 6.0])
def test_noise_is_computed_for_other_budgets(epsilon):
    plan = privacy.recipe("de2022", epsilon).plan
    assert plan.epsilon == epsilon
    assert plan.epsilon_after(plan.steps) <= epsilon


def test_other_data_get_a_noise_of_their_own():
    plan = privacy.recipe("de2022", 1, num_examples=73_257).plan
    assert plan.noise_multiplier < 10 and plan.epsilon == 1


def test_parts():
    settings = privacy.recipe("de2022", 1)
    assert settings.learning_rate == 2.0 and settings.views == 16
    optimizer = settings.optimizer()
    assert optimizer.momentum == 0 and not optimizer.weight_decay
    net = WideResNet(**{**settings.network, "depth": 10, "width": 1})
    model = settings.wrap(net, microbatch_size=8)
    assert model.plan == settings.plan and model.base is net


def test_views_keep_shape_and_differ():
    views = privacy.recipe("de2022", 1).augmentation()
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    state = [v.value for v in views.layer.non_trainable_variables]
    seen = keras.ops.convert_to_numpy(views.shown(x, state)[0])
    assert seen.shape == (32, 32, 32, 3)
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("name, epsilon", [("abadi", 1), ("de2022", 0)])
def test_unknown_settings_are_refused(name, epsilon):
    with pytest.raises(ValueError):
        privacy.recipe(name, epsilon)
