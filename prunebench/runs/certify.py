"""Certifying: the selection of cells is made again without the truth, and has to be the same, bit for bit.

Everything up to the subset is made a second time, from a dataset whose labels, names and test split are
replaced (`prunebench.parts.blinded`). Only the label draw sees the real labels, and hands out those that the
method pays for. So a difference shows that something rests on a label that nobody annotated.
The final training is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Part
from prunebench.parts.blinded import blinded
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, closure
from prunebench.runs.run import ENGINE, Certificates, make_stages, run_matrix
from prunebench.runs.sinks import Sinks
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import held
from prunebench.system.terminal import echo

USED = ("subset", "labels")  # the inputs of a final training that a method makes


def certificates_of(matrix: Matrix, forecast: Forecast, engine: Engine = ENGINE) -> Certificates:
    """Certify the cells of a matrix. Their selections are made if they are missing.

    The blinded stages have keys of their own, in the same store. So a second certification resumes the first.

    Raise PrunebenchError on a GPU, which does not repeat itself to the last bit.
    Raise PrunebenchError without worker processes. A part could remember the truth from its first run.
    Raise the same errors as `run_matrix`.
    """
    if matrix.device != "cpu":
        raise PrunebenchError(
            "certifying compares to the last bit, and a GPU adds in no fixed order; use --device cpu"
        )
    if engine.workers == 0:
        raise PrunebenchError("certifying needs processes of its own; use --workers 1 or more")
    exempt = {cell: why for cell in matrix.cells if (why := obstacle(cell))}
    cells = [cell for cell in matrix.cells if cell not in exempt]
    seen = replace(matrix, cells=cells)
    unseen = without_truth(seen)
    failed = make_stages(seen, _ends(seen), forecast, engine)
    failed |= make_stages(unseen, _ends(unseen), forecast, engine)
    certified = []
    caught = {}
    for cell, twin in zip(cells, unseen.cells, strict=True):
        own, other = selection(seen, cell), selection(unseen, twin)
        if any(stage.key in failed for stage in own):
            continue
        reasons = [failed[stage.key] for stage in other if stage.key in failed]
        difference = f"fails without the truth: {reasons[0]}" if reasons else _difference(seen, own, other)
        if difference:
            caught[cell] = f"not certified: {difference}"
        else:
            certified.append(cell)
    return Certificates(frozenset(certified), exempt, caught)


def run_certified(
    matrix: Matrix, forecast: Forecast, results: Sinks | None, engine: Engine = ENGINE
) -> dict[str, str]:
    """Certify the cells of a matrix, then run it as `run_matrix`. Print why some cannot be certified."""
    certificates = certificates_of(matrix, forecast, engine)
    for cell, why in certificates.exempt.items():
        echo(f"cannot be certified: {cell.name}: {why}", err=True)
    return run_matrix(matrix, forecast, results, engine, certificates)


def obstacle(cell: Cell) -> str | None:
    """Return why nothing can show what a cell rests on, or None."""
    for part in _parts(cell):
        if any(isinstance(getattr(part, entry.name), Path) for entry in fields(part)):
            return f"{part.name} reads a file, and nothing shows what that was made from"
    if cell.searched and cell.tuning == "oracle_test":
        return "its values are chosen on the test split"
    if cell.published:
        return "its values are printed in a paper, and may have been chosen on the test split"
    return None


def _parts(cell: Cell) -> Iterator[Part]:
    """Yield all parts that the selection of a cell runs."""
    methods = (cell.method, cell.method.matched_to)
    tops = [part for method in methods if method for part in method.parts.values()]
    for top in (*tops, cell.proxy_backbone):
        if top is not None:
            yield from held(top)


def without_truth(matrix: Matrix) -> Matrix:
    """Return the matrix of the same cells on blinded datasets."""
    names = [dataset.name for dataset in matrix.datasets]
    return replace(
        matrix,
        cells=[replace(cell, dataset=blinded(cell.dataset)) for cell in matrix.cells],
        specs={name: {"blinded": matrix.specs.get(name, name)} for name in names},
    )


def selection(matrix: Matrix, cell: Cell) -> list[Stage]:
    """Return the last stages of a cell's method: its subset, and the labels if its final network has them."""
    inputs = matrix.graph.targets[cell].inputs
    return [item.source for item in inputs if item.name in USED]  # type: ignore[misc]


def _ends(matrix: Matrix) -> dict[str, Stage]:
    return {stage.key: stage for cell in matrix.cells for stage in selection(matrix, cell)}


def _difference(matrix: Matrix, own: list[Stage], other: list[Stage]) -> str | None:
    """Return which stage has another result without the truth, the first of all, or None."""
    store = matrix.store
    for stage, twin in zip(closure(own), closure(other), strict=True):
        if store.manifest(stage.key)["sha256"] != store.manifest(twin.key)["sha256"]:
            return (
                f"{stage.kind} of {stage.title} change if names, the test split and the labels that nobody "
                "annotated are replaced"
            )
    return None
