"""What fails today, each with its reason; what mends it takes it out.

A case that begins to pass fails the run (`strict`), so this list is true.
"""

import pytest

from tests.helpers import BACKEND

FORGOTTEN = "parts made in `build` forget that they are frozen"
MASKLESS = ("Recompute", "Repeat", "ReversibleStack")
FORGETFUL = {
    ("all", "normalization", "part"): (
        "AggregatedBlock",
        "BasicBlock",
        "BottleneckBlock",
        "DenseBlock",
        "DenseTransition",
        "PreActivationBlock",
        "PreActivationBottleneckBlock",
        "WideBlock",
    ),
    ("all", "part"): ("PrimaryCapsules",),
    ("all", "normalization"): ("DenseNet", "ResNet"),
}
FAILING: dict[str, dict] = {
    "frozen": {
        ("ReversibleStack", "part"): "equal blocks cannot be frozen in part",
        **{
            (name, what, way): FORGOTTEN
            for whats, names in FORGETFUL.items()
            for what in whats
            for name in names
            for way in ("loaded", "cloned")
        },
    },
    "frozen by argument": {
        name: "`trainable=False` does not reach the parts of a layer"
        for name in (
            *FORGETFUL["all", "normalization", "part"],
            "PrimaryCapsules",
            "Recompute",
            "ReversibleStack",
            "StochasticBlock",
            "StochasticDepth",
        )
    },
    "masked": {
        (f"{name}-masked", inside): "the mask of a model inside is lost"
        for name in MASKLESS
        for inside in ("sequential", "functional")
    },
    "mixed": {"Repeat-of-a-model": "its parts load under another policy"},
    "transformed": {
        "unstack": "the copies of a frozen layer are not frozen",
    },
    "wrapped": {
        **{
            (name, "masked"): "the pooling of a head counts padding"
            for name in ("DeepSupervision", "RelayBackpropagation")
        },
    },
}


if BACKEND == "tensorflow":
    moves = "batch statistics of a frozen layer move"
    FAILING["transformed"]["stack"] = moves


def failing(use: str, cases: list) -> list:
    """The cases, those that fail today marked with the reason."""
    reasons = FAILING.get(use, {})
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=pytest.mark.xfail(reason=reasons[case], strict=True),
        )
        if case in reasons
        else case
        for case in cases
    ]
