"""Stage: the value of a field that a search chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Choice, Validation
from prunebench.parts.registry import load
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import CHOICE, Stage
from prunebench.pipeline.stages.candidate import Candidate
from prunebench.pipeline.stages.scores import upstream
from prunebench.pipeline.stages.validation import CandidateValidation
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import Search, settled


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldChoice(Stage):
    """Takes the value of a field that was validated best. Validations are told apart by [value, ratio]."""

    kind: ClassVar[str] = "choice"
    instant: ClassVar[bool] = True

    field: str

    @classmethod
    def of(cls, plan: Plan, cell: Cell, search: Search, before: Sequence[Input]) -> FieldChoice:
        """Return the choice of one field, with the fields `before` it as they were chosen."""
        grid = search.grid
        ratios = (cell.ratio,) if grid.each else grid.ratios
        tried = []
        for value, ratio in product(search.values(cell.recipe, min(ratios)), ratios):
            trial = _trial(cell, search, value, ratio)
            validation = _validation(plan, trial, before, grid.field)
            tried.append(Input("validation", validation, [value, ratio]))
        return plan.add(cls, cell, tried, title=grid.field, field=grid.field)

    def compute(self, context: Context) -> tuple[Choice]:
        """Return the value with the best mean accuracy over the ratios, the first of equals."""
        found: dict[float, list[float]] = {}
        for validation in self.named("validation"):
            value, _ratio = validation.of
            found.setdefault(value, []).append(context.read(validation, Validation).accuracy)
        tried = [[value, float(np.mean(accuracies))] for value, accuracies in found.items()]
        return (Choice(value=max(tried, key=lambda pair: pair[1])[0], tried=tried),)


def choices(plan: Plan, cell: Cell) -> tuple[Input, ...]:
    """Return what chooses the tuned fields of a cell, told apart by field: on repeat 0, in turn."""
    found: list[Input] = []
    for search in cell.searched:
        grid = search.grid
        first = replace(cell, seed=0, ratio=cell.ratio if grid.each else grid.ratios[0])
        choice = plan.chosen.get((first, grid.field))
        if choice is None:
            choice = plan.chosen[first, grid.field] = FieldChoice.of(plan, first, search, tuple(found))
        found.append(Input(CHOICE, choice, grid.field))
    return tuple(found)


def _validation(plan: Plan, trial: Cell, before: Sequence[Input], field: str) -> CandidateValidation:
    candidate = Candidate.of(plan, trial, upstream(plan, trial, before), field)
    return CandidateValidation.of(plan, trial, candidate, field)


def _trial(cell: Cell, search: Search, value: float, ratio: int) -> Cell:
    """Return a cell whose method has the field of a search at one of its values."""
    field, names, method = search.grid.field, search.parts, cell.method
    scorer = method.scorer and settled(method.scorer, field, names, value)
    selector = load().part("selector", "top") if search.grid.top else method.selector
    tried = replace(method, scorer=scorer, selector=settled(selector, field, names, value))  # type: ignore[arg-type]
    return replace(cell, ratio=ratio, method=tried)
