"""Whether the photos that `prune` kept teach more than as many others: trained and tested, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Accuracy
from prunebench.parts.dataset import Dataset
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.photos import folder as photos
from prunebench.photos.prune import BUY, COLUMNS, DROP, KEPT, make_all, remembered
from prunebench.photos.request import Workplace
from prunebench.pipeline import schedule, store
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.stage import Stage
from prunebench.results.statistics import Summary, mean_interval, summarise
from prunebench.runs.places import Place
from prunebench.suites.cells import Cell, Filters
from prunebench.suites.resolve import Resolver
from prunebench.suites.schema import Suite, SuiteFile
from prunebench.system import tables
from prunebench.system.files import replace_file


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracy of networks trained on the kept photos, and on as many drawn at random; percent, by seed.

    folder: where the photos are. kept: how many there are in the list. labelled: how many images have a
    label. trained, tested: images in each training, and held out. in_common: the mean share of Random's
    images that were kept too, in percent. warnings: what may be amiss with labels and photos.
    """

    folder: Path
    images: int
    labelled: int
    kept: int
    trained: tuple[int, ...]
    tested: int
    in_common: float
    ours: tuple[float, ...]
    random: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    @property
    def differences(self) -> list[float]:
        """Ours minus Random, by seed: tested on the same images, begun from the same weights."""
        return [ours - random for ours, random in zip(self.ours, self.random, strict=True)]

    @property
    def difference(self) -> Summary:
        """Mean and spread of the differences."""
        return summarise(self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean difference, by Student's t; None for a single seed."""
        return mean_interval(self.differences)

    @property
    def verdict(self) -> str:
        """What may be said."""
        interval = self.interval
        if interval is None:
            return "One seed decides nothing."
        if interval[0] <= 0 <= interval[1]:
            return "Nothing is decided: the interval holds 0."
        return f"On these photos {'the kept photos' if interval[0] > 0 else 'Random'} did better."


def evaluate(
    kept: str | Path,
    labels: str | Path,
    *,
    folder: str | Path | None = None,
    holdout: float = 0.1,
    seeds: int = 10,
    side: int | None = None,
    recipe: str = "quick",
    on_bad: str | None = None,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int | None = None,
) -> Comparison:
    """Train on the kept photos and on as many drawn at random, and test both on photos that are held out.

    kept: the .csv of `prune`. labels: a .csv with the labels of all kept photos and of others. folder,
    side, on_bad: as they were for `prune`, if None. For each seed a share `holdout` of all labelled photos
    is the test split, and never trained on; of what is left, Random is drawn. Raise PrunebenchError, in
    one line, for what cannot be compared.
    """
    require(0 < holdout < 1, "--holdout", holdout, "between 0 and 1")
    require(seeds > 0, "--seeds", seeds, "1 or more")
    place = Workplace.at(store, data, device)
    chosen, own = _read_kept(Path(kept), place, {"folder": folder, "side": side, "on_bad": on_bad})
    where = Path(own.pop("folder"))
    place.check_outside(where)
    spec = {
        "family": "photos",
        "path": str(where.expanduser().resolve()),
        "known": str(Path(labels).expanduser().resolve()),
        "holdout": holdout,
        **own,
    }
    survey = photos.survey(where)
    names = photos.listed(survey, where, spec["on_bad"])
    chosen, labelled = _check(Path(kept), chosen, Path(labels), names, where)
    trials = [
        _Trial({**spec, "name": f"photos_{seed}", "seed": seed}, seed, chosen, recipe, place)
        for seed in range(seeds)
    ]
    cells = [cell for trial in trials for cell in trial.cells]
    matrix = place.matrix(cells, {trial.dataset.name: trial.spec for trial in trials})
    ends = [stage for trial in trials for stage in trial.ends]
    found = schedule.mended(
        lambda: make_all(matrix, ends, workers, trials[0].dataset, trials[0].root),  # all of the same files
        lambda: [place.store.read(stage.key, Accuracy) for stage in ends],
    )
    return Comparison(
        folder=where,
        images=len(names),
        labelled=len(labelled),
        kept=len(chosen),
        trained=tuple(trial.keep for trial in trials),
        tested=len(found[0].predictions),
        in_common=100 * float(np.mean([trial.keep / trial.pool for trial in trials])),
        ours=tuple(accuracy.accuracy for accuracy in found[::2]),
        random=tuple(accuracy.accuracy for accuracy in found[1::2]),
        warnings=tuple(filter(None, [survey.remark, *photos.doubts(labelled.values())])),
    )


def _read_kept(path: Path, place: Workplace, given: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
    """Return the files that a .csv of `prune` keeps, and folder, side and on_bad.

    These are as given, or else as they were for `prune`. Raise PrunebenchError where nobody knows.
    """
    rows = [(name, status) for _, (name, status) in tables.read(path, *COLUMNS[:2])]
    if strange := [status for _, status in rows if status not in (KEPT, BUY, DROP)]:
        raise PrunebenchError(f"{path} has the status {strange[0]!r}; known: {KEPT}, {BUY}, {DROP}")
    chosen = {name for name, status in rows if status != DROP}
    if len({name for name, _ in rows}) < len(rows) or not chosen:
        raise PrunebenchError(f"{path} {'keeps no file' if not chosen else 'lists a file twice'}")
    told = {name: value for name, value in given.items() if value is not None}
    own = {"on_bad": "fail"} | remembered(rows, place.store) | told
    if lacking := [name for name in ("folder", "side") if name not in own]:
        options = " ".join(f"--{name} {name.upper()}" for name in lacking)
        raise PrunebenchError(
            f"{path} lists other files than prunebench prune wrote with this --store; say what they were "
            f"pruned with: {options}"
        )
    return chosen, own


def _check(
    kept: Path, chosen: set[str], labels: Path, names: Sequence[str], folder: Path
) -> tuple[set[str], dict[str, str]]:
    """Return the kept images and the known labels; raise PrunebenchError where there are too few."""
    chosen = set(photos.matched(kept, sorted(chosen), names, folder).values())
    labelled = photos.labels_of(labels, names, folder)
    if lacking := sorted(chosen - set(labelled)):
        raise PrunebenchError(
            f"{labels} lacks the labels of {len(lacking)} of {len(chosen)} kept images: "
            f"{photos.some(lacking)}"
        )
    if len(labelled) == len(chosen):
        raise PrunebenchError(
            f"{labels} has labels of the kept images alone, so there are no others to compare with; "
            "label some more, drawn at random"
        )
    return chosen, labelled


class _Trial:
    """One seed: what is held out, the two cells, and the stages that test them."""

    def __init__(
        self, spec: dict[str, Any], seed: int, chosen: set[str], recipe: str, place: Workplace
    ) -> None:
        self.spec, self.seed, self.place = spec, seed, place
        self.dataset: Dataset = load().dataset(spec)
        self.root = dataset_key(self.dataset, place.data, place.store)
        pool = self.dataset.names(place.data)
        left = [name for name in pool if name in chosen]
        self.pool, self.keep = len(pool), len(left)
        if not 1 < self.keep < self.pool:
            raise PrunebenchError(
                f"with seed {seed} {self.keep} kept images of {self.pool} are left to train on, which is too "
                "few, or all; label more, or hold out less"
            )
        file = self._written(left)
        listed = {"part": "file", "path": str(file), "name_column": "file", "annotation": 0.0}
        self.cells = [
            self._cell("kept", load().part("selector", listed), recipe),
            self._cell("random", load().part("selector", "random"), recipe),
        ]

    def _written(self, names: Sequence[str]) -> Path:
        """Write the kept files that are not held out, for the selector that reads them."""
        text = tables.written(["file"], [[name] for name in names])
        path = self.place.store.root / "photos" / f"{store.key('kept', 1, {'files': text}, {})}.csv"
        replace_file(path, text.encode())
        return path

    def _cell(self, name: str, selector: Any, recipe: str) -> Cell:
        file = SuiteFile(title="photos", datasets=[], methods=[], recipe=recipe)
        resolver = Resolver(Suite("photos", file, Path()), Filters(), load())
        recipe_name, values, _ = resolver.recipe(self.dataset)
        return Cell(
            suite="photos",
            dataset=self.dataset,
            method=Method(name, title=name, selector=selector),
            ratio=100 * (self.pool - self.keep) // self.pool,
            seed=self.seed,
            recipe_name=recipe_name,
            recipe=values,
            repeats="pipeline",
            tuning="default",
            keep=self.keep,
        )

    @property
    def ends(self) -> list[Stage]:
        """The accuracy of the kept images, and of Random."""
        graph = Graph(self.cells, {self.dataset.name: self.root})
        return [graph.targets[cell] for cell in self.cells]
