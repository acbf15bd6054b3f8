"""The stages of many cells: what each cell's row is made from, and all that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages.accuracy import TrainedAccuracy
from prunebench.pipeline.stages.choice import choices
from prunebench.pipeline.stages.given import bought
from prunebench.pipeline.stages.labeler_accuracy import LabelerAccuracy
from prunebench.pipeline.stages.quality import LabelQuality
from prunebench.pipeline.stages.scores import upstream
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.suites.cells import Cell


class Graph:
    """The stages of many cells, each stage once. Cells share stages wherever their keys are equal.

    targets: the accuracy of each cell.
    qualities: that of its guessed labels, or None.
    draws: of the labels that it counts as bought; none where it buys all of them or none.
    """

    def __init__(self, cells: Iterable[Cell], roots: Mapping[str, str]) -> None:
        """Plan the stages; roots maps dataset names to their keys (see `dataset_key`)."""
        self.roots, self.plan = roots, Plan(roots)
        self.targets = {cell: self._target(cell) for cell in cells}
        self.qualities = {cell: self._quality(cell) for cell in self.targets}
        self.draws = {cell: self._draws(cell) for cell in self.targets}
        ends = (end for cell in self.targets for end in self.ends(cell))
        self.stages = {stage.key: stage for stage in closure(ends)}

    def ends(self, cell: Cell) -> list[Stage]:
        """Return the stages that a row is made from: accuracy, quality of guessed labels, draws of labels."""
        quality = self.qualities[cell]
        return [self.targets[cell], *([quality] if quality else []), *self.draws[cell]]

    def lineage(self, cell: Cell) -> list[Stage]:
        """Return all stages of a cell, each once, inputs first: its row tells what each of them cost."""
        return list(closure(self.ends(cell)))

    def subset(self, cell: Cell) -> SelectorSubset:
        """Return the selection of a cell."""
        return SelectorSubset.of(self.plan, cell)

    def choices(self, cell: Cell) -> dict[str, Stage]:
        """Return what chooses the tuned fields of a cell, by field."""
        return {given.of: given.source for given in choices(self.plan, cell)}  # type: ignore[misc]

    def _labels(self, cell: Cell) -> Input:
        return next(given for given in upstream(self.plan, cell) if given.name == "labels")

    def _target(self, cell: Cell) -> Stage:
        final, subset = cell.method.final, Input("subset", self.subset(cell))
        if final == "labeler":
            return LabelerAccuracy.of(self.plan, cell, (subset, self._labels(cell)))
        trained_with = () if final == "truth" else (self._labels(cell),)
        return TrainedAccuracy.of(self.plan, cell, (subset, *trained_with))

    def _draws(self, cell: Cell) -> tuple[Stage, ...]:
        labeler = (cell.method.beside or cell.method).labeler
        if labeler is None or cell.method.annotation in (0, 1):
            return ()
        return (bought(self.plan, cell, labeler),)

    def _quality(self, cell: Cell) -> LabelQuality | None:
        labeler = cell.method.labeler
        if labeler is None or not labeler.guesses:
            return None
        return LabelQuality.of(self.plan, cell, self._labels(cell))
