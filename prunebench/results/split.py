"""A page of several datasets -> an overview, and a page for each dataset."""

from __future__ import annotations

from dataclasses import replace

from prunebench.results.document import Document, Section
from prunebench.results.rows import file_name


def split(document: Document) -> dict[str, Document]:
    """Return the pages of a suite by their path below the folder of pages.

    A suite of one dataset has one. Else the first is an overview: of each board the first table, and all that
    is about several datasets.
    """
    path = f"{document.suite}.md"
    datasets = list(dict.fromkeys(_dataset(section) for section in document.sections if section.standing))
    if len(datasets) < 2:
        return {path: document}
    overview = [_short(section, document.suite) for section in document.sections]
    pages = {path: replace(document, sections=overview)}
    for dataset in datasets:
        own = [one for one in document.sections if one.standing and _dataset(one) == dataset]
        title = f"{document.title}: {dataset}"
        pages[_path(document.suite, dataset)] = replace(document, title=title, sections=own, remarks=())
    return pages


def _dataset(section: Section) -> str:
    return str(section.setting["dataset"])


def _path(suite: str, dataset: str) -> str:
    return f"{suite}/{file_name(dataset)}.md"


def _short(section: Section, suite: str) -> Section:
    """Return what an overview has of a section: of a board the first table, and where the others are."""
    if section.standing is None:
        return section
    return replace(section, tables=section.tables[:1], words=(), more=_path(suite, _dataset(section)))
