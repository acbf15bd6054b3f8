"""From the rows of a suite on disk, and the suite as it is today, to the page that shows them."""

from __future__ import annotations

from pathlib import Path

from prunebench import comparison, results, suite
from prunebench.files import replace_file
from prunebench.leaderboard import Page
from prunebench.registry import load
from prunebench.shipped import shipped
from prunebench.suite import Suite, SuiteFile


def remember(chosen: Suite, folder: Path) -> None:
    """Keep a suite that is not shipped beside its rows, so that its page can always be made again."""
    if chosen.path.parent != shipped():
        content = chosen.file.model_dump_json(indent=1, exclude_unset=True) + "\n"
        replace_file(_remembered(chosen.name, folder), content.encode(), "--results")


def _remembered(name: str, folder: Path) -> Path:
    return folder / "results" / name / "suite.json"


def suite_of(name: str, folder: Path) -> Suite:
    """Return the suite whose rows are in `folder`: the one kept beside them, or else the shipped one."""
    path = _remembered(name, folder)
    if path.is_file():
        return Suite(name, SuiteFile.model_validate_json(path.read_text(encoding="utf-8")), path)
    return suite.read(name)


def page_of(name: str, folder: Path) -> Page:
    """Return the page of suite `name` from its rows under `folder`.

    Raise PrunebenchError where there is neither a shipped suite of that name nor one beside the rows.
    """
    rows, complaints = results.read(folder, name)
    chosen = suite_of(name, folder)
    file = chosen.file
    return Page(
        suite=name,
        title=file.title,
        note=file.note,
        ratios=file.ratios,
        seeds=suite.seed_list(file.seeds),
        rows=sorted(
            rows,
            key=lambda row: (
                _place(row.dataset, file.datasets),
                _place(row.method, [*file.methods, *file.references]),
                row.ratio,
                row.seed,
            ),
        ),
        current=suite.current_keys(rows, chosen, load()),
        titles=load().titles(),
        complaints=complaints,
        published=comparison.tables,
    )


def _place(name: str, order: list[str]) -> tuple[int, str]:
    """Return where a name stands: as the suite lists it, those it does not list last, by name."""
    return (order.index(name) if name in order else len(order), name)
