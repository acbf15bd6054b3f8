"""How far apart are papers on the same cell? Writes docs/published.md.

    python benchmarks/same_cell.py

Reads the numbers in benchmarks/published, and the rows of the leaderboard for cells of the same dataset,
method and ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from tabulate import tabulate

from prunebench.paper.field import Cell, Printed, SourceTable, agree, apart, rerun, shared
from prunebench.results.board import Board, at, boards
from prunebench.results.spelling import GAP
from prunebench.results.statistics import mean_interval
from prunebench.runs.pages import page_of

LEADERBOARD = Path(__file__).parent.parent / "leaderboard"
PAGE = Path(__file__).parent.parent / "docs" / "published.md"
NONE = "no rows here"
HEAD = """# The same cell in several papers

Made by `python benchmarks/same_cell.py`; do not edit. The numbers are those of
[`benchmarks/published/`](../benchmarks/published/README.md). Its page says which papers could not be read.

A cell is a dataset, a method and a ratio. This page shows the cells that at least two papers measured. A
number that a paper took from another, and says so, counts for the other.
"""
READING = f"""\
- **Pruned** and accuracies are in percent, with the digits and the spread that the paper prints.
- **{GAP}**: the source does not say. **Epoch** is the one whose accuracy is printed. **Runs** are those that
  a number is the mean of.
- **Read in** is what the number was read in. A thread and a review quote the paper.
- **Methods** of one name may differ in details, such as the features that they measure distances in.
- **Here** is the mean of our rows, last epoch, for the same names of dataset and method, with its 95 % t
  interval over seeds. Heads on frozen features and values chosen on the test split are left out.
"""
AGAIN = """## Readers' runs of the authors' code

Readers ran the authors' code and told the numbers in public threads of its repository.
"""


def page(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return the whole page."""
    blocks = [HEAD, "## How far apart\n", summary(cells), in_words(cells), READING, "## Side by side\n"]
    for dataset, group in groupby(cells, key=lambda cell: cell.dataset):
        blocks += [f"### {dataset}\n", side_by_side({cell: cells[cell] for cell in group})]
    return "\n".join([*blocks, "## Notes\n", notes(cells), AGAIN, readers(rerun())])


def summary(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return the table with a line for each cell."""
    body = []
    for cell, prints in cells.items():
        values = sorted(one.number.accuracy for one in prints)
        lowest, highest = f"{values[0]}", f"{values[-1]}"
        same = "the same, rounded" if agree(prints) else f"{apart(prints)}"
        papers = len({one.measured_in for one in prints})
        body.append([*_names(cell), papers, lowest, highest, same, "; ".join(ours(cell)) or NONE])
    return _table(
        body, ["dataset", "method", "pruned", "papers", "lowest", "highest", "points apart", "here"]
    )


def in_words(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return the paragraph on the gaps between papers."""
    same = [prints for prints in cells.values() if agree(prints)]
    gaps = {cell: prints for cell, prints in cells.items() if not agree(prints)}
    alike = {
        cell: prints for cell, prints in gaps.items() if len({one.source.network for one in prints}) == 1
    }
    unlike = {cell: prints for cell, prints in gaps.items() if cell not in alike}
    sentences = [
        f"At least two papers measured {len(cells)} cells.",
        f"In {len(same)} of them they print the same number, as far as it is rounded.",
        "That is no second measurement: one paper may have taken it from the other.",
        f"In the other {len(gaps)} they are a median of {_median(gaps)} points apart.",
        *_largest(alike, "network is the same in all papers"),
        *_largest(unlike, "networks differ"),
        *_spread(gaps),
    ]
    return " ".join(sentences) + "\n"


def _largest(gaps: Mapping[Cell, Sequence[Printed]], which: str) -> Iterator[str]:
    """Yield a sentence on the median and the largest gap, if there is one."""
    if gaps:
        cell = max(gaps, key=lambda cell: apart(gaps[cell]))
        dataset, method, pruned = _names(cell)
        numbers = ", ".join(f"{one.number.accuracy} in {one.measured_in}" for one in gaps[cell])
        yield (
            f"Where the {which}, {len(gaps)} cells, the median is {_median(gaps)} points and the largest gap "
            f"{apart(gaps[cell])}: {method} on {dataset} at {pruned} % pruned, with {numbers}."
        )


def _spread(gaps: Mapping[Cell, Sequence[Printed]]) -> Iterator[str]:
    """Yield a sentence on the spread within one paper, which the gaps can be held against."""
    spreads = [one.number.spread for prints in gaps.values() for one in prints]
    known = [spread for spread in spreads if spread is not None]
    if known:
        yield (
            f"Of the {len(spreads)} numbers in these cells {len(known)} are printed with a spread over runs: "
            f"a median of {statistics.median(known)} points, at most {max(known)}."
        )


def _median(gaps: Mapping[Cell, Sequence[Printed]]) -> Decimal:
    return statistics.median(apart(prints) for prints in gaps.values())


def side_by_side(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return the table with a line for each number."""
    body = []
    for cell, prints in cells.items():
        _, method, pruned = _names(cell)
        for one in prints:
            body.append(
                [method, pruned, _paper(one), _accuracy(one), *_protocol(one.source), one.source.read_in]
            )
    protocol = ["network", "trained for", "batch size", "epoch", "runs"]
    return _table(body, ["method", "pruned", "paper", "accuracy", *protocol, "read in"])


def notes(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return what is remarked on the tables of the numbers, as a list."""
    shown = (one.source for prints in cells.values() for one in prints)
    remarks = {f"- **{source.paper}**, {_place(source)}: {source.note}\n" for source in shown if source.note}
    return "".join(sorted(remarks))


def readers(cells: Mapping[Cell, Sequence[Printed]]) -> str:
    """Return the table of what readers measured with the authors' code."""
    body = []
    for cell, prints in cells.items():
        paper = next(one for one in prints if one.source.printed_by == "paper")
        for one in prints:
            if one.source.printed_by == "reader":
                difference = one.number.accuracy - paper.number.accuracy
                run = [_accuracy(paper), _accuracy(one), f"{difference:+}", one.number.note]
                body.append([*_names(cell), _paper(one), *run])
    return _table(body, ["dataset", "method", "pruned", "paper", "printed", "run again", "difference", ""])


def ours(cell: Cell) -> Iterator[str]:
    """Yield the mean of our rows of a cell and its interval, for each suite and protocol that has some."""
    for path in sorted((LEADERBOARD / "results").glob(f"*/{cell.dataset}/{cell.method}.jsonl")):
        suite = path.parent.parent.name
        for board in boards(page_of(suite, LEADERBOARD)):
            if values := _accuracies(board, cell):
                yield f"{_with_interval(values)}, recipe {board.rows[0].recipe} ({suite})"


def _with_interval(values: Sequence[float]) -> str:
    """Return the mean of some seeds in words, with its 95 % interval, which a single seed does not have."""
    mean, interval = statistics.mean(values), mean_interval(values)
    if interval is None:
        return f"{mean:.1f}, one seed"
    low, high = interval
    return f"{mean:.1f} ({low:.1f} to {high:.1f}), {len(values)} seeds"


def _accuracies(board: Board, cell: Cell) -> list[float]:
    """Return the accuracies of the last epoch, by seed."""
    rows = (row for row in board.rows if (row.dataset, row.method) == (cell.dataset, cell.method))
    fair = (row for row in rows if row.final_network is None and row.tuning != "oracle_test")
    same = cell.metric == "top-1" and cell.ratio == int(cell.ratio)
    return [row.accuracy for row in at(fair, int(cell.ratio)).values()] if same else []


def _names(cell: Cell) -> tuple[str, str, str]:
    metric = "" if cell.metric == "top-1" else f", {cell.metric}"
    return cell.dataset, f"`{cell.method}`{metric}", f"{cell.ratio}"


def _paper(one: Printed) -> str:
    link = f"[{one.number.paper}]({one.source.url})"
    return f"{one.number.copied_from}, in {link}" if one.number.copied_from else link


def _place(source: SourceTable) -> str:
    return f"table {source.table}" if source.table.isdigit() else source.table


def _accuracy(one: Printed) -> str:
    number = one.number
    return f"{number.accuracy}" if number.spread is None else f"{number.accuracy} ± {number.spread}"


def _protocol(source: SourceTable) -> list[str]:
    length = GAP
    if source.epochs:
        length = f"{source.epochs} epochs"
    if source.iterations:
        length = f"{source.iterations} iterations"
    runs = str(source.runs or GAP)
    return [source.network or GAP, length, source.batch_size or GAP, source.epoch or GAP, runs]


def _table(body: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    return tabulate(body, header, tablefmt="github", disable_numparse=True) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(shared()), encoding="utf-8")
