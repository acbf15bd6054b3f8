"""What a run shows while it goes on: a line for each finished cell, and live bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prunebench.pipeline.stage import Stage
from prunebench.runs.format import duration
from prunebench.system.escaping import plain
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.pipeline.forecast import Forecast
    from prunebench.results.rows import Result
    from prunebench.suites.cells import Cell


def cell_line(cell: Cell, row: Result, place: int, cells: int, made: bool) -> str:
    """Return the line of a finished cell."""
    seconds = duration(sum(row.seconds.values())) if made else "stored"
    dataset, method = plain(cell.dataset.name), plain(cell.method.name)
    return (
        f"{place:>{len(str(cells))}}/{cells}  {dataset:<14} {method:<24} "
        f"{cell.ratio:>2} %  seed {cell.seed}  {row.accuracy:6.2f} %  {seconds:>7}"
    )


class Live:
    """Progress of a walk over stages: a bar on a terminal, nothing elsewhere (the cell lines tell enough)."""

    def __init__(self, needed: Iterable[Stage], forecast: Forecast, workers: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.left = {stage.key: stage for stage in needed}
        self.forecast, self.workers = forecast, max(1, workers)
        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            disable=not console.is_terminal or not self.left,
            transient=True,
        )
        self.stages = self.bars.add_task("stages", total=len(self.left), left="")
        self.running: dict[str, int] = {}

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.bars.stop()

    def tell(self, key: str, done: int, total: int) -> None:
        """Show how far the making of one stage is."""
        stage = self.left.get(key)
        if stage is None or self.bars.disable:
            return
        if key not in self.running:
            name = f"  {stage.kind} {plain(stage.title)[:40]}"
            self.running[key] = self.bars.add_task(name, total=total, left=plain(stage.dataset.name))
        self.bars.update(self.running[key], completed=done, total=total)  # type: ignore[arg-type]

    def made(self, stage: Stage, seconds: float) -> None:
        """Count a stage as made, and say how long the rest will take."""
        self.left.pop(stage.key, None)
        self.forecast.learn(stage, seconds)
        if (task := self.running.pop(stage.key, None)) is not None:
            self.bars.remove_task(task)  # type: ignore[arg-type]
        rest, unknown = self.forecast.estimate(self.left.values())
        text = f"{'more than ' if unknown else ''}{duration(rest / self.workers)} left"
        self.bars.update(self.stages, advance=1, left=text)

    def line(self, text: str) -> None:
        """Print a line to stdout, or above the bars where both share the terminal."""
        if self.bars.disable or not sys.stdout.isatty():
            echo(text)
        else:
            self.bars.console.print(text, highlight=False, markup=False)
