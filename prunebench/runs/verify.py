"""Verifying: rows are made again by this installation, and compared with what they say."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import DataAbsentError, MissingArtefactError, PrunebenchError
from prunebench.parts.registry import anchored, load
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import versions
from prunebench.results import record, verifications
from prunebench.results.agreement import Setting, setting, tolerances
from prunebench.results.rows import Result, read, read_file, without_superseded
from prunebench.runs.certify import certificates_of
from prunebench.runs.pages import suite_of
from prunebench.runs.run import ENGINE, run_matrix
from prunebench.runs.select import filters_of
from prunebench.suites import resolve
from prunebench.suites.cells import PROTOCOL, Cell
from prunebench.suites.schema import Suite
from prunebench.system.files import near

AGREES, NEAR, DIFFERS = "agrees", "within tolerance", "differs"
UNDECIDED, LEFT = "undecided", "cannot be remade"
VERDICTS = AGREES, NEAR, DIFFERS, UNDECIDED, LEFT
# What a row says that no rounding changes.
COUNTED = ("reference", "label_fraction", "label_draw", "images", "labels_selection", "trials")
# What it says beside the accuracy that one CPU repeats to the last digit.
MEASURED = (
    *("best_accuracy", "balanced_accuracy", "worst_decile_recall", "kept", "kept_per_class", "lost_classes"),
    *("constant_scores", "labels_training", "labels_total", "quality", "labels_per_class", "tuned"),
)


@dataclass
class Found:
    """Rows that were read, and a line for each file with lines that cannot be read."""

    rows: list[Result] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def rows_in(path: Path) -> Found:
    """Return the rows in a .jsonl file, or in all of those below a folder, unless another supersedes them.

    Raise PrunebenchError if there are none.
    """
    files = sorted(path.glob("**/*.jsonl")) if path.is_dir() else [path]
    found = Found()
    for file in files:
        if file.name == verifications.NAME:
            continue
        lines = read_file(file)
        found.rows += lines.rows
        if lines.damaged or lines.newer:
            found.complaints.append(
                f"{near(file)}: {len(lines.damaged)} damaged line(s), {lines.newer} row(s) of a newer version"
            )
    found.rows = without_superseded(found.rows)
    if not found.rows and not found.complaints:
        where = near(path) if path.exists() else f"{near(path)}, which does not exist"
        raise PrunebenchError(f"no rows in {where}; name a .jsonl file of rows, or a folder of such files")
    return found


def sampled(rows: Sequence[Result], count: int | None, seed: int) -> list[Result]:
    """Return `count` random rows, in their order. All if there are no more, or for None."""
    if count is None or count >= len(rows):
        return list(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return [rows[position] for position in np.sort(chosen)]


@dataclass(frozen=True)
class Verdict:
    """What is said of a row.

    word: one of VERDICTS.
    again: the row as it was made here, or None if it was not.
    why: what differs beside the accuracy, how far machines lie apart, or why the row was not made.
    """

    row: Result
    word: str
    again: Result | None = None
    why: str = ""


def verdicts(rows: Iterable[Result], results: Path, place: Matrix, engine: Engine = ENGINE) -> list[Verdict]:
    """Make rows again and judge them, suite by suite.

    results: the folder that keeps the suites of the rows, unless these are shipped.
    place: a matrix without cells, with store, data and device. What its store holds is not made again.
    """
    by_suite: dict[str, list[Result]] = {}
    for row in rows:
        by_suite.setdefault(row.suite, []).append(row)
    found = []
    for name, of_suite in by_suite.items():
        found += _of_suite(of_suite, name, results, place, engine)
    return found


def _of_suite(
    rows: Sequence[Result], name: str, results: Path, place: Matrix, engine: Engine
) -> list[Verdict]:
    """Return the verdicts on rows of one suite."""
    left: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    specs: dict[str, Any] = {}
    for row in rows:
        try:
            single = matrix_of(row, suite_of(name, results), place)
        except PrunebenchError as error:
            left[row.id] = str(error)
            continue
        (cells[row.id],) = single.cells
        specs |= single.specs
    claimed = dict.fromkeys(cells[row.id] for row in rows if row.certified and row.id in cells)
    doubts = _doubts(replace(place, cells=list(claimed), specs=specs), engine)
    made = _made(replace(place, cells=list(dict.fromkeys(cells.values())), specs=specs), engine)
    within = _tolerances(
        rows, read(results, name)[0], [row for row in made.values() if isinstance(row, Result)]
    )
    found = []
    for row in rows:
        again = left[row.id] if row.id in left else made[cells[row.id]]
        if isinstance(again, str):
            found.append(Verdict(row, LEFT, why=again))
            continue
        doubt = doubts.get(cells[row.id]) if row.certified else None
        found.append(judged(row, again, doubt, within[row.method].get(setting(again), 0.0)))
    return found


def _tolerances(
    judged: Sequence[Result], known: Sequence[Result], made: Sequence[Result]
) -> dict[str, dict[Setting, float]]:
    """Return within how many points rows have to agree, by their method and setting.

    known: the rows in the folder of results.
    made: rows that were made here. They stand in for those judged, which may be forged.

    The spread of the other methods decides, where there is any: forged rows would widen their own.
    """
    suspects = {row.id for row in judged}
    others = [row for row in known if row.id not in suspects]
    own = tolerances([*made, *others])
    return {
        method: own | tolerances([*made, *(row for row in others if row.method != method)])
        for method in sorted({row.method for row in judged})
    }


def _made(matrix: Matrix, engine: Engine) -> dict[Cell, Result | str]:
    """Return the row of each cell, or why it failed. Progress goes to stderr."""
    with redirect_stdout(sys.stderr):
        failures = run_matrix(matrix, Forecast(), None, engine)
    made: dict[Cell, Result | str] = {}
    for cell in matrix.cells:
        try:
            made[cell] = record.row(matrix, cell)
        except MissingArtefactError:
            made[cell] = f"failed: {failures[cell.name]}"
    return made


def _doubts(matrix: Matrix, engine: Engine) -> dict[Cell, str]:
    """Certify cells, and return why some are not certified. A GPU certifies none, and has no doubts."""
    if not matrix.cells or matrix.device != "cpu":
        return {}
    certificates = certificates_of(matrix, Forecast(), engine)
    return {**certificates.exempt, **certificates.caught}


def matrix_of(row: Result, suite: Suite, place: Matrix) -> Matrix:
    """Return the matrix of the one cell of a row, with its data at hand.

    Raise PrunebenchError if this installation cannot make that cell, or if it would make another.
    """
    if row.protocol_version != PROTOCOL:
        raise PrunebenchError(f"other version: protocol {row.protocol_version}, here {PROTOCOL}")
    try:
        spec = resolve.dataset_spec(suite, row.dataset)
        cells = resolve.cells(suite, filters_of([row]), load())
    except PrunebenchError as error:
        raise PrunebenchError(f"missing: {error}") from None
    found = [cell for cell in cells if (cell.method.name, cell.ratio) == (row.method, row.ratio)]
    if [cell.method_key for cell in found] != [row.method_key]:
        made_by = row.versions.get("prunebench", "an unknown version")
        raise PrunebenchError(
            f"other key: suite or parts have other settings or code here; version {made_by} made the row, "
            f"and this is {versions()['prunebench']}"
        )
    matrix = replace(place, cells=found, specs={row.dataset: anchored(spec)})
    matrix.check_device()
    try:
        matrix.fetch()
    except DataAbsentError as error:
        raise PrunebenchError(f"missing data: {error}") from None
    if matrix.graph.roots[row.dataset] != row.dataset_hash:
        raise PrunebenchError(f"other data: {row.dataset} has other content here")
    matrix.check_parts(matrix.graph.stages)
    return matrix


def judged(row: Result, again: Result, doubt: str | None = None, tolerance: float = 0.0) -> Verdict:
    """Return the verdict on a row that was made again.

    The accuracy has to agree as `Result.agrees` says, or lie within the tolerance if another machine made it.
    What is counted has to be equal on every machine, and all that is measured on the same CPU.

    doubt: why a row that says it is certified was not certified again.
    tolerance: as of `Result.agrees`.
    """
    wrong = [*_contradictions(row), *_differences(row, again, COUNTED)]
    if doubt:
        wrong.append(f"it says certified; here {doubt}")
    if wrong:
        return Verdict(row, DIFFERS, again, "; ".join(wrong))
    same_machine = row.machine == again.machine
    exact = same_machine and again.device == "cpu"
    unequal = _differences(row, again, MEASURED) if exact else []
    # A row may claim any machine. So a tolerance makes it agree only where its own machine is here.
    if row.agrees(again, tolerance if same_machine else 0.0) and not unequal:
        return Verdict(row, AGREES, again)
    if row.accuracy_key != again.accuracy_key:
        return Verdict(row, LEFT, again, "other key: its stages have other versions here")
    if same_machine:
        return Verdict(row, DIFFERS, again, "; ".join(unequal))
    word, why = _between_machines(row, again, tolerance)
    return Verdict(row, word, again, f"other machine: {why}")


def _contradictions(row: Result) -> list[str]:
    """Return where the accuracies of a row contradict one another, which no machine explains."""
    evaluated = [accuracy for _, accuracy in row.history]
    found = []
    if evaluated and evaluated[-1] != row.accuracy:
        found.append(f"accuracy {row.accuracy}, and {evaluated[-1]} at the end of its history")
    if max(evaluated, default=row.best_accuracy) != row.best_accuracy or row.best_accuracy < row.accuracy:
        found.append(f"best_accuracy {row.best_accuracy}, which is not the best")
    return found


def _between_machines(row: Result, again: Result, tolerance: float) -> tuple[str, str]:
    """Return the verdict on a row of another machine whose accuracy differs, and why.

    A machine that rounds otherwise may select other images. Seeds that repeat the training alone say nothing
    about how far that sets accuracies apart.
    """
    apart = abs(row.accuracy - again.accuracy)
    gap = f"{apart:.2f} points apart"
    if again.repeats != "pipeline" and row.kept_per_class != again.kept_per_class:
        return UNDECIDED, f"{gap}; other images were kept, and no seed repeats the whole pipeline"
    if not tolerance:
        return UNDECIDED, f"{gap}; no two seeds of one method show what chance does"
    if apart <= tolerance:
        return NEAR, f"{gap}, at most {tolerance:.2f} by chance"
    return DIFFERS, f"{gap}, at most {tolerance:.2f} by chance"


def _differences(row: Result, again: Result, names: Iterable[str]) -> list[str]:
    pairs = [(name, getattr(row, name), getattr(again, name)) for name in names]
    return [f"{name} {there}, here {here}" for name, there, here in pairs if there != here]


def recorded(found: Iterable[Verdict], results: Path) -> int:
    """Record the rows that agree, beside them in a folder of results. Return how many records are new.

    Raise PrunebenchError if one of these rows is not in that folder.
    """
    agreed = [verdict for verdict in found if verdict.word == AGREES]
    suites = {verdict.row.suite for verdict in agreed}
    known = {row.id for suite in suites for row in read(results, suite)[0]}
    new = 0
    for verdict in agreed:
        row, again = verdict.row, verdict.again
        if row.id not in known:
            raise PrunebenchError(
                f"--record: a row of {row.method} is not in {near(results)}/results; add it there first"
            )
        assert again is not None
        new += verifications.append(results, verifications.verification(row, again))
    return new
