"""An optimizer of TF Privacy on two devices that share a batch."""

import pytest

from tests.privacy.test_distribution import check_noise, check_same


@pytest.mark.slow
def test_replicas_train_as_one_device_with_noise_once(two_replicas):
    for name in ("dp shared", "dp shared, their code"):
        check_same(two_replicas[name], two_replicas["dp alone"], 1e-5)
    check_noise(two_replicas["dp noise"])
