"""Pictures of single methods: images, signals, and which loss reaches what."""

from types import SimpleNamespace

import numpy as np
import pytest

from tfdeep.visualization import (
    accuracy_by_path_length,
    image_rows,
    reach_chart,
    signal_propagation,
)


def test_rows_of_images_stand_under_their_names():
    dark, bright = np.zeros((3, 4, 5, 1)), np.full((3, 4, 5, 3), 2.0)
    figure = image_rows({"inputs": dark, "outputs": bright}, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["inputs", "outputs"]
    first, second = (axes.images[0].get_array() for axes in figure.axes)
    assert first.shape == (4, 15) and second.shape == (4, 15, 3)
    assert np.all(first == 0) and np.all(second == 1)  # Cut to [0, 1].
    assert figure.get_suptitle() == "title"
    for none in ({}, {"a": dark[:0]}, {"a": dark[..., 0]}):
        with pytest.raises(ValueError, match="`rows` must hold rows of images"):
            image_rows(none)


def test_signals_are_drawn_call_by_call():
    records = [
        SimpleNamespace(mean=0.5, variance=1.0, scale=None, branch=None),
        SimpleNamespace(mean=0.0, variance=4.0, scale=0.1, branch=2.0),
    ]
    axes = signal_propagation(records, "title").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["variance"].get_ydata().tolist() == [1.0, 4.0]
    shown = lines["squared mean"].get_ydata()
    assert shown[0] == 0.25 and np.isnan(shown[1])  # No logarithm of 0.
    assert lines["layer with weights"].get_xdata().tolist() == [2]
    branch = lines["residual branch, at its sum"]
    assert branch.get_xdata().tolist() == [2]
    assert list(branch.get_ydata()) == [2.0]
    assert axes.get_yscale() == "log"
    assert signal_propagation([]) is None
    silent = SimpleNamespace(mean=0.0, variance=0.0, scale=None, branch=None)
    assert signal_propagation([silent]).axes[0].get_yscale() == "linear"


def test_a_chart_shows_the_layers_that_a_loss_reaches():
    chart = {"head": ["low"], "output": ["middle", "high"]}
    (axes,) = reach_chart(["low", "middle", "high"], chart).axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["head", "output"]
    middles = [
        (bar.get_x() + bar.get_width() / 2, bar.get_y() + 0.5)
        for bar in axes.patches
    ]
    np.testing.assert_allclose(middles, [(0, 0), (1, 1), (1, 2)])
    assert reach_chart([], {}) is None


def test_accuracies_stand_over_path_lengths():
    runs = {"late": [(2.0, 0.9), (1.0, 0.8), (3.0, 1.0)], "none": []}
    (axes,) = accuracy_by_path_length(runs, "title").axes
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [[1.0, 0.8], [2.0, 0.9], [3.0, 1.0]]
    (line,) = axes.lines
    assert line.get_label() == "late"
    np.testing.assert_allclose(line.get_xydata(), [[2.0, 0.9]])
    assert accuracy_by_path_length({}) is None
