"""How far a matrix is: its cells done, running, interrupted, failed and left."""

from __future__ import annotations

from prunebench.pipeline.matrix import Matrix

# A cell is in the first of these states in which a part of it is.
STATES = ("failed", "running", "interrupted", "left", "done")
SHOWN = ("done", "running", "interrupted", "failed", "left")  # in the order of `status`


def status(matrix: Matrix) -> tuple[list[list[object]], list[str]]:
    """Return the cells in each of the SHOWN states by dataset and method, and a line for each failure.

    A cell is done when nothing of it is missing, and running while any stage of it is being made. An
    interrupted one goes on in the middle of a stage: a checkpoint is there, and nobody at work.
    """
    needed = matrix.missing()
    failures = {key: failure for key in needed if (failure := matrix.store.failure(key))}
    marks = dict.fromkeys(needed, "left")
    marks |= dict.fromkeys(matrix.store.begun() & needed.keys(), "interrupted")
    marks |= dict.fromkeys(matrix.store.being_made() & needed.keys(), "running")
    marks |= dict.fromkeys(failures, "failed")
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for cell in matrix.graph.targets:
        names = cell.dataset.name, cell.method.name
        count = counts.setdefault(names, dict.fromkeys(SHOWN, 0))
        states = {marks.get(stage.key, "done") for stage in matrix.graph.lineage(cell)}
        count[next(state for state in STATES if state in states)] += 1
    told = [
        f"failed: {needed[key].dataset.name} {needed[key].kind} {needed[key].title}: {failure['message']}"
        for key, failure in failures.items()
    ]
    return [[*names, *count.values()] for names, count in counts.items()], told
