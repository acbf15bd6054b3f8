"""The status of a matrix: its cells done, running, interrupted, failed and left."""

from __future__ import annotations

from prunebench.pipeline.matrix import Matrix

# A cell has the first of these states that one of its stages has.
STATES = ("failed", "running", "interrupted", "left", "done")
SHOWN = ("done", "running", "interrupted", "failed", "left")  # the columns of the table


def status(matrix: Matrix) -> tuple[list[list[object]], list[str]]:
    """Return the table of states, and one line per failure.

    Each row of the table holds dataset, method and the number of cells in each of the SHOWN states.

    done: no stage of the cell is missing.
    running: a process makes a stage of the cell.
    interrupted: a stage of the cell has a checkpoint, and no process makes it.
    failed: the last attempt at a stage of the cell failed.
    left: a stage of the cell is missing.
    """
    needed = matrix.missing()
    failures = {}
    for key in needed:
        failure = matrix.store.failure(key)
        if failure:
            failures[key] = failure
    # Later marks replace earlier ones.
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
    messages = [
        f"failed: {needed[key].dataset.name} {needed[key].kind} {needed[key].title}: {failure['message']}"
        for key, failure in failures.items()
    ]
    return [[*names, *count.values()] for names, count in counts.items()], messages
