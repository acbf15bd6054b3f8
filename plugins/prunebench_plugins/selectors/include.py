"""Include: keeps all annotated images, and fills up with another selector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector
from prunebench.parts.images import sliced
from prunebench_plugins.selectors.random import Random


@dataclass(frozen=True, kw_only=True)
class Include(Selector):
    """Keep every annotated image, and let `selector` choose the rest among the others.

    So no annotated image is thrown away. `selector` sees the other images alone, but its ratio is that of
    the whole dataset.

    selector: selector of the images that are not annotated. It sees those alone, but its own fields follow
        the ratio of the whole: a cutoff of 0.4 drops 40 % of the other images.

    Source: SemiPrune, appendix C.2, whose coreset begins with the labeled images.
    """

    name: ClassVar[str] = "include"
    keeps_annotated: ClassVar[bool] = True
    selector: Selector = Random()

    def __post_init__(self) -> None:
        for part in (self, self.selector):
            require(not part.per_class, f"{part.name}.per_class", True, "false: include does not support it")

    def needs(self) -> dict[str, bool]:
        """Return the inputs that the held selector needs, and the annotated labels."""
        return {**self.selector.needs(), "known_labels": True, "keep": True}

    def at(self, ratio: int) -> Self:
        """Return this selector with the held one set for `ratio`."""
        return replace(self, selector=self.selector.at(ratio))

    def select(self, known_labels: Array, keep: int, **inputs: Any) -> Array:
        """Return int [keep], the annotated images first.

        Raise PrunebenchError if more than `keep` images are annotated.
        """
        annotated, others = annotated_and_others(known_labels, keep, self.name)
        inputs |= {"known_labels": known_labels, "keep": keep - len(annotated)}
        arguments = {name: inputs[name] for name in self.selector.needs() if name in inputs}
        chosen = self.selector.select(**sliced(arguments, others))  # type: ignore[attr-defined]
        return np.concatenate([annotated, others[chosen]])


def annotated_and_others(known_labels: Array, keep: int, selector: str) -> tuple[Array, Array]:
    """Return the annotated images, and the others: int [a] and [n - a], ascending.

    selector: name of the selector that keeps all annotated images, for the message.

    Raise PrunebenchError if more than `keep` images are annotated.
    """
    annotated = np.flatnonzero(known_labels >= 0)
    if len(annotated) > keep:
        raise PrunebenchError(
            f"{selector} keeps all {len(annotated)} annotated images, but only {keep} are to be kept; "
            "lower the labeler's label_fraction or the ratio"
        )
    return annotated, np.flatnonzero(known_labels < 0)
