"""The cells of a matrix that fit into a budget of predicted time, whole comparisons first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.executors.local import most_workers
from prunebench.pipeline.forecast import Forecast
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.runs.format import duration
from prunebench.suites.cells import Cell


@dataclass(frozen=True)
class Budget:
    """A limit of predicted time.

    text: as the user wrote it.
    seconds: the limit.
    workers: how many share the work.
    gpu_alone: whether only stages on a GPU count.
    """

    text: str
    seconds: float
    workers: int
    gpu_alone: bool


def budget(text: str, device: str, engine: Engine) -> Budget:
    """Return the budget that a text means: 20gpuh of all GPUs together, or a run of 6h.

    Raise PrunebenchError for another text, for GPUs that the run has not, if nobody knows its workers, or how
    long trainings in several processes take.
    """
    if engine.processes > 1:
        raise PrunebenchError(
            f"--budget {text} counts trainings in one process; leave out --processes-per-training"
        )
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(gpuh|h)", text)
    if match is None or not float(match[1]):
        raise PrunebenchError(f"--budget {text!r}: expected hours, as 6h, or hours of GPU, as 20gpuh")
    seconds = 3600 * float(match[1])
    if match[2] == "gpuh":
        if device != "cuda":
            raise PrunebenchError(f"--budget {text}: this run computes on the CPU; write it in h")
        return Budget(text, seconds, 1, gpu_alone=True)
    if engine.name != "local" and engine.workers is None:
        raise PrunebenchError(
            f"--budget {text}: say by --workers how many --executor {engine.name} will have"
        )
    workers = most_workers(engine, device)
    if engine.workers_per_gpu == "auto":
        workers = max(1, len(engine.gpus))  # nobody knows yet how many fit
    return Budget(text, seconds, max(1, workers), gpu_alone=False)


def within(matrix: Matrix, forecast: Forecast, budget: Budget) -> tuple[Matrix, str | None]:
    """Return the matrix of the cells that fit into a budget, and a line on those left out, if there are any.

    Raise PrunebenchError if the time of a stage is unknown, or if no cell fits.
    """
    missing = matrix.missing()
    counted = [stage for stage in missing.values() if stage.on_device or not budget.gpu_alone]
    _check_known(counted, forecast, budget)
    seconds = {stage.key: forecast.estimate([stage])[0] / budget.workers for stage in counted}
    needs = {
        cell: {stage.key for stage in matrix.graph.lineage(cell) if stage.key in seconds}
        for cell in matrix.cells
    }
    chosen: set[Cell] = set()
    made: set[str] = set()
    spent = 0.0
    for cells in _in_order(matrix.cells):
        more = set().union(*(needs[cell] for cell in cells)) - made
        cost = sum(seconds[key] for key in more)
        if spent + cost <= budget.seconds:
            chosen.update(cells)
            made |= more
            spent += cost
    if not chosen:
        least = min(sum(seconds[key] for key in needs[cell]) for cell in matrix.cells)
        raise PrunebenchError(f"--budget {budget.text}: no cell fits, the shortest takes {duration(least)}")
    fitting = replace(matrix, cells=[cell for cell in matrix.cells if cell in chosen])
    left = [cell for cell in matrix.cells if cell not in chosen]
    return fitting, _left_out(left, fitting, spent, budget) if left else None


def _in_order(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Yield the comparisons, those of the first seed first, then each cell by itself, in the same order.

    A comparison is all methods with one dataset, ratio and seed.
    """
    comparisons: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in cells:
        comparisons.setdefault((cell.seed, cell.dataset.name, cell.ratio), []).append(cell)
    in_order = [comparisons[name] for name in sorted(comparisons, key=lambda name: name[0])]
    yield from in_order
    for comparison in in_order:
        yield from ([cell] for cell in comparison)


def _check_known(stages: list[Stage], forecast: Forecast, budget: Budget) -> None:
    unknown = [stage for stage in stages if forecast.estimate([stage])[1]]
    if unknown:
        first = f"{unknown[0].kind} {unknown[0].title} of {unknown[0].dataset.name}"
        raise PrunebenchError(
            f"--budget {budget.text}: nobody knows how long {len(unknown)} stages take, the first {first}; "
            "first run one seed of them without --budget, as by --seeds 1"
        )


def _left_out(left: list[Cell], fitting: Matrix, spent: float, budget: Budget) -> str:
    seeds: dict[str, set[int]] = {}
    for cell in left:
        seeds.setdefault(cell.dataset.name, set()).add(cell.seed)
    named = "; ".join(f"{name} seeds {', '.join(map(str, sorted(found)))}" for name, found in seeds.items())
    kind = " of GPU" if budget.gpu_alone else ""
    kept = len(fitting.cells)
    return (
        f"--budget {budget.text} leaves out {len(left)} of {kept + len(left)} cells: {named}. "
        f"It keeps {kept}, for about {duration(spent)}{kind}"
    )
