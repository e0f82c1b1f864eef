"""The recipes: every one runs, its paper scale builds, quick claims hold."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from tfdeep.recipes import Scale, recipes, training
from tfdeep.recipes.context import Context
from tfdeep.recipes.results import Results
from tfdeep.recipes.runner import Runner
from tfdeep.recipes.stopping import StepsToAccuracy, StopAfter

NAMES = list(recipes())

# What makes a quick run small enough to test its wiring, not its claim.
TINY = {
    "limit": 64,
    "epochs": 2,
    "depth": 8,
    "shallow": 8,
    "deep": 14,
    "residual": 8,
    "dense": (10, 4),
    "thin": (10, 1),
    "wide": (10, 2),
    "units": 16,
    "layers": 2,
    "blocks": 1,
    "encoder_blocks": 1,
    "nets": ("plain", "residual", "transformer"),
    "activations": ("swish",),
    "samples": 2,
    "every": 1,
    "iterations": 2,
    "dense_depths": (2,),
    "conv_depths": (2,),
    "conv_epochs": 2,
    "depths": (2, 3),
    "filters": 8,
    "capsules": 4,
    "kernel": 3,
    "epsilons": (3,),
    "starts": {"stacked, {} blocks": (2, 3), "unrolled, {} blocks": (2,)},
}


def tiny(recipe):
    quick = recipe.scales["quick"].settings
    changes = {key: value for key, value in TINY.items() if key in quick}
    settings = {**quick, **changes, "limit": 64}
    if recipe.name == "resnext":
        settings.update(depth=11, templates=((1, 64), (4, 24)))
    if "learning_rates" in settings:
        settings["learning_rates"] = (0.1,)
    return replace(
        recipe,
        data="digits",
        scales={"quick": Scale("1 s", settings, seeds=1)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs(name, tmp_path):
    console = Console(file=io.StringIO(), width=120)
    recipe = tiny(recipes()[name])
    status = Runner(recipe, tmp_path, console=console).run()
    assert status in ("held", "not held"), console.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_paper_scale_builds(name, monkeypatch):
    monkeypatch.setattr(training, "steps_per_epoch", lambda context: 391)
    recipe = recipes()[name]
    scale = replace(recipe.scales["paper"], seeds=1)
    if name == "batch-entropy":  # 500 layers of width 1000: 2 GB a model.
        scale = replace(scale, settings={**scale.settings, "width": 32})
    context = Context(replace(recipe, scales={"paper": scale}), "paper")
    for build in recipe.arms(context).values():
        model = build()
        assert model.compiled and model.count_params() > 0
        assert model.input_shape[1:] == context.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout", "batch-norm"])
def test_quick_claims_hold(name, tmp_path):
    console = Console(file=io.StringIO(), width=120)
    status = Runner(recipes()[name], tmp_path, console=console).run()
    assert status == "held", console.file.getvalue()


def results(**arms):
    """Results of one metric per arm over three seeds."""
    found = Results()
    for arm, metrics in arms.items():
        for metric, values in metrics.items():
            for seed, value in enumerate(values):
                found.record(arm.replace("_", "-"), seed, **{metric: value})
    return found


def test_residual_judges_both_ways():
    plain, residual, depth = recipes()["residual"].claims
    low, high = (0.1, 0.11, 0.12), (0.5, 0.51, 0.53)

    def found(deep):
        return results(
            plain_20={"train_error": low, "test_error": low},
            plain_56={"train_error": high, "test_error": high},
            residual_20={"train_error": low, "test_error": low},
            residual_56={"train_error": deep, "test_error": deep},
        )

    assert [c.judge(found(low)).held for c in (plain, residual, depth)] == [
        True,
        True,
        True,
    ]
    assert [c.judge(found(high)).held for c in (plain, residual, depth)] == [
        True,
        False,
        False,
    ]


def test_stop_after_ends_training():
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    stop = StopAfter(0.0)
    x, y = np.ones((64, 2)), np.ones((64, 1))
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[stop])
    assert stop.epochs == pytest.approx(0.25)


@pytest.mark.parametrize("accuracy, expected", [(0.0, 2), (1.1, 12)])
def test_steps_to_accuracy(accuracy, expected):
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((64, 2), "float32"), np.zeros(64, "int32")
    steps = StepsToAccuracy((x, y), accuracy, every=2)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[steps])
    assert steps.steps == expected and steps.reached is (accuracy == 0.0)


def test_learning_rate_falls_at_the_fractions():
    import keras

    recipe = tiny(recipes()["residual"])
    context = Context(recipe)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])
    training.compiled(context, model, epochs=4, learning_rate=1.0)
    steps = 4 * training.steps_per_epoch(context)
    rates = [float(model.optimizer._learning_rate(s)) for s in range(steps + 1)]
    assert rates[0] == 1.0 and math.isclose(rates[-1], 0.01, rel_tol=1e-6)
