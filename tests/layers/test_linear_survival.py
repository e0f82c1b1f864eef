"""The survival probabilities of the paper."""

import pytest

from tfdeep.layers import linear_survival


def test_is_equation_4():
    last, blocks = 0.5, 54
    expected = [
        1 - index / blocks * (1 - last) for index in range(1, blocks + 1)
    ]
    assert linear_survival(54, 0.5) == expected
    assert linear_survival(54) == expected


def test_keeps_40_of_54_blocks_on_average():
    assert sum(linear_survival(54, 0.5)) == pytest.approx(40.25, abs=1e-9)


@pytest.mark.parametrize("blocks", [1, 3, 25, 200])
def test_keeps_three_quarters_less_one_quarter_block(blocks):
    expected = (3 * blocks - 1) / 4
    assert sum(linear_survival(blocks)) == pytest.approx(expected)


def test_neutral_and_empty():
    assert linear_survival(4, last=1.0) == [1.0] * 4
    assert linear_survival(2, last=0.0) == [0.5, 0.0]
    assert linear_survival(0) == []


def test_bad_arguments():
    with pytest.raises(ValueError, match="0, 1.*Received: last=1.5"):
        linear_survival(3, 1.5)
    with pytest.raises(ValueError, match="Received: num_blocks=-1"):
        linear_survival(-1)
