"""The figures of a suite, one by one, or the reason that one cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.figures import histograms, lines, maps, sources, style
from prunebench.parts.dataset import Dataset
from prunebench.parts.registry import load
from prunebench.pipeline.context import load_split
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.results import rows as results
from prunebench.results.board import Board, Page, boards, stems
from prunebench.runs import label_report
from prunebench.runs.pages import page_of, suite_of
from prunebench.runs.run import make_stages
from prunebench.suites import resolve
from prunebench.system.files import near

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure, or the error that prevented it.

    stem: the file name without suffix, unique among the drawings of a suite.
    figure: None if there is an error.
    error: None if there is a figure.
    """

    stem: str
    figure: Figure | None
    error: PrunebenchError | None = None


@dataclass(frozen=True)
class Places:
    """The places of a suite's data.

    results: folder of result rows.
    data: folder of datasets.
    store: store of artefacts.
    """

    results: Path
    data: Path
    store: Store


def from_rows(name: str, suite: str, chosen: sources.Chosen, places: Places) -> Iterator[Drawing]:
    """Yield a figure of each board of a suite.

    name: "accuracy", "labels", "classes" or "kept".

    Raise PrunebenchError if no row is chosen.
    """
    page = page_of(suite, places.results)
    if not page.rows:
        suites = ", ".join(results.suites(places.results)) or "none"
        raise PrunebenchError(
            f"no rows of suite {suite!r} under {near(places.results)}/results (there are: {suites}); choose "
            f"with --suite and --results, or run: prunebench run --suite {suite}"
        )
    chosen_boards = boards(sources.narrowed(page, chosen))
    if not chosen_boards:
        raise PrunebenchError(
            f"all of these rows of suite {suite!r} were made with other settings than it has now; run it"
        )
    for stem, board in zip(stems(chosen_boards), chosen_boards, strict=True):
        yield _attempt(stem, lambda board=board: _of_board(name, board, places))  # type: ignore[misc]


def _attempt(stem: str, draw: Callable[[], Figure]) -> Drawing:
    try:
        return Drawing(stem, draw())
    except PrunebenchError as error:
        return Drawing(stem, None, error)


def _of_board(name: str, board: Board, places: Places) -> Figure:
    if name == "accuracy":
        return lines.accuracy(board)
    if name == "labels":
        return lines.labels(board)
    dataset = dataset_of(board.page, board.rows[0].dataset, places.results)
    if name == "kept":
        return lines.kept(board, sources.shares(board, dataset, places.data, places.store))
    sizes = sources.truth_per_class(board, dataset, places.data)
    return histograms.classes(histograms.of_board(board, sizes, dataset.classes if dataset else ()))


def dataset_of(page: Page, name: str, folder: Path) -> Dataset | None:
    """Return a dataset by name, or None if its plugin is not installed."""
    try:
        return load().dataset(resolve.dataset_spec(suite_of(page.suite, folder), name))
    except PrunebenchError:
        return None


def classes(matrix: Matrix, note: str) -> Iterator[Drawing]:
    """Yield the figure `classes` of each dataset of a matrix, from the stored label qualities.

    note: the note of the suite, printed as a warning.
    """
    judged = label_report.judged(matrix)
    for cell in {cell.dataset.name: cell for cell in matrix.cells}.values():
        name = cell.dataset.name
        groups = [group for group in judged if group.dataset == name]
        if groups and not any(group.found for group in groups):
            missing = f"no labels of {name} are stored; run: prunebench labels --make, with the same options"
            yield Drawing(name, None, PrunebenchError(missing))
            continue
        histogram = histograms.of_store(name, groups, cell.recipe_name, cell.dataset.classes, note)
        yield _attempt(name, lambda histogram=histogram: histograms.classes(histogram))  # type: ignore[misc]


def embeddings(matrix: Matrix, note: str, workers: int | None) -> Iterator[Drawing]:
    """Yield the figure `embeddings` of each dataset of a matrix. Makes missing embeddings first.

    note: the note of the suite, printed as a warning.
    workers: number of worker processes.
    """
    by_dataset = sources.sources(matrix)
    drawable = {}
    for name, entries in by_dataset.items():
        if 0 < len(entries) <= maps.MOST:
            drawable[name] = entries
        else:
            yield Drawing(name, None, _wrong_number(name, entries))
    stages = [source.stage for entries in drawable.values() for source in entries]
    failures = _make_missing(matrix, stages, workers)
    for name, entries in drawable.items():
        errors = [failures[source.stage.key] for source in entries if source.stage.key in failures]
        if errors:
            yield Drawing(name, None, PrunebenchError(f"{name}: {errors[0]}"))
        else:
            yield _attempt(name, lambda name=name, entries=entries: _maps(matrix, name, entries, note))  # type: ignore[misc]


def _wrong_number(name: str, entries: Sequence[sources.Source]) -> PrunebenchError:
    """Return the error for a dataset with no embeddings, or with too many for one figure."""
    if not entries:
        return PrunebenchError(
            f"none of these methods embeds the images of {name}; choose others with --methods"
        )
    titles = ", ".join(source.title for source in entries)
    return PrunebenchError(
        f"{len(entries)} embeddings of {name} ({titles}) are too many for one figure; choose methods "
        f"with up to {maps.MOST} of them: --methods"
    )


def _maps(matrix: Matrix, name: str, entries: Sequence[sources.Source], note: str) -> Figure:
    dataset = entries[0].stage.dataset
    truth = load_split(dataset, matrix.data, "train")[1]
    index = maps.drawn(truth, len(dataset.classes))
    panels = []
    for source in entries:
        values = sources.features(source, matrix, index)
        if values is not None:
            panels.append(maps.Embedded(source.title, values))
    if not panels:
        raise PrunebenchError(
            f"{entries[0].title}: the labeler kept no network, so {name} has no embeddings of it"
        )
    recipe = next(cell.recipe_name for cell in matrix.cells if cell.dataset.name == name)
    corrupted = sources.corrupted(dataset, matrix.data)
    return maps.embeddings(
        panels,
        truth[index],
        dataset.classes,
        None if corrupted is None else corrupted[index],
        f"{name}, recipe {recipe}, one seed: embeddings",
        style.demonstration(note, recipe),
    )


def _make_missing(matrix: Matrix, stages: Sequence[Stage], workers: int | None) -> dict[str, str]:
    """Make the stages that are not stored. Return the error message of each failed stage, by key."""
    if not stages:
        return {}
    matrix.check_device()
    matrix.fetch()
    by_key = {stage.key: stage for stage in stages}
    return make_stages(matrix, by_key, forecast_from_store(matrix), Engine(workers=workers))
