"""Every named network has exactly the parameters of its paper's code.

`parameter_counts.json` holds the counts: without the batch statistics
(`trainable`), with them (`total`), and the multiply-adds of convolutions and
classifier.
"""

import json
import math
from pathlib import Path

import pytest

from tests.models.symbolic import symbolic
from tfdeep import models

NETWORKS = json.loads(
    (Path(__file__).parent / "parameter_counts.json").read_text("utf-8")
)
# From here on equal blocks are one layer, which takes a fraction of the time.
# Both forms have the same weights: see `test_stacking.py`.
DEEP = 34


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", NETWORKS, ids=[network["name"] for network in NETWORKS]
)
def test_counts_are_exact(network):
    arguments = dict(network["arguments"])
    if network["family"] != "DenseNet" and arguments["depth"] > DEEP:
        arguments["stacked"] = True
    model = symbolic(getattr(models, network["family"]), **arguments)
    trainable = sum(math.prod(w.shape) for w in model.trainable_variables)
    assert trainable == network["trainable"]
    assert model.count_params() == network["total"]
    assert models.multiply_adds(model) == network["multiply_adds"]


def test_the_list_covers_every_family_and_form():
    assert len(NETWORKS) == 81
    assert len({network["name"] for network in NETWORKS}) == 81
    forms = {
        (network["family"], network["arguments"].get("form", "cifar"))
        for network in NETWORKS
    }
    assert forms == {
        (family, form)
        for family in ("ResNet", "WideResNet", "DenseNet", "ResNeXt")
        for form in ("cifar", "imagenet")
    }
