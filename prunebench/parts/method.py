"""Methods: a labeler, a scorer and a selector each."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from prunebench.errors import PrunebenchError, require
from prunebench.parts.base import COMMON, Labeler, Part, Scorer, Selector, reads_proxy


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named labeler + scorer + selector, as it stands in a table.

    A `reference` is shown beside the methods and never ranked; `ratio` pins it to one ratio (full is
    at 0). `beside` makes a Random that keeps as many images as that method bought labels in all.
    `final` says what is tested in the end: a network trained from scratch on the subset with its true
    labels ("truth", what pruning is for) or with those of the labeler ("labels"), or the network with
    which the labeler made them ("labeler").
    """

    name: str = field(kw_only=False)
    title: str
    labeler: Labeler | None = None
    scorer: Scorer | None = None
    selector: Selector
    reference: bool = False
    ratio: int | None = None
    beside: Method | None = None
    final: str = "truth"

    def __post_init__(self) -> None:
        known = self.final in ("truth", "labels", "labeler")
        require(known, f"method {self.name!r}: final", self.final, "'truth', 'labels' or 'labeler'")
        if self.final != "truth" and not self.labeler:
            raise PrunebenchError(f"method {self.name!r}: final {self.final!r} needs a labeler")
        supplied = {*COMMON, "embeddings", "keep"}
        if self.labeler:
            supplied |= {"labels", "dynamics", "weights", "known"}
        if self.scorer:
            supplied.add("scores")
        for part in (self.scorer, self.selector):
            for name in () if part is None else (n for n, required in part.needs().items() if required):
                if name not in supplied:
                    maker = "scorer" if name == "scores" else "labeler"
                    raise PrunebenchError(
                        f"method {self.name!r}: {part.name if part else ''} asks for {name}, "
                        f"but the method has no {maker}"
                    )
        for part in (self.scorer, self.selector):
            if part is not None and (rests := _annotation(part)) not in (0, 1):
                raise PrunebenchError(
                    f"method {self.name!r}: {part.name}.annotation is {rests}, expected 0 or 1; "
                    "of a few labels the labeler says which they are"
                )
        for reader in self.parts.values():
            if reads_proxy(reader) and (self.labeler is None or reader is self.labeler):
                raise PrunebenchError(
                    f"method {self.name!r}: {reader.name} asks for the embeddings of the proxy network, "
                    + ("which trains on its labels" if self.labeler else "but the method has no labeler")
                )
        if self.selector.per_class and not self.labeler:
            raise PrunebenchError(
                f"method {self.name!r}: per_class needs labels, but the method has no labeler"
            )

    @property
    def parts(self) -> dict[str, Part]:
        """The method's parts by kind, those it has."""
        parts = {"labeler": self.labeler, "scorer": self.scorer, "selector": self.selector}
        return {kind: part for kind, part in parts.items() if part is not None}

    @property
    def annotation(self) -> float:
        """The share of true labels bought before anything is selected, in 0..1.

        It is the labeler's, or, if larger, that on which the file of a scorer or selector rests.
        """
        rests = [_annotation(part) for part in (self.scorer, self.selector) if part is not None]
        return max(rests) if self.labeler is None else max(self.labeler.annotation, *rests)


def _annotation(part: Part) -> float:
    """Return the `annotation` of a part that has such a field, or of one that it holds, or 0."""
    held = (getattr(part, entry.name) for entry in fields(part))
    own: float = getattr(part, "annotation", 0.0)
    return max([own, *(_annotation(value) for value in held if isinstance(value, Part))])
