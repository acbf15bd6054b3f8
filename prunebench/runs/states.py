"""How far cells are: the state of each follows from the marks of its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from prunebench.pipeline.graph import Graph
from prunebench.suites.cells import Cell

# A cell has the first of these states that one of its stages has.
STATES = ("failed", "running", "interrupted", "left", "done")
SHOWN = ("done", "running", "interrupted", "failed", "left")  # in the order of tables


class CellStates:
    """The state of every cell of a graph, while stages are marked.

    marks: the state of each stage that is not stored, by key. All others are done.
    of: the state of each cell.
    """

    def __init__(self, graph: Graph, marks: Mapping[str, str]) -> None:
        self.marks = dict(marks)
        self.of: dict[Cell, str] = {}
        self._keys: dict[Cell, list[str]] = {}
        self._cells: dict[str, list[Cell]] = {}
        for cell in graph.targets:
            keys = [stage.key for stage in graph.lineage(cell) if stage.key in self.marks]
            self._keys[cell] = keys
            for key in keys:
                self._cells.setdefault(key, []).append(cell)
            self._look(cell)

    def mark(self, key: str, state: str) -> None:
        """Mark a stage, and look anew at the cells that need it."""
        self.marks[key] = state
        for cell in self._cells.get(key, []):
            self._look(cell)

    def _look(self, cell: Cell) -> None:
        states = {self.marks[key] for key in self._keys[cell]}
        self.of[cell] = next((state for state in STATES if state in states), "done")

    def methods(self, key: str) -> set[str]:
        """Return the names of the methods whose cells need a stage."""
        return {cell.method.name for cell in self._cells.get(key, [])}

    def lines(self) -> dict[tuple[str, str], list[Cell]]:
        """Return the cells by dataset and method, in the order of the graph."""
        lines: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.of:
            lines.setdefault((cell.dataset.name, cell.method.name), []).append(cell)
        return lines

    def count(self, cells: Iterable[Cell]) -> Counter[str]:
        """Return how many of these cells are in each state."""
        return Counter(self.of[cell] for cell in cells)
