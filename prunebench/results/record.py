"""A finished cell -> its row: accuracy, the label ledger, and what each stage cost. From the store alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.parts.artefacts import Accuracy, Choice, Exam, Labels, Quality, Scores, Subset
from prunebench.parts.base import Backbone, Labeler, Part
from prunebench.parts.identity import map_parts
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import CHOICE, SPENT, Stage, closure
from prunebench.results.journal import Journal
from prunebench.results.rows import Failure, Record, Result
from prunebench.suites.cells import PROTOCOL, Cell
from prunebench.suites.tuning import SEARCHED

# Stages that a final network on frozen features needs.
EMBEDDINGS = ("embeddings", "test_embeddings", "pooled_embeddings")


def row(matrix: Matrix, cell: Cell) -> Result:
    """Turn a finished cell into its row, from the store alone.

    Raise MissingArtefactError where something of its lineage is gone or damaged.
    """
    target = matrix.graph.targets[cell]
    accuracy = matrix.store.read(target.key, Accuracy)
    subset_stage = target.source("subset")
    assert isinstance(subset_stage, Stage)
    subset = matrix.store.read(subset_stage.key, Subset)
    selection, total = _labels(matrix, cell, subset)
    exam = matrix.store.read(target.key, Exam) if cell.exams.tests and _trained(cell) else Exam()
    transfers = matrix.graph.transfers[cell]
    manifests = _manifests(matrix, cell)
    manifest = manifests[target.key]
    labeler = cell.method.labeler
    judged = matrix.graph.qualities[cell]
    quality = matrix.store.read(judged.key, Quality) if judged else None
    tuned_on, tuned = _tuned(matrix, cell)
    method = _method(matrix, cell)
    return Result(
        **_record(matrix, cell),
        tuned_on=tuned_on,
        tuned=tuned,
        trials=sum(stage.kind == "validation" for stage in target.ancestors()) if tuned else 0,
        accuracy=accuracy.accuracy,
        best_accuracy=accuracy.best_accuracy,
        balanced_accuracy=accuracy.balanced_accuracy,
        worst_decile_recall=accuracy.worst_decile_recall,
        history=accuracy.history,
        accuracy_shifted=exam.shifted,
        accuracy_transferred={
            name: matrix.store.read(stage.key, Accuracy).accuracy for name, stage in transfers.items()
        },
        calibration=exam.calibration,
        images=subset.images,
        kept=len(subset),
        kept_per_class=accuracy.kept_per_class,
        lost_classes=accuracy.kept_per_class.count(0),
        constant_scores=_constant_scores(matrix, subset_stage),
        label_draw=labeler.sampling if labeler and 0 < labeler.label_fraction < 1 else None,
        labels_selection=selection,
        labels_training=len(subset) if cell.method.final == "truth" else 0,
        labels_total=total,
        labeler=method.labeler,
        quality=quality.metrics if quality else {},
        labels_per_class=quality.labels_per_class if quality else [],
        pretraining=method.pretraining,
        final_network=method.final_network,
        **_cost(matrix, cell, manifests),
        micro_batch=_micro_batch(matrix, cell, manifests),
        device=manifest["device"],
        device_name=manifest["device_name"],
        subset_key=subset_stage.key,
        accuracy_key=target.key,
        versions=manifest["versions"],
        commit=manifest["commit"],
        date=manifest["made"],
    )


def known(matrix: Matrix, cell: Cell, journal: Journal) -> Result | None:
    """Return the row that a journal has of the stored accuracy of a finished cell, or None if it has none.

    That is the row that `row` would make, without a look at what its accuracy was made from.
    Raise MissingArtefactError where the accuracy is gone or its manifest is damaged.
    """
    key = matrix.graph.targets[cell].key
    made = matrix.store.manifest(key)["made"]
    return journal.find(Record(**_record(matrix, cell)), key, made)


@dataclass(frozen=True)
class _Method:
    """What rows say of a method, whatever the ratio and the seed. The fields are those of a row."""

    key: str
    label_fraction: float
    labeler: str | None
    pretraining: list[str]
    final_network: str | None


def _method(matrix: Matrix, cell: Cell) -> _Method:
    """Return what rows say of the method of a cell, made once for all cells that agree in what decides it."""

    def made() -> _Method:
        labeler = cell.method.labeler
        return _Method(
            key=cell.method_key,
            label_fraction=cell.method.label_fraction,
            labeler=title(labeler) if labeler else None,
            pretraining=pretraining(cell.method.parts.values()),
            final_network=_final_network(matrix, cell),
        )

    backbones = id(cell.proxy_backbone), id(cell.final_backbone)
    rules = cell.repeats, cell.tuning, id(cell.searches), cell.exams
    return matrix.graph.plan.shared(cell, made, "method", *backbones, *rules)


def failure(matrix: Matrix, cell: Cell, why: str) -> Failure:
    """Return what is on record of a cell that failed."""
    return Failure(**_record(matrix, cell), failed=why)


def _record(matrix: Matrix, cell: Cell) -> dict[str, Any]:
    """Return what a cell is, as every record of it says."""
    method, matched_to = cell.method, cell.method.matched_to
    shared = _method(matrix, cell)
    return {
        "suite": cell.suite,
        "method": method.name,
        "title": method.title,
        "reference": method.reference,
        "matched_to": matched_to.name if matched_to else None,
        "matched_in": method.matched_in,
        "method_key": shared.key,
        "dataset": cell.dataset.name,
        "dataset_hash": matrix.graph.roots[cell.dataset.name],
        "recipe": cell.recipe_name,
        "repeats": cell.repeats,
        "tuning": cell.tuning,
        "changes": dict(cell.changes),
        "ratio": cell.ratio,
        "seed": cell.seed,
        "label_fraction": shared.label_fraction,
        "protocol_version": PROTOCOL,
    }


def _constant_scores(matrix: Matrix, subset: Stage) -> bool:
    """Whether a selection was made by scores that are all the same."""
    scores = subset.source("scores")
    return scores is not None and bool(np.ptp(matrix.store.read(scores.key, Scores).values) == 0)


def _tuned(matrix: Matrix, cell: Cell) -> tuple[str, dict[str, float]]:
    """Return what the tuned fields of a cell were chosen by, and their values."""
    choices = matrix.graph.choices(cell)
    if choices:
        values = {field: matrix.store.read(stage.key, Choice).value for field, stage in choices.items()}
        return SEARCHED[cell.tuning], values
    if cell.published:
        return "the paper, perhaps on the test split", cell.published
    return "nothing", {}


def _labels(matrix: Matrix, cell: Cell, subset: Subset) -> tuple[int, int]:
    """Return how many true labels were handed out before the selection, and with the kept ones in all.

    What is not trained with true labels asks for none of the kept ones.
    """
    fraction = _method(matrix, cell).label_fraction
    if fraction == 0:
        return 0, len(subset) if cell.method.final == "truth" else 0
    if fraction == 1:
        return subset.images, subset.images
    annotated = np.zeros(subset.images, np.bool_)
    for draw in matrix.graph.draws[cell]:
        annotated |= matrix.store.read(draw.key, Labels).annotated
    handed_out = int(annotated.sum())
    if cell.method.final == "truth":
        annotated[subset.index] = True
    return handed_out, int(annotated.sum())


def _trained(cell: Cell) -> bool:
    """Whether a cell trains a final network, rather than test that of its labeler."""
    return cell.method.final != "labeler"


Manifests = Mapping[str, Mapping[str, Any]]  # by key, inputs first


def _manifests(matrix: Matrix, cell: Cell) -> Manifests:
    """Return how the accuracies of a cell were made, and all that they rest on. Not what set their work."""
    stages = closure(_accuracies(matrix, cell), without=(SPENT,))
    return {stage.key: matrix.store.manifest(stage.key) for stage in stages}


def _accuracies(matrix: Matrix, cell: Cell) -> list[Stage]:
    return [matrix.graph.targets[cell], *matrix.graph.transfers[cell].values()]


def _micro_batch(matrix: Matrix, cell: Cell, manifests: Manifests) -> int | None:
    """Return the fewest images that a training of a cell saw at once for lack of memory, if any did."""
    stages = closure(_accuracies(matrix, cell), without=(CHOICE, SPENT))
    sizes = [manifests[stage.key].get("micro_batch") for stage in stages]
    return min((size for size in sizes if size is not None), default=None)


def _cost(matrix: Matrix, cell: Cell, manifests: Manifests) -> dict[str, Any]:
    """Return the fields of a row that say what a cell's stages cost, by kind, as if it had been run alone."""
    made = [(kind, manifests[stage.key]) for kind, stage in _kinds(matrix, cell)]
    seconds: Counter[str] = Counter()
    gpu_seconds: Counter[str] = Counter()
    for kind, manifest in made:
        seconds[kind] = round(seconds[kind] + manifest["seconds"], 4)
        if manifest["device"] == "cuda":
            gpu_seconds[kind] = round(gpu_seconds[kind] + manifest["seconds"], 4)
    return {"seconds": dict(seconds), "gpu_seconds": dict(gpu_seconds), "work": _work(made)}


def _kinds(matrix: Matrix, cell: Cell) -> Iterator[tuple[str, Stage]]:
    """Yield all stages of a cell, inputs first, each with the kind that its cost counts as.

    What a search made and the cell itself does not need counts as "search", whatever it is. Embeddings that
    the final network alone sees count as "final_embeddings": they are no cost of the selection. Nor are the
    trainings of other networks, which count as "transfer". What a Random is matched to is no cost of its own.
    """
    target = matrix.graph.targets[cell]
    transfers = matrix.graph.transfers[cell].values()
    subset = target.source("subset")
    assert isinstance(subset, Stage)
    for_selection = {stage.key for stage in subset.ancestors()}
    own = {stage.key for stage in target.ancestors(without=(CHOICE, SPENT))}
    for stage in closure(_accuracies(matrix, cell), without=(SPENT,)):
        if stage in transfers:
            yield "transfer", stage
        elif stage.key not in own:
            yield "search", stage
        elif stage.kind in EMBEDDINGS and stage.key not in for_selection:
            yield "final_embeddings", stage
        else:
            yield stage.kind, stage


def _work(made: list[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return the work of stages by kind and unit, of units alone that all stages counted.

    A part would be taken for all of it. There is none if a stage counted nothing.

    made: the manifest of each stage, with its kind.
    """
    work: dict[str, Counter[str]] = {}
    partial: set[str] = set()
    for kind, manifest in made:
        units = manifest.get("work", {})
        if not units:
            return {}
        expected = {"images_forward", *({"gpu_joules"} if manifest["device"] == "cuda" else ())}
        partial |= expected - units.keys()
        work.setdefault(kind, Counter()).update(units)
    return {
        kind: {unit: count for unit, count in units.items() if unit not in partial}
        for kind, units in work.items()
    }


def title(labeler: Labeler) -> str:
    """Name a labeler together with the backbones it looks at, or its file: temi on pixels."""
    path = getattr(labeler, "path", None)
    found = [path.name] if isinstance(path, Path) else []

    def visit(part: Part) -> Part:
        if isinstance(part, Backbone):
            found.append(part.name)
        return part

    map_parts(labeler, visit)
    return f"{labeler.name} on {' + '.join(found)}" if found else labeler.name


def _final_network(matrix: Matrix, cell: Cell) -> str | None:
    """Return what final networks are if not the proxy's network on images."""
    if not _trained(cell):
        return None
    if cell.final_backbone is None:
        other = cell.recipe.final_network
        return other and f"{other}, where proxy networks are {cell.recipe.network}"
    seen = "; ".join(pretraining([cell.final_backbone])) or cell.final_backbone.name
    if not cell.recipe.finetune:
        return f"{cell.recipe.head} on frozen embeddings of {seen}"
    values = matrix.graph.targets[cell].identity["backbone"]["fields"].values()
    files = [value["sha256"][:12] for value in values if isinstance(value, dict) and "sha256" in value]
    return f"{seen}, fine-tuned{''.join(f', weights {digest}' for digest in files)}"


def pretraining(parts: Iterable[Part]) -> list[str]:
    """Say for each backbone in `parts` what it saw before."""
    found: list[str] = []

    def visit(part: Part) -> Part:
        if isinstance(part, Backbone) and part.pretraining is not None:
            found.append(f"{part.name}: {part.pretraining.summary}")
        return part

    for part in parts:
        map_parts(part, visit)
    return found
