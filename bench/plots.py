"""The results as pictures: no background, and greys that can be read on white and on black."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

GREY, OURS, OTHERS = "#808890", "#e07b39", "#4a90c2"
STYLE = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor"), GREY)
LABELLED_LEFT = ("every 2 s", "every 30 s", "optimum", "120 s, then 15 s")
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "savefig.transparent": True, "savefig.dpi": 130}


def draw(found: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw what there is; gives the file's name for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with mpl.rc_context(STYLE):
        for part, picture in (("waiting", _waiting), ("coldstart", _coldstart), ("delivery", _delivery)):
            if part in found:
                figure, axes = plt.subplots(figsize=(8, 4.2))
                picture(axes, found[part]["rows"])
                figure.tight_layout()
                figure.savefig(folder / f"{part}.png", metadata={"Software": None})
                plt.close(figure)
                drawn[part] = f"{part}.png"
    return drawn


def _waiting(axes: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        way = row["way"]
        if row["distribution"] == "usual" and not way.startswith("the same"):
            axes.scatter(row["polls"], row["lag_mean"], color=OURS if way.startswith("planner") else OTHERS, s=30)
            left = way.startswith(LABELLED_LEFT)
            place = {"xytext": (-6 if left else 6, 0), "textcoords": "offset points", "ha": "right" if left else "left", "va": "center"}
            axes.annotate(way, (row["polls"], row["lag_mean"]), fontsize=8, **place)
    axes.set(xscale="log", xlabel="polls a job", ylabel="mean lag, seconds", title="Waiting, usual renders: nearer to the corner is better")
    axes.set_xlim(1, 150)
    axes.set_ylim(0)
    axes.xaxis.set_major_formatter("{x:g}")


def _coldstart(axes: Any, rows: list[dict[str, Any]]) -> None:
    functions = ("submit", "poll", "deliver", "settle", "sweep")
    _bars(axes, [(row["what"], row["ratio"], row["ratio_spread"], row["what"] in functions) for row in rows])
    axes.axvline(0.6, color=GREY, linestyle=":")
    axes.set(xlabel="CPU ÷ everything imported; dotted: the goal", title="Initialisation")


def _delivery(axes: Any, rows: list[dict[str, Any]]) -> None:
    sizes = [{row["mb"] for row in rows if row["link"] == link} for link in {row["link"] for row in rows}]
    most = max(set.intersection(*sizes))  # that every link has carried
    shown = [row for row in rows if row["mb"] == most]
    _bars(axes, [(f"{row['link']}: {row['way']}", row["seconds"], row["seconds_spread"], row["way"] == "retake") for row in shown])
    axes.set(xlabel="time ÷ download to disk, then upload_file", title=f"Delivery of {most} MB")


def _bars(axes: Any, shown: list[tuple[str, float, list[float], bool]]) -> None:
    names = [name for name, *_ in shown]
    values = [value for _, value, *_ in shown]
    errors = [[value - spread[0] for _, value, spread, _ in shown], [spread[1] - value for _, value, spread, _ in shown]]
    axes.barh(names, values, color=[OURS if ours else OTHERS for *_, ours in shown], xerr=errors, ecolor=GREY)
    axes.invert_yaxis()
