"""Means and their spread as lines: accuracy by ratio, accuracy by label budget, shares of what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.figures import style
from prunebench.parts.artefacts import Array
from prunebench.results.board import GROUPS, Board, at, label_usage
from prunebench.results.rows import Result
from prunebench.results.statistics import summarise

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12  # methods in one figure
WIDE = 3  # panels side by side
HEIGHT = 2.1  # of a panel without its legend, in inches
DASHES: tuple[Any, ...] = (  # of references, in the order of the suite
    *("--", ":", "-."),
    *((0, (7, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (1, 4))),
)
Points = Mapping[float, Sequence[float]]  # x -> a value per seed


@dataclass(frozen=True)
class Curve:
    """The values of one method. A level has the same value everywhere: its points share one height."""

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
    """A figure of panels: what it says, and what its axes are."""

    title: str
    caption: str
    x: str
    y: Sequence[str]  # one per row of panels
    rows: Sequence[Sequence[Panel]]
    ticks: Sequence[float]
    log: bool = False
    together: bool = False  # one legend for all panels


def accuracy(board: Board) -> Figure:
    """Accuracy against ratio: a panel for each use of labels, Random and all images in each of them.

    Raise PrunebenchError for more than twelve methods.
    """
    methods, references = board.methods(reference=False), board.methods(reference=True)
    check_number(methods, board)
    curves = [_by_ratio(rows, lambda row: row.accuracy) for rows in methods]
    for rows in references:
        if rows[0].beside is None:  # as many images as another method has labels: another axis
            curves.append(_by_ratio(rows, lambda row: row.accuracy))
    usage = {rows[0].method: label_usage(rows[0]) for rows in [*methods, *references]}
    return draw(
        Sheet(
            title=_title("test accuracy", board),
            caption=_caption("Test accuracy of the last epoch", board, "dashed: references"),
            x="percent pruned",
            y=["test accuracy in percent"],
            rows=[_panels(curves, usage, shared=("random", "full"))],
            ticks=board.ratios,
        )
    )


def labels(board: Board) -> Figure:
    """Accuracy against the labels bought before the selection: a panel for each ratio.

    Methods that differ in nothing but `annotation` are points of one line; those that buy no label, or
    all, are horizontal. Raise PrunebenchError where no method was run with two budgets.
    """
    families: dict[str, list[Result]] = {}
    for row in board.rows:
        if not row.reference or row.method == "full":
            families.setdefault(family(row)[0], []).append(row)
    budgets = {name: {row.annotation for row in rows} - {0, 1} for name, rows in families.items()}
    if not any(len(found) > 1 for found in budgets.values()):
        raise PrunebenchError(
            f"no method on {board.rows[0].dataset} was run with several label budgets; run, for example: "
            f"prunebench run --suite {board.page.suite} --datasets {board.rows[0].dataset} "
            "--methods semi_aum --set fixmatch.annotation=0.05"
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
            caption=_caption("Test accuracy of the last epoch", board, "dashed: what buys no label, or all"),
            x="labels bought, percent of all",
            y=["test accuracy in percent"] * len(rows),
            rows=rows,
            ticks=sorted({100 * budget for found in budgets.values() for budget in found}),
            log=True,
            together=True,
        )
    )


@dataclass(frozen=True)
class Share:
    """A part of the training images: its name, and how much of all images, and of what a row kept, it is.

    whole, of: in percent.
    """

    name: str
    whole: float
    of: Callable[[Result], float]


def kept(board: Board, shares: Sequence[Share]) -> Figure:
    """How much of what was kept belongs to a part of the images, by ratio: a row of panels for each part.

    Dashed: how much of the whole training set does. Raise PrunebenchError for more than twelve methods.
    """
    methods = board.methods(reference=False)
    check_number(methods, board)
    usage = {rows[0].method: label_usage(rows[0]) for rows in methods}
    rows = []
    for share in shares:
        level = Curve("all", "all training images", {0: [share.whole]}, reference=True, level=True)
        curves = [_by_ratio(found, share.of) for found in methods]
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
    """Return the rarest third of the classes (rounded down, at least one), or None where no class is rare.

    sizes: images per class. A set has a tail where its smallest class has less than half the images of
    its largest. Of classes of one size the later ones are taken.
    """
    if 2 * sizes.min() >= sizes.max():
        return None
    ranked: Array = np.lexsort((-np.arange(len(sizes)), sizes))
    return np.sort(ranked[: max(1, len(sizes) // 3)])


def family(row: Result) -> tuple[str, str]:
    """Return name and title of a row's method without what they say about its label budget.

    NAME{PART.annotation=0.05}, as --set spells it, and NAME_5, titled TITLE, 5 % of the labels, both
    are NAME, titled TITLE.
    """
    percent = f"{100 * row.annotation:g}"
    plain = [row.method, row.title]
    for place, suffix in enumerate((f"_{percent}", f", {percent} % of the labels")):
        base, brace, inner = plain[place].partition("{")
        kept = [part for part in inner.removesuffix("}").split(",") if not re.match(r".*annotation=", part)]
        rest = f"{{{','.join(kept)}}}" if brace and kept else ""
        plain[place] = base.removesuffix(suffix) + rest
    return plain[0], plain[1]


def check_number(methods: Sequence[Sequence[Result]], board: Board) -> None:
    """Raise PrunebenchError where lines would be too many to tell apart."""
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
    """Return the line of a family at a ratio; all images are the same at every ratio."""
    first = rows[0]
    points: dict[float, list[float]] = {}
    for budget in sorted({row.annotation for row in rows}):
        own = [row for row in rows if row.annotation == budget]
        if values := [row.accuracy for row in at(own, own[0].ratio if first.reference else ratio).values()]:
            points[100 * budget] = values
    level = all(budget in (0, 100) for budget in points)
    return Curve(name, family(first)[1], points, first.reference, level)


def _panels(curves: Sequence[Curve], usage: Mapping[str, str], shared: Sequence[str]) -> list[Panel]:
    """Return a panel for each use of labels that a method has; what is shared stands in all of them."""
    own = {usage[curve.method] for curve in curves if not curve.reference and curve.method not in shared}
    groups = [group for group in GROUPS if group in own] or ["none"]

    def place(curve: Curve) -> str:
        group = usage.get(curve.method, groups[0])
        return group if group in groups else groups[0]

    return [
        Panel(f"{GROUPS[group]} to select", [c for c in curves if c.method in shared or place(c) == group])
        for group in groups
    ]


def _title(what: str, board: Board) -> str:
    return f"{board.heading}, {style.seeds_of(board.rows)}: {what}"


def _caption(what: str, board: Board, dashes: str) -> str:
    note = style.demonstration(board.page.note, board.rows[0].recipe)
    return f"{what}: mean over seeds, bands: standard deviation; {dashes}. {note}".strip()


def draw(sheet: Sheet) -> Figure:
    """Draw a sheet. In a row all panels have one y axis, unless that would flatten some of them."""
    columns = max(map(len, sheet.rows))
    curves = [curve for row in sheet.rows for panel in row for curve in panel.curves]
    marks = style.markers([curve.method for curve in curves if not curve.reference])
    shared = [_alike(row) for row in sheet.rows]
    caption = sheet.caption + ("" if all(shared) else " Panels side by side have y axes of their own.")
    height, entries = HEIGHT, 0
    if sheet.together:
        entries = -(-len({curve.title for curve in curves}) // _legend_columns(columns))
    else:
        height += style.ENTRY * max(len(panel.curves) for panel in sheet.rows[-1]) / len(sheet.rows)
    with style.styled():
        figure, axes = style.canvas(len(sheet.rows), columns, height, sheet.title, caption, entries)
        for place, row in enumerate(sheet.rows):
            own = axes[place * columns : (place + 1) * columns]
            own[0].set_ylabel(sheet.y[place])
            for ax in own[len(row) :]:
                ax.set_axis_off()
            for ax, panel in zip(own, row, strict=False):
                if shared[place] and ax is not own[0]:
                    ax.sharey(own[0])
                    ax.tick_params(labelleft=False)
                _draw_panel(ax, panel, sheet, marks)
                if not sheet.together and place == len(sheet.rows) - 1:
                    _legend_below(ax)
        if sheet.together:
            found: dict[str, Artist] = {}
            for ax in axes:
                handles, names = ax.get_legend_handles_labels()
                found |= dict(zip(names, handles, strict=True))
            style.legend(figure, found, _legend_columns(columns))
    return figure


def _legend_columns(columns: int) -> int:
    return 2 if columns == 1 else 4


def _alike(panels: Sequence[Panel]) -> bool:
    """Whether the values of all panels have ranges so alike that one axis suits them all."""
    values = [
        [summarise(found).mean for curve in panel.curves for found in curve.points.values()]
        for panel in panels
    ]
    ranges = [max(found) - min(found) for found in values if found]
    return max(ranges, default=0) <= 4 * min(ranges, default=0)


def _legend_below(ax: Axes) -> None:
    """Put the legend of a panel below its x axis, at the same distance whatever the panel's height."""
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
        found = {x: summarise(values) for x, values in sorted(curve.points.items())}
        means = [summary.mean for summary in found.values()]
        if curve.reference:
            dash = DASHES[references % len(DASHES)]
            references += 1
            look = {"color": style.REFERENCE, "linestyle": dash, "linewidth": 0.9, "zorder": 1.5}
        else:
            look = {"color": style.colour(curve.method), "linestyle": "--" if curve.level else "-"}
        if curve.level:
            ax.axhline(means[0], label=curve.title, **look)
            continue
        mark = "" if curve.reference else marks[curve.method]
        ax.plot(list(found), means, marker=mark, label=curve.title, **look)
        spread = [summary.spread or 0.0 for summary in found.values()]
        if any(spread) and not curve.reference:
            low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            if len(found) == 1:  # no width for a band
                ax.vlines(list(found), low, high, color=look["color"], linewidth=0.8)
            ax.fill_between(list(found), low, high, color=look["color"], alpha=0.18, linewidth=0)
