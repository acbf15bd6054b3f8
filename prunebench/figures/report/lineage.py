"""From rows to the artefacts behind them, in the store.

A row names the key of its subset, and a manifest the keys of its inputs. If that subset is not stored, the
one is taken that the suite would make today with the same settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Array, Artefact, Labels, Scores, Subset
from prunebench.parts.registry import load
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.proxy_embeddings import ProxyEmbeddings
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.pipeline.store import Store
from prunebench.results.rows import Result
from prunebench.runs.select import alike, filters_of
from prunebench.suites.resolve import cells
from prunebench.suites.schema import Suite

A = TypeVar("A", bound=Artefact)


@dataclass(frozen=True, eq=False)
class Picked:
    """The subset of a row, and what it was selected by.

    index: int [keep], ascending.
    scores: of all training images, float [n], or None if the selector read none.
    labels: the pseudo-labels behind the subset, or None if there are none.
    """

    index: Array
    scores: Array | None
    labels: Labels | None


Subsets = Sequence[Sequence[Picked | None]]  # for each ratio, then method; None if it is not stored

Place = tuple[str, int, int]  # method, ratio, seed


def with_subset(rows: Sequence[Result], suite: Suite, store: Store) -> list[Result]:
    """Return the rows whose subset is stored.

    If its own subset is not, a row names the subset that the suite would make today, if that one is stored.

    rows: of one board.
    """
    if not store.root.is_dir():
        return []
    today = _keys_of_today(rows, suite)
    found = []
    for row in rows:
        key = today.get((row.method, row.ratio, row.seed), "")
        if row.subset_key in store:
            found.append(row)
        elif key in store:
            found.append(row.model_copy(update={"subset_key": key}))
    return found


def _keys_of_today(rows: Sequence[Result], suite: Suite) -> dict[Place, str]:
    """Return the keys that the subsets of rows would have today. What can no longer be made has none."""
    first = rows[0]
    plan = Plan({first.dataset: first.dataset_hash})
    found = {}
    for group in alike(rows):
        with suppress(PrunebenchError):  # a method, a dataset or a ratio is gone
            for cell in cells(suite, filters_of(group), load()):
                found[cell.method.name, cell.ratio, cell.seed] = SelectorSubset.of(plan, cell).key
    return found


def picked(row: Result, store: Store) -> Picked | None:
    """Return the subset of a row, or None if it is gone or damaged. Parts of its lineage may be missing."""
    subset = _read(store, row.subset_key, Subset)
    if subset is None:
        return None
    inputs = _manifest(store, row.subset_key).get("inputs", [])
    scores = next((_read(store, key, Scores) for name, _, key in inputs if name == "scores"), None)
    labels = None
    if row.quality:  # else its labels are true ones, or there are none
        made = (key for key, found in ancestors(store, row.subset_key) if found["kind"] == LabelerLabels.kind)
        labels = next((_read(store, key, Labels) for key in made), None)
    return Picked(subset.index, scores.values if scores else None, labels)


def embeddings(rows: Iterable[Result], store: Store) -> dict[str, str]:
    """Return the titles of stored embeddings behind subsets of rows, by key, those of backbones first."""
    backbones = {}
    proxies = {}
    for row in rows:
        for key, manifest in ancestors(store, row.subset_key):
            if manifest["kind"] == BackboneEmbeddings.kind:
                backbones[key] = manifest["identity"]["part"]["part"]
            elif manifest["kind"] == ProxyEmbeddings.kind:
                proxies[key] = f"proxy network of {row.title}"
    return backbones | proxies


def ancestors(store: Store, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield key and manifest of a stored entry and of all it was made from, nearest first.

    What is not stored is left out, with all that only it was made from.
    """
    queue = [key]
    for current in queue:  # grows meanwhile
        manifest = _manifest(store, current)
        if manifest:
            yield current, manifest
            queue += [source for _, _, source in manifest["inputs"] if source not in queue]


def _manifest(store: Store, key: str) -> dict[str, Any]:
    """Return the manifest of an entry, or {} if it is gone or damaged."""
    try:
        return store.manifest(key) if key in store else {}
    except MissingArtefactError:
        return {}


def _read(store: Store, key: str, artefact: type[A]) -> A | None:
    """Return a stored artefact, or None if it is gone or damaged."""
    try:
        return store.read(key, artefact) if key in store else None
    except MissingArtefactError:
        return None
