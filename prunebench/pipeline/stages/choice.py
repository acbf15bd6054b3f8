"""Stage: the value that a search chooses for a field."""

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
from prunebench.suites.tuning import Search, with_values


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldChoice(Stage):
    """Chooses the value with the best validation accuracy. Its inputs are distinguished by [value, ratio].

    field: the name of the field.
    """

    kind: ClassVar[str] = "choice"
    instant: ClassVar[bool] = True

    field: str

    @classmethod
    def of(cls, plan: Plan, cell: Cell, search: Search, before: Sequence[Input]) -> FieldChoice:
        """Return the choice of one field.

        before: the choices of the fields that were searched before it.
        """
        grid = search.grid
        ratios = (cell.ratio,) if grid.each else grid.ratios
        tried = []
        for value, ratio in product(search.values(cell.recipe, min(ratios)), ratios):
            trial = _trial(cell, search, value, ratio)
            validation = _validation(plan, trial, before, grid.field)
            tried.append(Input("validation", validation, [value, ratio]))
        return plan.add(cls, cell, tried, title=grid.field, field=grid.field)

    def compute(self, context: Context) -> tuple[Choice]:
        """Return the value with the best mean accuracy over the ratios. Of equals the first is chosen."""
        by_value: dict[float, list[float]] = {}
        for validation in self.named("validation"):
            value, _ratio = validation.of
            accuracy = context.read(validation, Validation).accuracy
            by_value.setdefault(value, []).append(accuracy)
        tried = [[value, float(np.mean(accuracies))] for value, accuracies in by_value.items()]
        best, _accuracy = max(tried, key=lambda pair: pair[1])
        return (Choice(value=best, tried=tried),)


def choices(plan: Plan, cell: Cell) -> tuple[Input, ...]:
    """Return the choices of the tuned fields of a cell, in the order of the searches.

    All seeds share the choices of seed 0. Each search uses the values that the searches before it chose.
    """
    inputs: list[Input] = []
    for search in cell.searched:
        grid = search.grid
        first = replace(cell, seed=0, ratio=cell.ratio if grid.each else grid.ratios[0])
        choice = plan.chosen.get((first, grid.field))
        if choice is None:
            choice = FieldChoice.of(plan, first, search, tuple(inputs))
            plan.chosen[first, grid.field] = choice
        inputs.append(Input(CHOICE, choice, grid.field))
    return tuple(inputs)


def _validation(plan: Plan, trial: Cell, before: Sequence[Input], field: str) -> CandidateValidation:
    candidate = Candidate.of(plan, trial, upstream(plan, trial, before), field)
    return CandidateValidation.of(plan, trial, candidate, field)


def _trial(cell: Cell, search: Search, value: float, ratio: int) -> Cell:
    """Return the cell with one value of the searched field, at one ratio."""
    field = search.grid.field
    names = search.parts
    method = cell.method
    scorer = method.scorer and with_values(method.scorer, field, names, value)
    selector = load().part("selector", "top") if search.grid.top else method.selector
    tried = replace(method, scorer=scorer, selector=with_values(selector, field, names, value))  # type: ignore[arg-type]
    return replace(cell, ratio=ratio, method=tried)
