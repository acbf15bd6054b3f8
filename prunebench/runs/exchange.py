"""Moving artefacts between stores, so that somebody else begins where their computation ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from prunebench.errors import BusyError, MissingArtefactError, PrunebenchError, unknown
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages import STAGES
from prunebench.pipeline.stages.accuracy import TrainedAccuracy
from prunebench.pipeline.stages.labeler_accuracy import LabelerAccuracy
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.pipeline.store import Store

KINDS = [stage.kind for stage in STAGES]
FROM_SELECTION = (SelectorSubset.kind, TrainedAccuracy.kind, LabelerAccuracy.kind)
COPIED, PRESENT, ABSENT, BUSY = "copied", "there already", "absent", "busy"
DAMAGED, ANOTHER = "damaged", "of another stage"
STATES = (COPIED, PRESENT, ABSENT, BUSY, DAMAGED, ANOTHER)


@dataclass
class Exchange:
    """The result of copying entries from one store to another.

    stages: the stages whose entries were to be copied, by what became of them.
        copied: the entry was copied.
        there already: the other store has an entry, which stays.
        absent: there is no entry.
        busy: another process makes or copies the entry at the moment.
        damaged: the entry is not whole.
        of another stage: the entry has the key of this stage, and the manifest of another one.
    bytes: the size of all copied payloads.
    """

    stages: dict[str, list[Stage]] = field(default_factory=lambda: {state: [] for state in STATES})
    bytes: int = 0

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return header and rows: the number of stages in each state that occurs, by dataset and kind."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for state, stages in self.stages.items():
            for stage in stages:
                counts.setdefault((stage.dataset.name, stage.kind), Counter())[state] += 1
        states = [state for state in STATES if self.stages[state]]
        ordered = sorted(counts, key=lambda names: (names[0], KINDS.index(names[1])))
        rows = [[*names, *(counts[names][state] for state in states)] for names in ordered]
        return ["dataset", "stage", *states], rows

    def refused(self) -> list[str]:
        """Return a line for each entry that is not what its key promises."""
        lines = []
        for state in (DAMAGED, ANOTHER):
            for stage in self.stages[state]:
                lines.append(f"{state}: {stage.dataset.name} {stage.kind} {stage.title}, {stage.key[:12]}")
        return lines


def kinds_of(names: Collection[str] | None) -> list[str]:
    """Return kinds of stages by name. None: all before the selection. ["all"]: all.

    Raise PrunebenchError if there is no such kind.
    """
    if names is None:
        return [kind for kind in KINDS if kind not in FROM_SELECTION]
    if list(names) == ["all"]:
        return KINDS
    for name in names:
        if name not in KINDS:
            raise unknown("kind of stage", name, KINDS, "prunebench plan")
    return list(names)


def exchange(matrix: Matrix, kinds: Collection[str], source: Store, target: Store) -> Exchange:
    """Copy the entries of the chosen cells from one store to another. No other entry is looked at.

    kinds: the kinds of stages to copy.

    Each entry is copied whole or not at all, so that an interrupted copy resumes.
    Raise DataAbsentError if a dataset is not on this machine.
    Raise PrunebenchError if the cells have no stage of these kinds, or the source has none of the entries.
    """
    matrix.check_data()
    stages = [stage for stage in matrix.graph.stages.values() if stage.kind in kinds]
    if not stages:
        raise PrunebenchError(
            "these cells have no stage of these kinds, such as labels and scores; --kinds all copies subsets "
            "and accuracies, too"
        )
    done = Exchange()
    for stage in stages:
        state = _copied(stage, source, target)
        done.stages[state].append(stage)
        if state == COPIED:
            done.bytes += target.manifest(stage.key)["bytes"]
    if len(done.stages[ABSENT]) == len(stages):
        raise PrunebenchError(
            f"{source.root} has none of the {len(stages)} stages of these cells; their keys follow from the "
            "content of the dataset and from all settings, see: prunebench plan --each"
        )
    return done


def _copied(stage: Stage, source: Store, target: Store) -> str:
    """Copy the entry of one stage. Return what became of it."""
    key = stage.key
    if _has(target, key):
        return PRESENT
    if not source.path(key).exists():
        return ABSENT
    manifest = source.whole_manifest(key)
    if manifest is None:
        return DAMAGED
    if not stage.made(manifest):
        return ANOTHER
    try:
        with target.lease(key, f"copying {stage.kind} {stage.title}"):
            target.take(key, source)
    except BusyError:
        return BUSY
    except MissingArtefactError:
        return DAMAGED
    return COPIED


def _has(store: Store, key: str) -> bool:
    """Whether a store has an entry. One that was cut short is set aside, and does not count."""
    if key not in store:
        return False
    try:
        store.manifest(key)
    except MissingArtefactError:
        return False
    return True
