"""Accuracies at a single ratio: a line for each method, a dot for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prunebench.figures import style
from prunebench.results.board import GROUPS, Board, at, by_seed, label_usage
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
        handles = _draw_methods(ax, groups) | _draw_levels(ax, board, ratio)
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


def _draw_levels(ax: Axes, board: Board, ratio: int) -> dict[str, Artist]:
    """Draw what methods are compared with across all of them: the means of Random and of all images."""
    levels: dict[str, tuple[Sequence[Result], str]] = {}
    for rows in [*board.methods(reference=False), *board.methods(reference=True)]:
        if rows[0].method == "random":
            levels["mean of Random"] = [*at(rows, ratio).values()], ":"
        elif rows[0].method == "full":
            levels["all images"] = [*by_seed(rows).values()], "--"
    return {
        name: ax.axvline(_mean(rows), color=style.REFERENCE, linestyle=dash, linewidth=0.9, zorder=1)
        for name, (rows, dash) in levels.items()
        if rows
    }


def _mean(rows: Sequence[Result]) -> float:
    return summarize([row.accuracy for row in rows]).mean
