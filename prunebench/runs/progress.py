"""The progress of a run: a line for each finished cell, and live bars."""

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


def cell_line(cell: Cell, row: Result, position: int, cells: int, made: bool) -> str:
    """Return the line of a finished cell.

    position: its position among the finished cells, from 1.
    cells: the number of cells.
    made: whether it was trained in this run. Otherwise the line says "stored".
    """
    seconds = duration(sum(row.seconds.values())) if made else "stored"
    dataset = plain(cell.dataset.name)
    method = plain(cell.method.name)
    return (
        f"{position:>{len(str(cells))}}/{cells}  {dataset:<14} {method:<24} "
        f"{cell.ratio:>2} %  seed {cell.seed}  {row.accuracy:6.2f} %  {seconds:>7}"
    )


class Live:
    """The progress of a walk over stages: bars on a terminal, nothing in a file.

    needed: the stages to make.
    forecast: the times known so far. Every finished stage is added.
    workers: the number of workers that share the work.
    """

    def __init__(self, needed: Iterable[Stage], forecast: Forecast, workers: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.left = {stage.key: stage for stage in needed}
        self.forecast = forecast
        self.workers = max(1, workers)
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

    def update(self, key: str, done: int, total: int) -> None:
        """Show the progress of one stage."""
        stage = self.left.get(key)
        if stage is None or self.bars.disable:
            return
        if key not in self.running:
            name = f"  {stage.kind} {plain(stage.title)[:40]}"
            self.running[key] = self.bars.add_task(name, total=total, left=plain(stage.dataset.name))
        self.bars.update(self.running[key], completed=done, total=total)  # type: ignore[arg-type]

    def made(self, stage: Stage, seconds: float) -> None:
        """Count a stage as made, and show the time that is left."""
        self.left.pop(stage.key, None)
        self.forecast.learn(stage, seconds)
        if (task := self.running.pop(stage.key, None)) is not None:
            self.bars.remove_task(task)  # type: ignore[arg-type]
        rest, unknown = self.forecast.estimate(self.left.values())
        text = f"{duration(rest / self.workers)} left"
        if unknown:
            text = f"more than {text}"
        self.bars.update(self.stages, advance=1, left=text)

    def line(self, text: str) -> None:
        """Print a line to stdout. If the bars are on the same terminal, print it above them."""
        if self.bars.disable or not sys.stdout.isatty():
            echo(text)
        else:
            self.bars.console.print(text, highlight=False, markup=False)
