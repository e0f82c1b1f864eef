"""A plan: published figures, what is solved for, and what is refused."""

import json
import sys

import keras
import pytest

import tfdeep
from tfdeep.privacy import Plan, accounting

# N, batch size, noise multiplier, updates, and epsilon at delta = 1e-5 by
# Renyi divergences and by privacy loss distributions on a fine grid.
PUBLISHED = [
    (50_000, 4_096, 10, 875, 0.9877, 0.9028),
    (50_000, 4_096, 6, 1_125, 1.9996, 1.8364),
    (50_000, 4_096, 5, 1_593, 2.9825, 2.7472),
    (50_000, 4_096, 4, 1_687, 3.9962, 3.6877),
    (50_000, 4_096, 3, 2_468, 7.0458, 6.5293),
    (60_000, 256, 1.1, 14_062, 2.5966, 2.3817),
]
SMALL = (1_000, 50, 200, 1e-5)


@pytest.mark.parametrize("setting", PUBLISHED, ids=str)
def test_epsilon_of_published_settings(setting):
    num_examples, batch_size, noise, steps, rdp, pld = setting
    shared = (num_examples, batch_size, steps, 1e-5, None, noise)
    assert Plan(*shared, "rdp").epsilon == pytest.approx(rdp, abs=1e-4)
    measured = Plan(*shared, "pld").epsilon
    assert pld - 5e-5 <= measured <= pld + 5e-4


# Below 1, between, and where the grid of losses grows no further.
@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling, epsilon",
    [
        ("poisson", 0.5),
        ("poisson", 3),
        ("poisson", 40.0),
        ("shuffled", 0.5),
        ("shuffled", 40.0),
    ],
)
def test_solved_noise_spends_no_more_than_asked_and_hardly_less(
    sampling, epsilon
):
    plan = Plan(*SMALL, epsilon=epsilon, sampling=sampling)
    assert plan.epsilon == epsilon
    spent = plan.epsilon_after(plan.steps)
    assert spent <= epsilon
    # Few orders serve the search for shuffled batches.
    assert spent >= (0.995 if sampling == "poisson" else 0.95) * epsilon


def test_fixed_size_batches_cost_what_a_sum_moved_by_two_clip_norms_costs():
    # 2.138 is the figure of this bound for a sum that moves by one clip norm.
    plan = Plan(
        50_000, 4_096, 875, 1e-5, noise_multiplier=20, sampling="shuffled"
    )
    assert plan.epsilon == pytest.approx(2.1378, abs=1e-4)
    assert plan.accountant == "rdp"
    poisson = Plan(50_000, 4_096, 875, 1e-5, noise_multiplier=20)
    assert plan.epsilon > 2 * poisson.epsilon


def test_passes_over_the_data_are_gaussian_mechanisms():
    plan = Plan(100, 100, 1, 1e-5, noise_multiplier=2.0, sampling="shuffled")
    # One Gaussian mechanism of noise over sensitivity 1: known epsilon.
    assert plan.epsilon_of_passes() == pytest.approx(4.3772, abs=1e-3)


def test_epsilon_grows_with_updates_and_ends_at_the_plan():
    plan = Plan(*SMALL, noise_multiplier=1.0)
    spent = [plan.epsilon_after(steps) for steps in (0, 1, 200, 300)]
    assert spent[0] == 0.0
    assert spent == sorted(spent)
    assert spent[2] == plan.epsilon < spent[3]


def test_no_noise_is_no_privacy():
    plan = Plan(*SMALL, noise_multiplier=0)
    assert plan.epsilon == plan.epsilon_after(1) == float("inf")
    assert "NOT differentially private" in str(plan)


def test_a_coarser_grid_errs_to_the_safe_side():
    fine, coarse = (
        accounting.epsilon_of(*SMALL[:2], 1.0, 200, 1e-5, "pld", interval)
        for interval in (2e-4, 3e-3)
    )
    assert fine < coarse < 1.02 * fine


@pytest.mark.parametrize("value", [0.65577, 9.1191, 12.3, 1234.5, 1.0, 2e-2])
def test_noise_is_rounded_up_to_four_digits(value):
    rounded = accounting.round_up(value)
    assert value <= rounded < value * 1.001
    assert len(f"{rounded:.10g}".replace(".", "").strip("0")) <= 4


@pytest.mark.parametrize("budget", [{"epsilon": 3}, {"noise_multiplier": 1}])
def test_round_trip(budget):
    plan = Plan(*SMALL, **budget)
    config = json.loads(json.dumps(plan.get_config()))
    again = Plan.from_config(config)
    assert again == plan and again.get_config() == config
    assert again.epsilon_after(100) == plan.epsilon_after(100)
    saved = keras.saving.serialize_keras_object(plan)
    assert keras.saving.deserialize_keras_object(saved) == plan
    assert hash(plan) == hash(again)


def test_a_config_with_too_little_noise_is_refused():
    config = Plan(*SMALL, epsilon=3, accountant="rdp").get_config()
    config["noise_multiplier"] /= 2
    with pytest.raises(ValueError, match="which spends"):
        Plan.from_config(config)


def test_a_plan_cannot_be_changed():
    plan = Plan(*SMALL, epsilon=3)
    with pytest.raises(AttributeError):
        plan.steps = 10**6


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_examples": 0},
        {"num_examples": 10.5},
        {"batch_size": True},
        {"batch_size": 1_001},
        {"steps": "100"},
        {"delta": 0},
        {"delta": 1.0},
        {"delta": float("nan")},
        {"delta": "1e-5"},
        {"epsilon": 0},
        {"epsilon": float("inf")},
        {"epsilon": "3"},
        {"epsilon": None},
        {"noise_multiplier": 1.0},
        {"epsilon": None, "noise_multiplier": -1},
        {"epsilon": None, "noise_multiplier": True},
        {"accountant": "gdp"},
        {"accountant": "pld", "sampling": "shuffled"},
        {"sampling": "uniform"},
        {"epsilon": 1e9},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_in_three_sentences(wrong):
    names = ("num_examples", "batch_size", "steps", "delta")
    arguments = {**dict(zip(names, SMALL, strict=True)), "epsilon": 3, **wrong}
    with pytest.raises(ValueError) as error:
        Plan(**arguments)
    assert str(error.value).count(". ") >= 2


@pytest.mark.parametrize("steps", [-1, 1.5, "1"])
def test_epsilon_after_what_is_no_number_of_updates(steps):
    with pytest.raises(ValueError, match="positive integer"):
        Plan(*SMALL, noise_multiplier=1.0).epsilon_after(steps)


def test_the_statement_says_what_is_claimed():
    poisson = str(Plan(*SMALL, epsilon=3))
    for part in (
        "(3, 1e-05)",
        "one training example",
        "added or removed",
        "Poisson",
        "privacy loss distributions",
        "hyper-parameters",
        "validation",
        "side channels",
    ):
        assert part in poisson
    shuffled = str(Plan(*SMALL, epsilon=0.5, sampling="shuffled"))
    assert "replaced" in shuffled and "Renyi" in shuffled
    assert "Poisson" not in shuffled and "added or removed" not in shuffled


def test_the_statement_names_a_seed():
    plan = Plan(*SMALL, epsilon=3)
    assert plan.statement(seeded=True).startswith("UNFIT FOR RELEASE")
    assert "UNFIT" not in plan.statement()


def test_sizes_for_a_fit():
    quick = {"noise_multiplier": 1, "accountant": "rdp"}
    plan = Plan(1_000, 64, 100, 1e-5, **quick)
    assert plan.sampling_probability == 0.064
    assert plan.padded_batch_size == 104
    assert (plan.steps_per_epoch, plan.epochs) == (16, 7)
    assert Plan(100, 90, 1, 1e-5, **quick).padded_batch_size == 100


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    accounting.epsilon_of.cache_clear()
    assert tfdeep.privacy.Plan is Plan
    with pytest.raises(ImportError, match=r"tfdeep\[accounting\]"):
        Plan(*SMALL, noise_multiplier=1.23)


def test_a_delta_that_guarantees_nothing_is_told_of():
    with pytest.warns(UserWarning, match="far below one over"):
        Plan(100, 10, 5, 0.01, noise_multiplier=1.0)


@pytest.mark.parametrize("sampling", ["poisson", "shuffled"])
def test_an_epsilon_out_of_reach_is_told_in_a_sentence(sampling):
    with pytest.raises(ValueError, match="no noise keeps"):
        Plan(60_000, 256, 1_000, 1e-12, epsilon=1e-6, sampling=sampling)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("q", [1e-3, 0.125, 0.49, 0.6])
def test_orders_that_converge_are_enough(q, sigma, caplog):
    """Those left out cannot be computed, or matter for no sensible epsilon."""
    from dp_accounting import dp_event, rdp

    event = dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)), 50
    )
    orders = accounting.converging_orders(q, sigma)
    ours = rdp.RdpAccountant(orders).compose(event).get_epsilon(1e-5)
    assert not caplog.records
    theirs = rdp.RdpAccountant().compose(event).get_epsilon(1e-5)
    assert theirs <= ours * (1 + 1e-12)
    assert ours <= 1.06 * theirs or ours > 40
