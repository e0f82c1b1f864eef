"""Every recipe runs at its smallest size, and its paper scale builds."""

import contextlib
import importlib.util
import io
import json
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from tfdeep import visualization
from tfdeep.recipes import Results, Scale, recipes, training
from tfdeep.recipes.context import Context
from tfdeep.recipes.measure import HANDED_BACK
from tfdeep.recipes.plots import COMPARISON, CURVES
from tfdeep.recipes.runner import Runner
from tfdeep.visualization import save

NAMES = list(recipes())

# What makes a quick run small enough to test its wiring, not its claim.
TINY = {
    "limit": 32,
    "epochs": 1,
    "depth": 8,
    "shallow": 14,
    "deep": 8,
    "residual": 8,
    "dense": (10, 4),
    "thin": (10, 1),
    "wide": (10, 2),
    "width": 8,
    "units": 16,
    "layers": 2,
    "blocks": 1,
    "encoder_blocks": 1,
    "learning_rates": (0.1,),
    "activations": ("swish",),
    "samples": 2,
    "every": 1,
    "iterations": 1,
    "dense_depths": (2,),
    "conv_depths": (2,),
    "conv_epochs": 1,
    "filters": 8,
    "capsules": 4,
    "kernel": 3,
    "epsilons": (3,),
    "literal": (),
    "private_epochs": 1,
    "skipping_epochs": 1,
    "turns": 1,
    "plain_depths": (1,),
    "strengths": (0.1,),
    "tune_epochs": 1,
    "early_steps": 1,
    "many_channels": 6,
    "shares": (0.7,),
}
SPECIAL = {
    "autoinit": {"rates": (0.5,)},
    "resnext": {"depth": 11, "templates": ((1, 8), (2, 4))},
    "deep-supervision": {"heads": 1},
    "relay": {"heads": 1},
    "capsules": {"depths": (1,), "memory_batch": 8},
    "thousand-layers": {
        "depths": (2, 3),
        "starts": {"stacked, {} blocks": (2, 3), "unrolled, {} blocks": (3,)},
    },
}
# The arms that a recipe treats unlike each other. Of others the last arm is
# trained; what it left stands for the rest.
TRAINED = {
    "taylor": ("after 40 steps", "trained"),
    "tour": (
        "residual",
        "residual + StochasticDepth",
        "plain, no BN + AutoInit",
        "small, private",
    ),
    "wide": ("WRN-10-1", "WRN-10-2"),
    "gradinit": ("AutoInit", "GradInit"),
    "gradinit-transformer": ("default + warm-up", "GradInit"),
    "batch-entropy": ("dense 2, regularised", "conv 2, AutoInit"),
    "private": ("TF Privacy, epsilon 3", "+ views, epsilon 3"),
    "linearization": ("all units", "easy task, late, strength 0.04"),
}


def tiny(recipe):
    """The recipe at its smallest size, of which few arms are trained."""
    quick = recipe.scales["quick"].settings
    settings = {**quick, **{key: TINY[key] for key in TINY.keys() & quick}}
    settings |= SPECIAL.get(recipe.name, {}) | {"limit": TINY["limit"]}

    def some_arms(context):
        arms = recipe.arms(context)
        names = TRAINED.get(recipe.name, list(arms)[-1:])
        return {name: arms[name] for name in names}

    def run(context):
        recipe.run(context)
        context.results = filled(context, recipe.arms(context))

    return replace(
        recipe,
        data="digits",
        scales={"quick": Scale("1 s", settings, seeds=1)},
        arms=some_arms,
        run=run,
    )


def filled(context, arms):
    """The results with an entry for each arm, in the order of the arms."""
    whole, (seed,), results = Results(), context.seeds, context.results
    example = [arm for arm in arms if arm in results.arms][-1]
    for arm in dict.fromkeys([*arms, *results.arms]):
        entry = results.entry(arm if arm in results.arms else example, seed)
        whole.record(arm, seed, **entry.metrics)
        whole.entry(arm, seed).extend(entry.history)
    return whole


def in_this_process(command, env=None, **options):
    """What `python -m MODULE` prints, without the time of a new process."""
    python, flag, module, *words = command
    assert (python, flag) == (sys.executable, "-m")
    assert options["check"] and options["stdout"] == subprocess.PIPE
    assert module != "tfdeep.recipes.capsules" or env | HANDED_BACK == env
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module, *words])
        with contextlib.redirect_stdout(text):
            file = importlib.util.find_spec(module).origin
            runpy.run_path(file, run_name="__main__")
    return SimpleNamespace(stdout=text.getvalue())


def own_pictures(figure, path):
    """The two pictures that every recipe has are not drawn each time."""
    if path.name in (CURVES, COMPARISON):
        return path.touch()
    return save(figure, path, dpi=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs(name, tmp_path, monkeypatch, eager, few_images):
    """It trains, measures, judges, draws and writes what it promises."""
    monkeypatch.setattr(subprocess, "run", in_this_process)
    monkeypatch.setattr(visualization, "save", own_pictures)
    console = Console(file=io.StringIO(), width=120)
    recipe = tiny(recipes()[name])

    status = Runner(recipe, tmp_path, console=console).run()

    text = console.file.getvalue()
    assert status in ("held", "not held"), text
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert [type(claim["held"]) for claim in result["claims"]] == [bool] * len(
        recipe.claims
    )
    entries = [e for arm in result["arms"].values() for e in arm.values()]
    metrics = {key for entry in entries for key in entry["metrics"]}
    assert set(recipe.metrics) <= metrics
    history = {key for entry in entries for key in entry["history"]}
    assert set(recipe.curves) <= history
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == set(result["plots"]) and COMPARISON in drawn
    for entry in entries:
        errors = [v for k, v in entry["metrics"].items() if "error" in k]
        assert all(0 <= error <= 1 for error in errors)


# How many nets that are not alike the arms are at the smallest size, where
# it is not one each: some arms differ in their start alone.
UNLIKE = {
    "tour": 5,
    "gradinit": 1,
    "gradinit-transformer": 1,
    "batch-entropy": 6,
    "linearization": 3,
}


# A word in the configurations of just these arms.
MARKS = {
    "residual": ('"shortcut": "none"', ["plain-14", "plain-8"]),
    "identity-mappings": ('"PreActivationBlock"', ["pre-activation"]),
    "densenet": ('"DenseBlock"', ["DenseNet-BC-10-4"]),
    "stochastic-depth": ('"survival_probability": 0.5', ["stochastic depth"]),
    "batch-norm": ('"BatchNormalization"', ["with, rate 0.1"]),
    "dropout": ('"Dropout"', ["dropout"]),
    "resnet-batch-entropy": ('"alpha_min"', ["regularised"]),
    "deep-supervision": ('"heads"', ["supervised"]),
    "relay": ('"overlap"', ["relay"]),
    "capsules": ('"ReversibleCapsule"', ["MomentumCapsNet"]),
}


@pytest.mark.parametrize("name", NAMES)
def test_arms_differ(name, few_images, zeros):
    """They are unlike each other, and what their names say."""
    recipe = tiny(recipes()[name])
    arms = recipes()[name].arms(Context(recipe))
    found = {arm: described(build()) for arm, build in arms.items()}
    assert len(set(found.values())) == UNLIKE.get(name, len(arms)), list(arms)
    if name in MARKS:
        word, names = MARKS[name]
        assert [arm for arm in found if word in found[arm]] == names


def described(model):
    """The configurations of a compiled model and its optimizer, as text."""
    assert model.compiled
    parts = [model.get_config(), model.optimizer.get_config()]
    text = json.dumps(parts, sort_keys=True, default=str)
    return re.sub(r"(_\d+)+\b", "", text)  # Numbers at the end of names.


# What takes long in the papers' nets and is the same for any other size.
SMALLER = {
    "batch-entropy": {"dense_depths": (2,), "conv_depths": (2,), "width": 32},
    "tour": {"examples": 256, "private_epochs": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_paper_scale_builds(name, monkeypatch, zeros):
    """That of the last arm; `test_arms_differ` builds the others, smaller."""
    monkeypatch.setattr(training, "steps_per_epoch", lambda context: 391)
    recipe = recipes()[name]
    settings = recipe.scales["paper"].settings | SMALLER.get(name, {})
    scale = replace(recipe.scales["paper"], seeds=1, settings=settings)
    context = Context(replace(recipe, scales={"paper": scale}), "paper")
    *_, build = recipe.arms(context).values()
    model = build()
    assert model.compiled and model.count_params() > 0
    assert model.input_shape[1:] == context.shape


@pytest.mark.parametrize("name", NAMES)
def test_full_scales_are_of_images_as_those_of_fashion_mnist(name):
    """Or of a net that takes images of any size."""
    recipe = recipes()[name]
    own, fashion = (
        Context(recipe, "full", data) for data in (None, "fashion_mnist")
    )
    assert own.classes == fashion.classes
    assert own.shape == fashion.shape or name == "resnext"
    assert list(own.arms()) == list(fashion.arms())
