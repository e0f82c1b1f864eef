"""The public namespace of tfdeep: every name in it, and of what kind it is.

What is a class of Keras says so itself; other names are listed. A name of
kind "plain" is a function, a report, an error, a decorator or data: it comes
with the test file that covers it.
"""

import inspect

import keras

import tfdeep
import tfdeep.data
import tfdeep.recipes
import tfdeep.visualization

MODULES = [
    tfdeep.callbacks,
    tfdeep.graph,
    tfdeep.data,
    tfdeep.initializers,
    tfdeep.layers,
    tfdeep.linearization,
    tfdeep.losses,
    tfdeep.models,
    tfdeep.optimizers,
    tfdeep.privacy,
    tfdeep.privacy.audit,
    tfdeep.privacy.tf_privacy,
    tfdeep.pruning,
    tfdeep.recipes,
    tfdeep.training,
    tfdeep.visualization,
]
KERAS_KINDS = {
    "wrapper": keras.Model,
    "layer": keras.layers.Layer,
    "loss": keras.losses.Loss,
    "callback": keras.callbacks.Callback,
    "optimizer": keras.optimizers.Optimizer,
}
# Kinds that a class of Keras does not tell.
LISTED = {
    "model": [
        "models.DenseNet",
        "models.MomentumCapsNet",
        "models.ResNeXt",
        "models.ResNet",
        "models.WideResNet",
    ],
    "transform": [
        "initializers.AutoInit",
        "initializers.GradInit",
        "linearization.fold_linear",
        "linearization.linearize",
        "models.add_drop_path",
        "models.add_stochastic_depth",
        "models.capsule_classifier",
        "models.remove_stochastic_depth",
        "models.replace",
        "models.stack",
        "models.unstack",
        "privacy.replace_batch_norm",
        "pruning.prune",
    ],
    "optimizer": [
        f"privacy.tf_privacy.{name}"
        for name in tfdeep.privacy.tf_privacy.__all__
        if name.endswith("Optimizer")
    ],
    "configuration": [
        "privacy.AdaptiveClipping",
        "privacy.AutomaticClipping",
        "privacy.Averaging",
        "privacy.FlatClipping",
        "privacy.GaussianMechanism",
        "privacy.PerLayerClipping",
        "privacy.Plan",
        "privacy.Settings",
        "privacy.TreeAggregation",
        "privacy.Views",
        "privacy.tf_privacy.QueryMechanism",
        "training.Head",
    ],
}
PLAIN = {
    "tests/pruning/test_slimming.py": ["pruning.Slimming"],
    "tests/privacy/per_example/test_gradient_rule.py": [
        "privacy.gradient_rule"
    ],
    "tests/graph/test_rewrite.py": ["graph.Edited", "graph.rewrite"],
    "tests/graph/test_sections.py": ["graph.Instead", "graph.Section"],
    "tests/graph/test_trace.py": [
        "graph.Call",
        "graph.Graph",
        "graph.graph_of",
    ],
    "tests/contract/test_optimizers.py": [
        f"privacy.tf_privacy.{name}"
        for name in tfdeep.privacy.tf_privacy.__all__
        if name.startswith("make_") or name.endswith(("Query", "Indicator"))
    ],
    "tests/data/test_named_sets.py": [
        "data.DataInfo",
        "data.info",
        "data.names",
        "data.standardization",
    ],
    "tests/data/test_pipeline.py": ["data.augmentation", "data.load"],
    "tests/data/test_prepare.py": ["data.DataUnavailableError"],
    "tests/initializers/auto_init/test_report.py": [
        "initializers.SignalReport",
        "initializers.propagate",
    ],
    "tests/initializers/auto_init/test_rules_unknown.py": [
        "initializers.signal_rule"
    ],
    "tests/layers/test_entropy.py": [
        "layers.batch_entropy",
        "training.batch_entropy",
    ],
    "tests/layers/test_linear_survival.py": ["layers.linear_survival"],
    "tests/layers/test_residual.py": ["layers.ResidualBlock"],
    "tests/layers/test_routing.py": [
        "layers.dynamic_routing",
        "layers.sda_routing",
        "layers.squash",
    ],
    "tests/linearization/test_fold.py": [
        "linearization.Fold",
        "linearization.Foldable",
        "linearization.foldable",
    ],
    "tests/linearization/test_linearize.py": ["linearization.left_alone"],
    "tests/linearization/test_path_length.py": [
        "linearization.LayerUnits",
        "linearization.PathLength",
        "linearization.Paths",
        "linearization.path_length",
        "linearization.path_rule",
        "linearization.sample_path_length",
    ],
    "tests/losses/test_margin.py": ["losses.margin_loss"],
    "tests/models/test_architecture.py": ["models.Architecture"],
    "tests/models/test_counting.py": [
        "models.LayerCount",
        "models.ModelCount",
        "models.count",
        "models.count_rule",
        "models.multiply_adds",
    ],
    "tests/models/test_residual_branches.py": [
        "models.ResidualBranch",
        "models.ResidualBranches",
        "models.find_residual_branches",
    ],
    "tests/privacy/audit/test_everything.py": ["privacy.audit.everything"],
    "tests/privacy/audit/test_membership.py": [
        "privacy.audit.attack_area",
        "privacy.audit.attack_rates",
        "privacy.audit.membership",
    ],
    "tests/privacy/audit/test_noise.py": [
        "privacy.audit.mechanism",
        "privacy.audit.noise",
        "privacy.audit.noise_of",
    ],
    "tests/privacy/audit/test_one_run.py": [
        "privacy.audit.epsilon_lower_bound",
        "privacy.audit.epsilon_of_guesses",
        "privacy.audit.one_run",
    ],
    "tests/privacy/audit/test_report.py": [
        "privacy.audit.AuditReport",
        "privacy.audit.Finding",
    ],
    "tests/privacy/audit/test_sensitivity.py": [
        "privacy.audit.isolation",
        "privacy.audit.sensitivity",
    ],
    "tests/privacy/audit/test_statistics.py": [
        "privacy.audit.gaussian_epsilon",
        "privacy.audit.rate_interval",
    ],
    "tests/privacy/test_mechanisms.py": ["privacy.Mechanism"],
    "tests/privacy/test_sampling.py": ["privacy.poisson_batches"],
    "tests/privacy/test_settings.py": ["privacy.recipe"],
    "tests/privacy/test_validation.py": [
        "privacy.NotPrivateError",
        "privacy.validate",
    ],
    "tests/pruning/test_criteria.py": [
        "pruning.BatchNormScale",
        "pruning.Correlation",
        "pruning.Magnitude",
        "pruning.Oracle",
        "pruning.Random",
        "pruning.Scores",
        "pruning.Taylor",
    ],
    "tests/pruning/test_exact.py": ["pruning.Verification", "pruning.verify"],
    "tests/pruning/test_plan.py": ["pruning.PruningPlan", "pruning.load_plan"],
    "tests/pruning/test_rules.py": [
        "pruning.ChannelCall",
        "pruning.ChannelGraph",
        "pruning.ChannelGroup",
        "pruning.Channels",
        "pruning.Member",
        "pruning.channel_rule",
    ],
    "tests/recipes/test_recipes.py": [
        "recipes.MODULES",
        "recipes.Results",
        "recipes.Scale",
        "recipes.recipes",
    ],
    "tests/recipes/fake_recipe.py": [
        "recipes.Claim",
        "recipes.Recipe",
        "recipes.Verdict",
    ],
    "tests/recipes/test_results.py": ["recipes.Spread"],
    "tests/training/test_head.py": ["training.paper_decay"],
    "tests/training/test_reach.py": [
        "training.Reach",
        "training.describe_reach",
    ],
    "tests/visualization/test_pictures.py": [
        "visualization.accuracy_by_path_length",
        "visualization.image_rows",
        "visualization.reach_chart",
        "visualization.signal_propagation",
    ],
    "tests/visualization/test_visualization.py": [
        "visualization.comparison",
        "visualization.heat_map",
        "visualization.learning_curves",
        "visualization.save",
    ],
}


# What a test meets as the result, the child or the content of another name.
MET_BY = {
    "graph.Call": "graph_of",
    "graph.Graph": "graph_of",
    "data.DataInfo": "info",
    "initializers.SignalReport": "propagate",
    "layers.ResidualBlock": "BasicBlock",
    "models.ResidualBranch": "find_residual_branches",
    "models.ResidualBranches": "find_residual_branches",
    "privacy.Mechanism": "GaussianMechanism",
    "pruning.ChannelCall": "channel_rule",
    "pruning.ChannelGroup": "ChannelGraph",
    "pruning.Correlation": "Scores",
    "pruning.Member": "ChannelGraph",
    "pruning.Verification": "verify",
    "recipes.MODULES": "recipes",
    "training.Reach": "describe_reach",
}


def in_tf_privacy(name: str) -> bool:
    """Whether a name is TF Privacy's, which may not be installed."""
    return name.startswith("privacy.tf_privacy.")


def public_names() -> list[str]:
    """Every public name, such as "layers.Repeat"; modules are left out."""
    found = []
    for module in MODULES:
        package = module.__name__.removeprefix("tfdeep.")
        names = (f"{package}.{name}" for name in module.__all__)
        found.extend(
            name
            for name in names
            if in_tf_privacy(name) or not inspect.ismodule(thing_of(name))
        )
    return found


def thing_of(name: str):
    """What a public name stands for."""
    thing = tfdeep
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def kinds_of(name: str) -> list[str]:
    """The kinds of a public name: one, or the list of them is wrong."""
    found = [kind for kind, names in LISTED.items() if name in names]
    found += ["plain" for names in PLAIN.values() if name in names]
    if found or in_tf_privacy(name):
        return found
    thing = thing_of(name)
    if inspect.isclass(thing):
        for kind, base in KERAS_KINDS.items():
            if issubclass(thing, base):
                return [kind]
    return found


def exports_of(kind: str) -> list[str]:
    """The public names of a kind."""
    return [name for name in public_names() if kinds_of(name) == [kind]]
