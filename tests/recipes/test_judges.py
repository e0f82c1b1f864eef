"""Each claim is judged to hold by figures that bear it out, and by no others."""

import pytest

from tests.recipes.figures import (
    HIGH,
    LITTLE_ABOVE_LOW,
    LOW,
    SCATTERED,
    named,
    results,
)
from tests.recipes.lighter_cases import LIGHTER
from tfdeep.recipes import recipes

THIRTY_NETS = [f"net {number}" for number in range(30)]


TOUR = (
    "plain",
    "residual",
    "residual + StochasticDepth",
    "plain, no BN",
    "plain, no BN + AutoInit",
    "small, private",
)


def tour(error, cpu=(1, 1, 0.8, 1, 1, 1)):
    found = named("test_error", TOUR, *error)
    for arm, seconds in zip(TOUR, cpu, strict=True):
        found[arm]["turn_cpu_seconds"] = (seconds,)
        found[arm]["epochs"] = (10 if "Stochastic" in arm else 8,)
    found["small, private"]["spent_epsilon"] = (2.9,)
    return found


RESIDUAL = ("plain-20", "plain-56", "residual-20", "residual-56")
STARTS = ("Keras' default", "LSUV", "AutoInit")


def autoinit(default, lsuv, ours):
    """The accuracies of thirty nets, equal but for a little."""
    return {
        net: {
            start: tuple(each + seed / 1000 for seed in range(3))
            for start, each in zip(STARTS, (default, lsuv, ours), strict=True)
        }
        for net in THIRTY_NETS
    }


BATCH_NORM = ("without, rate 0.1", "without, rate 0.3", "with, rate 0.1",
              "with, rate 0.3")  # fmt: skip
ENTROPY = ("dense 2, plain", "dense 2, regularised", "conv 2, plain",
           "conv 2, regularised")  # fmt: skip
CAPSULES = ("CapsNet", "plain capsules", "MomentumCapsNet")
STARTED = ("stacked, 50 blocks", "stacked, 200 blocks", "stacked, 1000 blocks",
           "unrolled, 50 blocks", "unrolled, 200 blocks")  # fmt: skip
MEMORY = ("residual, 4 blocks", "residual, 32 blocks",
          "MomentumCapsNet, 4 blocks", "MomentumCapsNet, 32 blocks")  # fmt: skip
PIECES = ("plain DP-SGD", "+ standardised", "+ views", "+ average")


def private(metric, *by_piece, pieces=PIECES, epsilons=(1, 8)):
    """The same for each epsilon, or one figure per epsilon in a list."""
    return {
        f"{piece}, epsilon {epsilon}": {
            metric: each[i] if isinstance(each, list) else each
        }
        for i, epsilon in enumerate(epsilons)
        for piece, each in zip(pieces, by_piece, strict=True)
    }


def as_theirs(theirs, ours):
    found = private(
        "test_error", theirs, ours, pieces=("TF Privacy", "plain DP-SGD")
    )
    for metrics in found.values():
        metrics["training_cpu_seconds"] = (1.0, 1.0, 1.0)
    return found


def two(names, metric="test_error", good=LOW, bad=HIGH, unclear=SCATTERED):
    """The first is worse than the second: clearly, not at all, in the mean."""
    return (
        named(metric, names, bad, good),
        named(metric, names, good, bad),
        named(metric, names, bad, unclear),
    )


DROPOUT = ("no dropout", "dropout")
RELAY = ("plain", "all-reach", "relay")
SUPERVISED = ("plain", "supervised")
REGULARIZED = ("plain", "regularised")
ACTIVATION = ("post-activation", "pre-activation")
WARMED = ("default", "default + warm-up", "GradInit")
WIDE = ("WRN-40-1", "WRN-16-2")
CARDINALITY = ("1x64d", "32x4d")
DENSE = ("ResNet-32", "DenseNet-BC-40-12")
DEPTHS = ("constant depth", "stochastic depth")
LAYERS = ("depth 20", "depth 200")

# The recipe, the claim, figures by which it holds and figures by which not.
CASES = [
    ("tour", "plain fails", tour((0.5, 0.2, 0, 0, 0, 0)),
     tour((0.5, 0.3, 0, 0, 0, 0))),
    ("tour", "skipping trains", tour((0.5, 1, 0.2, 0, 0, 0)),
     tour((0.5, 0, 0.3, 0, 0, 0))),
    ("tour", "skipping saves", tour([0] * 6, (1, 1, 0.85, 1, 1, 1)),
     tour([0] * 6, (1, 1, 0.95, 1, 1, 1)),
     tour([0] * 6, (2, 1, 1.0, 1, 1, 1))),
    ("tour", "its time is well spent", tour((1, 0.05, 0.07, 1, 1, 1)),
     tour((1, 0.05, 0.09, 1, 1, 1)),
     tour((1, 0.05, 0.05, 1, 1, 1), (1, 1, 0.9, 1, 1, 1))),
    ("tour", "a start trains", tour((0, 0, 0, 0.9, 0.6, 0)),
     tour((0, 0, 0, 0.9, 0.7, 0))),
    ("tour", "private trains", tour((1, 1, 1, 1, 1, 0.19)),
     tour((0, 0, 0, 0, 0, 0.21))),
    ("residual", "degradation",
     named("train_error", RESIDUAL, LOW, HIGH, HIGH, LOW),
     named("train_error", RESIDUAL, HIGH, LOW, LOW, HIGH),
     named("train_error", RESIDUAL, SCATTERED, HIGH, LOW, HIGH)),
    ("residual", "no degradation",
     named("train_error", RESIDUAL, LOW, HIGH, LOW, LITTLE_ABOVE_LOW),
     named("train_error", RESIDUAL, LOW, LOW, LOW, HIGH)),
    ("residual", "depth pays",
     named("test_error", RESIDUAL, LOW, HIGH, HIGH, LOW),
     named("test_error", RESIDUAL, HIGH, LOW, LOW, HIGH),
     named("test_error", RESIDUAL, HIGH, HIGH, LOW, SCATTERED)),
    ("identity-mappings", "easier training", *two(ACTIVATION, "train_error")),
    ("identity-mappings", "lower error", *two(ACTIVATION)),
    ("wide", "lower error", *two(WIDE)),
    ("wide", "faster", named("epochs", WIDE, LOW, HIGH),
     named("epochs", WIDE, HIGH, LOW), named("epochs", WIDE, LOW, LOW)),
    ("resnext", "equal complexity", named("multiply_adds", CARDINALITY, 10, 9.5),
     named("multiply_adds", CARDINALITY, 10, 8.5),
     named("multiply_adds", CARDINALITY, 10, 11.5)),
    ("resnext", "lower error", *two(CARDINALITY)),
    ("densenet", "fewer parameters", named("parameters", DENSE, 10, 5),
     named("parameters", DENSE, 10, 7), named("parameters", DENSE, 5, 10)),
    ("densenet", "equal error",
     named("test_error", DENSE, LOW, LITTLE_ABOVE_LOW),
     named("test_error", DENSE, LOW, HIGH)),
    ("stochastic-depth", "time saved",
     named("epoch_cpu_seconds", DEPTHS, 1, 0.85),
     named("epoch_cpu_seconds", DEPTHS, 1, 0.95),
     named("epoch_cpu_seconds", DEPTHS, 0.8, 1)),
    ("stochastic-depth", "no higher error",
     named("test_error", DEPTHS, LOW, LITTLE_ABOVE_LOW),
     named("test_error", DEPTHS, LOW, HIGH)),
    ("thousand-layers", "depth trains",
     named("test_error", LAYERS, (0.1,), (0.119,)),
     named("test_error", LAYERS, (0.1,), (0.121,))),
    ("thousand-layers", "starts alike",
     named("start_cpu_seconds", STARTED, 9, 1, 1.9, 9, 9),
     named("start_cpu_seconds", STARTED, 1, 1, 2.1, 9, 9)),
    ("thousand-layers", "starts sooner",
     named("start_cpu_seconds", STARTED, 9, 1, 9, 1, 4.1),
     named("start_cpu_seconds", STARTED, 1, 1, 1, 9, 3.9)),
    ("batch-norm", "fewer steps",
     named("steps", BATCH_NORM, HIGH, HIGH, LOW, HIGH),
     named("steps", BATCH_NORM, HIGH, LOW, LOW, HIGH),
     named("steps", BATCH_NORM, HIGH, HIGH, SCATTERED, HIGH)),
    ("batch-norm", "higher rates",
     named("train_error", BATCH_NORM, LOW, HIGH, HIGH, LOW),
     named("train_error", BATCH_NORM, HIGH, LOW, LOW, HIGH),
     named("train_error", BATCH_NORM, HIGH, HIGH, LOW, SCATTERED)),
    ("autoinit", "more train", autoinit(0.4, 0.1, 0.6),
     autoinit(0.6, 0.9, 0.4), autoinit(0.6, 0.1, 0.8)),
    ("autoinit", "more accurate", autoinit(0.6, 0.9, 0.7),
     autoinit(0.7, 0.1, 0.6), autoinit(0.6, 0.1, 0.6)),
    ("autoinit", "without data", autoinit(0.9, 0.6, 0.7),
     autoinit(0.1, 0.7, 0.6)),
    ("gradinit", "GradInit trains", *two(("Keras' default", "GradInit"))),
    ("gradinit", "AutoInit trains", *two(("Keras' default", "AutoInit"))),
    ("gradinit-transformer", "needs a warm-up",
     named("test_error", WARMED, HIGH, LOW, HIGH),
     named("test_error", WARMED, LOW, HIGH, LOW),
     named("test_error", WARMED, HIGH, SCATTERED, LOW)),
    ("gradinit-transformer", "GradInit trains",
     named("test_error", WARMED, HIGH, HIGH, LOW),
     named("test_error", WARMED, LOW, LOW, HIGH),
     named("test_error", WARMED, HIGH, LOW, SCATTERED)),
    ("dropout", "narrower gap", *two(DROPOUT, "gap")),
    ("dropout", "lower error", *two(DROPOUT)),
    ("dropout", "weight scaling",
     {"dropout": {"test_error": (0.1,), "sampled_error": (0.104,)}},
     {"dropout": {"test_error": (0.1,), "sampled_error": (0.106,)}},
     {"dropout": {"test_error": (0.106,), "sampled_error": (0.1,)}}),
    ("batch-entropy", "dies without",
     named("train_error", ENTROPY, 0.9, 0.1, 0.9, 0.1),
     named("train_error", ENTROPY, 0.9, 0.9, 0.7, 0.9)),
    ("batch-entropy", "trains with",
     named("test_error", ENTROPY, HIGH, LOW, HIGH, LOW),
     named("test_error", ENTROPY, HIGH, LOW, LOW, HIGH),
     named("test_error", ENTROPY, HIGH, SCATTERED, HIGH, LOW)),
    ("batch-entropy", "signal lives",
     named("last_entropy", ENTROPY, 0.001, 1, 0.001, 0.2),
     named("last_entropy", ENTROPY, 0.001, 1, 0.02, 0.2),
     named("last_entropy", ENTROPY, 0.001, 0.001, 0.001, 0.2)),
    ("resnet-batch-entropy", "lower error", *two(REGULARIZED)),
    ("resnet-batch-entropy", "alive without",
     named("least_entropy", REGULARIZED, 0.4, 0),
     named("least_entropy", REGULARIZED, 0.001, 1)),
    ("deep-supervision", "lower error", *two(SUPERVISED)),
    ("deep-supervision", "early layers separate",
     *two(SUPERVISED, "low_probe_error")),
    ("relay", "beats one loss",
     named("test_error", RELAY, HIGH, LOW, LOW),
     named("test_error", RELAY, LOW, HIGH, HIGH),
     named("test_error", RELAY, HIGH, HIGH, SCATTERED)),
    ("relay", "beats all-reach",
     named("test_error", RELAY, LOW, HIGH, LOW),
     named("test_error", RELAY, HIGH, LOW, HIGH),
     named("test_error", RELAY, HIGH, HIGH, SCATTERED)),
    ("relay", "cheap", named("epoch_cpu_seconds", RELAY, 1, 9, 1.4),
     named("epoch_cpu_seconds", RELAY, 1, 1, 1.6)),
    ("capsules", "plain dies", named("test_error", CAPSULES, 1, 0.9, 0.1),
     named("test_error", CAPSULES, 0, 0.6, 0.1),
     named("test_error", CAPSULES, 0, 0.9, 0.4)),
    ("capsules", "as accurate", named("test_error", CAPSULES, 0.1, 0, 0.105),
     named("test_error", CAPSULES, 0.1, 1, 0.12)),
    ("capsules", "flat memory", named("memory_mib", MEMORY, 60, 220, 43, 50),
     named("memory_mib", MEMORY, 60, 220, 43, 60),
     named("memory_mib", MEMORY, 60, 90, 43, 50)),
    ("private", "the pieces help",
     private("test_error", HIGH, HIGH, HIGH, LOW),
     private("test_error", LOW, HIGH, HIGH, HIGH),
     private("test_error", HIGH, LOW, LOW, [LOW, SCATTERED])),
    ("private", "as TF Privacy", as_theirs(LOW, LITTLE_ABOVE_LOW),
     as_theirs(LOW, HIGH), as_theirs(HIGH, LOW)),
    ("private", "views help",
     private("test_error", LOW, HIGH, LOW, HIGH),
     private("test_error", HIGH, LOW, HIGH, LOW),
     private("test_error", HIGH, HIGH, [SCATTERED, LOW], LOW)),
    ("private", "privacy costs",
     private("test_error", LOW, LOW, LOW, [HIGH, LOW]),
     private("test_error", LOW, LOW, LOW, [LOW, HIGH])),
    ("private", "the budget holds",
     private("spent_epsilon", *[[(0.99,), (7.9,)]] * 4),
     private("spent_epsilon", *[[(0.5,), (4, 8.1)]] * 4),
     private("spent_epsilon", *[[(1.1,), (4,)]] * 4)),
    ("private", "the audits stay below",
     private("audited_epsilon", *[[(0.9,), (7.0,)]] * 4),
     private("audited_epsilon", *[[(1.1,), (7.0,)]] * 4)),
    *LIGHTER,
]  # fmt: skip


@pytest.mark.parametrize(
    "recipe, claim, figures",
    [(recipe, claim, figures) for recipe, claim, *figures in CASES],
    ids=[f"{recipe}: {claim}" for recipe, claim, *_ in CASES],
)
def test_a_claim_is_judged_by_its_figures(recipe, claim, figures):
    (judge,) = (c.judge for c in recipes()[recipe].claims if c.name == claim)
    verdicts = [judge(results(each)) for each in figures]
    assert [each.held for each in verdicts] == [True] + [False] * (
        len(figures) - 1
    )
    assert all(each.measured for each in verdicts)


def test_every_claim_has_figures():
    judged = {(recipe, claim) for recipe, claim, *_ in CASES}
    claims = {(r.name, c.name) for r in recipes().values() for c in r.claims}
    assert judged == claims
