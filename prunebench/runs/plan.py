"""The plan of a matrix: its stages, those stored, those to make, and what these will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prunebench.errors import DataAbsentError
from prunebench.pipeline.forecast import Forecast, forecast_from_store, probe
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages import STAGES
from prunebench.runs.format import duration, size

WIDEST = 60  # characters; longer titles are cut, unless --each is given


@dataclass
class Line:
    """A line of the plan: stages that differ only in ratio and seed.

    dataset: the name of the dataset.
    kind: the kind of stage.
    title: the part or network that they run.
    methods: the names of the methods that need one of them.
    stages: the stages.
    stored: the number of stored stages.
    to_make: the number of missing stages.
    seconds: the time of the missing stages on one worker, or None if there is no forecast.
    memory: the most bytes of memory that one of them took before, or None if unknown (see `Forecast.memory`).
    disk: the bytes of all missing artefacts, if each is as large as the largest so far. None: unknown.
    """

    dataset: str
    kind: str
    title: str
    methods: list[str]
    stages: list[Stage] = field(default_factory=list)
    stored: int = 0
    to_make: int = 0
    seconds: float | None = 0.0
    memory: int | None = None
    disk: int | None = None

    def columns(self, each: bool) -> list[object]:
        """Return the line as a row of the table. each: whether it is a single stage, with its own columns."""
        stage = self.stages[0]
        seed = stage.identity.get("seed", [None, None, ""])[2]
        title = self.title
        single: list[object] = []
        if each:
            single = ["" if stage.ratio is None else stage.ratio, seed, stage.key[:12]]
        elif len(title) > WIDEST:
            title = f"{title[: WIDEST - 1]}…"
        cost = [duration(self.seconds), _size(self.memory), _size(self.disk)] if self.to_make else [""] * 3
        return [
            self.dataset,
            self.kind,
            title,
            *single,
            self.stored,
            self.to_make,
            *cost,
            ", ".join(self.methods),
        ]


def lines(matrix: Matrix, each: bool) -> list[Line]:
    """Return the plan of a matrix, in the order of datasets and kinds. each: one line per stage."""
    users = _users(matrix)
    forecast = forecast_from_store(matrix)
    needed = matrix.missing()
    probe(matrix, forecast, needed.values())
    datasets = list(dict.fromkeys(cell.dataset.name for cell in matrix.cells))
    kinds = [stage.kind for stage in STAGES]

    def position(stage: Stage) -> tuple[int, int]:
        return datasets.index(stage.dataset.name), kinds.index(stage.kind)

    groups: dict[tuple[str, ...], Line] = {}
    for stage in sorted(matrix.graph.stages.values(), key=position):
        group: tuple[str, ...] = (stage.dataset.name, stage.kind, stage.title)
        if each:
            group = (*group, stage.key)
        line = groups.setdefault(group, Line(stage.dataset.name, stage.kind, stage.title, []))
        line.stages.append(stage)
        line.methods += [name for name in users[stage.key] if name not in line.methods]
        if stage.key in needed:
            line.to_make += 1
            line.seconds = _add(line.seconds, forecast, stage)
            line.memory = forecast.memory(stage)  # the same of all stages of a line
            each_disk = forecast.disk(stage)
            line.disk = None if each_disk is None else each_disk * line.to_make
        else:
            line.stored += 1
    return list(groups.values())


def _users(matrix: Matrix) -> dict[str, list[str]]:
    """Return the names of the methods that need each stage, by its key."""
    ends: dict[str, list[Stage]] = {}
    for cell in matrix.graph.targets:
        ends.setdefault(cell.method.name, []).extend(matrix.graph.ends(cell))
    users: dict[str, list[str]] = {}
    for name, stages in ends.items():
        for stage in closure(stages):
            users.setdefault(stage.key, []).append(name)
    return users


def _add(seconds: float | None, forecast: Forecast, stage: Stage) -> float | None:
    more, unknown = forecast.estimate([stage])
    return None if seconds is None or unknown else seconds + more


def _size(count: int | None) -> str:
    return "?" if count is None else size(count)


def total(lines: Sequence[Line]) -> str:
    """Return the time of all missing stages on one worker, as a text."""
    parts = [line.seconds for line in lines if line.to_make]
    known = sum(part for part in parts if part is not None)
    if None in parts:
        return f"more than {duration(known)}" if known else "?"
    return duration(known)


def absent(matrix: Matrix) -> list[str]:
    """Return one line for each dataset with missing files. All its stages count as missing."""
    messages = []
    for dataset in matrix.datasets:
        try:
            dataset.files(matrix.data)
        except DataAbsentError as error:
            reason = str(error).rstrip(".")
            messages.append(f"absent: {reason}. All its stages count as missing.")
    return messages
