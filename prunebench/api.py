"""The Python API: run cells as the command does, and hand what a cell keeps to torch."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images
from prunebench.parts.registry import load
from prunebench.pipeline import context
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import learnt
from prunebench.pipeline.store import Store
from prunebench.results import record
from prunebench.results.rows import Result
from prunebench.runs.export import kept_by, read
from prunebench.runs.pages import remember
from prunebench.runs.places import Place, folder
from prunebench.runs.run import get_ready, run_matrix
from prunebench.runs.select import choose, choose_one, command
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.system.files import absolute

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Subset

T = TypeVar("T")
Source = tuple[Dataset, Path, str]  # a dataset, the data folder, and the fingerprint of the content


class CellsFailedError(PrunebenchError):
    """Some cells failed. failures: why, by the name of the cell. rows: those of the other cells."""

    def __init__(self, failures: Mapping[str, str], rows: Sequence[Result]) -> None:
        self.failures, self.rows = dict(failures), list(rows)
        name, reason = next(iter(self.failures.items()))
        super().__init__(
            f"{len(failures)} of {len(failures) + len(rows)} cells failed, the first: {name}: {reason}"
        )


def run(
    suite: str | Path = "standard",
    methods: str | Sequence[str] | None = None,
    datasets: str | Sequence[str] | None = None,
    ratios: int | Sequence[int] | None = None,
    seeds: int | Sequence[int] | None = None,
    recipe: str | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    store: Place = None,
    data: Place = None,
    results: Place = None,
    workers: int | None = None,
    tuning: str | None = None,
) -> list[Result]:
    """Run cells, as the command `prunebench run` does, and return their rows in the order of the suite.

    suite: a name or the path of a .toml file. methods, datasets, ratios, seeds: one or a list, None for
    what the suite lists; `seeds=3` counts: 0, 1, 2. changes: {"PART.field" or "recipe.field": value}, as
    --set. store, data: folders, by default those of the command. results: the folder under which rows are
    written, none by default. workers: processes, by default one a core, or 1 a GPU; 0 works in this one.

    What is stored is not made again. Progress goes to stderr. Raise CellsFailedError, after all others are
    done, where cells failed; PrunebenchError, before anything is made, where something is asked that is not
    there, and for the standard suite without any choice, which would take months.
    """
    require(workers is None or workers >= 0, "workers", workers, "0 or more")
    chosen = (methods, datasets, ratios, seeds, recipe, tuning)
    if suite == "standard" and all(given is None for given in chosen):
        raise PrunebenchError("this would run all of suite standard: choose, or say methods='all'")
    filters = _filters(methods, datasets, ratios, seeds, recipe, tuning, changes)
    matrix = choose(suite, filters, device=device, store=store, data=data)
    pages = None if results is None else absolute(results)
    get_ready(matrix, pages)
    context.load_split.cache_clear()  # files may have changed since this process read them
    if pages is not None and (told := remember(schema.read(str(suite)), pages)):
        warnings.warn(told, stacklevel=2)
    with redirect_stdout(sys.stderr):
        failures = run_matrix(matrix, learnt(matrix), pages, Engine(workers=workers))
    rows = [record.row(matrix, cell) for cell in matrix.cells if cell.name not in failures]
    if failures:
        raise CellsFailedError(failures, rows)
    return rows


def load_subset(
    source: str | Path | None = None,
    *,
    method: str | None = None,
    dataset: str | None = None,
    ratio: int | None = None,
    seed: int = 0,
    suite: str | Path = "standard",
    recipe: str | None = None,
    tuning: str | None = None,
    changes: Mapping[str, Any] | None = None,
    store: Place = None,
    data: Place = None,
    transform: Callable[[torch.Tensor], Any] | None = None,
) -> Subset[tuple[Any, int]]:
    """Return the kept training images, with their true labels, as a torch.utils.data.Subset.

    They are those of a finished cell, named by `method`, `dataset`, `ratio`, `seed` and what else chooses
    one, or those of `source`, a .json or .npy that `prunebench export` wrote. A .json knows its dataset, and
    is refused where the dataset here has another fingerprint; to a .npy name the `dataset`, as nothing else
    tells. Each item is (image, label): a uint8 tensor [channels, height, width], or what `transform` makes
    of it, and an int. Raise PrunebenchError where there is no such subset.
    """
    from torch.utils import data as loading

    if source is not None:
        require(method is None and ratio is None, "method and ratio", (method, ratio), "unset with a source")
        where, index = _from_file(
            Path(source), dataset, suite, Store(folder("store", store)), folder("data", data)
        )
    else:
        given = {"method": method, "dataset": dataset, "ratio": ratio}
        if lacking := [name for name, value in given.items() if value is None]:
            raise PrunebenchError(f"load_subset needs a {lacking[0]}, or a file that prunebench export wrote")
        filters = _filters(method, dataset, ratio, [seed], recipe, tuning, changes)
        matrix = choose_one(suite, filters, store=store, data=data)
        matrix.fetch()
        kept = kept_by(matrix, command(suite, filters, store=store, data=data))
        where, index = (kept.cell.dataset, kept.data, kept.row.dataset_hash), kept.index
    pictures = TrainingImages(where, transform)
    return loading.Subset(cast("loading.Dataset[tuple[Any, int]]", pictures), index.tolist())


class TrainingImages:
    """The training images of a dataset, for torch's data loaders: item i is (image, label).

    image: uint8 [channels, height, width], or what `transform` makes of it. label: int. classes: their
    names. mean, std: of each channel, in 0..1, for a transform that normalises. source: dataset, data folder
    and fingerprint.
    """

    def __init__(self, source: Source, transform: Callable[[torch.Tensor], Any] | None) -> None:
        self.source, self.transform = source, transform
        self.images, self.labels, self.classes = _pictures(*source)
        self.mean, self.std = self.images.mean, self.images.std

    def __reduce__(self) -> tuple[type[TrainingImages], tuple[Any, ...]]:
        """Pickle where the images are, not what they are: another process loads, or maps, them for itself."""
        return TrainingImages, (self.source, self.transform)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        import torch

        image = torch.tensor(self.images.array[np.array([place])][0])  # images elsewhere know no other index
        return image if self.transform is None else self.transform(image), int(self.labels[place])


@lru_cache(maxsize=1)  # several subsets of one dataset share its images
def _pictures(dataset: Dataset, data: Path, _fingerprint: str) -> tuple[Images, Array, tuple[str, ...]]:
    array, labels = dataset.load(data, "train")
    images = Images(array, mean=dataset.mean, std=dataset.std)
    return images, np.asarray(labels, np.int64), dataset.classes


def _from_file(
    path: Path, dataset: str | None, suite: str | Path, store: Store, data: Path
) -> tuple[Source, Array]:
    """Return where the images of a dataset are, and which of them a file lists; raise unless it fits."""
    index, manifest = read(path)
    if dataset is None and manifest is not None and manifest.dataset in load().found["datasets"]:
        dataset = manifest.dataset
    if dataset is None:
        of = f" is of {manifest.dataset}, which is not registered here" if manifest else " names no dataset"
        raise PrunebenchError(f"{path}{of}: say dataset='NAME', or dataset='folder:PATH@PIXELS'")
    found = load().dataset(resolve.dataset_spec(schema.read(str(suite)), dataset))
    found.fetch(data)
    fingerprint = dataset_key(found, data, store)
    if manifest is not None and manifest.fingerprint != fingerprint:
        raise PrunebenchError(
            f"{path} is of {manifest.dataset} with fingerprint {manifest.fingerprint[:12]}, but {found.name} "
            f"here has {fingerprint[:12]}; load it with the images it was made of"
        )
    source = found, data, fingerprint
    images, _, _ = _pictures(*source)
    if index.max(initial=-1) >= len(images):
        raise PrunebenchError(
            f"{path} lists image {index.max()}, but {found.name} has {len(images)}; choose its dataset"
        )
    return source, index


def _filters(
    methods: str | Sequence[str] | None,
    datasets: str | Sequence[str] | None,
    ratios: int | Sequence[int] | None,
    seeds: int | Sequence[int] | None,
    recipe: str | None,
    tuning: str | None,
    changes: Mapping[str, Any] | None,
) -> Filters:
    """Return what the arguments choose, as the command line would spell it."""
    numbers = {"ratios": (_list(ratios), 100), "seeds": (_list(seeds), 10_000)}
    for name, (given, limit) in numbers.items():
        fitting = all(isinstance(number, int | np.integer) and 0 <= number < limit for number in given or [])
        require(fitting, name, given, f"whole numbers from 0 to {limit - 1}")
    counted = list(range(int(seeds))) if isinstance(seeds, int | np.integer) else _list(seeds)
    require(counted != [], "seeds", seeds, "a count from 1, or a list")
    return Filters(
        methods=_list(methods),
        datasets=None if datasets == "all" else _list(datasets),
        ratios=ratios if ratios is None else [int(ratio) for ratio in _list(ratios) or []],
        seeds=counted if counted is None else [int(seed) for seed in counted],
        recipe=recipe,
        tuning=tuning,
        changes=json.loads(
            json.dumps(dict(changes or {}), default=str)
        ),  # a variant has one name: lists, no tuples
    )


def _list(given: Any) -> list[Any] | None:
    """Return a list of one or several; None stays None."""
    one = isinstance(given, str) or not hasattr(given, "__iter__")
    return None if given is None else [given] if one else list(given)
