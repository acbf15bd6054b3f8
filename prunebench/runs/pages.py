"""From the rows of a suite on disk, and the suite as it is today, to the page that shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from prunebench.errors import PrunebenchError
from prunebench.paper import comparison
from prunebench.parts.registry import Registry, load
from prunebench.results import exams, verifications
from prunebench.results.board import Page
from prunebench.results.document import Document, document
from prunebench.results.rows import Record, read_all
from prunebench.runs.select import filters_of
from prunebench.suites import schema
from prunebench.suites.resolve import cells
from prunebench.suites.schema import Suite, SuiteFile
from prunebench.system.files import near, replace_file

PROVIDERS = (exams.tables, comparison.tables)  # of tables beside those that follow from rows alone


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
    return Page(
        suite=name,
        title=file.title,
        note=file.note,
        ratios=file.ratios,
        seeds=schema.seed_list(file.seeds),
        rows=sorted(
            found.rows,
            key=lambda row: (
                _place(row.dataset, file.datasets),
                _place(row.method, [*file.methods, *file.references]),
                row.ratio,
                row.seed,
            ),
        ),
        failures=found.failures,
        current=current_keys([*found.rows, *found.failures], chosen, load()),
        titles=load().titles(),
        complaints=[*found.complaints, *complaints],
        providers=PROVIDERS,
        verified=frozenset(one.row for one in verified),
    )


def _place(name: str, order: list[str]) -> tuple[int, str]:
    """Return where a name stands: as the suite lists it, those it does not list last, by name."""
    return (order.index(name) if name in order else len(order), name)


def current_keys(
    rows: Iterable[Record], suite: Suite, registry: Registry
) -> dict[tuple[str, str, str, str], str | None]:
    """Return the method_key that follows from a suite today, by (method, dataset, recipe, tuning) of rows.

    A method that cannot be made any more has the key "gone", so that its rows show as stale.
    """
    found: dict[tuple[str, str, str, str], str | None] = {}
    for row in rows:
        place = (row.method, row.dataset, row.recipe, row.tuning)
        if place in found or row.dataset not in {*registry.found["datasets"], *suite.file.dataset}:
            continue  # a folder of the user's: its recipe is unknown here
        filters = replace(filters_of(row), seeds=[0])
        try:
            made = {cell.method.name: cell.method_key for cell in cells(suite, filters, registry)}
            found[place] = made.get(row.method, "gone")
        except PrunebenchError:
            found[place] = "gone"
    return found
