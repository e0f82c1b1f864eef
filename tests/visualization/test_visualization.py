"""The pictures show the figures they were given."""

import sys

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from tfdeep.visualization import (
    comparison,
    heat_map,
    learning_curves,
    save,
)

CURVES = {"plain": [[0.1, 0.3], [0.3, 0.5]], "residual": [[0.5, 0.9]]}


def test_curves_show_mean_and_band():
    (axes,) = learning_curves({"val_accuracy": CURVES}, "title").axes
    plain, residual = axes.get_lines()
    np.testing.assert_allclose(plain.get_xdata(), [1, 2])
    np.testing.assert_allclose(plain.get_ydata(), [0.2, 0.4])
    np.testing.assert_allclose(residual.get_ydata(), [0.5, 0.9])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    half = np.std([0.1, 0.3], ddof=1)
    np.testing.assert_allclose(
        [band.min(), band.max()], [0.2 - half, 0.4 + half]
    )


def test_one_panel_per_key_and_one_legend():
    figure = learning_curves({"loss": CURVES, "val_loss": CURVES}, "title")
    assert [a.get_ylabel() for a in figure.axes] == ["loss", "validation loss"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["plain", "residual"]


def test_an_arm_has_one_colour_and_the_legend_names_all():
    only_here = {"wide": [[0.2]], "_x": [[0.4]], "empty": [], "none": [[]]}
    keys = {"loss": CURVES, "val_loss": only_here, "nothing": {"a": []}}
    figure = learning_curves(keys)
    (legend,) = figure.legends
    named = {
        text.get_text(): line.get_color()
        for text, line in zip(
            legend.get_texts(), legend.get_lines(), strict=True
        )
    }
    drawn = [[line.get_color() for line in a.get_lines()] for a in figure.axes]
    assert list(named) == ["plain", "residual", "wide", "_x"]
    assert sum(drawn, []) == list(named.values())
    assert len(set(named.values())) == 4
    first, second = comparison(
        {"a": {"plain": [1.0], "wide": [2.0]}, "b": {"wide": [3.0]}}
    ).axes
    colors = [bar.get_facecolor() for bar in (*first.patches, *second.patches)]
    assert colors[1] == colors[2] != colors[0]


def test_comparison_shows_every_seed():
    values = {"plain": [0.4, 0.6], "residual": [0.1]}
    (axes,) = comparison({"test_error": values}, "title").axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [0.5, 0.1]
    )
    points = [c for c in axes.collections if isinstance(c, PathCollection)]
    seeds = [point.get_offsets()[:, 0].tolist() for point in points]
    assert seeds == [[0.4, 0.6], [0.1]]


def test_nothing_to_draw():
    assert learning_curves({}) is None and comparison({}) is None
    assert learning_curves({"loss": {"a": [[]]}}) is None
    assert comparison({"loss": {"a": []}}) is None


def test_no_global_state_is_touched(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pyplot_before = "matplotlib.pyplot" in sys.modules
    path = save(comparison({"m": {"a": [1.0]}}), tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_before


def test_save_leaves_no_half_file(tmp_path):
    class Broken:
        def savefig(self, path, **kwargs):
            path.write_bytes(b"half")
            raise OSError("disk full")

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OSError):
        save(Broken(), tmp_path / "a.png")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'tfdeep\[plot\]'"):
        comparison({"m": {"a": [1.0]}})


def test_heat_maps_show_layers_by_epochs_on_one_scale():
    values = {"a": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "b": [[0.5]], "c": []}
    first, second, bar = heat_map(values, "entropy", "title").axes
    np.testing.assert_array_equal(
        first.images[0].get_array(), [[1, 4], [2, 5], [3, 6]]
    )
    assert first.images[0].origin == "lower"
    assert second.images[0].get_clim() == (0.0, 6.0)
    assert first.get_title() == "a" and bar.get_ylabel() == "entropy"
    assert heat_map({}) is None


def test_flat_maps_have_a_scale():
    for flat in (0.0, np.nan):
        axes, _ = heat_map({"a": np.full((2, 3), flat)}).axes
        assert axes.images[0].get_clim() == (0.0, 1.0)
    axes, _ = heat_map({"a": [[-2.0, np.inf]]}).axes
    assert axes.images[0].get_clim() == (-2.0, 0.0)
    with pytest.raises(ValueError, match=r"'a' of shape \(3,\)"):
        heat_map({"a": [1.0, 2.0, 3.0]})
