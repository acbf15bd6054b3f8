"""Which images a page shows: a bounded number of each kind, from the .csv of `prune`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.runs.format import duration
from prunebench.runs.kept import DROP, KEPT, TO_LABEL, Line, turn

# Nine fill a row of a wide window, and three rows of a phone. At most 405 images in all: a page below 5 MB.
FIRST, UNSURE, DROPPED = 99, 45, 45
CLASSES, PER_CLASS = 12, 9
GROUPS, MEMBERS = 12, 9
STATUS = {KEPT: "has its label", TO_LABEL: "to label", DROP: "dropped"}


@dataclass(frozen=True)
class Tile:
    """An image on the page. label: its label or pseudo-label, or "". status: in words."""

    file: str
    label: str
    status: str


@dataclass(frozen=True)
class Strip:
    """Images side by side. title: "" if the section has one strip. rest: how many more there are."""

    title: str
    tiles: list[Tile]
    rest: int = 0


@dataclass(frozen=True)
class Section:
    """A part of the page. name: of the link to it. narrow: whether strips may stand side by side."""

    name: str
    title: str
    note: str
    strips: list[Strip]
    narrow: bool = False


@dataclass(frozen=True)
class Overview:
    """All that a page shows. facts: name and value of each."""

    title: str
    facts: list[tuple[str, str]]
    sections: list[Section]

    @property
    def files(self) -> list[str]:
        """The images on the page, each once."""
        tiles = (tile for section in self.sections for strip in section.strips for tile in strip.tiles)
        return list(dict.fromkeys(tile.file for tile in tiles))


def overview(path: Path, lines: Sequence[Line], origin: Mapping[str, Any]) -> Overview:
    """Return what the page of a .csv of `prune` shows.

    origin: what `prune` saved of itself: the title of its method and its seconds. {}: unknown.

    Raise PrunebenchError if a confidence or a score is no number.
    """
    table = _Table(path, lines)
    sections = [table.first(), table.unsure(), table.classes(), table.groups(), table.dropped()]
    shown = [section for section in sections if any(strip.tiles for strip in section.strips)]
    return Overview(path.name, _facts(lines, origin), shown)


def _facts(lines: Sequence[Line], origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = Counter(line.status for line in lines)
    others = sum(bool(line.duplicate_of) for line in lines)
    found = [
        ("images", f"{len(lines):,}"),
        ("labels there are", f"{counts[KEPT]:,}"),
        ("to label", f"{counts[TO_LABEL]:,}"),
        ("dropped", f"{counts[DROP]:,}"),
        ("of these duplicates", f"{others:,}"),
    ]
    if "method" in origin:
        found += [("method", str(origin["method"])), ("computed in", duration(origin["seconds"]))]
    return found


class _Table:
    """The lines as arrays. alone: whether an image counts, which a duplicate does not."""

    def __init__(self, path: Path, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.status = np.array([line.status for line in lines])
        self.alone = np.array([not line.duplicate_of for line in lines])
        self.scores = _numbers(path, [line.score for line in lines])
        self.confidences = _numbers(path, [line.confidence for line in lines])

    def first(self) -> Section:
        """The images to label, in the order of `convert --to csv`."""
        asked = np.flatnonzero(self.status == TO_LABEL)
        scores = self.scores.tolist()
        order = np.array(sorted(asked.tolist(), key=lambda i: turn(self.lines[i].file, scores[i])), np.int64)
        has_scores = np.isfinite(self.scores[asked]).any()
        by = "The highest scores first" if has_scores else "In random order"
        note = f"{by}. {_extent(min(FIRST, len(order)), len(order))}"
        return Section("first", "Label first", note, [Strip("", self._tiles(order[:FIRST]))])

    def unsure(self) -> Section:
        """The pseudo-labels of lowest confidence."""
        predicted = np.flatnonzero((self.status != KEPT) & self.alone & np.isfinite(self.confidences))
        order = predicted[np.argsort(self.confidences[predicted], kind="stable")]
        note = f"The lowest confidence first. {_extent(min(UNSURE, len(order)), len(order))}"
        return Section("unsure", "Unsure", note, [Strip("", self._tiles(order[:UNSURE]))])

    def classes(self) -> Section:
        """Some pseudo-labels of each of the largest classes, from the most confident to the least."""
        members = defaultdict(list)
        for index in np.flatnonzero((self.status != KEPT) & self.alone).tolist():
            if label := self.lines[index].pseudo_label:
                members[label].append(index)
        largest = sorted(members, key=lambda name: (-len(members[name]), name))
        strips = [self._of_class(name, np.array(members[name])) for name in largest[:CLASSES]]
        note = "Images without a label by their pseudo-label, from the most confident to the least. "
        note += _extent(len(strips), len(largest), "classes")
        return Section("classes", "Classes", note, strips)

    def _of_class(self, name: str, index: Array) -> Strip:
        order = index[np.argsort(-self.confidences[index], kind="stable")]
        spread = np.unique(np.linspace(0, len(order) - 1, min(PER_CLASS, len(order)), dtype=int))
        return Strip(f"{name}: {len(index):,}", self._tiles(order[spread]))

    def groups(self) -> Section:
        """The largest groups of images that count as one. The first is the one that counts."""
        position = {line.file: index for index, line in enumerate(self.lines)}
        members = defaultdict(list)
        for index in np.flatnonzero(~self.alone).tolist():
            members[self.lines[index].duplicate_of].append(index)
        largest = sorted(members, key=lambda name: (-len(members[name]), name))
        strips = []
        for name in largest[:GROUPS]:
            group = [*([position[name]] if name in position else []), *members[name]]
            tiles = self._tiles(np.array(group[:MEMBERS]))
            strips.append(Strip(f"{len(group):,} images", tiles, max(0, len(group) - MEMBERS)))
        note = "Of each group the first image counts, and no other is to be labeled. "
        note += _extent(len(strips), len(largest), "groups")
        return Section("duplicates", "Duplicates", note, strips, narrow=True)

    def dropped(self) -> Section:
        """Some images that are dropped, drawn at random."""
        pruned = np.flatnonzero((self.status == DROP) & self.alone)
        drawn = seeds.stream("look", 0).permutation(pruned)[:DROPPED]
        note = f"Drawn at random, without duplicates. {_extent(len(drawn), len(pruned))}"
        return Section("dropped", "Dropped", note, [Strip("", self._tiles(drawn))])

    def _tiles(self, index: Array) -> list[Tile]:
        return [self._tile(i) for i in index.tolist()]

    def _tile(self, index: int) -> Tile:
        line, confidence = self.lines[index], self.confidences[index]
        label = line.pseudo_label
        if line.status != KEPT and label and np.isfinite(confidence):
            label += f" {100 * confidence:.0f} %"
        return Tile(line.file, label, STATUS[line.status])


def _extent(shown: int, there: int, what: str = "images") -> str:
    return f"{shown:,} of {there:,} {what}."


def _numbers(path: Path, texts: Sequence[str]) -> Array:
    """Return numbers, NaN where there is none: float [n]. Spreadsheets may have written a decimal comma."""
    try:
        return np.array([float(text.replace(",", ".")) if text.strip() else np.nan for text in texts], float)
    except ValueError as error:
        raise PrunebenchError(f"{path} has a confidence or score that is no number: {error}") from None
