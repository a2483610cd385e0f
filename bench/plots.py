"""Plot the results, without a background and in grays that are legible on white and on black."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

GRAY = "#808890"
PRODUCT_COLOR = "#e07b39"
PEER_COLOR = "#4a90c2"
FIGURE_INCHES = (8, 4.2)
COLORED = (
    "text.color",
    "axes.labelcolor",
    "axes.edgecolor",
    "xtick.color",
    "ytick.color",
    "axes.titlecolor",
)
STYLE: dict[Any, Any] = dict.fromkeys(COLORED, GRAY) | {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "savefig.transparent": True,
    "savefig.dpi": 130,
}
LABELED_LEFT = ("every 2 s", "every 30 s", "optimum", "120 s, then 15 s")
FUNCTIONS = ("submit", "poll", "fetch", "settle", "sweep")
COLD_START_GOAL = 0.6


@dataclass(frozen=True)
class Bar:
    """A bar with its error bar.

    Attributes:
        name: its label.
        value: its length.
        spread: the minimum and maximum.
        is_product: whether it is the product's.
    """

    name: str
    value: float
    spread: Sequence[float]
    is_product: bool


def draw(results: dict[str, Any], folder: Path) -> dict[str, str]:
    """Plot what there is.

    Parameters:
        results: the results by part.
        folder: where the plots are written.

    Returns:
        The file's name by part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"waiting": _waiting, "coldstart": _coldstart, "delivery": _delivery}
    files = {part: f"{part}.png" for part in plots if part in results}
    with mpl.rc_context(STYLE):
        for part, file in files.items():
            figure, axes = plt.subplots(figsize=FIGURE_INCHES)
            plots[part](axes, results[part]["rows"])
            figure.tight_layout()
            figure.savefig(folder / file, metadata={"Software": None})
            plt.close(figure)
    return files


def _waiting(axes: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["distribution"] == "usual" and not row["way"].startswith("same"):
            is_product = row["way"].startswith("poll schedule")
            color = PRODUCT_COLOR if is_product else PEER_COLOR
            position = (row["polls"], row["lag_mean"])
            axes.scatter(*position, color=color, s=30)
            _label(axes, row["way"], position)
    axes.set(
        xscale="log",
        xlabel="polls per job",
        ylabel="mean lag, seconds",
        title="Waiting for usual renders: closer to the corner is better",
    )
    axes.set_xlim(1, 150)
    axes.set_ylim(0)
    axes.xaxis.set_major_formatter("{x:g}")


def _label(axes: Any, text: str, position: tuple[float, float]) -> None:
    is_left = text.startswith(LABELED_LEFT)
    axes.annotate(
        text,
        position,
        fontsize=8,
        xytext=(-6 if is_left else 6, 0),
        textcoords="offset points",
        ha="right" if is_left else "left",
        va="center",
    )


def _coldstart(axes: Any, rows: list[dict[str, Any]]) -> None:
    bars = [
        Bar(row["what"], row["ratio"], row["ratio_spread"], row["what"] in FUNCTIONS)
        for row in rows
    ]
    _draw_bars(axes, bars)
    axes.axvline(COLD_START_GOAL, color=GRAY, linestyle=":")
    axes.set(xlabel="CPU ÷ everything imported; dotted: the goal", title="Initialization")


def _delivery(axes: Any, rows: list[dict[str, Any]]) -> None:
    links = {row["link"] for row in rows}
    sizes = [{row["mb"] for row in rows if row["link"] == link} for link in links]
    largest = max(set.intersection(*sizes))  # the largest that every link has carried
    bars = [
        Bar(
            f"{row['link']}: {row['way']}",
            row["seconds"],
            row["seconds_spread"],
            row["way"] == "retake",
        )
        for row in rows
        if row["mb"] == largest
    ]
    _draw_bars(axes, bars)
    title = f"Delivery of {largest} MB"
    axes.set(xlabel="time ÷ download to disk, then upload_file", title=title)


def _draw_bars(axes: Any, bars: Sequence[Bar]) -> None:
    below = [bar.value - bar.spread[0] for bar in bars]
    above = [bar.spread[1] - bar.value for bar in bars]
    axes.barh(
        [bar.name for bar in bars],
        [bar.value for bar in bars],
        color=[PRODUCT_COLOR if bar.is_product else PEER_COLOR for bar in bars],
        xerr=[below, above],
        ecolor=GRAY,
    )
    axes.invert_yaxis()
