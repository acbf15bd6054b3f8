"""Methods: the combination of a labeler, a scorer and a selector."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

from prunebench.errors import PrunebenchError, choice, require
from prunebench.parts.base import COMMON, Labeler, Part, Scorer, Selector, reads_proxy


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named labeler + scorer + selector: one row of a table.

    Raise PrunebenchError if a part asks for an input that the other parts do not make.

    name: unique name of the method.
    title: name in tables and figures.
    labeler: gives the labels, or None.
    scorer: scores the images, or None.
    selector: picks the subset.
    reference: True if tables show it beside the methods and never rank it.
    ratio: the only ratio it runs at, in percent pruned. None: it runs at all. The full dataset is ratio 0.
    matched_to: another method, or None.
    matched_in: what this method has as much of as `matched_to`. "labels": it keeps as many images as that
        one has annotated. "work": its final network trains on as many images as that one's trainings, those
        of its selection and the final one.
    final: the network that is tested in the end. "truth" trains it from scratch on the subset with true
        labels, which is the purpose of pruning. "labels" trains it with the labels of the labeler.
        "labeler" takes the network with which the labeler made its labels.
    color: its color in figures and that of its variants, as "#rrggbb". None: one that follows from the name.
    """

    name: str = field(kw_only=False)
    title: str
    labeler: Labeler | None = None
    scorer: Scorer | None = None
    selector: Selector
    reference: bool = False
    ratio: int | None = None
    matched_to: Method | None = None
    matched_in: str = "labels"
    final: str = "truth"
    color: str | None = None

    def __post_init__(self) -> None:
        choice(f"method {self.name!r}: matched_in", self.matched_in, ("labels", "work"))
        choice(f"method {self.name!r}: final", self.final, ("truth", "labels", "labeler"))
        drawable = self.color is None or re.fullmatch("#[0-9a-f]{6}", self.color) is not None
        require(drawable, f"method {self.name!r}: color", self.color, "'#rrggbb' in lower case, or None")
        if self.final != "truth" and not self.labeler:
            raise PrunebenchError(f"method {self.name!r}: final {self.final!r} needs a labeler")
        supplied = {*COMMON, "embeddings", "keep"}
        if self.labeler:
            supplied |= {"labels", "dynamics", "weights", "known_labels"}
        if self.scorer:
            supplied.add("scores")
        label_users = [part for part in (self.scorer, self.selector) if part is not None]
        for part in label_users:
            for name, required in part.needs().items():
                if required and name not in supplied:
                    maker = "scorer" if name == "scores" else "labeler"
                    raise PrunebenchError(
                        f"method {self.name!r}: {part.name} asks for {name}, but the method has no {maker}"
                    )
        for part in label_users:
            fraction = _annotation(part)
            # The ledger has to name each annotated image, and only a labeler's draw does.
            if fraction not in (0, 1):
                raise PrunebenchError(
                    f"method {self.name!r}: {part.name}.label_fraction is {fraction}, expected 0 or 1; "
                    "only a labeler may take part of the labels"
                )
        for reader in self.parts.values():
            if reads_proxy(reader) and (self.labeler is None or reader is self.labeler):
                reason = "which trains on its labels" if self.labeler else "but the method has no labeler"
                raise PrunebenchError(
                    f"method {self.name!r}: {reader.name} asks for the embeddings of the proxy network, "
                    f"{reason}"
                )
        if self.selector.per_class and not self.labeler:
            raise PrunebenchError(
                f"method {self.name!r}: per_class needs labels, but the method has no labeler"
            )

    @property
    def parts(self) -> dict[str, Part]:
        """The parts of the method by kind, without those that are None."""
        parts = {"labeler": self.labeler, "scorer": self.scorer, "selector": self.selector}
        return {kind: part for kind, part in parts.items() if part is not None}

    @property
    def timed_to(self) -> Method | None:
        """The method that it is matched to in work, or None."""
        return self.matched_to if self.matched_in == "work" else None

    @property
    def label_fraction(self) -> float:
        """The label budget: the share of true labels that the method uses before it selects, in 0..1.

        It is that of the labeler, or that of a file which a scorer or selector reads, if that is larger.
        """
        fractions = [] if self.labeler is None else [self.labeler.label_fraction]
        fractions += [_annotation(part) for part in (self.scorer, self.selector) if part is not None]
        return max(fractions)


def _annotation(part: Part) -> float:
    """Return the largest `label_fraction` field of a part and the parts it holds, or 0 if none has one."""
    largest: float = getattr(part, "label_fraction", 0.0)
    for entry in fields(part):
        value = getattr(part, entry.name)
        if isinstance(value, Part):
            largest = max(largest, _annotation(value))
    return largest
