"""What a report says of a board: words, tables, values of its figures, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from prunebench.errors import PrunebenchError
from prunebench.figures.drawings import Places, dataset_of
from prunebench.figures.report.measured import Measured, classes_of, measured
from prunebench.figures.report.stored import Stored, stored
from prunebench.figures.report.words import summary
from prunebench.results.board import Board, boards
from prunebench.results.cells import Number, Row, Table, Text, columns
from prunebench.results.document import Section, document
from prunebench.results.rows import Result
from prunebench.runs.claim_report import Examined, examined, of_the_paper
from prunebench.runs.pages import page_of
from prunebench.runs.select import command
from prunebench.suites.cells import Filters

CLAIMS_NOTE = (
    "Ours: last epoch. A gain is clear where its 95 % interval, paired by seed, excludes zero. "
    "Published: plain comparison, since the paper prints no spread."
)


@dataclass
class Values:
    """What the figures of a board are drawn from, as JSON.

    ratios: in percent pruned.
    classes: names, the most frequent first; None if unknown.
    stored: None without any artefact.
    """

    ratios: list[int]
    methods: list[Measured]
    classes: list[str] | None
    stored: Stored | None


@dataclass(frozen=True)
class Missing:
    """Why a section has no figure, and the command that helps."""

    why: str
    command: str = ""


@dataclass(frozen=True)
class Content:
    """A board in a report.

    suite: the title of its suite.
    note: what to know before any number is read, or "".
    summary: sentences.
    words: sentences on where methods lose at equal labels.
    tables: by title.
    missing: why a section has no figure, by the name of the section.
    remarks: on rows that are left out or doubtful.
    """

    suite: str
    heading: str
    note: str
    facts: str
    summary: Sequence[str]
    words: Sequence[str]
    tables: dict[str, Table]
    missing: dict[str, Missing]
    remarks: Sequence[str]
    values: Values


@dataclass(frozen=True)
class Overview:
    """The datasets of a suite together, in a report.

    suite: the title of the suite.
    tables: by title.
    """

    suite: str
    heading: str
    facts: str
    tables: dict[str, Table]


@dataclass(frozen=True)
class Contents:
    """A suite in a report. overviews: one per recipe that was run on enough datasets."""

    boards: Sequence[Content]
    overviews: Sequence[Overview]


def contents(suite: str, places: Places) -> Contents:
    """Return the content of a suite.

    Raise PrunebenchError if there is no such suite, or none of its rows follows from its settings.
    """
    page = page_of(suite, places.results)
    said = document(page)
    if not said.sections:
        raise PrunebenchError(
            f"all rows of suite {suite!r} were made with other settings than it has now; run it"
        )
    groups = examined(page)
    own = boards(page)
    found = []
    for board, section in zip(own, said.sections[: len(own)], strict=True):  # others are of several boards
        group = next((group for group in groups if any(row is board.rows[0] for row in group.rows)), None)
        tables = [*section.tables, *([_claims(group)] if group else []), _origin(board.rows)]
        found.append(_content(board, replace(section, tables=tables), said.remarks, places))
    overviews = [
        Overview(page.title, section.heading, section.facts, _by_title(section.tables))
        for section in said.sections[len(own) :]
    ]
    return Contents(found, overviews)


def _content(board: Board, section: Section, remarks: Sequence[str], places: Places) -> Content:
    row = board.rows[0]
    dataset = dataset_of(board.page, row.dataset, places.results)
    classes = classes_of(board, dataset, places.data)
    artefacts = stored(board, places, dataset)
    return Content(
        suite=board.page.title,
        heading=section.heading,
        note=board.page.note or section.warning or "",
        facts=section.facts,
        summary=summary(board),
        words=section.words,
        tables=_by_title(section.tables),
        missing=_missing(board, artefacts, classes is not None),
        remarks=remarks,
        values=Values(
            ratios=board.ratios,
            methods=measured(board, classes),
            classes=classes.names if classes else None,
            stored=artefacts,
        ),
    )


def _by_title(tables: Iterable[Table]) -> dict[str, Table]:
    return {table.title: table for table in tables}


def _claims(group: Examined) -> Table:
    """Return the verdicts on the claims of the paper as a table."""
    published = of_the_paper()
    body = [
        Row(
            [
                Text(ours.claim.sentence),
                Text(ours.claim.section),
                Text(published[name].verdict),
                Text(ours.verdict),
                Text(ours.scale),
                Text("; ".join(ours.remarks)),
            ]
        )
        for name, ours in group.findings.items()
    ]
    header = columns("claim", "section", "published", "ours", "gain of ours", "remarks")
    return Table("Claims", header, body, [CLAIMS_NOTE])


def _origin(rows: Iterable[Result]) -> Table:
    """Return where rows come from as a table: a line for each machine, its versions, and each commit."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        versions = [row.versions.get(name, "unknown") for name in ("prunebench", "torch", "numpy", "python")]
        key = (f"{row.device_name} ({row.device})", *versions, (row.commit or "unknown")[:12])
        groups.setdefault(key, []).append(row.date)
    body = [
        Row([*map(Text, key), Number(len(dates), "rows"), Text(min(dates)[:10]), Text(max(dates)[:10])])
        for key, dates in groups.items()
    ]
    header = columns("machine", "prunebench", "torch", "numpy", "python", "commit", "rows", "first", "last")
    return Table("Rows", header, body)


def _missing(board: Board, artefacts: Stored | None, has_classes: bool) -> dict[str, Missing]:
    """Return why sections have no figure, by the name of the section."""
    name = board.rows[0].dataset
    run = command(board.page.suite, Filters(datasets=[name]))
    found = {}
    if not has_classes:
        unknown = f"The class sizes of {name} are unknown. To learn them:"
        found["classes"] = Missing(unknown, f"{run} --methods full")
    if artefacts is None:
        nothing = Missing(f"No subset of {name} is in the store. To make them:", run)
        return found | dict.fromkeys(("scores", "overlap", "montage", "maps"), nothing)
    if not any(one for of_ratio in artefacts.histograms for one in of_ratio):
        found["scores"] = Missing("No stored subset was selected by scores.")
    if artefacts.montage is None:
        absent = Missing(f"{name} is not here as these rows saw it. To learn why:", "prunebench doctor")
        found |= dict.fromkeys(("montage", "maps"), absent)
    elif artefacts.maps is None:
        found["maps"] = Missing(f"No embeddings of {name} are in the store. To make them:", run)
    return found
