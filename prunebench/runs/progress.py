"""The progress of a run: a line for each finished cell, and a live picture of the matrix on a terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prunebench.errors import BusyError
from prunebench.pipeline.executors.engine import StageError, WorkerDied
from prunebench.pipeline.stage import Stage
from prunebench.runs.format import duration, stage_name
from prunebench.runs.live import Headline, Line, StageLine, picture
from prunebench.runs.states import CellStates
from prunebench.system.escaping import plain
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live as Screen

    from prunebench.pipeline.forecast import Forecast
    from prunebench.pipeline.graph import Graph
    from prunebench.results.rows import Result
    from prunebench.suites.cells import Cell

SECONDS = 0.5  # between two pictures, at least
REST = 20  # how many times as long as drawing a picture the pause after it is, at least


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


@dataclass
class Report:
    """What a running stage last said of itself, and when.

    time: in seconds, of a monotonic clock.
    done, total: steps done, and steps in all. 0 of 0: it counts none, or not yet.
    images: images that networks have seen so far.
    """

    time: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    images: int = 0


@dataclass
class Running:
    """A stage that runs.

    first, last: its first report with steps, and its last one. A resumed stage begins with many steps done.
    elsewhere: whether another run makes it.
    """

    stage: Stage
    first: Report = field(default_factory=Report)
    last: Report = field(default_factory=Report)
    elsewhere: bool = False

    def hear(self, report: Report) -> None:
        """Take a report."""
        if not self.first.total:
            self.first = report
        self.last = report

    @property
    def images_per_second(self) -> float | None:
        """The images that its networks saw per second since the first report, or None without any."""
        seconds, images = self.last.time - self.first.time, self.last.images - self.first.images
        return images / seconds if seconds > 0 and images > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The seconds that are left at the pace since the first report, or None if that is not known."""
        seconds, steps = self.last.time - self.first.time, self.last.done - self.first.done
        return seconds / steps * (self.last.total - self.last.done) if steps > 0 else None

    @property
    def share(self) -> float | None:
        """How much of it is done, in 0..1, or None if it does not say."""
        return self.last.done / self.last.total if self.last.total else None


class Live:
    """The progress of a walk over stages: a picture on a terminal, nothing in a file.

    needed: the stages to make, by key.
    forecast: the times known so far. Every finished stage is added.
    workers: the number of workers that share the work.
    graph: that of the cells to show, or None if stages alone are made.
    left: the stages that can still be made, by key.
    """

    def __init__(
        self, needed: Mapping[str, Stage], forecast: Forecast, workers: int, graph: Graph | None
    ) -> None:
        self.left = dict(needed)
        self.total = len(needed)
        self.count = 0
        self.forecast = forecast
        self.workers = max(1, workers)
        self.begun = time.monotonic()
        self.running: dict[str, Running] = {}
        self.shown = on_a_terminal() and bool(needed)
        self.states = CellStates(graph, dict.fromkeys(needed, "left")) if graph and self.shown else None
        self._lock = threading.RLock()  # workers report while a picture is drawn
        self._over = threading.Event()
        self._drawing = threading.Thread(target=self._draw, daemon=True)

    def _open(self) -> Screen:
        from rich.console import Console
        from rich.live import Live as Screen

        self.console = Console(stderr=True, force_terminal=True)
        return Screen(
            console=self.console,
            get_renderable=self.picture,
            auto_refresh=False,  # its thread would draw while a line is printed
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else what goes to a file would go to the terminal
            vertical_overflow="crop",
        )

    def _draw(self) -> None:
        """Draw pictures until all is over. Of tens of thousands of cells there are fewer."""
        pause = SECONDS
        while not self._over.wait(pause):
            began = time.monotonic()
            with self._lock:
                self.screen.refresh()
            pause = max(SECONDS, REST * (time.monotonic() - began))

    def __enter__(self) -> Live:
        if self.shown:
            self.screen = self._open()
            self.screen.start(refresh=True)
            self._drawing.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.shown:
            self._over.set()
            self._drawing.join()  # first, as stopping draws, too
            self.screen.stop()

    def update(self, key: str, done: int, total: int, images: int) -> None:
        """Show the progress of one stage. Arguments are those of `OnProgress`."""
        with self._lock:
            stage = self.left.get(key)
            if stage is None or not self.shown:
                return
            if not total:  # it begins
                self.running[key] = Running(stage)
                self._mark(key, "running")
            elif key in self.running:
                self.running[key].hear(Report(done=done, total=total, images=images))

    def ended(self, key: str, error: BaseException | None) -> None:
        """Show that a stage ended here: made, failed, or left to another run."""
        with self._lock:
            stage = self.left.get(key)
            self.running.pop(key, None)
            if stage is None or not self.shown:
                return
            if isinstance(error, BusyError):
                self.running[key] = Running(stage, elsewhere=True)
                self._mark(key, "running")
            elif isinstance(error, StageError | WorkerDied):
                self._mark(key, "failed")
                self._give_up(key)
            else:
                self._mark(key, "left")  # until it is known as made, or tried again

    def made(self, stage: Stage, seconds: float) -> None:
        """Count a stage as made, and learn from the time it took."""
        with self._lock:
            self.count += self.left.pop(stage.key, None) is not None
            self.running.pop(stage.key, None)
            self.forecast.learn(stage, seconds)
            if self.shown:
                self._mark(stage.key, "done")

    def _give_up(self, key: str) -> None:
        """Expect neither a stage any more nor those that rest on it."""
        lost = {key}
        for other, stage in self.left.items():  # inputs first
            if any(source.key in lost for source in stage.sources):
                lost.add(other)
        self.left = {other: stage for other, stage in self.left.items() if other not in lost}

    def _mark(self, key: str, state: str) -> None:
        if self.states is not None:
            self.states.mark(key, state)

    def _time_left(self) -> str:
        """Return the time left: what stages like those left took, without what the running ones have done."""
        seconds, unknown = self.forecast.estimate(self.left.values())
        if unknown and not seconds:
            return "time left unknown"
        for running in self.running.values():
            seconds -= (running.share or 0.0) * self.forecast.estimate([running.stage])[0]
        text = f"{duration(seconds / self.workers)} left"
        return f"more than {text}" if unknown else f"about {text}"

    def picture(self) -> RenderableType:
        """Return the picture of now. It fits the terminal."""
        with self._lock:
            passed = duration(time.monotonic() - self.begun)
            headline = Headline(self.count, self.total, len(self.running), passed, self._time_left())
            stages = [self._stage_line(running) for running in self.running.values()]
            return picture(headline, stages, self._lines(), *self.console.size)

    def _stage_line(self, running: Running) -> StageLine:
        methods = self.states.methods(running.stage.key) if self.states is not None else ()
        return StageLine(
            stage_name(running.stage, methods),
            running.share,
            running.images_per_second,
            running.seconds_left,
            running.elsewhere,
        )

    def _lines(self) -> list[Line]:
        if self.states is None:
            return []
        return [
            Line(*names, [(cell.ratio, self.states.of[cell]) for cell in cells])
            for names, cells in self.states.lines().items()
        ]

    def line(self, text: str) -> None:
        """Print a line to stdout. If the picture is on the same terminal, print it above."""
        if self.shown and sys.stdout.isatty():
            with self._lock:
                self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
        else:
            echo(text)


def on_a_terminal() -> bool:
    """Whether standard error is a terminal on which a picture can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
