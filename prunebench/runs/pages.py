"""From the rows of a suite on disk, and the suite as it is today, to the page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import ValidationError

from prunebench.errors import PrunebenchError
from prunebench.paper import comparison
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.registry import Registry, load
from prunebench.pipeline.plan import spelled
from prunebench.results import exams, verifications
from prunebench.results.board import Page, Place, place
from prunebench.results.document import Document, document
from prunebench.results.looks import Looks
from prunebench.results.rows import Record, Result, read_all
from prunebench.runs.select import alike, filters_of
from prunebench.suites import schema
from prunebench.suites.cells import Cell, training_key
from prunebench.suites.resolve import cells
from prunebench.suites.schema import Suite, SuiteFile
from prunebench.system.files import near, replace_file
from prunebench.system.garbage import no_garbage
from prunebench.system.sealed_json import sealed, unsealed

PROVIDERS = (exams.tables, comparison.tables)  # of tables beside those that follow from rows alone
GONE = "gone"  # the method_key of a method that cannot be made any more, so that its rows show as stale


def remember(chosen: Suite, folder: Path) -> str | None:
    """Keep a suite that is not shipped beside its rows, so that its page can always be made again.

    Return a line where rows of a suite of that name and another title are there already. Raise
    PrunebenchError where the suite cannot be written, or its page.
    """
    page = page_path(chosen.name, folder)
    if page.is_dir():
        raise PrunebenchError(f"cannot write the page {near(page)}: it is a folder; choose another --results")
    if schema.is_shipped(chosen.path):
        return None
    path, title = _remembered(chosen.name, folder), chosen.file.title
    try:
        before = suite_of(chosen.name, folder).file.title
    except PrunebenchError:  # there is none, or none that can be read
        before = title
    content = chosen.file.model_dump_json(indent=1, exclude_unset=True) + "\n"
    replace_file(path, content.encode(), "--results")
    if before == title:
        return None
    return (
        f"{near(path.parent)} has rows of another suite {chosen.name!r}, titled {before!r}: they share a "
        f"page with those of {title!r}; another name of the file or another --results keeps them apart"
    )


def _remembered(name: str, folder: Path) -> Path:
    return folder / "results" / name / "suite.json"


def remember_looks(name: str, looks: Looks, folder: Path) -> None:
    """Keep the rule by which seeds are added beside the rows of a suite.

    Raise PrunebenchError where rows were made by another rule, or more seeds than its first look without any.
    """
    path = _looks_path(name, folder)
    before = looks_of(name, folder)
    if before is None and any(row.seed >= looks.first for row in read_all(folder, name).rows):
        raise PrunebenchError(
            f"{near(path.parent)} has rows of more than {looks.first} seeds, made by no such rule; choose "
            "another --results"
        )
    if before not in (None, looks):
        raise PrunebenchError(
            f"{near(path)} fixed the looks at {before.first} to {before.most} seeds before the first; keep "
            f"--max-seeds {before.most}, or choose another --results"
        )
    replace_file(path, sealed(asdict(looks)), "--results")


def looks_of(name: str, folder: Path) -> Looks | None:
    """Return the rule by which seeds were added to the rows of a suite, or None if they were not.

    Raise PrunebenchError where its file is damaged.
    """
    path = _looks_path(name, folder)
    if not path.exists():
        return None
    values = unsealed(path)
    if values is None:
        raise PrunebenchError(
            f"{near(path)}, which says how seeds were added, is damaged; take it from a copy, or delete the "
            "rows of the added seeds with it"
        )
    return Looks(**values)


def _looks_path(name: str, folder: Path) -> Path:
    return folder / "results" / name / "looks.json"


def page_path(name: str, folder: Path) -> Path:
    """Return where the page of suite `name` is."""
    return folder / f"{name}.md"


def suite_of(name: str, folder: Path) -> Suite:
    """Return the suite whose rows are in `folder`: the one kept beside them, or else the shipped one.

    Raise PrunebenchError where there is neither, or the one kept there cannot be read.
    """
    path = _remembered(name, folder)
    if not path.exists():
        return schema.read(name)
    try:
        return Suite(name, SuiteFile.model_validate_json(path.read_bytes()), path)
    except (OSError, ValidationError):
        raise PrunebenchError(
            f"{near(path)}, which says what suite {name!r} is, is damaged; delete it and run the suite again"
        ) from None


def made(names: Iterable[str], folder: Path) -> tuple[dict[str, Document], dict[str, str]]:
    """Return what the pages of suites say, and of those that have none why not, both by name."""
    pages: dict[str, Document] = {}
    without: dict[str, str] = {}
    with no_garbage():  # of which rows are none
        for name in names:
            try:
                pages[name] = document(page_of(name, folder))
            except PrunebenchError as error:
                without[name] = str(error)
    return pages, without


def page_of(name: str, folder: Path) -> Page:
    """Return the page of suite `name` from its rows under `folder`.

    Raise PrunebenchError where there is neither a shipped suite of that name nor one beside the rows.
    """
    found = read_all(folder, name)
    verified, complaints = verifications.read(folder, name)
    chosen = suite_of(name, folder)
    file = chosen.file
    today = cells_today([*found.rows, *found.failures], chosen, load())
    return Page(
        suite=name,
        title=file.title,
        note=file.note,
        ratios=file.ratios,
        seeds=schema.seed_list(file.seeds),
        rows=_sorted(found.rows, file),
        methods=file.methods,
        failures=found.failures,
        current={where: cell.method_key if cell else GONE for where, cell in today.items()},
        trainings={
            where: training_key(cell.recipe, cell.final_backbone) for where, cell in today.items() if cell
        },
        roots={cell.dataset.name: root_of(cell.dataset) for cell in today.values() if cell},
        looks=looks_of(name, folder),
        titles=load().titles(),
        labelers={
            where: spelled(cell.method.labeler)
            for where, cell in today.items()
            if cell and cell.method.labeler
        },
        complaints=[*found.complaints, *complaints],
        providers=PROVIDERS,
        verified=verifications.confirmed(found, verified),
    )


def narrowed(page: Page, cells: Sequence[Cell]) -> Page:
    """Return what a page says of the datasets, ratios and seeds of some cells.

    Seeds that a rule added are shown with all others of the page, as the rule looks at all of them.
    """
    datasets = {cell.dataset.name for cell in cells}
    ratios = {cell.ratio for cell in cells if not cell.method.reference}
    rows = [row for row in page.rows if row.dataset in datasets and (row.reference or row.ratio in ratios)]
    if page.looks is None:
        seeds = {cell.seed for cell in cells}
        rows = [row for row in rows if row.seed in seeds]
        page = replace(page, seeds=sorted(seeds))
    return replace(page, ratios=sorted(ratios) or page.ratios, rows=rows)


def _sorted(rows: list[Result], file: SuiteFile) -> list[Result]:
    """Return rows as the suite lists datasets and methods, those it does not list last, by name."""
    datasets = {name: position for position, name in enumerate(file.datasets)}
    methods = {name: position for position, name in enumerate([*file.methods, *file.references])}

    def position(row: Result) -> tuple[int, str, int, str, int, int]:
        dataset = datasets.get(row.dataset, len(datasets))
        return (dataset, row.dataset, methods.get(row.method, len(methods)), row.method, row.ratio, row.seed)

    return sorted(rows, key=position)


def root_of(dataset: Dataset) -> str:
    """Return the name of the dataset that this one is a view of, or is with other fields, or else its own.

    What is at a path, as a folder is, is no dataset with other fields: its images are others.
    """
    while isinstance(dataset, View):
        dataset = dataset.base
    named = dataset.lineage[-1]
    return named if isinstance(load().found["datasets"].get(named), Dataset) else dataset.name


def cells_today(rows: Iterable[Record], suite: Suite, registry: Registry) -> dict[Place, Cell | None]:
    """Return a cell that follows from a suite today, by the place of rows; None where there is none any more.

    A folder of the user's has no entry: its recipe is unknown here.
    """
    known = {*registry.found["datasets"], *suite.file.dataset}
    examples = {place(row): row for row in rows if row.dataset in known}
    return {
        where: cell for group in alike(examples.values()) for where, cell in _resolved(group, suite, registry)
    }


def _resolved(rows: list[Record], suite: Suite, registry: Registry) -> Iterator[tuple[Place, Cell | None]]:
    """Yield a cell for each of the rows of a group of `alike`; one by one if some have none."""
    try:
        made = {cell.method.name: cell for cell in cells(suite, filters_of(rows), registry)}
    except PrunebenchError:
        made = {}
    for row in rows:
        if row.method in made or len(rows) == 1:
            yield place(row), made.get(row.method)
        else:
            yield from _resolved([row], suite, registry)
