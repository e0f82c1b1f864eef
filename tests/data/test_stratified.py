import numpy as np
import pytest

from tfdeep.data.stratified import hold_out, quotas


@pytest.mark.parametrize("size", [0, 1, 7, 50, 99, 100])
def test_quotas_sum_to_size_and_stay_within_one_of_the_exact_share(size):
    counts = np.array([1, 9, 40, 50])
    share = quotas(counts, size)
    assert share.sum() == size
    assert (abs(share - size * counts / 100) < 1).all()
    assert (share <= counts).all()


def test_hold_out_keeps_the_proportions():
    labels = np.repeat([0, 1, 2], [100, 200, 700])
    chosen = hold_out(labels, 100, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [10, 20, 70]


def test_hold_out_depends_on_the_seed_alone():
    labels = np.repeat(np.arange(10), 50)
    first = hold_out(labels, 100, seed=1)
    assert (first == hold_out(labels, 100, seed=1)).all()
    assert (first != hold_out(labels, 100, seed=2)).any()


def test_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="4 examples .* out of 3"):
        hold_out([0, 1, 1], 4, seed=0)
