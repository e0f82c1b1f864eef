"""Groups, scores, counts and outputs are those that a peer found."""

import keras
import numpy as np
import pytest

import tfdeep
from tests.pruning.golden_nets import facts, golden_net, values
from tfdeep.pruning import BatchNormScale, ChannelGraph, Magnitude

NETS = ("resnet_basic", "densenet", "mobilenetv2", "vgg_flatten")
CRITERIA = {
    "l1_first": lambda: Magnitude(1, "first"),
    "l1_group_mean": lambda: Magnitude(1, "mean"),
}


@pytest.fixture(params=NETS, scope="module")
def case(request):
    name = request.param
    model = golden_net(name)
    return name, model, ChannelGraph(model)


def by_root(graph, roots) -> dict:
    """Our group for each root, which is one of the layers that make it."""
    found = {}
    for root in roots:
        (found[root],) = (
            group
            for group in graph.free
            if any(
                m.layer.name == root and m.role != "in" for m in group.members
            )
        )
    return found


def peer_count(model) -> int:
    """Multiply-adds as the peer counts: with biases and normalization."""
    total = tfdeep.models.count(model).multiply_adds
    for layer in model.layers:
        size = int(np.prod(layer.output.shape[1:]))
        if isinstance(layer, keras.layers.BatchNormalization):
            total += 2 * size
        elif getattr(layer, "use_bias", False):
            total += size
    return total


def trained(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_the_net_is_that_of_the_peer(case):
    name, model, _ = case
    found = model.predict(values()[f"{name}/x"], verbose=0)
    np.testing.assert_allclose(found, values()[f"{name}/y"], 1e-5, 1e-6)
    assert trained(model) == facts()[name]["parameters"]
    assert peer_count(model) == facts()[name]["multiply_adds"]


def test_groups_and_their_members(case):
    name, _, graph = case
    known = facts()[name]
    found = by_root(graph, known["groups"])
    assert len(graph.free) == len(found) == len(known["groups"])
    for root, group in found.items():
        assert group.channels == known["groups"][root]
        assert group.exact
        ours = {(m.layer.name, m.role == "in") for m in group.members}
        theirs = {
            (layer, side == "in") for layer, side in known["members"][root]
        }
        assert ours == theirs
    assert [g.reason for g in graph.groups if g.frozen] == [
        "the model returns them"
    ]


def test_scores(case):
    name, _, graph = case
    found = by_root(graph, facts()[name]["groups"])
    compared = 0
    for criterion, make in CRITERIA.items():
        scores = make().scores(graph)
        for root in found:
            expected = values()[f"{name}/importance/{criterion}/{root}"]
            # The peer goes through a sum of layers in another order.
            first = root == found[root].name or criterion != "l1_first"
            if first:
                np.testing.assert_allclose(
                    scores[found[root].name], expected, 2e-6, err_msg=root
                )
            compared += first
    assert compared > len(found)


def pruned_cases(name):
    return facts()[name]["pruned"].items()


def test_what_goes_and_what_is_left(case):
    name, model, graph = case
    found = by_root(graph, facts()[name]["groups"])
    for key, known in pruned_cases(name):
        criterion, scope, ratio = key.rsplit("_", 2)
        scores = (
            BatchNormScale().scores(graph)
            if criterion == "bn_scale"
            else {
                group.name: values()[f"{name}/importance/{criterion}/{root}"]
                for root, group in found.items()
            }
        )
        plan = graph.plan(
            scores, ratio=float(ratio), scope=scope, max_ratio=0.99
        )
        removed = {
            root: plan.removed.get(g.name, []) for root, g in found.items()
        }
        assert removed == {
            root: sorted(known["removed"].get(root, [])) for root in found
        }, key
        small = plan.compact(model)
        assert trained(small) == known["parameters"], key
        assert peer_count(small) == known["multiply_adds"], key
        assert plan.parameters[1] == small.count_params()
        counted = tfdeep.models.count(small)
        assert plan.multiply_adds[1] == counted.multiply_adds
        y = small.predict(values()[f"{name}/x"], verbose=0)
        expected = values()[f"{name}/y_pruned/{key}"]
        np.testing.assert_allclose(y, expected, 1e-5, 1e-6, err_msg=key)
