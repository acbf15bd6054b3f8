"""Means and their spread as lines: accuracy by ratio, accuracy by label budget, shares of kept images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.figures import dots, style
from prunebench.parts.artefacts import Array
from prunebench.results.board import GROUPS, Board, at, label_usage
from prunebench.results.picture import MOST
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 3  # panels side by side
HEIGHT = 2.1  # of a panel without its legend, in inches
DASHES: tuple[Any, ...] = (  # of references, in the order of the suite
    "--",
    ":",
    "-.",
    (0, (7, 2)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (1, 4)),
)
Points = Mapping[float, Sequence[float]]  # x -> a value per seed


@dataclass(frozen=True)
class Curve:
    """The values of one method.

    points: x -> a value per seed.
    reference: whether the method is only there to be compared with.
    level: whether the value is the same at every x. It is drawn as a horizontal line.
    """

    method: str
    title: str
    points: Points
    reference: bool = False
    level: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Sheet:
    """A figure of panels.

    x: label of the x axes.
    y: label of the y axes, one per row of panels.
    rows: the panels, row by row.
    ticks: of the x axes.
    log: whether the x axes are logarithmic.
    together: whether all panels share one legend.
    """

    title: str
    caption: str
    x: str
    y: Sequence[str]
    rows: Sequence[Sequence[Panel]]
    ticks: Sequence[float]
    log: bool = False
    together: bool = False


def accuracy(board: Board, choice: str = "") -> Figure:
    """Draw accuracy against pruning ratio, with a panel for each use of labels.

    Every panel shows Random and the training on all images too. A board of a single ratio has no lines, and
    is drawn as `dots`.

    choice: how the methods were chosen, for the caption.

    Raise PrunebenchError for more than twelve methods at several ratios.
    """
    if len(board.ratios) == 1:
        return dots.accuracy(board)
    methods = board.methods(reference=False)
    references = board.methods(reference=True)
    check_number(methods, board)
    curves = [_by_ratio(rows, lambda row: row.accuracy) for rows in methods]
    for rows in references:
        # A reference matched to the label budget of another method keeps another number of images.
        if rows[0].matched_to is None:
            curves.append(_by_ratio(rows, lambda row: row.accuracy))
    usage = {rows[0].method: label_usage(rows[0]) for rows in [*methods, *references]}
    return draw(
        Sheet(
            title=_title("test accuracy", board),
            caption=_caption("Test accuracy of the last epoch", board, "dashed: references", choice),
            x="percent pruned",
            y=["test accuracy in percent"],
            rows=[_panels(curves, usage, shared=("random", "full"))],
            ticks=board.ratios,
        )
    )


def labels(board: Board) -> Figure:
    """Draw accuracy against the label budget of the labeler, with a panel for each ratio.

    Methods that differ in `label_fraction` alone are points of one line. A method that needs no labels, or
    the labels of all images, is a horizontal line.

    Raise PrunebenchError if no method was run with two budgets, or for more than twelve methods.
    """
    families: dict[str, list[Result]] = {}
    for row in board.rows:
        if not row.reference or row.method == "full":
            families.setdefault(family(row)[0], []).append(row)
    budgets = {name: {row.label_fraction for row in rows} - {0, 1} for name, rows in families.items()}
    if not any(len(shares) > 1 for shares in budgets.values()):
        raise PrunebenchError(
            f"no method on {board.rows[0].dataset} was run with several label budgets; run, for example: "
            f"prunebench run --suite {board.page.suite} --datasets {board.rows[0].dataset} "
            "--methods semi_aum --set fixmatch.label_fraction=0.05"
        )
    check_number([rows for rows in families.values() if not rows[0].reference], board)
    panels = []
    for ratio in board.ratios:
        curves = [_by_budget(name, rows, ratio) for name, rows in families.items()]
        panels.append(Panel(f"{ratio} % pruned", [curve for curve in curves if curve.points]))
    rows = [panels[start : start + WIDE] for start in range(0, len(panels), WIDE)]
    return draw(
        Sheet(
            title=_title("test accuracy by label budget", board),
            caption=_caption(
                "Test accuracy of the last epoch", board, "dashed: methods that use no label, or all"
            ),
            x="labels annotated, percent of all",
            y=["test accuracy in percent"] * len(rows),
            rows=rows,
            ticks=sorted(100 * budget for budget in set().union(*budgets.values())),
            log=True,
            together=True,
        )
    )


@dataclass(frozen=True)
class Share:
    """A part of the training images.

    name: of the part.
    whole: its share of all training images, in percent.
    of: returns its share of the images that a row kept, in percent.
    """

    name: str
    whole: float
    of: Callable[[Result], float]


def kept(board: Board, shares: Sequence[Share]) -> Figure:
    """Draw the share of the kept images that belong to a part, by ratio, with a row of panels for each part.

    A dashed line is the share of the whole training set.

    Raise PrunebenchError for more than twelve methods.
    """
    methods = board.methods(reference=False)
    check_number(methods, board)
    usage = {rows[0].method: label_usage(rows[0]) for rows in methods}
    rows = []
    for share in shares:
        level = Curve("all", "all training images", {0: [share.whole]}, reference=True, level=True)
        curves = [_by_ratio(method_rows, share.of) for method_rows in methods]
        rows.append(_panels([*curves, level], usage, shared=("random", "all")))
    return draw(
        Sheet(
            title=_title(f"{' and '.join(share.name for share in shares)} images kept", board),
            caption=_caption("Share of the kept images", board, "dashed: share of all training images"),
            x="percent pruned",
            y=[f"{share.name}, percent of kept" for share in shares],
            rows=rows,
            ticks=board.ratios,
        )
    )


def tail(sizes: Array) -> Array | None:
    """Return the rarest third of the classes, rounded down, at least one: int [m], ascending.

    Return None if no class is rare, that is, if the smallest class has half the images of the largest, or
    more. Among classes of equal size, later ones come first.

    sizes: images per class, int [classes].
    """
    if 2 * sizes.min() >= sizes.max():
        return None
    ranked: Array = np.lexsort((-np.arange(len(sizes)), sizes))
    return np.sort(ranked[: max(1, len(sizes) // 3)])


def family(row: Result) -> tuple[str, str]:
    """Return the name and title of a row's method, without its label budget.

    A budget is written in two ways. NAME{PART.label_fraction=0.05} comes from --set. NAME_5 with the title
    "TITLE, 5 % of the labels" is a method of its own. Both return NAME and TITLE.
    """
    percent = f"{100 * row.label_fraction:g}"
    name = _without_budget(row.method, f"_{percent}")
    title = _without_budget(row.title, f", {percent} % of the labels")
    return name, title


def _without_budget(text: str, suffix: str) -> str:
    base, _, inner = text.partition("{")
    changes = inner.removesuffix("}").split(",")
    others = [change for change in changes if change and not re.match(r".*label_fraction=", change)]
    braces = f"{{{','.join(others)}}}" if others else ""
    return base.removesuffix(suffix) + braces


def check_number(methods: Sequence[Sequence[Result]], board: Board) -> None:
    """Raise PrunebenchError for more than twelve methods: their lines could not be told apart."""
    names = [rows[0].method for rows in methods]
    if len(names) > MOST:
        raise PrunebenchError(
            f"{len(names)} methods on {board.rows[0].dataset} are too many for one figure; choose up to "
            f"{MOST} of them: --methods {','.join(names[:3])},..."
        )


def _by_ratio(rows: Sequence[Result], value: Callable[[Result], float]) -> Curve:
    ratios = sorted({row.ratio for row in rows})
    points: Points = {ratio: [value(row) for row in at(rows, ratio).values()] for ratio in ratios}
    first = rows[0]
    level = first.reference and len(points) == 1
    return Curve(first.method, first.title, points, first.reference, level)


def _by_budget(name: str, rows: Sequence[Result], ratio: int) -> Curve:
    """Return the curve of a family of methods at one ratio.

    The reference, all images, has rows at one ratio only and is drawn at every ratio.
    """
    first = rows[0]
    points: dict[float, list[float]] = {}
    for budget in sorted({row.label_fraction for row in rows}):
        budget_rows = [row for row in rows if row.label_fraction == budget]
        row_ratio = budget_rows[0].ratio if first.reference else ratio
        if values := [row.accuracy for row in at(budget_rows, row_ratio).values()]:
            points[100 * budget] = values
    level = all(budget in (0, 100) for budget in points)
    return Curve(name, family(first)[1], points, first.reference, level)


def _panels(curves: Sequence[Curve], usage: Mapping[str, str], shared: Sequence[str]) -> list[Panel]:
    """Return a panel for each use of labels among the methods.

    usage: the use of labels, by method.
    shared: methods that appear in all panels.
    """
    used = {usage[curve.method] for curve in curves if not curve.reference and curve.method not in shared}
    groups = [group for group in GROUPS if group in used] or ["none"]
    by_group: dict[str, list[Curve]] = {group: [] for group in groups}
    for curve in curves:
        if curve.method in shared:
            for members in by_group.values():
                members.append(curve)
        else:
            group = usage.get(curve.method, groups[0])
            by_group[group if group in groups else groups[0]].append(curve)
    return [Panel(f"{GROUPS[group]} to select", members) for group, members in by_group.items()]


def _title(subject: str, board: Board) -> str:
    return f"{board.heading}, {style.seeds_of(board.rows)}: {subject}"


def _caption(subject: str, board: Board, dashes: str, choice: str = "") -> str:
    note = style.demonstration(board.page.note, board.rows[0].recipe)
    said = f"{subject}: mean over seeds, bands: standard deviation; {dashes}."
    return " ".join(filter(None, (said, choice, note)))


def draw(sheet: Sheet) -> Figure:
    """Draw a sheet. The panels of a row share the y axis, unless that would flatten some of them."""
    columns = max(map(len, sheet.rows))
    curves = [curve for row in sheet.rows for panel in row for curve in panel.curves]
    marks = style.markers([curve.method for curve in curves if not curve.reference])
    share_y = [_have_similar_ranges(row) for row in sheet.rows]
    caption = sheet.caption
    if not all(share_y):
        caption += " Panels side by side have y axes of their own."
    height = HEIGHT
    entries = 0
    if sheet.together:
        entries = math.ceil(len({curve.title for curve in curves}) / _legend_columns(columns))
    else:
        height += style.ENTRY * max(len(panel.curves) for panel in sheet.rows[-1]) / len(sheet.rows)
    with style.styled():
        figure, axes = style.canvas(len(sheet.rows), columns, height, sheet.title, caption, entries)
        for number, row in enumerate(sheet.rows):
            row_axes = axes[number * columns : (number + 1) * columns]
            row_axes[0].set_ylabel(sheet.y[number])
            for ax in row_axes[len(row) :]:
                ax.set_axis_off()
            for ax, panel in zip(row_axes, row, strict=False):
                if share_y[number] and ax is not row_axes[0]:
                    ax.sharey(row_axes[0])
                    ax.tick_params(labelleft=False)
                _draw_panel(ax, panel, sheet, marks)
                if not sheet.together and number == len(sheet.rows) - 1:
                    _legend_below(ax)
        if sheet.together:
            by_name: dict[str, Artist] = {}
            for ax in axes:
                handles, names = ax.get_legend_handles_labels()
                by_name |= dict(zip(names, handles, strict=True))
            style.legend(figure, by_name, _legend_columns(columns))
    return figure


def _legend_columns(columns: int) -> int:
    return 2 if columns == 1 else 4


def _have_similar_ranges(panels: Sequence[Panel]) -> bool:
    """Whether the ranges of all panels differ by a factor of 4 at most, so that one y axis suits them."""
    ranges = []
    for panel in panels:
        means = [summarize(values).mean for curve in panel.curves for values in curve.points.values()]
        if means:
            ranges.append(max(means) - min(means))
    return max(ranges, default=0) <= 4 * min(ranges, default=0)


def _legend_below(ax: Axes) -> None:
    """Put the legend of a panel below its x axis, at a fixed distance for panels of any height."""
    from matplotlib.transforms import ScaledTranslation

    figure = ax.get_figure(root=True)
    assert figure is not None
    below = ax.transAxes + ScaledTranslation(0, -0.42, figure.dpi_scale_trans)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0)


def _draw_panel(ax: Axes, panel: Panel, sheet: Sheet, marks: Mapping[str, str]) -> None:
    ax.set_title(panel.title, loc="left")
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.set_xlabel(sheet.x)
    if sheet.log:
        ax.set_xscale("log")
    ax.set_xticks(list(sheet.ticks), [f"{tick:g}" for tick in sheet.ticks])
    ax.minorticks_off()
    references = 0
    for curve in panel.curves:
        summaries = {x: summarize(values) for x, values in sorted(curve.points.items())}
        means = [summary.mean for summary in summaries.values()]
        if curve.reference:
            dash = DASHES[references % len(DASHES)]
            references += 1
            look = {"color": style.REFERENCE, "linestyle": dash, "linewidth": 0.9, "zorder": 1.5}
        else:
            look = {"color": style.color(curve.method), "linestyle": "--" if curve.level else "-"}
        if curve.level:
            ax.axhline(means[0], label=curve.title, **look)
            continue
        mark = "" if curve.reference else marks[curve.method]
        xs = list(summaries)
        ax.plot(xs, means, marker=mark, label=curve.title, **look)
        spreads = [summary.spread or 0.0 for summary in summaries.values()]
        if any(spreads) and not curve.reference:
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            if len(xs) == 1:  # a band would have no width
                ax.vlines(xs, low, high, color=look["color"], linewidth=0.8)
            ax.fill_between(xs, low, high, color=look["color"], alpha=0.18, linewidth=0)
