"""The picture of what `peers.py` found, from its table of ratios.

    python benchmarks/peers_chart.py

A row per peer, grouped by the work done; left of 1 tfdeep needs less. The point
is the median over the repeats, the line reaches from the least to the greatest.
"""

import csv
import re
from itertools import groupby
from pathlib import Path

from tfdeep.visualization.figure import color, save

RESULTS = Path(__file__).resolve().parent / "results"
PANELS = {"step": "time of a training step", "memory": "peak memory"}
TICKS = {0.25: "1/4", 0.5: "1/2", 1.0: "1", 2.0: "2", 4.0: "4"}
TORCH = re.compile(r"torch|timm|MemCNN")
FRAMEWORKS = ("Keras on TensorFlow", "PyTorch")


def ratio_of(text: str) -> tuple[float, float, float]:
    """Median, least and greatest of "1.04 (0.94 to 1.13)"."""
    median, least, greatest = map(float, re.findall(r"[\d.]+", text))
    return median, least, greatest


def short(peer: str) -> str:
    """The name of a peer without what its group says already."""
    return peer.replace(", memory_efficient", "").removeprefix("Keras, ")


def places(rows: list[dict]) -> tuple[list, list]:
    """The height of each row, and of the title of each group."""
    heights, titles, height = [], [], 0.0
    for work, group in groupby(rows, key=lambda row: row["work"]):
        titles.append((height, work))
        for row in group:
            height += 1
            heights.append((height, row))
        height += 1.4
    return heights, titles


def draw(table: Path, path: Path) -> None:
    """Draw a table of ratios into a PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with table.open(encoding="utf-8") as file:
        heights, titles = places(list(csv.DictReader(file)))
    if not heights:
        return
    last = heights[-1][0] + 0.8
    figure = Figure(figsize=(8.5, 1.2 + 0.26 * last), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(1, len(PANELS), sharey=True),
        PANELS.items(),
        strict=True,
    ):
        axes.set_xscale("log", base=2)
        axes.axvspan(0.2, 1, color="0.95", lw=0)
        axes.axvline(1, color="black", lw=1)
        for height, row in heights:
            median, least, greatest = ratio_of(row[name])
            shade = color(int(bool(TORCH.search(row["peer"]))))
            axes.plot([least, greatest], [height, height], color=shade, lw=2)
            axes.plot(median, height, "o", color=shade, ms=6)
            less = median < 1
            axes.annotate(
                f"{median:.2f}",
                (least if less else greatest, height),
                (-7 if less else 7, 0),
                textcoords="offset points",
                ha="right" if less else "left",
                va="center",
                fontsize=9,
            )
        axes.set_xlim(0.2, 4.6)
        axes.set_ylim(last, -0.8)
        axes.set_xticks(list(TICKS), list(TICKS.values()))
        axes.minorticks_off()
        axes.set_title(f"{title}, ours / theirs", fontsize=11)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel("ours needs less  ←  1  →  ours needs more")
    left = figure.axes[0]
    left.set_yticks(
        [height for height, _ in (*heights, *titles)],
        [short(row["peer"]) for _, row in heights] + [w for _, w in titles],
    )
    for label in left.get_yticklabels()[len(heights) :]:
        label.set_fontweight("bold")
    figure.legend(
        [Line2D([], [], marker="o", color=color(i)) for i in range(2)],
        [f"beside {framework}" for framework in FRAMEWORKS],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    save(figure, path)


if __name__ == "__main__":
    draw(RESULTS / "peers_ratios.csv", RESULTS / "peers.png")
    print(RESULTS / "peers.png")
