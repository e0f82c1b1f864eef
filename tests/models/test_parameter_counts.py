"""Every named network has exactly the parameters of its paper's code.

`parameter_counts.json` holds the counts: without the batch statistics
(`trainable`), with them (`total`), and the multiply-adds of convolutions and
classifier.
"""

import gc
import json
import math
from pathlib import Path

import pytest

from tfdeep import models

NETWORKS = json.loads(
    (Path(__file__).parent / "parameter_counts.json").read_text("utf-8")
)


def case(network):
    depth, size = network["arguments"]["depth"], network["trainable"]
    # Each layer of a DenseNet has a kernel of its own shape, for which JAX
    # compiles the initial draw anew.
    dense = network["family"] == "DenseNet" and depth >= 100
    slow = dense or depth > 200 or size > 60e6
    return pytest.param(
        network,
        id=network["name"],
        marks=[pytest.mark.slow] if slow else [],
    )


@pytest.mark.parametrize("network", [case(network) for network in NETWORKS])
def test_counts_are_exact(network):
    build = getattr(models, network["family"])
    model = build(**network["arguments"])
    trainable = sum(math.prod(w.shape) for w in model.trainable_variables)
    assert trainable == network["trainable"]
    assert model.count_params() == network["total"]
    assert models.multiply_adds(model) == network["multiply_adds"]
    del model
    gc.collect()


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
