"""The picture of a run on a terminal: the stages that run, and the state of each cell.

stages 29/165, 2 running ━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━━━━━━ 63 s, about 4.7 min left
  accuracy semi_dual digits 50 % seed 0 ━━━━━╸━━━━━━  45 % 3,120 images/s  9.1 s left
  scores zcore digits seed 0
cells 10/66 done, 9 running, 1 failed, 46 left
                                   0 % 30 % 50 % 90 %
  digits random                        ###  ###  ###
  digits semi_dual                     #>.  >..  >.x
  digits zcore_pixels                  >..  >..  >..
  and 5 more: 33 left
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from prunebench.runs.format import duration
from prunebench.runs.states import SHOWN, STATES
from prunebench.system.escaping import plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

HEIGHT = 2 / 3  # of that of the terminal. The rest is for the lines of finished cells
STAGES = 1 / 4  # of the height of the terminal, at most, for stages that run
NAMES = 24  # columns for the names of dataset and method, at least
BAR = 12  # columns of the bar of a stage
SIGNS = {"done": "#", "running": ">", "failed": "x", "left": "."}
STYLES = {"done": "green", "running": "bold yellow", "failed": "bold red", "left": "dim"}


@dataclass(frozen=True)
class Headline:
    """How far the whole is: stages made, stages in all, stages that run, the time passed, the time left."""

    made: int
    total: int
    running: int
    passed: str
    left: str


@dataclass(frozen=True)
class StageLine:
    """A stage that runs.

    name: what it is.
    share: how much of it is done, in 0..1, or None if it does not say.
    images: per second, or None if none are counted.
    seconds: those that are left, or None if they are not known.
    elsewhere: whether another run makes it.
    """

    name: str
    share: float | None = None
    images: float | None = None
    seconds: float | None = None
    elsewhere: bool = False

    @property
    def facts(self) -> str:
        """What is known of it beside its share."""
        if self.elsewhere:
            return "another run makes it"
        images = f"{self.images:,.0f} images/s" if self.images is not None else ""
        left = f"{duration(self.seconds)} left" if self.seconds is not None else ""
        return "  ".join(filter(None, (images, left)))


@dataclass(frozen=True)
class Line:
    """The cells of a method on a dataset, each as its ratio and its state."""

    dataset: str
    method: str
    cells: Sequence[tuple[int, str]]

    @cached_property
    def count(self) -> Counter[str]:
        """How many cells are in each state."""
        return Counter(state for _, state in self.cells)

    @property
    def name(self) -> str:
        """What it is a line of."""
        return plain(f"{self.dataset} {self.method}")

    @property
    def rank(self) -> int:
        """How late it is shown where there is not room for all: first what runs, then what failed."""
        order = ("running", *STATES)
        return next(place for place, state in enumerate(order) if self.count[state])

    def at(self, ratio: int) -> list[str]:
        """Return the states of the cells at a ratio."""
        return [state for other, state in self.cells if other == ratio]


def picture(
    headline: Headline, stages: Sequence[StageLine], lines: Sequence[Line], width: int, height: int
) -> Group:
    """Return the picture of a run. It leaves a third of the terminal to other lines.

    stages: those that run.
    lines: those of the matrix, or none if stages alone are made.
    width, height: of the terminal, in columns and lines.
    """
    from rich.console import Group

    parts: list[RenderableType] = [_head(headline, width)]
    room = int(height * HEIGHT) - len(parts)
    shown = min(len(stages), room, max(1, int(height * STAGES)))
    if shown > 0:
        parts.append(_stages(stages[:shown], width))
        room -= shown
    if lines and room > 0:
        parts.append(_sum(lines))
    if lines and room > 3:
        parts.append(_matrix(lines, width, room - 2))
    return Group(*parts)


def _grid(*widths: int | None) -> Table:
    """Return a table without lines, its columns of these widths. None: what the content takes."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1, 0, 0))
    for width in widths:
        grid.add_column(width=width, no_wrap=True, overflow="ellipsis")
    return grid


def _bar(share: float, width: int) -> ProgressBar:
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=share, width=width)


def _head(headline: Headline, width: int) -> Table:
    """Return the first line: how many stages are made, and the time."""
    begun = headline.running or headline.made
    doing = f"{headline.running} running" if begun else "workers start"
    made = f"stages {headline.made}/{headline.total}, {doing}"
    time = f"{headline.passed}, {headline.left}"
    bar = max(1, width - len(made) - len(time) - 3)
    grid = _grid(len(made), bar, len(time))
    grid.add_row(made, _bar(headline.made / headline.total, bar), time)
    return grid


def _stages(stages: Sequence[StageLine], width: int) -> Table:
    """Return a line for each stage."""
    facts = max(len(stage.facts) for stage in stages)
    percent = len("100 %")
    grid = _grid(1, max(1, width - BAR - percent - facts - 6), BAR, percent, facts)
    for stage in stages:
        if stage.share is None:
            grid.add_row("", _text(stage.name), "", "", stage.facts)
        else:
            bar = _bar(stage.share, BAR)
            grid.add_row("", _text(stage.name), bar, f"{100 * stage.share:3.0f} %", stage.facts)
    return grid


def _text(text: str, style: str = "") -> Text:
    """Return text as it is, without markup, on one line."""
    from rich.text import Text

    return Text(plain(text), style, no_wrap=True, overflow="ellipsis")


def _sum(lines: Iterable[Line]) -> Text:
    """Return how many of all cells are in each state."""
    count = _counted(lines)
    others = [f"{count[state]} {state}" for state in SHOWN if count[state] and state != "done"]
    return _text(", ".join([f"cells {count['done']}/{count.total()} done", *others]))


def _counted(lines: Iterable[Line]) -> Counter[str]:
    return sum((line.count for line in lines), Counter[str]())


def _matrix(lines: Sequence[Line], width: int, height: int) -> RenderableType:
    """Return a line for each dataset and method, a column for each ratio, and a sign for each cell.

    height: of the lines. If there are more, those that matter now are shown, and the sum of the others.
    """
    from rich.console import Group

    shown, others = _parted(lines, height)
    ratios = sorted({ratio for line in lines for ratio, _ in line.cells})
    columns = _columns(shown, ratios, _signs)
    if NAMES + _width(columns) > width:
        columns = _columns(shown, ratios, _tally)
    longest = max(len(line.name) for line in lines)  # of all, so that no column moves
    names = max(NAMES, min(longest, width - _width(columns)))
    grid = _grid(1, names, *(max(map(len, column)) for column in columns))
    labels = [_text(""), *(_text(line.name) for line in shown)]
    for row in zip(labels, *columns, strict=True):
        grid.add_row("", *row)
    if others:
        count = _counted(others)
        states = ", ".join(f"{count[state]} {state}" for state in SHOWN if count[state])
        return Group(grid, _text(f"  and {len(others)} more: {states}"))
    return grid


def _parted(lines: Sequence[Line], height: int) -> tuple[list[Line], list[Line]]:
    """Return those of the lines that are shown, and the others, in their order.

    Of the height, one is left for the sum of the others.
    """
    if len(lines) <= height:
        return [*lines], []
    places = sorted(range(len(lines)), key=lambda place: lines[place].rank)
    first, rest = sorted(places[: height - 1]), sorted(places[height - 1 :])
    return [lines[place] for place in first], [lines[place] for place in rest]


def _columns(
    lines: Iterable[Line], ratios: Iterable[int], shown: Callable[[Sequence[str]], Text]
) -> list[list[Text]]:
    """Return a column for each ratio: its header, then the states of the cells of each line, as shown."""
    return [[_text(f"{ratio} %"), *(shown(line.at(ratio)) for line in lines)] for ratio in ratios]


def _width(columns: Iterable[Sequence[Text]]) -> int:
    """Return how much of the width of the terminal columns take, with the gaps around the names."""
    return 3 + sum(1 + max(map(len, column)) for column in columns)


def _signs(states: Sequence[str]) -> Text:
    """Return a sign for each cell."""
    from rich.text import Text

    return Text.assemble(*((SIGNS[state], STYLES[state]) for state in states))


def _tally(states: Sequence[str]) -> Text:
    """Return how many cells are done, in the style of the first state that one of them has."""
    style = next((STYLES[state] for state in STATES if state in states), "")
    return _text(f"{states.count('done')}/{len(states)}" if states else "", style)
