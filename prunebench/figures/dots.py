"""Methods as dots: accuracies at a single ratio, ranks that the seeds allow, accuracies by work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from prunebench.figures import style
from prunebench.results.board import GROUPS, Board, at, by_seed, label_usage
from prunebench.results.picture import ALWAYS, MOST, Point, frontier, points
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.135  # height of a method, in inches
FRAME = 0.42  # height of the x axis, its label and its margins, in inches
SEED: dict[str, Any] = {"alpha": 0.5, "markeredgewidth": 0}
MEAN: dict[str, Any] = {"markersize": 7, "markeredgewidth": 1.4}
LEVEL: dict[str, Any] = {"color": style.REFERENCE, "linewidth": 0.9}
DOWN = "v"  # the marker of a method that is further below
RANDOM, ALL = "mean of Random", "all images"
HEIGHT = 2.3  # of a panel of accuracies by work, in inches
NAMES = 4  # columns of its legend
FAR = 4  # times as far below the median as the best is above it: the lower edge, at most


def accuracy(board: Board) -> Figure:
    """Draw the accuracies of a board of one ratio, methods by use of labels, then by mean accuracy.

    Lines across all methods are the means of Random and of a training on all images.
    """
    (ratio,) = board.ratios
    groups = _groups(board, ratio)
    lines = len(groups) + sum(map(len, groups.values()))
    subject = f"{board.heading}, {style.seeds_of(board.rows)}: test accuracy at {ratio} % pruned"
    note = style.demonstration(board.page.note, board.rows[0].recipe)
    said = "Test accuracy of the last epoch. Methods by use of labels, then by mean."
    caption = " ".join(filter(None, (said, note)))
    with style.styled():
        figure, (ax,) = style.canvas(1, 1, FRAME + LINE * lines, subject, caption, entries=1, wide=True)
        handles = _draw_methods(ax, groups)
        for name, (mean, dash) in _levels(board, ratio).items():
            handles[name] = ax.axvline(mean, linestyle=dash, zorder=1, **LEVEL)
        style.legend(figure, handles, len(handles))
    return figure


def _groups(board: Board, ratio: int) -> dict[str, list[list[Result]]]:
    """Return the rows of each method at a ratio, by use of labels, the highest mean first."""
    cells = [[*at(rows, ratio).values()] for rows in board.methods(reference=False)]
    cells = sorted(filter(None, cells), key=lambda cell: -_mean(cell))
    found = {
        f"{name} to select": [cell for cell in cells if label_usage(cell[0]) == usage]
        for usage, name in GROUPS.items()
    }
    return {name: methods for name, methods in found.items() if methods}


def _draw_methods(ax: Axes, groups: dict[str, list[list[Result]]]) -> dict[str, Artist]:
    """Draw groups from the top, a line for the name of each. Return an example of a dot and of a mean."""
    names: list[str] = []
    headings: list[int] = []
    for group, methods in groups.items():
        headings.append(len(names))
        names.append(group)
        for cell in methods:
            place, color = len(names), style.color(cell[0].method)
            names.append(cell[0].title)
            seeds = [row.accuracy for row in cell]
            ax.axhline(place, color="#eeeeee", linewidth=0.4, zorder=0)
            ax.plot(seeds, [place] * len(seeds), "o", color=color, **SEED)
            ax.plot([_mean(cell)], [place], "|", color=color, **MEAN)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    for place in headings:
        ax.get_yticklabels()[place].set_fontweight("bold")
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("test accuracy in percent")
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    (seed,) = ax.plot([], [], "o", color=style.REFERENCE, **SEED)
    (mean,) = ax.plot([], [], "|", color=style.REFERENCE, **MEAN)
    return {"a seed": seed, "mean over seeds": mean}


def _levels(board: Board, ratio: int) -> dict[str, tuple[float, str]]:
    """Return the means of Random and of all images, with which methods are compared, and their dashes."""
    levels: dict[str, tuple[Sequence[Result], str]] = {}
    for rows in [*board.methods(reference=False), *board.methods(reference=True)]:
        if rows[0].method == "random":
            levels[RANDOM] = [*at(rows, ratio).values()], ":"
        elif rows[0].method == "full":
            levels[ALL] = [*by_seed(rows).values()], "--"
    return {name: (_mean(rows), dash) for name, (rows, dash) in levels.items() if rows}


def _mean(rows: Sequence[Result]) -> float:
    return summarize([row.accuracy for row in rows]).mean


def ranks(board: Board) -> Figure:
    """Draw the ranks that the seeds allow each method, a panel for each ratio, the best mean rank first."""
    found = {ratio: places for ratio in board.ratios if (places := board.ranks(ratio))}
    titles = {rows[0].method: rows[0].title for rows in board.methods(reference=False)}
    own = {method: [places[method][0] for places in found.values() if method in places] for method in titles}
    methods = sorted(filter(own.get, own), key=lambda method: summarize(own[method]).mean)
    subject = f"{board.heading}, {style.seeds_of(board.rows)}: ranks that the seeds allow"
    said = (
        "Dot: the rank by mean accuracy, 1 the highest. Line: all ranks that the seeds allow. All lines of a "
        "panel hold at once in 95 % of boards."
    )
    caption = " ".join(filter(None, (said, style.demonstration(board.page.note, board.rows[0].recipe))))
    with style.styled():
        height = FRAME + LINE * (len(methods) + 1)
        figure, panels = style.canvas(1, len(found), height, subject, caption, wide=True)
        for ax, (ratio, places) in zip(panels, found.items(), strict=True):
            _draw_ranks(ax, places, methods)
            ax.set_title(f"{ratio} % pruned", loc="left")
            ax.tick_params(labelleft=ax is panels[0])
        panels[0].set_yticks(range(len(methods)), [titles[method] for method in methods])
    return figure


def _draw_ranks(ax: Axes, places: Mapping[str, tuple[int, int, int]], methods: Sequence[str]) -> None:
    for line, method in enumerate(methods):
        if method in places:
            rank, low, high = places[method]
            color = style.color(method)
            ax.hlines(line, low, high, color=color, linewidth=1.6, alpha=0.6)
            ax.plot([rank], [line], "o", color=color, clip_on=False)
    ax.hlines(range(len(methods)), 0.5, len(places) + 0.5, color="#eeeeee", linewidth=0.4, zorder=0)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_yticks(range(len(methods)))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0.5, len(places) + 0.5)
    ax.set_xticks(sorted({1, math.ceil(len(places) / 2), len(places)}))
    ax.set_xlabel("rank")
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def work(board: Board) -> Figure:
    """Draw accuracies at the most pruned ratio by what a selection takes, a panel for each unit.

    All methods are named, or of more than twelve Random and those that no other method beats at the same cost
    or a lower one.
    """
    found, ratio, levels = points(board), board.ratios[-1], _levels(board, board.ratios[-1])
    units = [unit for unit in found[0].costs if any(point.costs[unit] for point in found)]
    front = {point.method for unit in units for point in frontier(found, unit)}
    named = [point for point in found if len(found) <= MOST or point.method in {ALWAYS, *front}]
    marks = style.markers([point.method for point in named])
    looks: dict[str, dict[str, Any]] = {
        name: {"marker": mark, "color": style.color(name)} for name, mark in marks.items()
    }
    lowest = _lowest([point.accuracy for point in found])
    said = [
        "Mean test accuracy of the last epoch, by what the selection takes. Steps: the highest accuracy at "
        "this cost or a lower one.",
        "" if len(named) == len(found) else "Gray: other methods.",
        "Triangles: further below." if any(point.accuracy < lowest for point in found) else "",
        style.demonstration(board.page.note, board.rows[0].recipe),
    ]
    subject = f"{board.heading}, {style.seeds_of(board.rows)}: test accuracy at {ratio} % pruned by work"
    entries = math.ceil((len(named) + (ALL in levels)) / NAMES)
    with style.styled():
        caption = " ".join(filter(None, said))
        figure, panels = style.canvas(1, len(units), HEIGHT, subject, caption, entries, wide=True)
        handles: dict[str, Artist] = {
            point.title: panels[0].plot([], [], linestyle="", **looks[point.method])[0] for point in named
        }
        for ax, unit in zip(panels, units, strict=True):
            _scale_costs(ax, [point.costs[unit] for point in found], unit)
            _draw_points(ax, found, unit, looks, lowest)
            if ALL in levels:
                mean, dash = levels[ALL]
                handles[ALL] = ax.axhline(mean, linestyle=dash, zorder=1, **LEVEL)
        panels[0].set_ylabel("test accuracy in percent")
        style.legend(figure, handles, NAMES)
    return figure


def _lowest(means: Sequence[float]) -> float:
    """Return the accuracy at the lower edge: the lowest, but for those that would flatten all others."""
    middle = median(means)
    return max(min(means), middle - FAR * max(max(means) - middle, 1.0))


def _scale_costs(ax: Axes, costs: Sequence[float], unit: str) -> None:
    """Make the x axis logarithmic, with a place for 0 at its left."""
    paid = sorted(cost for cost in costs if cost)
    free = [0.0] if len(paid) < len(costs) else []
    ax.set_xscale("symlog", linthresh=paid[0], linscale=0.6)
    powers = [10.0**power for power in range(math.ceil(math.log10(paid[0])), 1 + int(math.log10(paid[-1])))]
    ticks = [*free, *(powers if len(powers) > 1 else (float(f"{end:.2g}") for end in (paid[0], paid[-1])))]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlim(-0.2 * paid[0] if free else 0.7 * paid[0], 1.4 * paid[-1])
    ax.set_xlabel(f"{unit} to select")


def _draw_points(
    ax: Axes, found: Sequence[Point], unit: str, looks: Mapping[str, Mapping[str, Any]], lowest: float
) -> None:
    """Draw methods by their cost in a unit, and steps through those that none beats.

    looks: of the methods that are named, by method. Others are drawn first.
    lowest: methods below it are triangles there.
    """
    other: dict[str, Any] = {"marker": "o", "color": style.TRUTH}
    for point in sorted(found, key=lambda point: point.method in looks):
        look = dict(looks.get(point.method, other)) | ({"marker": DOWN} if point.accuracy < lowest else {})
        ax.plot(point.costs[unit], max(point.accuracy, lowest), linestyle="", **look)
    front = frontier(found, unit)
    costs = [*(point.costs[unit] for point in front), ax.get_xlim()[1]]
    means = [*(max(point.accuracy, lowest) for point in front), front[-1].accuracy]
    ax.step(costs, means, where="post", color=style.REFERENCE, linewidth=0.7, zorder=0.9)
    ax.grid(axis="y")
    ax.set_axisbelow(True)
