"""The figures of a suite, one after another; where one cannot be drawn, why."""

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
from prunebench.pipeline.forecast import learnt
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.results import rows as results
from prunebench.results.board import Board, Page, boards
from prunebench.runs import label_report
from prunebench.runs.pages import page_of, suite_of
from prunebench.runs.run import make_stages
from prunebench.suites import resolve
from prunebench.system.files import near

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure, or why there is none; stem: the dataset, and what else tells it from others."""

    stem: str
    figure: Figure | None
    error: PrunebenchError | None = None


@dataclass(frozen=True)
class Places:
    """Where rows, datasets and artefacts are."""

    results: Path
    data: Path
    store: Store


def from_rows(name: str, suite: str, chosen: sources.Chosen, places: Places) -> Iterator[Drawing]:
    """Yield the figure `name` of each board of a suite. Raise PrunebenchError where no row is chosen."""
    page = page_of(suite, places.results)
    if not page.rows:
        having = ", ".join(results.suites(places.results)) or "none"
        raise PrunebenchError(
            f"no rows of suite {suite!r} under {near(places.results)}/results (there are: {having}); choose "
            f"with --suite and --results, or run: prunebench run --suite {suite}"
        )
    found = boards(sources.narrowed(page, chosen))
    if not found:
        raise PrunebenchError(
            f"all of these rows of suite {suite!r} were made with other settings than it has now; run it"
        )
    for stem, board in zip(_stems(found), found, strict=True):
        yield _attempt(stem, lambda board=board: _of_board(name, board, places))  # type: ignore[misc]


def _stems(found: Sequence[Board]) -> Iterator[str]:
    """Yield a name for each board: its dataset, with recipe and a number where these are needed."""
    datasets = [board.rows[0].dataset for board in found]
    used: list[str] = []
    for board in found:
        row = board.rows[0]
        stem = row.dataset if datasets.count(row.dataset) == 1 else f"{row.dataset}-{row.recipe}"
        used.append(stem)
        yield stem if used.count(stem) == 1 else f"{stem}-{used.count(stem)}"


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
    dataset = _dataset(board.page, board.rows[0].dataset, places.results)
    if name == "kept":
        return lines.kept(board, sources.shares(board, dataset, places.data, places.store))
    sizes = sources.truth_per_class(board, dataset, places.data)
    return histograms.classes(histograms.of_board(board, sizes, dataset.classes if dataset else ()))


def _dataset(page: Page, name: str, folder: Path) -> Dataset | None:
    """Return a dataset by name, or None for one whose plugin is not installed here."""
    try:
        return load().dataset(resolve.dataset_spec(suite_of(page.suite, folder), name))
    except PrunebenchError:
        return None


def classes(matrix: Matrix, note: str) -> Iterator[Drawing]:
    """Yield the figure `classes` of each dataset of a matrix, from stored qualities of labels."""
    judged = label_report.judged(matrix)
    for cell in {cell.dataset.name: cell for cell in matrix.cells}.values():
        name = cell.dataset.name
        groups = [group for group in judged if group.dataset == name]
        if groups and not any(group.found for group in groups):
            missing = f"no labels of {name} are stored; run: prunebench labels --make, with the same options"
            yield Drawing(name, None, PrunebenchError(missing))
            continue
        given = histograms.of_store(name, groups, cell.recipe_name, cell.dataset.classes, note)
        yield _attempt(name, lambda given=given: histograms.classes(given))  # type: ignore[misc]


def embeddings(matrix: Matrix, note: str, workers: int | None) -> Iterator[Drawing]:
    """Yield the figure `embeddings` of each dataset of a matrix, after making those that are not stored."""
    found = sources.sources(matrix)
    drawable = {name: own for name, own in found.items() if 0 < len(own) <= maps.MOST}
    for name in found.keys() - drawable.keys():
        titles = ", ".join(source.title for source in found[name])
        reason = (
            f"{len(found[name])} embeddings of {name} ({titles}) are too many for one figure; choose methods "
            f"with up to {maps.MOST} of them: --methods"
            if titles
            else f"none of these methods embeds the images of {name}; choose others with --methods"
        )
        yield Drawing(name, None, PrunebenchError(reason))
    failures = _made(matrix, [source.stage for own in drawable.values() for source in own], workers)
    for name, own in drawable.items():
        failed = [failures[source.stage.key] for source in own if source.stage.key in failures]
        if failed:
            yield Drawing(name, None, PrunebenchError(f"{name}: {failed[0]}"))
        else:
            yield _attempt(name, lambda name=name, own=own: _maps(matrix, name, own, note))  # type: ignore[misc]


def _maps(matrix: Matrix, name: str, own: Sequence[sources.Source], note: str) -> Figure:
    dataset = own[0].stage.dataset
    truth = load_split(dataset, matrix.data, "train")[1]
    index = maps.drawn(truth, len(dataset.classes))
    values = [(source.title, sources.features(source, matrix, index)) for source in own]
    panels = [maps.Embedded(title, value) for title, value in values if value is not None]
    if not panels:
        raise PrunebenchError(
            f"{own[0].title}: the labeler kept no network, so {name} has no embeddings of it"
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


def _made(matrix: Matrix, ends: Sequence[Stage], workers: int | None) -> dict[str, str]:
    """Make what is missing of some stages; return why those that failed did, by key."""
    if not ends:
        return {}
    matrix.check_device()
    matrix.fetch()
    given = {stage.key: stage for stage in ends}
    return make_stages(matrix, given, learnt(matrix), Engine(workers=workers))
