"""From the rows of a suite on disk, and the suite as it is today, to the page that shows them."""

from __future__ import annotations

from pathlib import Path

from prunebench import results, suite
from prunebench.errors import PrunebenchError
from prunebench.leaderboard import Page
from prunebench.registry import load


def page_of(name: str, source: str, folder: Path) -> Page:
    """Read the rows of suite `name` under `folder`; `source` is where the suite itself is read from.

    A suite that is not shipped and whose file is not named shows its rows without a staleness check.
    """
    rows, complaints = results.read(folder, name)
    try:
        chosen = suite.read(source)
    except PrunebenchError:
        complaints.append(f"suite file of {name!r} unknown here: rows are not checked for being stale")
        return Page(
            suite=name,
            title=name,
            note="",
            ratios=sorted({row.ratio for row in rows if not row.reference}),
            seeds=sorted({row.seed for row in rows}),
            rows=rows,
            complaints=complaints,
        )
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
        complaints=complaints,
    )


def _place(name: str, order: list[str]) -> tuple[int, str]:
    """Return where a name stands: as the suite lists it, those it does not list last, by name."""
    return (order.index(name) if name in order else len(order), name)
