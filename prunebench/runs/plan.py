"""What a matrix would do: its stages counted, what is stored, what is shared, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prunebench.errors import DataAbsentError
from prunebench.pipeline.forecast import Forecast, learnt, probe
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages import STAGES
from prunebench.runs.format import duration

WIDEST = 60  # letters of a title in a plan; --each shows all


@dataclass
class Line:
    """Stages that differ in ratio and seed only."""

    dataset: str
    kind: str
    title: str
    methods: list[str]
    stages: list[Stage] = field(default_factory=list)
    stored: int = 0
    to_make: int = 0
    seconds: float | None = 0.0

    def columns(self, each: bool) -> list[object]:
        """Return the line as a row of the plan."""
        stage = self.stages[0]
        seed = stage.identity.get("seed", [None, None, ""])[2]
        own = [stage.ratio if stage.ratio is not None else "", seed, stage.key[:12]] if each else []
        time = duration(self.seconds) if self.to_make else ""
        return [
            self.dataset,
            self.kind,
            self.title if each or len(self.title) <= WIDEST else f"{self.title[: WIDEST - 1]}…",
            *own,
            self.stored,
            self.to_make,
            time,
            ", ".join(self.methods),
        ]


def lines(matrix: Matrix, each: bool) -> list[Line]:
    """Return the plan of a matrix in the order of its stages; with `each`, one line per stage."""
    users = _users(matrix)
    forecast = learnt(matrix)
    needed = matrix.missing()
    probe(matrix, forecast, needed.values())
    found: dict[tuple[object, ...], Line] = {}
    datasets = list(dict.fromkeys(cell.dataset.name for cell in matrix.cells))
    place = {name: number for number, name in enumerate((*datasets, *(kind.kind for kind in STAGES)))}
    for stage in sorted(matrix.graph.stages.values(), key=lambda s: (place[s.dataset.name], place[s.kind])):
        group = (stage.dataset.name, stage.kind, stage.title, *((stage.key,) if each else ()))
        line = found.setdefault(group, Line(stage.dataset.name, stage.kind, stage.title, []))
        line.stages.append(stage)
        line.methods += [name for name in users[stage.key] if name not in line.methods]
        if stage.key in needed:
            line.to_make += 1
            line.seconds = _add(line.seconds, forecast, stage)
        else:
            line.stored += 1
    return list(found.values())


def _users(matrix: Matrix) -> dict[str, list[str]]:
    """Return the names of the methods that need each stage, by its key."""
    ends: dict[str, list[Stage]] = {}
    for cell in matrix.graph.targets:
        ends.setdefault(cell.method.name, []).extend(matrix.graph.ends(cell))
    users: dict[str, list[str]] = {}
    for name, own in ends.items():
        for stage in closure(own):
            users.setdefault(stage.key, []).append(name)
    return users


def _add(seconds: float | None, forecast: Forecast, stage: Stage) -> float | None:
    more, unknown = forecast.estimate([stage])
    return None if seconds is None or unknown else seconds + more


def total(lines: Sequence[Line]) -> str:
    """Spell how long all that is to be made will take on one worker."""
    parts = [line.seconds for line in lines if line.to_make]
    known = sum(part for part in parts if part is not None)
    if None in parts:
        return f"more than {duration(known)}" if known else "?"
    return duration(known)


def absent(matrix: Matrix) -> list[str]:
    """Return a line for each dataset whose files are not there: nothing stored can match it."""
    found = []
    for dataset in {cell.dataset.name: cell.dataset for cell in matrix.cells}.values():
        try:
            dataset.files(matrix.data)
        except DataAbsentError as error:
            reason = str(error).rstrip(".")
            found.append(f"absent: {reason}. Nothing stored can match it, so all of it counts as to make.")
    return found
