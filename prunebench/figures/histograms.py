"""Histograms of labels: how many images carry each label, and how many images each class has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.figures import style
from prunebench.parts.artefacts import Array
from prunebench.results.board import Board, by_labeler
from prunebench.runs.label_report import Judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 9  # labelers in one figure
WIDE = 3  # panels side by side
HEIGHT = 1.6  # of a panel, in inches
MOST_NAMES = 12  # class names that fit below the bars
PREDICTED = "#0072b2"


@dataclass(frozen=True)
class Histogram:
    """The content of one figure.

    dataset: name of the dataset.
    heading: dataset and recipe.
    truth: images per class, int [classes].
    counts: images per label of each labeler, by its name. One list per repeat of the labeler.
    names: class names, or () if unknown.
    note: a warning below the figure, or "".
    """

    dataset: str
    heading: str
    truth: Array
    counts: Mapping[str, Sequence[Sequence[int]]]
    names: Sequence[str] = ()
    note: str = ""


def of_board(board: Board, truth: Array, names: Sequence[str]) -> Histogram:
    """Return the histogram of a board's rows. Labelers with a smaller label budget come first.

    truth: images per class, int [classes].
    names: class names, or ().
    """
    found = by_labeler(board.page, (row for row in board.rows if row.labels_per_class))
    ordered = sorted(found.items(), key=lambda item: item[0][1])  # a stable sort keeps the suite's order
    counts = {}
    for (labeler, share), rows in ordered:
        counts[f"{labeler}, {budget(share)}"] = [row.labels_per_class for row in rows]
    note = style.demonstration(board.page.note, board.rows[0].recipe)
    return Histogram(board.rows[0].dataset, board.heading, truth, counts, names, note)


def of_store(name: str, groups: Sequence[Judged], recipe: str, names: Sequence[str], note: str) -> Histogram:
    """Return the histogram of one dataset's stored label qualities, in the order of `of_board`.

    name: the dataset.
    groups: the label qualities, one entry per labeler.
    recipe: name of the recipe.
    names: class names, or ().
    note: the note of the suite.
    """
    ordered = sorted((group for group in groups if group.found), key=lambda group: group.label_fraction)
    counts = {}
    for group in ordered:
        title = f"{group.labeler}, {budget(group.label_fraction)}"
        counts[title] = [quality.labels_per_class for quality in group.found]
    truth = np.array(ordered[0].found[0].truth_per_class if ordered else [])
    return Histogram(
        name, f"{name}, recipe {recipe}", truth, counts, names, style.demonstration(note, recipe)
    )


def budget(share: float) -> str:
    """Return a label budget as text. share: in 0..1."""
    return f"{100 * share:g} % of the labels" if share else "no labels"


def classes(given: Histogram) -> Figure:
    """Draw the images per label of each labeler, a panel each, over the images per class.

    The most frequent class comes first. Lines are means over seeds. Bands span the least and the most.
    A cluster counts for its class in the best one-to-one matching.

    Raise PrunebenchError if no method predicted labels, or for more than nine labelers.
    """
    truth = given.truth
    counts = given.counts
    if not counts:
        raise PrunebenchError(f"no method on {given.dataset} made pseudo-labels; choose other --methods")
    if len(counts) > MOST:
        raise PrunebenchError(
            f"{len(counts)} labelers on {given.dataset} are too many for one figure; choose up to {MOST} "
            "with --methods"
        )
    order = np.argsort(-truth, kind="stable")
    title = f"{given.heading}, {style.counted(map(len, counts.values()))}: images per label"
    caption = (
        "Gray: images per true class, commonest first. Blue: images per label, mean over seeds, bands: least "
        f"to most; clusters after the best one-to-one matching with classes. {given.note}"
    ).strip()
    columns = min(WIDE, len(counts))
    ordered = [given.names[label] for label in order] if 0 < len(given.names) <= MOST_NAMES else []
    longest = max(map(len, ordered), default=0)
    highest = max(truth.max(), *(max(one_seed) for seeds in counts.values() for one_seed in seeds))
    with style.styled():
        height = HEIGHT + 0.05 * longest
        figure, axes = style.canvas(math.ceil(len(counts) / columns), columns, height, title, caption)
        axes[0].set_ylim(0, 1.05 * highest)
        for ax in axes[len(counts) :]:
            ax.set_axis_off()
        for number, (ax, (labeler, seeds)) in enumerate(zip(axes, counts.items(), strict=False)):
            if number:
                ax.sharey(axes[0])
            _draw_panel(ax, truth[order], np.array(seeds)[:, order])
            ax.set_title(labeler, loc="left")
            if number % columns:
                ax.tick_params(labelleft=False)
            else:
                ax.set_ylabel("images")
            if ordered:
                ax.set_xticks(np.arange(len(truth)), ordered, rotation=90 if longest > 2 else 0)
            else:
                ax.set_xlabel("classes, by size")
    return figure


def _draw_panel(ax: Axes, truth: Array, counts: Array) -> None:
    """Draw the images per class as bars, and the images per label as a line with a band.

    truth: int [classes].
    counts: int [seeds, classes].
    """
    edges = np.arange(len(truth) + 1) - 0.5
    low = counts.min(0)
    high = counts.max(0)
    ax.stairs(truth, edges, fill=True, color=style.TRUTH, label="truth")
    ax.stairs(high, edges, baseline=low, fill=True, color=PREDICTED, alpha=0.25, linewidth=0)
    ax.stairs(counts.mean(axis=0), edges, baseline=None, color=PREDICTED, linewidth=1.2, label="labels")
    ax.set_xlim(edges[0], edges[-1])
