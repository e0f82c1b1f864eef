"""Each paper's claim as a run on real data.

A recipe is one small file that defines `RECIPE`; to add one, add its module
to `MODULES`. A module is imported when its recipe is listed or run.
"""

from importlib import import_module

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict
from tfdeep.recipes.results import Results, Spread

__all__ = [
    "MODULES",
    "Claim",
    "Recipe",
    "Results",
    "Scale",
    "Spread",
    "Verdict",
    "recipes",
]

MODULES = [
    "tfdeep.recipes.tour",
    "tfdeep.recipes.residual",
    "tfdeep.recipes.identity_mappings",
    "tfdeep.recipes.wide",
    "tfdeep.recipes.resnext",
    "tfdeep.recipes.densenet",
    "tfdeep.recipes.stochastic_depth",
    "tfdeep.recipes.thousand_layers",
    "tfdeep.recipes.batch_norm",
    "tfdeep.recipes.autoinit",
    "tfdeep.recipes.gradinit",
    "tfdeep.recipes.gradinit_transformer",
    "tfdeep.recipes.dropout",
    "tfdeep.recipes.batch_entropy",
    "tfdeep.recipes.resnet_batch_entropy",
    "tfdeep.recipes.deep_supervision",
    "tfdeep.recipes.relay",
    "tfdeep.recipes.capsules",
    "tfdeep.recipes.linearization",
    "tfdeep.recipes.slimming",
    "tfdeep.recipes.taylor",
    "tfdeep.recipes.private",
]


def recipes() -> dict[str, Recipe]:
    """Return every recipe by its name, in the order of `MODULES`.

    Returns:
        A dictionary from the name used on the command line to the recipe.
    """
    found = (import_module(module).RECIPE for module in MODULES)
    return {recipe.name: recipe for recipe in found}
