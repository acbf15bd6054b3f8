"""The files that pages are written to: their text, their index, what is left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from prunebench.results.document import Document
from prunebench.results.picture import FOLDER, Picture
from prunebench.results.render.index import MADE, index
from prunebench.results.render.markdown import made_from, markdown
from prunebench.results.split import split


def index_path(folder: Path) -> Path:
    """Return where the index of pages is: the name that forges show below a folder."""
    return folder / "README.md"


def contents(made: Mapping[str, Document], folder: Path) -> dict[Path, str]:
    """Return the text of pages, by their path. They show those figures that are there and up to date."""
    found = {}
    for whole in made.values():
        for path, page in split(_shown(whole, folder)).items():
            found[folder / path] = markdown([page], up="../" * path.count("/"))
    return found


def undrawn(made: Mapping[str, Document], folder: Path) -> list[Path]:
    """Return the figures of pages that are missing, or show other rows than those of today."""
    return [
        folder / FOLDER / picture.file(suite)
        for suite, picture in _pictures(made)
        if not picture.current(suite, folder)
    ]


def _pictures(made: Mapping[str, Document]) -> Iterator[tuple[str, Picture]]:
    """Yield each figure of each board, with the name of its suite."""
    for one in made.values():
        for section in one.sections:
            yield from ((one.suite, picture) for picture in section.pictures)


def left_over(made: Mapping[str, Document], folder: Path) -> list[Path]:
    """Return pages and figures under a folder that prunebench made, and no row asks for any more."""
    pages = {folder / path for one in made.values() for path in split(one)}
    figures = {folder / FOLDER / picture.file(suite) for suite, picture in _pictures(made)}
    there = [*folder.glob("*.md"), *folder.glob("*/*.md"), *folder.glob(f"{FOLDER}/*.svg")]
    asked = {index_path(folder), *pages, *figures}
    return sorted(path for path in there if path not in asked and _of_prunebench(path, folder))


def _of_prunebench(path: Path, folder: Path) -> bool:
    """Whether prunebench made a file, for this folder: one of pages below it is named after its suite."""
    suite = path.stem if path.parent == folder else path.parent.name
    mark = "<!-- prunebench leaderboard " if path.suffix == ".svg" else made_from(suite)
    return path.is_file() and mark.encode() in path.read_bytes()


def _shown(document: Document, folder: Path) -> Document:
    """Return a page with those figures alone that are there and up to date."""
    sections = []
    for section in document.sections:
        there = [one for one in section.pictures if one.current(document.suite, folder)]
        sections.append(replace(section, pictures=there))
    return replace(document, sections=sections)


def indexed(made: Mapping[str, Document], folder: Path) -> dict[Path, str]:
    """Return the text of the index of all pages, by its path."""
    return {index_path(folder): index([*made.values()], lambda name: _guide(name, folder))}


def is_taken(folder: Path) -> bool:
    """Whether a file that prunebench did not make is where the index would be."""
    path = index_path(folder)
    return path.exists() and not (path.is_file() and MADE.encode() in path.read_bytes())


def _guide(name: str, folder: Path) -> str:
    """Return the name of a document of the repository, as a link where it is beside the folder."""
    return f"[{name}](../{name})" if (folder.parent / name).is_file() else f"`{name}` of prunebench"
