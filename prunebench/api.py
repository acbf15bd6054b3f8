"""The Python API: run cells, and load the images that a cell keeps as a torch dataset."""

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
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.store import Store
from prunebench.results import record
from prunebench.results.rows import Result
from prunebench.runs.export import kept_by, read
from prunebench.runs.pages import remember
from prunebench.runs.places import Place, folder
from prunebench.runs.run import get_ready, run_matrix
from prunebench.runs.select import choose, choose_one, command
from prunebench.runs.sinks import sinks
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.system.files import absolute

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Subset

T = TypeVar("T")
Source = tuple[Dataset, Path, str]  # dataset, data folder, fingerprint of the content


class CellsFailedError(PrunebenchError):
    """Some cells failed.

    failures: the reason of each failure, by the name of the cell.
    rows: the rows of the cells that succeeded.
    """

    def __init__(self, failures: Mapping[str, str], rows: Sequence[Result]) -> None:
        self.failures = dict(failures)
        self.rows = list(rows)
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
    repeats: str | None = None,
) -> list[Result]:
    """Run cells, as the command `prunebench run` does, and return their rows in the order of the suite.

    suite: a name, or the path of a .toml file.
    methods: one or several names, or "all". None for those of the suite.
    datasets: one or several names. None for those of the suite.
    ratios: one or several percentages to prune, in 0..99. None for those of the suite.
    seeds: a list, or a count: `seeds=3` means 0, 1, 2. None for those of the suite.
    recipe: how networks are trained. None for the recipe of the suite.
    changes: {"PART.field" or "recipe.field": value}, as --set.
    device: "auto", "cpu" or "cuda".
    store: the folder of artefacts. By default that of the command.
    data: the folder of datasets. By default that of the command.
    results: the folder to write rows and pages to. None writes none.
    workers: the number of processes. 0 runs in this process. By default one per core, or 1 for a GPU.
    tuning: how values are chosen. None for the rule of the suite.
    repeats: the rung from which on a seed repeats all. None for what the suite says.

    Stored stages are not made again. Progress goes to stderr.
    Raise PrunebenchError, before any work, if the options name something unknown.
    Raise PrunebenchError if the standard suite is run without any choice, which would take months.
    Raise CellsFailedError if cells failed, once all others are done.
    """
    require(workers is None or workers >= 0, "workers", workers, "0 or more")
    choices = (methods, datasets, ratios, seeds, recipe, tuning, repeats)
    if suite == "standard" and all(choice is None for choice in choices):
        raise PrunebenchError("this would run all of suite standard: choose, or say methods='all'")
    filters = _filters(methods, datasets, ratios, seeds, recipe, tuning, repeats, changes)
    matrix = choose(suite, filters, device=device, store=store, data=data)
    pages = None if results is None else absolute(results)
    get_ready(matrix, pages)
    context.load_split.cache_clear()  # files may have changed since this process read them
    if pages is not None:
        message = remember(schema.read(str(suite)), pages)
        if message:
            warnings.warn(message, stacklevel=2)
    with redirect_stdout(sys.stderr):
        failures = run_matrix(matrix, forecast_from_store(matrix), sinks(pages), Engine(workers=workers))
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
    repeats: str | None = None,
    changes: Mapping[str, Any] | None = None,
    store: Place = None,
    data: Place = None,
    transform: Callable[[torch.Tensor], Any] | None = None,
) -> Subset[tuple[Any, int]]:
    """Return the kept training images, with their true labels, as a torch.utils.data.Subset.

    The images are those of a finished cell, or those that a file lists. Each item is (image, label): a uint8
    tensor [channels, height, width], or the result of `transform`, and an int.

    source: a .json or .npy file of `prunebench export`. None for a finished cell.
    method: the method of the cell.
    dataset: the dataset of the cell. Also needed for a .npy file, which names no dataset.
    ratio: the percent of images that the cell prunes.
    seed: the seed of the cell.
    suite: the suite of the cell: a name, or the path of a .toml file.
    recipe: the recipe of the cell. None for the recipe of the suite.
    tuning: the tuning rule of the cell. None for the rule of the suite.
    repeats: the rung from which on the seed of the cell repeats all. None for that of the suite.
    changes: the changed fields of the cell, as in `run`.
    store: the folder of artefacts. By default that of the command.
    data: the folder of datasets. By default that of the command.
    transform: called with each image tensor.

    Raise PrunebenchError if the cell is not finished, or the file is not a subset.
    Raise PrunebenchError if the dataset here has another fingerprint than that of the .json file.
    """
    from torch.utils import data as loading

    if source is not None:
        require(method is None and ratio is None, "method and ratio", (method, ratio), "unset with a source")
        cache = Store(folder("store", store))
        images, index = _from_file(Path(source), dataset, suite, cache, folder("data", data))
    else:
        for name, value in {"method": method, "dataset": dataset, "ratio": ratio}.items():
            if value is None:
                raise PrunebenchError(f"load_subset needs a {name}, or a file that prunebench export wrote")
        filters = _filters(method, dataset, ratio, [seed], recipe, tuning, repeats, changes)
        matrix = choose_one(suite, filters, store=store, data=data)
        matrix.fetch()
        kept = kept_by(matrix, command(suite, filters, store=store, data=data))
        images = kept.cell.dataset, kept.data, kept.row.dataset_hash
        index = kept.index
    dataset_of_all = TrainingImages(images, transform)
    return loading.Subset(cast("loading.Dataset[tuple[Any, int]]", dataset_of_all), index.tolist())


class TrainingImages:
    """The training images of a dataset, for torch's data loaders.

    Item i is (image, label): a uint8 tensor [channels, height, width], or the result of `transform`, and an
    int.

    source: dataset, data folder and fingerprint.
    transform: called with each image tensor, or None.
    images: the images.
    labels: the true labels, int64 [n].
    classes: the names of the classes.
    mean: the mean of each channel, in 0..1, for a transform that normalizes.
    std: the standard deviation of each channel, in 0..1.
    """

    def __init__(self, source: Source, transform: Callable[[torch.Tensor], Any] | None) -> None:
        self.source = source
        self.transform = transform
        self.images, self.labels, self.classes = _pictures(*source)
        self.mean = self.images.mean
        self.std = self.images.std

    def __reduce__(self) -> tuple[type[TrainingImages], tuple[Any, ...]]:
        """Pickle the source of the images, not their content. The other process loads or maps them itself."""
        return TrainingImages, (self.source, self.transform)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        # Lazy arrays of images accept only slices and arrays of indices.
        image = torch.tensor(self.images.array[np.array([index])][0])
        label = int(self.labels[index])
        if self.transform is None:
            return image, label
        return self.transform(image), label


@lru_cache(maxsize=1)  # several subsets of one dataset share its images
def _pictures(dataset: Dataset, data: Path, _fingerprint: str) -> tuple[Images, Array, tuple[str, ...]]:
    array, labels = dataset.load(data, "train")
    images = Images(array, mean=dataset.mean, std=dataset.std)
    return images, np.asarray(labels, np.int64), dataset.classes


def _from_file(
    path: Path, dataset: str | None, suite: str | Path, store: Store, data: Path
) -> tuple[Source, Array]:
    """Return the dataset of an exported file, and the indices that the file lists.

    Raise PrunebenchError if the dataset is unknown, has another fingerprint, or has too few images.
    """
    index, manifest = read(path)
    if dataset is None and manifest is not None and manifest.dataset in load().found["datasets"]:
        dataset = manifest.dataset
    if dataset is None:
        problem = (
            f"is of {manifest.dataset}, which is not registered here" if manifest else "names no dataset"
        )
        raise PrunebenchError(f"{path} {problem}: say dataset='NAME', or dataset='folder:PATH@PIXELS'")
    loaded = load().dataset(resolve.dataset_spec(schema.read(str(suite)), dataset))
    loaded.fetch(data)
    fingerprint = dataset_key(loaded, data, store)
    if manifest is not None and manifest.fingerprint != fingerprint:
        raise PrunebenchError(
            f"{path} is of {manifest.dataset} with fingerprint {manifest.fingerprint[:12]}, "
            f"but {loaded.name} here has {fingerprint[:12]}; load it with the images it was made of"
        )
    source = loaded, data, fingerprint
    images, _, _ = _pictures(*source)
    if index.max(initial=-1) >= len(images):
        raise PrunebenchError(
            f"{path} lists image {index.max()}, but {loaded.name} has {len(images)}; choose its dataset"
        )
    return source, index


def _filters(
    methods: str | Sequence[str] | None,
    datasets: str | Sequence[str] | None,
    ratios: int | Sequence[int] | None,
    seeds: int | Sequence[int] | None,
    recipe: str | None,
    tuning: str | None,
    repeats: str | None,
    changes: Mapping[str, Any] | None,
) -> Filters:
    """Return the filters that the arguments describe.

    Raise PrunebenchError if a list is empty, a name is no text, or a ratio or seed out of range.
    """
    seed_list = _numbers("seeds", seeds, 10_000)
    if isinstance(seeds, int | np.integer):
        require(seeds > 0, "seeds", seeds, "a count from 1, or a list")
        seed_list = list(range(int(seeds)))
    return Filters(
        methods=_names("methods", methods),
        datasets=None if datasets == "all" else _names("datasets", datasets),
        ratios=_numbers("ratios", ratios, 100),
        seeds=seed_list,
        recipe=recipe,
        tuning=tuning,
        repeats=repeats,
        # As JSON, so that a tuple and a list give a variant the same name.
        changes=json.loads(json.dumps(dict(changes or {}), default=str)),
    )


def _names(argument: str, values: Any) -> list[str] | None:
    """Return the names in an argument. Raise PrunebenchError if there are none, or if one is no text."""
    names = _list(argument, values)
    require(all(isinstance(name, str) for name in names or []), argument, values, "a name, or several")
    return names


def _numbers(argument: str, values: Any, limit: int) -> list[int] | None:
    """Return the numbers in an argument.

    Raise PrunebenchError if there are none, or unless they are whole numbers from 0 to below `limit`.
    """
    numbers = _list(argument, values)
    if numbers is None:
        return None
    in_range = all(isinstance(number, int | np.integer) and 0 <= number < limit for number in numbers)
    require(in_range, argument, numbers, f"whole numbers from 0 to {limit - 1}")
    return [int(number) for number in numbers]


def _list(argument: str, values: Any) -> list[Any] | None:
    """Return one value or several as a list. None stays None. Raise PrunebenchError if there are none."""
    if values is None:
        return None
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        return [values]
    found = list(values)
    require(bool(found), argument, found, "one or several, or None for those of the suite")
    return found
