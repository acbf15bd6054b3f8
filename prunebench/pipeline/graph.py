"""The graph of the stages of many cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages.accuracy import TrainedAccuracy
from prunebench.pipeline.stages.choice import choices
from prunebench.pipeline.stages.given import annotated_labels
from prunebench.pipeline.stages.labeler_accuracy import LabelerAccuracy
from prunebench.pipeline.stages.quality import LabelQuality
from prunebench.pipeline.stages.scores import upstream
from prunebench.pipeline.stages.selection_work import SelectionWork
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.suites.cells import Cell
from prunebench.system.garbage import no_garbage

T = TypeVar("T")


class Graph:
    """The stages of many cells. Cells share the stages that have equal keys.

    targets: the accuracy stage of each cell.
    transfers: the accuracy stages of the other networks that train on its subset, per cell, by network.
    qualities: the label quality stage of each cell, or None if its method makes no pseudo-labels.
    draws: the stages that annotate labels, per cell. Empty if the method annotates all labels or none.
    stages: all stages, by key, inputs first.
    """

    def __init__(self, cells: Iterable[Cell], roots: Mapping[str, str]) -> None:
        """Plan the stages of `cells`. roots: the keys of the datasets, by name (see `dataset_key`)."""
        self.roots = roots
        self.plan = Plan(roots)
        with no_garbage():  # of which stages are none
            self._plan(cells)

    def _plan(self, cells: Iterable[Cell]) -> None:
        self.targets = {cell: self._target(cell) for cell in cells}
        self.transfers = {cell: self._transfers(cell) for cell in self.targets}
        self.qualities = {cell: self._of_labels(cell, self._quality) for cell in self.targets}
        self.draws = {cell: self._of_labels(cell, self._draws) for cell in self.targets}
        ends = [end for cell in self.targets for end in self.ends(cell)]
        self.stages = {stage.key: stage for stage in closure(ends)}

    def ends(self, cell: Cell) -> list[Stage]:
        """Return the stages that a row is made from: accuracies, label quality, annotated labels."""
        ends = [self.targets[cell], *self.transfers[cell].values()]
        quality = self.qualities[cell]
        if quality is not None:
            ends.append(quality)
        ends.extend(self.draws[cell])
        return ends

    def lineage(self, cell: Cell) -> list[Stage]:
        """Return all stages of a cell, each once, inputs first. Its row holds the cost of each."""
        return list(closure(self.ends(cell)))

    def subset(self, cell: Cell) -> SelectorSubset:
        """Return the selection of a cell."""
        return SelectorSubset.of(self.plan, cell)

    def labels(self, cell: Cell) -> Stage:
        """Return the labels that the labeler of a cell makes."""
        return self._labels(cell).source  # type: ignore[return-value]

    def choices(self, cell: Cell) -> dict[str, Stage]:
        """Return the stages that choose the tuned fields of a cell, by field."""
        return {choice.of: choice.source for choice in choices(self.plan, cell)}  # type: ignore[misc]

    def _of_labels(self, cell: Cell, make: Callable[[Cell], T]) -> T:
        """Return what follows from the labels of a cell alone, made once for all cells that share them."""
        return self.plan.shared(cell, lambda: make(cell), make.__name__, cell.repeats, cell.repeat("labeler"))

    def _labels(self, cell: Cell) -> Input:
        return next(item for item in upstream(self.plan, cell) if item.name == "labels")

    def _target(self, cell: Cell) -> Stage:
        inputs = self._taught(cell)
        if cell.method.final == "labeler":
            return LabelerAccuracy.of(self.plan, cell, inputs)
        return TrainedAccuracy.of(self.plan, cell, inputs)

    def _transfers(self, cell: Cell) -> dict[str, Stage]:
        if cell.method.final == "labeler" or not cell.exams.networks:
            return {}  # it trains no final network, or no other one
        inputs = self._taught(cell)
        return {name: TrainedAccuracy.of(self.plan, cell, inputs, name) for name in cell.exams.networks}

    def _taught(self, cell: Cell) -> tuple[Input, ...]:
        """Return the subset, and what else decides a final training.

        These are the labels unless it trains on the truth, and the work that it is matched to.
        """
        found = [Input("subset", self.subset(cell))]
        if cell.method.final != "truth":
            found.append(self._labels(cell))
        if cell.method.timed_to is not None:
            found.append(SelectionWork.input_of(self.plan, cell))
        return tuple(found)

    def _draws(self, cell: Cell) -> tuple[Stage, ...]:
        labeler = (cell.method.matched_to or cell.method).labeler
        if labeler is None or cell.method.label_fraction in (0, 1):
            return ()
        return (annotated_labels(self.plan, cell, labeler),)

    def _quality(self, cell: Cell) -> LabelQuality | None:
        labeler = cell.method.labeler
        if labeler is None or not labeler.makes_pseudo_labels:
            return None
        return LabelQuality.of(self.plan, cell, self._labels(cell))
