"""Running a matrix of cells, with live progress, and one line and one row per finished cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from prunebench.errors import MissingArtefactError, unknown
from prunebench.pipeline import schedule
from prunebench.pipeline.executors import slurm
from prunebench.pipeline.executors.engine import Engine, Executor, StageError, message
from prunebench.pipeline.executors.factory import check, executor
from prunebench.pipeline.executors.local import default_cpu_workers, most_workers
from prunebench.pipeline.forecast import Forecast, probe
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.job import Job
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, closure
from prunebench.results import record
from prunebench.runs.format import duration
from prunebench.runs.progress import Live, cell_line
from prunebench.runs.sinks import Sinks
from prunebench.suites.cells import Cell
from prunebench.system import terminal
from prunebench.system.files import check_folder
from prunebench.system.signals import interruptible
from prunebench.system.terminal import echo

ENGINE = Engine()


def get_ready(matrix: Matrix, folder: Path | None = None) -> None:
    """Check the device and the result folders of a matrix, then fetch its data.

    folder: the folder to write rows and pages to, or None.

    Raise PrunebenchError if the device is unsuitable, rows cannot be written, or data cannot be fetched.
    """
    matrix.check_device()
    if folder is not None:
        row_folders = {folder / "results" / cell.suite / cell.dataset.name for cell in matrix.cells}
        for path in (folder, folder / "results", *row_folders):
            check_folder(path, "--results")
    matrix.fetch()


def forget(matrix: Matrix, parts: list[str]) -> None:
    """Remove what is stored of the stages that run one of these parts, and of all that follows from them.

    Raise PrunebenchError for a part that the cells do not have.
    """
    if not parts:
        return
    known = {
        stage.identity["part"]["part"] for stage in matrix.graph.stages.values() if "part" in stage.identity
    }
    for part in parts:
        if part not in known:
            raise unknown("part in the chosen cells", part, known, "prunebench plan")
    for stage in matrix.graph.stages.values():
        if any(s.identity.get("part", {}).get("part") in parts for s in stage.ancestors()):
            matrix.store.remove(stage.key)


@dataclass(frozen=True)
class Certificates:
    """The outcome of a certification. Cells in none of these failed.

    certified: the cells whose selection was the same without the truth.
    exempt: why other cells cannot be certified.
    caught: what shows that others rest on what nobody annotated.
    """

    certified: Collection[Cell] = ()
    exempt: Mapping[Cell, str] = field(default_factory=dict)
    caught: Mapping[Cell, str] = field(default_factory=dict)


UNCERTIFIED = Certificates()


def run_matrix(
    matrix: Matrix,
    forecast: Forecast,
    results: Sinks | None,
    engine: Engine = ENGINE,
    certificates: Certificates = UNCERTIFIED,
) -> dict[str, str]:
    """Run the missing stages of a matrix, and append one row per cell. Return the failures.

    forecast: the times known so far. Every finished stage is added.
    results: where rows go, or None.
    engine: chooses the executor.
    certificates: of the cells. Those that were caught are not run, and count as failures.

    Returns the reason of each failure, by the name of the cell.
    Raise PrunebenchError, before any work, if a part lacks a file or the store cannot be written.
    Raise KeyboardInterrupt after an orderly stop.
    """
    honest = matrix
    if certificates.caught:
        honest = replace(matrix, cells=[cell for cell in matrix.cells if cell not in certificates.caught])
    journal = None if results is None else results.journal
    with _work(honest, honest.missing(sound=True), forecast, engine, honest.graph) as work:
        finished = 0

        def cell_done(cell: Cell) -> None:
            nonlocal finished
            known = None if journal is None else record.known(honest, cell, journal)
            row = known or record.row(honest, cell)
            if cell in certificates.certified and not row.certified:
                row = row.model_copy(update={"certified": True})
            finished += 1
            trained_now = row.accuracy_key in work.made
            if results is not None and row is not known:
                results.add(row, trained_now)
            work.live.line(cell_line(cell, row, finished, len(honest.cells), trained_now))

        failures = honest.run(work.executor, work.needed, work.stage_made, cell_done)
    _print_traces(failures.values())
    reasons = {cell: message(error) for cell, error in failures.items()} | dict(certificates.caught)
    if results is not None:
        for cell, reason in reasons.items():
            results.add(record.failure(matrix, cell, reason), made=False)
    return {cell.name: reason for cell, reason in reasons.items()}


def make_labels(matrix: Matrix, forecast: Forecast, engine: Engine = ENGINE) -> dict[str, str]:
    """Make the missing labels of a matrix and their quality, and nothing else. Return the failures.

    Returns the reason of each failure, by dataset and labeler.
    Raise the same errors as `run_matrix`.
    """
    ends = {stage.key: stage for stage in matrix.graph.qualities.values() if stage is not None}
    reasons = {}
    for key, reason in make_stages(matrix, ends, forecast, engine).items():
        labels = ends[key].sources[0]
        reasons[f"{labels.dataset.name} {labels.title}"] = reason
    return reasons


def make_stages(
    matrix: Matrix, ends: Mapping[str, Stage], forecast: Forecast, engine: Engine = ENGINE
) -> dict[str, str]:
    """Make stages of a matrix, and all missing stages that they need. Return the failures.

    ends: the stages to make, by key.

    Returns the reason of each failure, by key.
    Raise the same errors as `run_matrix`.
    """
    needed = schedule.missing(ends.values(), matrix.store)
    with _work(matrix, needed, forecast, engine) as work:
        outcome = schedule.walk(needed, matrix.store, work.executor, matrix.job, work.stage_made)
    failures = {key: error for key, stage in ends.items() if (error := outcome.failure(stage))}
    _print_traces(failures.values())
    return {key: message(error) for key, error in failures.items()}


@dataclass
class _Work:
    """A walk under way.

    matrix: the matrix of cells.
    needed: the stages to make, by key.
    executor: runs the stages.
    live: shows the progress.
    made: the keys of the stages made so far.
    """

    matrix: Matrix
    needed: dict[str, Stage]
    executor: Executor
    live: Live
    made: set[str] = field(default_factory=set)

    def stage_made(self, stage: Stage) -> None:
        self.made.add(stage.key)
        with suppress(MissingArtefactError):  # damaged already; its reader has it made again
            manifest = self.matrix.store.manifest(stage.key)
            self.live.made(stage, manifest["seconds"])
            self.live.forecast.weigh(stage, manifest)


@dataclass
class _Shown:
    """An executor that shows how each of its jobs ended. It tells them what is known of their stages.

    That is how much memory such stages took, and in how many processes they train.

    make: makes the executor that runs the jobs. It is called at the start, or with the first job.
    live: shows how jobs ended.
    needed: the stages to make, by key.
    processes: how many processes train a network together.
    executor: the executor, once it is made.
    """

    make: Callable[[], Executor]
    live: Live
    needed: Mapping[str, Stage]
    processes: int = 1
    executor: Executor | None = None

    def start(self) -> Executor:
        if self.executor is None:
            self.executor = self.make()
            self.live.workers = self.workers
        return self.executor

    @property
    def workers(self) -> int:
        return max(1, self.start().workers)

    def submit(self, job: Job) -> Future[None]:
        stage = self.needed.get(job.key)  # None for a damaged input, which is made again
        if stage is not None:
            job = replace(job, memory=self.live.forecast.memory(stage))
            if self.processes > 1 and stage.data_parallel:
                job = replace(job, processes=self.processes)
        future = self.start().submit(job)
        future.add_done_callback(lambda answered: self.live.ended(job.key, answered.exception()))
        return future

    def shutdown(self) -> None:
        if self.executor is not None:
            self.executor.shutdown()


def leave_matrix(matrix: Matrix, engine: Engine) -> str:
    """Have Slurm make the missing stages of a matrix after this process has ended. Return a line about it.

    engine: that of Slurm. No other goes on without this process.

    Raise PrunebenchError as `run_matrix` does, or if Slurm refuses.
    """
    needed = matrix.missing()
    engine, count = _checked(matrix, needed, engine, matrix.graph)
    collects = "the same command without --leave collects the rows"
    if not needed:
        return f"All stages are stored: {collects}"
    at_work = slurm.leave(engine, count)
    return f"{at_work} makes {len(needed)} stages. See prunebench status; in the end {collects}"


def _checked(
    matrix: Matrix, needed: dict[str, Stage], engine: Engine, graph: Graph | None
) -> tuple[Engine, int]:
    """Return an engine that knows its run, and the number of workers.

    Raise PrunebenchError if the store cannot be written or a part lacks a file.
    """
    check(engine)
    if needed:
        check_folder(matrix.store.root, "--store")
    matrix.check_parts(needed)
    if needed:
        matrix.check_networks()
    stages = graph.stages.values() if graph is not None else [*closure(needed.values())]
    engine = replace(
        engine,
        device=matrix.device,
        gpus=matrix.gpus,
        store=matrix.store.root,
        jobs=lambda: map(matrix.job, stages),
    )
    count = min(max(1, len(needed)), most_workers(engine, matrix.device))  # one, if a stored stage is damaged
    if engine.cpu_workers is None:
        engine = replace(engine, cpu_workers=default_cpu_workers(matrix.device, count * engine.processes))
    return engine, count


@contextmanager
def _work(
    matrix: Matrix, needed: dict[str, Stage], forecast: Forecast, engine: Engine, graph: Graph | None = None
) -> Iterator[_Work]:
    """Start an executor and show its progress. At the end stop it, and delete what it leaves in the store.

    graph: that of the cells to show, or None if stages alone are made.

    Raise PrunebenchError, before any work, if the store cannot be written or a part lacks a file.
    """
    engine, count = _checked(matrix, needed, engine, graph)
    _tell_of_fine_tuning(matrix, needed, forecast)
    live = Live(needed, forecast, count, graph)
    shown = _Shown(lambda: executor(engine, count, live.update), live, needed, engine.processes)
    work = _Work(matrix, needed, shown, live)
    try:
        with interruptible():
            if needed or engine.name == "local":  # a cluster is not asked for anything if all is stored
                shown.start()
            with live:
                yield work
    finally:
        work.executor.shutdown()
        matrix.store.discard_partial(needed.keys() - work.made)
        slurm.tidy(matrix.store)


def _tell_of_fine_tuning(matrix: Matrix, needed: Mapping[str, Stage], forecast: Forecast) -> None:
    """Say in one line how long it takes to fine-tune networks on a CPU. It is for GPUs."""
    tuned = [stage for stage in needed.values() if stage.body is not None]
    if not tuned or matrix.device != "cpu":
        return
    probe(matrix, forecast, tuned)
    seconds, _ = forecast.estimate(tuned)
    echo(f"{len(tuned)} fine-tuning(s) on a CPU: about {duration(seconds)} of one core", err=True)


def _print_traces(errors: Iterable[Exception]) -> None:
    """Print the traceback of each failed stage once, if --traceback asks for it."""
    if terminal.state["traceback"]:
        for trace in dict.fromkeys(error.trace for error in errors if isinstance(error, StageError)):
            echo(trace.rstrip(), err=True)
