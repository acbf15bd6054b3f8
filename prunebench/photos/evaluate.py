"""Compares the photos that `prune` kept with as many random ones: trains and tests both, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, number, require, whole
from prunebench.parts.artefacts import Accuracy, Array
from prunebench.parts.dataset import Dataset
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.photos import folder as photos
from prunebench.photos.advice import advice
from prunebench.photos.cost import Sizes, told
from prunebench.photos.groups import read_groups, write_groups
from prunebench.photos.prune import make_all, remembered
from prunebench.photos.request import (
    POOL,
    Known,
    Workspace,
    check_embedded,
    resolver_of,
    specs,
    unknown_content,
)
from prunebench.photos.source import folder_of
from prunebench.pipeline import schedule
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.graph import Graph
from prunebench.results.statistics import Summary, mean_interval, summarize
from prunebench.runs import kept as tables_of_prune
from prunebench.runs.kept import DROP, Line
from prunebench.runs.places import Place
from prunebench.suites.cells import Cell
from prunebench.suites.resolve import Resolver
from prunebench.system import tables


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Test accuracy of networks trained on the kept photos, and on as many random ones.

    folder: the folder of photos.
    images: images in the folder.
    labeled: images that have a label.
    kept: images that `prune` kept.
    trained: training images, by seed.
    tested: test images, by seed. Whole groups are held out, so their number may vary.
    in_common: mean share of Random's images that were kept too, in percent.
    ours: accuracy on the kept photos, in percent, by seed.
    random: accuracy on random photos, in percent, by seed.
    advice: a better backbone, and what it needs, in one line. "" if one was asked for, or none is needed.
    warnings: doubts about the photos and labels, a line each.
    """

    folder: Path
    images: int
    labeled: int
    kept: int
    trained: tuple[int, ...]
    tested: tuple[int, ...]
    in_common: float
    ours: tuple[float, ...]
    random: tuple[float, ...]
    advice: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def differences(self) -> list[float]:
        """Ours minus Random, by seed. Both start from the same weights and are tested on the same images."""
        return [ours - random for ours, random in zip(self.ours, self.random, strict=True)]

    @property
    def difference(self) -> Summary:
        """Mean and spread of the differences."""
        return summarize(self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean difference, by Student's t. None where no spread is known."""
        return mean_interval(self.differences)

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        if len(self.differences) == 1:
            return "One seed decides nothing."
        interval = self.interval
        if interval is None:
            return "Nothing is decided: all seeds have the same difference, which shows no spread."
        if interval[0] <= 0 <= interval[1]:
            return "Nothing is decided: the interval holds 0."
        winner = "the kept photos" if interval[0] > 0 else "Random"
        return f"On these photos {winner} did better."


def evaluate(
    kept: str | Path,
    labels: Known,
    *,
    folder: str | Path | None = None,
    holdout: float = 0.1,
    seeds: int = 10,
    side: int | None = None,
    recipe: str = "quick",
    backbone: str | None = None,
    changes: Mapping[str, Any] | None = None,
    on_bad: str | None = None,
    groups: str | Path | None = None,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int | None = None,
    tell: Callable[[str, str], object] | None = None,
) -> Comparison:
    """Train on the kept photos and on as many random ones, and test both on held-out photos.

    For each seed, a share `holdout` of all labeled photos is the test split, which no network trains on.
    Random is drawn from the rest.

    kept: the .csv of `prune`.
    labels: a .csv with the labels of all kept photos and of some others, or several of them.
    folder, side, on_bad: as in `prune`. If None, as they were for the `prune` that wrote `kept`.
    groups: a .csv with the columns file and group. The images of a group are tested on, or trained on. So are
        the duplicates that `prune` found.
    holdout: share of the labeled photos to test on, above 0 and below 1.
    seeds: number of seeds, 1 or more.
    recipe: name of the recipe.
    backbone: name of a backbone that replaces that of the recipe.
    changes: "recipe.field" or "BACKBONE.field" -> value.
    store: folder of artefacts.
    data: folder of decoded images.
    device: "auto", or a device of PyTorch.
    workers: number of worker processes.
    tell: called with the time that it will take, in words, and the advice of `Comparison`, before the photos
        are read and networks trained.

    Raise PrunebenchError, in one line, if there is nothing to compare.
    """
    number("--holdout", holdout)
    require(0 < holdout < 1, "--holdout", holdout, "a share between 0 and 1, such as 0.1 for 10 %")
    whole("--seeds", seeds)
    require(seeds > 0, "--seeds", seeds, "1 or more")
    resolver = resolver_of(recipe, changes)
    if backbone is not None:
        resolver.part(load().part("backbone", backbone), {}).ready()  # before the images are read
    place = Workspace.at(store, data, device)
    lines = tables_of_prune.read(Path(kept))
    asked = {"folder": folder, "side": side, "on_bad": on_bad}
    chosen, options = _kept(Path(kept), lines, place, asked)
    top = folder_of(options.pop("folder"), data)
    place.check_outside(top)
    given = place.labels(labels, top)
    survey = photos.survey(top)
    names = photos.listed(survey, top, options["on_bad"])
    if backbone is not None:
        check_embedded(backbone, names, options["on_bad"], changes)
    chosen, labeled = _check(Path(kept), chosen, given, photos.named(labels), names, top)
    grouped = _grouped(Path(kept), lines, None if groups is None else Path(groups), names, top)
    spec = {
        "family": "photos",
        "path": str(top.expanduser().resolve()),
        "known": str(given.expanduser().resolve()),
        "holdout": holdout,
        **options,
    }
    if len(np.unique(grouped)) < len(names):
        spec["groups"] = str(write_groups(grouped, names, place.tables))
    trials = [_Trial(spec, seed, chosen, resolver, backbone, place) for seed in range(seeds)]
    final = trials[0].kept
    better = advice(backbone) if final.final_backbone and not final.recipe.finetune else ""
    if tell is not None:
        tell(_told(trials, names, top, place, workers), better)
    ours, random = _tested(trials, place, workers)
    return Comparison(
        folder=top,
        images=len(names),
        labeled=len(labeled),
        kept=len(chosen),
        trained=tuple(trial.keep for trial in trials),
        tested=tuple(len(stored.predictions) for stored in ours),
        in_common=100 * float(np.mean([trial.keep / trial.pool for trial in trials])),
        ours=tuple(stored.accuracy for stored in ours),
        random=tuple(stored.accuracy for stored in random),
        advice=better,
        warnings=tuple(filter(None, [survey.remark, *photos.doubts(labeled.values())])),
    )


def _kept(
    path: Path, lines: Sequence[Line], place: Workspace, asked: Mapping[str, Any]
) -> tuple[set[str], dict[str, Any]]:
    """Return the files that a .csv of `prune` keeps, and the options folder, side and on_bad.

    lines: of the .csv.
    asked: these options, None for the value that `prune` had.

    Raise PrunebenchError if no file is kept, or if an option is unknown.
    """
    chosen = {line.file for line in lines if line.status != DROP}
    if not chosen:
        raise PrunebenchError(f"{path} keeps no file")
    saved = remembered([(line.file, line.status) for line in lines], place.store)
    options = {"on_bad": "fail"} | {name: saved[name] for name in asked if name in saved}
    options |= {name: value for name, value in asked.items() if value is not None}
    if lacking := [name for name in ("folder", "side") if name not in options]:
        flags = " ".join(f"--{name} {name.upper()}" for name in lacking)
        raise PrunebenchError(
            f"{path} lists other files than prunebench prune wrote with this --store; say what they were "
            f"pruned with: {flags}"
        )
    return chosen, options


def _check(
    kept: Path, chosen: set[str], labels: Path, said: str, names: Sequence[str], folder: Path
) -> tuple[set[str], dict[str, str]]:
    """Return the kept images and the known labels, by their names in the folder.

    said: the files of the labels, for messages.

    Raise PrunebenchError if all images are kept, if a kept image has no label, or if no other image has one.
    """
    chosen = set(photos.matched(kept, sorted(chosen), names, folder).values())
    if len(chosen) == len(names):
        raise PrunebenchError(
            f"{kept} keeps all {len(names):,} images in {folder}, so there are no others to compare with; "
            "prune to a smaller --budget"
        )
    labeled = photos.labels_of(labels, names, folder)
    if lacking := sorted(chosen - set(labeled)):
        raise PrunebenchError(
            f"{said} lacks the labels of {len(lacking)} of {len(chosen)} kept images: {photos.some(lacking)}"
        )
    if len(labeled) == len(chosen):
        raise PrunebenchError(
            f"{said} has labels of the kept images alone, so there are no others to compare with; "
            "label some more, drawn at random"
        )
    return chosen, labeled


def _grouped(
    path: Path, lines: Sequence[Line], groups: Path | None, names: Sequence[str], folder: Path
) -> Array:
    """Return the group of each image, of a .csv and of the duplicates that `prune` found: int64 [n].

    lines: of the .csv of `prune`, whose path is `path`.
    groups: a .csv with the columns file and group, or None.
    """
    from prunebench.nn.neighbors import merged

    found = np.arange(len(names)) if groups is None else read_groups(groups, names, folder)
    pairs = [(line.file, line.duplicate_of) for line in lines if line.duplicate_of]
    meant = photos.matched(path, dict.fromkeys(name for pair in pairs for name in pair), names, folder)
    position = {name: i for i, name in enumerate(names)}
    links = np.array([[position[meant[name]] for name in pair] for pair in pairs], int).reshape(-1, 2)
    return merged(found, links[:, 0], links[:, 1])


def _told(
    trials: Sequence[_Trial], names: Sequence[str], folder: Path, place: Workspace, workers: int | None
) -> str:
    """Return how long the trials would take, in words. names: the images in the folder."""
    roots = roots_of([trial.dataset for trial in trials], place.data, place.store, look=False)
    targets = Graph(_cells(trials), roots).targets
    sizes = {
        trial.dataset.name: Sizes(images=trial.pool, labeled=trial.pool, kept=trial.keep) for trial in trials
    }
    first = trials[0].dataset
    return told(
        first,
        names,
        place,
        schedule.missing(targets.values(), place.store).values(),
        lambda stage: sizes.get(stage.dataset.name, sizes[first.name]),
        unread=folder if unknown_content(roots, POOL) else None,
        unhashed=sum(trial.pool for trial in trials if unknown_content(roots, trial.dataset.name)),
        classes=len(first.classes),
        workers=workers,
    )


def _tested(
    trials: Sequence[_Trial], place: Workspace, workers: int | None
) -> tuple[list[Accuracy], list[Accuracy]]:
    """Make what is missing. Return the accuracies on the kept images and on Random's, each by seed."""
    matrix = place.matrix(_cells(trials), specs(*(trial.spec for trial in trials)))
    targets, dataset = matrix.graph.targets, trials[0].dataset
    # One dataset is checked for changes: those of all seeds read the same files.
    roots = {name: matrix.graph.roots[name] for name in (dataset.name, POOL)}
    return schedule.mended(
        lambda: make_all(matrix, targets.values(), workers, dataset, roots),
        lambda: (
            [place.store.read(targets[trial.kept].key, Accuracy) for trial in trials],
            [place.store.read(targets[trial.random].key, Accuracy) for trial in trials],
        ),
    )


def _cells(trials: Sequence[_Trial]) -> list[Cell]:
    """Return two cells a seed: the kept images, then Random's."""
    return [cell for trial in trials for cell in (trial.kept, trial.random)]


class _Trial:
    """One seed: its dataset with a test split, and two cells.

    kept, random: the cells that train on the kept images, and on Random's.
    pool: labeled images that are not held out. keep: how many of them were kept.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        seed: int,
        chosen: set[str],
        resolver: Resolver,
        backbone: str | None,
        place: Workspace,
    ) -> None:
        self.spec, self.seed = {**spec, "name": f"photos_{seed}", "seed": seed}, seed
        self.dataset: Dataset = load().dataset(self.spec)
        pool = self.dataset.names(place.data)
        kept = [name for name in pool if name in chosen]
        self.pool = len(pool)
        self.keep = len(kept)
        if not 1 < self.keep < self.pool:
            raise PrunebenchError(
                f"with seed {seed} {self.keep} kept images of {self.pool} are left to train on, which is too "
                "few, or all; label more, or hold out less"
            )
        # The selector `file` reads the list of this seed.
        list_path = tables.filed(place.tables, ["file"], [[name] for name in kept])
        from_list = {"part": "file", "path": str(list_path), "name_column": "file", "label_fraction": 0.0}
        self.kept = self._cell("kept", load().part("selector", from_list), resolver, backbone)
        self.random = self._cell("random", load().part("selector", "random"), resolver, backbone)

    def _cell(self, name: str, selector: Any, resolver: Resolver, backbone: str | None) -> Cell:
        recipe_name, values, defaults = resolver.recipe(self.dataset)
        if backbone is not None:
            if values.final_backbone is None:
                raise PrunebenchError(
                    f"--backbone {backbone}: the recipe {recipe_name} trains from scratch, on no embeddings; "
                    "leave one of the two out"
                )
            values = replace(values, final_backbone=backbone)
        final = resolver.backbones(values, defaults).final
        for path in resolver.filters.changes:
            if path.rpartition(".")[0] not in ("recipe", final and final.name):
                raise PrunebenchError(f"--set {path}: the recipe {recipe_name} has no such part")
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
            final_backbone=final,
            keep=self.keep,
        )
