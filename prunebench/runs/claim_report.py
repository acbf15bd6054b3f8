"""The report on claims: the paper's sentences, put to its own numbers and to the rows of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prunebench.paper.claims import Finding, claims, examine
from prunebench.paper.points import groups, measured, printed
from prunebench.results.board import Page
from prunebench.results.rows import Result


@dataclass(frozen=True)
class Examined:
    """The verdicts of comparable rows.

    title: what the rows share.
    rows: the rows.
    findings: their verdicts, by the name of the claim.
    """

    title: str
    rows: Sequence[Result]
    findings: dict[str, Finding]


def of_the_paper() -> dict[str, Finding]:
    """Return the verdicts of the paper's own numbers, by the name of the claim."""
    return {name: examine(claim, printed()) for name, claim in claims().claim.items()}


def examined(page: Page) -> list[Examined]:
    """Return the verdicts of the rows of a page, for each group of rows that are comparable.

    They are the rows that the tables of the page show. Rows that were tuned on the test split are left out,
    as they are no results.
    """
    file = claims()
    results = [row for row in page.shown if row.tuning != "oracle_test"]
    found = []
    for title, rows in groups(results).items():
        points = measured(rows)
        findings = {name: examine(claim, points, file.stand_in) for name, claim in file.claim.items()}
        found.append(Examined(title, rows, findings))
    return found
