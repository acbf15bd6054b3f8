"""How many images carry each label, against how many have it in truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.figures import style
from prunebench.parts.artefacts import Array
from prunebench.results.board import Board
from prunebench.results.rows import Result
from prunebench.runs.label_report import Judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 9  # labelers in one figure
WIDE = 3
HEIGHT = 1.6  # of a panel, in inches
NAMED = 12  # classes whose names fit below the bars
GUESSED = "#0072b2"


@dataclass(frozen=True)
class Histogram:
    """What is drawn of a dataset.

    heading: dataset and recipe. truth: images per class, int [classes]. counts: images per label of each
    labeler, by its title, one list per seed. names: of the classes, or () where they are not known.
    """

    dataset: str
    heading: str
    truth: Array
    counts: Mapping[str, Sequence[Sequence[int]]]
    names: Sequence[str] = ()
    note: str = ""


def of_board(board: Board, truth: Array, names: Sequence[str]) -> Histogram:
    """Return what the rows of a board tell, those labelers last that buy labels."""
    found: dict[tuple[float, str], dict[int, Result]] = {}
    for row in board.rows:
        if row.labels_per_class and row.labeler:
            found.setdefault((row.annotation, row.labeler), {}).setdefault(row.seed, row)
    ordered = sorted(found.items(), key=lambda item: item[0][0])  # stable: else as the suite has them
    counts = {
        f"{name}, {bought(share)}": [row.labels_per_class for row in rows.values()]
        for (share, name), rows in ordered
    }
    note = style.demonstration(board.page.note, board.rows[0].recipe)
    return Histogram(board.rows[0].dataset, board.heading, truth, counts, names, note)


def of_store(name: str, groups: Sequence[Judged], recipe: str, names: Sequence[str], note: str) -> Histogram:
    """Return what the stored qualities of the labelers of one dataset tell, in the same order."""
    ordered = sorted((group for group in groups if group.found), key=lambda group: group.annotation)
    counts = {
        f"{group.labeler}, {bought(group.annotation)}": [quality.labels_per_class for quality in group.found]
        for group in ordered
    }
    truth = np.array(ordered[0].found[0].truth_per_class if ordered else [])
    return Histogram(
        name, f"{name}, recipe {recipe}", truth, counts, names, style.demonstration(note, recipe)
    )


def bought(share: float) -> str:
    """Spell which share of the labels was bought."""
    return f"{100 * share:g} % of the labels" if share else "no labels"


def classes(given: Histogram) -> Figure:
    """Images per label of each labeler, a panel each, over those per class; commonest class first.

    Lines are means over seeds, bands the least and the most; of clusters each counts for the class that
    the best one-to-one matching gives it. Raise PrunebenchError where no method guessed labels.
    """
    truth, counts = given.truth, given.counts
    if not counts:
        raise PrunebenchError(f"no method on {given.dataset} guessed labels; choose others with --methods")
    if len(counts) > MOST:
        raise PrunebenchError(
            f"{len(counts)} labelers on {given.dataset} are too many for one figure; choose up to {MOST} "
            "with --methods"
        )
    order = np.argsort(-truth, kind="stable")
    title = f"{given.heading}, {style.counted(map(len, counts.values()))}: images per label"
    caption = (
        "Grey: images per true class, commonest first. Blue: images per label, mean over seeds, bands: least "
        f"to most; clusters after the best one-to-one matching with classes. {given.note}"
    ).strip()
    columns = min(WIDE, len(counts))
    ordered = [given.names[label] for label in order] if 0 < len(given.names) <= NAMED else []
    longest = max(map(len, ordered), default=0)
    with style.styled():
        height = HEIGHT + 0.05 * longest
        figure, axes = style.canvas(-(-len(counts) // columns), columns, height, title, caption)
        axes[0].set_ylim(
            0, 1.05 * max(truth.max(), *(max(seed) for found in counts.values() for seed in found))
        )
        for ax in axes[len(counts) :]:
            ax.set_axis_off()
        for number, (ax, (labeler, found)) in enumerate(zip(axes, counts.items(), strict=False)):
            if number:
                ax.sharey(axes[0])
            _draw_panel(ax, truth[order], np.array(found)[:, order])
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
    """Draw truth, int [classes], as bars, and counts, int [seeds, classes], as a line with a band."""
    edges = np.arange(len(truth) + 1) - 0.5
    ax.stairs(truth, edges, fill=True, color=style.TRUTH, label="truth")
    ax.stairs(counts.max(0), edges, baseline=counts.min(0), fill=True, color=GUESSED, alpha=0.25, linewidth=0)
    ax.stairs(counts.mean(axis=0), edges, baseline=None, color=GUESSED, linewidth=1.2, label="labels")
    ax.set_xlim(edges[0], edges[-1])
