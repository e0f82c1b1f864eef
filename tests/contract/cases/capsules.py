"""Capsule layers and the capsule network."""

import keras
from keras import layers

import tfdeep
from tests.contract.cases.case import Case
from tests.contract.cases.factories import capsules, momentum_capsnet, pair
from tests.contract.cases.plain import Length

L, M = tfdeep.layers, tfdeep.models

CAPSULES = {
    "CapsuleLength": Case(
        capsules(L.CapsuleLength),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(capsules(L.CapsuleLength), Length),
    ),
    "CapsuleMask": Case(
        capsules(L.CapsuleMask),
        shape=(1, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(capsules(L.CapsuleMask), layers.Flatten),
    ),
    "PrimaryCapsules": Case(
        capsules(L.PrimaryCapsules, 6, 3, 3),
        data_format=False,
        neutral=pair(
            capsules(L.PrimaryCapsules, 6, 3, 3),
            lambda: keras.Sequential(
                [
                    layers.Conv2D(6, 3, 2),
                    layers.Reshape((-1, 3)),
                    layers.Activation(L.squash),
                ]
            ),
        ),
    ),
    "ReversibleCapsule": Case(
        capsules(L.ReversibleCapsule, 5, 4, 3),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(
            capsules(L.ReversibleCapsule, 5, 4, 3),
            capsules(L.ReversibleCapsule, 5, 4, 3, recompute=False),
        ),
    ),
    "ReversibleCapsule-sda": Case(
        capsules(
            L.ReversibleCapsule, 5, 4, 3, routing="sda", checkpoint_every=2
        ),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        alone={"routing": "dynamic"},
    ),
    "RoutingCapsules": Case(
        capsules(L.RoutingCapsules, 6, 3),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        # A single capsule gets every vote, however often it is asked.
        neutral=pair(
            capsules(L.RoutingCapsules, 1, 3, 4),
            capsules(L.RoutingCapsules, 1, 3, 1),
        ),
    ),
    "RoutingCapsules-sda": Case(
        capsules(L.RoutingCapsules, 6, 3, routing="sda"),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        # The mean distance is that of the batch.
        alone={"routing": "dynamic"},
    ),
    "MomentumCapsNet": Case(
        momentum_capsnet,
        shape=(17, 17, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(
            momentum_capsnet, lambda: momentum_capsnet(recompute=False)
        ),
    ),
}
