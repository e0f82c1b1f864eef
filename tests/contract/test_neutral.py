"""A neutral setting is the plain model, exactly."""

import numpy as np
import pytest

from tests.contract.cases import CASES
from tests.contract.harness import (
    assert_all_close,
    disturb,
    images,
    infer,
    train,
    values,
    wrap,
)

NEUTRAL = [name for name, case in CASES.items() if case.neutral]


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_setting_equals_the_plain_model(name):
    ours, plain = (
        wrap(thing, CASES[name].shape) for thing in CASES[name].neutral()
    )
    disturb(ours)
    plain.set_weights(ours.get_weights())
    x = images(name, 6)
    np.testing.assert_array_equal(infer(ours, x), infer(plain, x))
    # The same outputs in training and the same gradients move the weights
    # and the batch statistics alike.
    losses, expected = train(ours, x), train(plain, x)
    np.testing.assert_allclose(losses, expected, 1e-5)
    assert_all_close(values(ours), values(plain), 1e-5)
