"""In words, where methods lose to what costs no more: as many labels or fewer, or as much compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prunebench.results.board import Board, as_many_labels, at, by_seed, complete, label_usage
from prunebench.results.looks import compare_pairs
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize

NOTE = (
    "Worse: the seeds separate the two, if all methods of that ratio are compared with what the sentence "
    "names. Random with as many labels spends on images to train on what a method spends on labels to "
    "select by. Random trained as long trains on as many images as a method's selection and final training "
    "together. FixMatch's own network trained with the labels to select by alone, and needs no kept image."
)
Seeds = Mapping[int, Result]
Against = tuple[Sequence[Result], Mapping[int, Seeds]]  # rows of a method, and by ratio those of its rival


@dataclass
class Loss:
    """By how many points a method is below its rival, by ratio; nothing where it is not.

    apart: where the seeds separate them. near: where they do not.
    """

    apart: dict[int, float] = field(default_factory=dict)
    near: dict[int, float] = field(default_factory=dict)


def sentences(board: Board) -> list[str]:
    """Return where methods lose, rival by rival. Values that the test split chose neither win nor lose."""
    if board.rows[0].tuning == "oracle_test":
        return []
    return [sentence for rival in RIVALS for sentence in rival(board)]


def to_random_at_equal_labels(board: Board) -> list[str]:
    """Return where methods lose to Random on as many labels in all."""
    few = [(rows, random) for rows, random in as_many_labels(board) if label_usage(rows[0]) == "few"]
    if few and not any(cell for _, random in few for cell in random.values()):
        return ["Random with as many labels was not run."]
    return _sentences(board, "Random with as many labels", few)


def to_random_at_equal_compute(board: Board) -> list[str]:
    """Return where methods lose to Random that trained on as many images as their selection and training."""
    twins = board.twins("work")
    methods = [rows for rows in board.methods(reference=False) if rows[0].method != "random"]
    if methods and not twins:
        return ["Random trained as long was not run."]
    pairs = [
        (rows, {ratio: at(twins[rows[0].method], ratio) for ratio in board.ratios})
        for rows in methods
        if rows[0].method in twins
    ]
    return _sentences(board, "Random trained as long", pairs)


def to_all_images(board: Board) -> list[str]:
    """Return how many methods that need every label lose to a training on every image."""
    every = [(rows, images) for rows, images in as_many_labels(board) if label_usage(rows[0]) == "full"]
    losses = _losses(board, every)
    if not losses:
        return []
    compared = [ratio for ratio in board.ratios if _whole(board, every, ratio)]
    apart = {ratio: sum(ratio in loss.apart for loss in losses.values()) for ratio in compared}
    counted = joined(f"{count} at {ratio}" for ratio, count in apart.items())
    return [
        f"Of {len(losses)} methods that need all labels, worse than a training on all images: "
        f"{counted} % pruned."
    ]


def to_own_network(board: Board) -> list[str]:
    """Return where methods lose to FixMatch's own network, which trained with the labels they select by."""
    references = board.methods(reference=True)
    own = next((rows for rows in references if rows[0].method == "ssl_model"), None)
    if own is None:
        return []
    cells = dict.fromkeys(board.ratios, by_seed(own))
    alike = [
        (rows, cells)
        for rows in board.methods(reference=False)
        if _labels(rows[0]) == _labels(own[0])  # and none for the images kept
    ]
    return _sentences(board, own[0].title, alike)


def _labels(row: Result) -> tuple[float, str | None]:
    return row.label_fraction, row.label_draw


def to_probe(board: Board) -> list[str]:
    """Return where methods with FixMatch as their labeler lose to the same ones with a linear probe."""
    methods = {rows[0].method: rows for rows in board.methods(reference=False)}
    pairs = []
    for name, rows in methods.items():
        probe = methods.get(f"probe_{name.removeprefix('semi_')}")
        if name.startswith("semi_") and probe is not None:
            pairs.append((rows, {ratio: at(probe, ratio) for ratio in board.ratios}))
    return _sentences(board, "the same with a linear probe for FixMatch", pairs)


RIVALS: tuple[Callable[[Board], list[str]], ...] = (
    to_random_at_equal_labels,
    to_random_at_equal_compute,
    to_own_network,
    to_probe,
    to_all_images,
)


def _sentences(board: Board, rival: str, pairs: Sequence[Against]) -> list[str]:
    """Return a sentence for each method that is below its rival somewhere, and one on all others."""
    losses = _losses(board, pairs)
    titles = {rows[0].method: rows[0].title for rows, _ in pairs}
    found = [_sentence(titles[name], rival, loss) for name, loss in losses.items() if loss.apart or loss.near]
    others = [titles[name] for name, loss in losses.items() if not (loss.apart or loss.near)]
    if others:
        found.append(f"Nowhere below {rival}: {'; '.join(others)}.")
    return found


def _sentence(title: str, rival: str, loss: Loss) -> str:
    if not loss.apart:
        return f"{title} is below {rival} by {_points(loss.near)} % pruned, not separated."
    near = f"; below it, but not separated, by {_points(loss.near)} %" if loss.near else ""
    return f"{title} is worse than {rival} by {_points(loss.apart)} % pruned{near}."


def _points(found: Mapping[int, float]) -> str:
    return joined(f"{points:.1f} points at {ratio}" for ratio, points in found.items())


def _losses(board: Board, pairs: Sequence[Against]) -> dict[str, Loss]:
    """Return the losses of methods to their rivals, where both have complete cells at some ratio."""
    found: dict[str, Loss] = {}
    for ratio in board.ratios:
        whole = _whole(board, pairs, ratio)
        for (ours, theirs), sign in zip(whole, _signs(board, whole), strict=True):
            loss = found.setdefault(_name(ours), Loss())
            points = round(_mean(theirs) - _mean(ours), 1)
            if points > 0:
                (loss.apart if sign < 0 else loss.near)[ratio] = points
    return found


def _whole(board: Board, pairs: Sequence[Against], ratio: int) -> list[tuple[Seeds, Seeds]]:
    """Return the cells of methods and their rivals at a ratio, where both are complete."""
    both = [(at(rows, ratio), cells[ratio]) for rows, cells in pairs]
    return [pair for pair in both if all(complete(cell, board.page) for cell in pair)]


def _signs(board: Board, pairs: Sequence[tuple[Seeds, Seeds]]) -> list[int]:
    """Return whether the seeds separate methods from their rivals: 1 above, -1 below, 0 neither."""
    cells = {_name(cell): cell for pair in pairs for cell in pair}
    groups = [{seed: row.accuracy for seed, row in cell.items()} for cell in cells.values()]
    position = {name: index for index, name in enumerate(cells)}
    between = [(position[_name(theirs)], position[_name(ours)]) for ours, theirs in pairs]
    return compare_pairs(groups, between, board.page.looks)


def _name(cell: Seeds) -> str:
    return next(iter(cell.values())).method


def _mean(cell: Seeds) -> float:
    return summarize([row.accuracy for row in cell.values()]).mean


def joined(words: Iterable[object]) -> str:
    """Return words as a list in a sentence: 30, 70 and 90."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
