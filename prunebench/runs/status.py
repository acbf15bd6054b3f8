"""The status of a matrix, from its store: its cells by state, the stages that run, and what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prunebench.pipeline.executors import slurm
from prunebench.pipeline.forecast import Forecast, forecast_from_store
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.runs.format import duration, stage_name
from prunebench.runs.states import SHOWN, CellStates
from prunebench.system.leases import Claim

RUNNING = ("running now", "for", "of about", "checkpoint", "by")  # the header of the stages that run


@dataclass(frozen=True)
class Status:
    """How far a matrix is.

    cells: for each dataset and method, both names and the number of cells in each of the SHOWN states.
    running: a line for each stage that a process makes, under the header RUNNING.
    tasks: a line for each array of Slurm that is at work in the store.
    failures: a line for each stage whose last attempt failed.
    total: a line about all cells and stages.
    """

    cells: list[list[object]]
    running: list[list[object]]
    tasks: list[str]
    failures: list[str]
    total: str


def status(matrix: Matrix) -> Status:
    """Return the status of a matrix.

    done: no stage of the cell is missing.
    running: a process makes a stage of the cell.
    interrupted: a stage of the cell has a checkpoint, and no process makes it.
    failed: the last attempt at a stage of the cell failed.
    left: a stage of the cell is missing.
    """
    forecast = forecast_from_store(matrix)  # sets damaged entries aside, so it comes first
    needed = matrix.missing()
    claims = {key: claim for key, claim in matrix.store.being_made().items() if key in needed}
    failures = {}
    for key in needed:
        failure = matrix.store.failure(key)
        if failure and key not in claims:  # else it is tried again right now
            failures[key] = failure
    # Later marks replace earlier ones.
    marks = dict.fromkeys(needed, "left")
    marks |= dict.fromkeys(matrix.store.begun() & needed.keys(), "interrupted")
    marks |= dict.fromkeys(claims, "running")
    marks |= dict.fromkeys(failures, "failed")
    states = CellStates(matrix.graph, marks)
    counts = {names: states.count(cells) for names, cells in states.lines().items()}
    return Status(
        [[*names, *(count[state] for state in SHOWN)] for names, count in counts.items()],
        [_running(matrix, states, forecast, needed[key], claim) for key, claim in claims.items()],
        slurm.standing(matrix.store.root),
        [
            f"failed: {needed[key].dataset.name} {needed[key].kind} {needed[key].title}: {failure['message']}"
            for key, failure in failures.items()
        ],
        _total(matrix, states, forecast, needed),
    )


def _running(
    matrix: Matrix, states: CellStates, forecast: Forecast, stage: Stage, claim: Claim
) -> list[object]:
    """Return the line of a stage that runs: for how long, how long such stages took, its last checkpoint."""
    seconds, unknown = forecast.estimate([stage])
    saved = matrix.store.checkpoint(stage.key).peek()
    share = f"{saved['step'] / saved['steps']:.0%}" if {"step", "steps"} <= saved.keys() else ""
    return [
        stage_name(stage, states.methods(stage.key)),
        duration(claim.age()),
        duration(None if unknown or stage.instant else seconds),
        share,
        claim.holder,
    ]


def _total(matrix: Matrix, states: CellStates, forecast: Forecast, needed: Mapping[str, Stage]) -> str:
    """Return a line: how many cells are done, how many stages are missing, and how long these take."""
    done = states.count(matrix.graph.targets)["done"]
    cells = f"{done} of {len(matrix.graph.targets)} cells done"
    if not needed:
        return cells
    seconds, unknown = forecast.estimate(needed.values())
    about = "more than" if unknown else "about"
    work = f"{about} {duration(seconds)} on one worker" if seconds or not unknown else "time unknown"
    return f"{cells}; {len(needed)} of {len(matrix.graph.stages)} stages to make, {work}"
