"""The picture of the README: four figures of the documentation, side by side.

    python benchmarks/facts.py

The figures are those of docs/reproducing.md, docs/methods/private.md and
docs/methods/reversible.md, where the command and the conditions of each stand.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

OURS, OTHERS = "#1f6feb", "#b8bfc8"
# (title, unit, [(label, value, ours)]).
FACTS = [
    (
        "Step of ResNet-110",
        "to constant depth",
        [
            ("mask per sample", 1.07, False),
            ("constant depth", 1.0, False),
            ("skipped branches", 0.80, True),
        ],
    ),
    (
        "Start of 200 blocks",
        "CPU seconds",
        [("layer by layer", 34.2, False), ("stacked", 0.9, True)],
    ),
    (
        "Private training step",
        "times a plain step",
        [("TF Privacy", 46.4, False), ("PrivateModel", 1.8, True)],
    ),
    (
        "Memory of 100 capsule blocks",
        "MiB",
        [("backpropagation", 153, False), ("reversible", 10.7, True)],
    ),
]


def draw(path: Path) -> None:
    """Draw the four panels into a file."""
    figure, axes = pyplot.subplots(2, 2, figsize=(8.4, 3.4))
    for axis, (title, unit, rows) in zip(axes.flat, FACTS, strict=True):
        labels = [label for label, _, _ in rows]
        values = [value for _, value, _ in rows]
        colors = [OURS if ours else OTHERS for _, _, ours in rows]
        bars = axis.barh(labels, values, 0.62, color=colors)
        axis.bar_label(bars, [f"{value:g}" for value in values], padding=4)
        axis.set_title(f"{title}, {unit}", loc="left", fontsize=10)
        axis.set_xlim(0, 1.18 * max(values))
        axis.xaxis.set_visible(False)
        axis.tick_params(left=False, labelsize=9)
        axis.spines[:].set_visible(False)
    figure.tight_layout(w_pad=2.5, h_pad=1.4)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    draw(root / "docs" / "images" / "facts.png")
