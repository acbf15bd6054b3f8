"""Draw: keeps what a draw would have labeled first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Draw, Selector
from prunebench.parts.images import sliced
from prunebench_plugins.draws.typiclust import TypiClust
from prunebench_plugins.selectors.include import annotated_and_others

OWN = ("count", "labeled")  # the inputs of a draw that its selector makes


@dataclass(frozen=True, kw_only=True)
class Drawn(Selector):
    """Keep every annotated image, and the images that a draw draws first.

    A draw that asks for `labeled` sees all images, and which of them are annotated. Any other draw sees the
    images that are not annotated.

    draw: the draw.
    """

    name: ClassVar[str] = "draw"
    keeps_annotated: ClassVar[bool] = True
    draw: Draw = TypiClust()

    def needs(self) -> dict[str, bool]:
        """Return the inputs that the draw needs, and the annotated labels if there are any."""
        asked = {name: needed for name, needed in self.draw.needs().items() if name not in OWN}
        return {**asked, "keep": True, "known_labels": False}

    def select(self, keep: int, known_labels: Array | None = None, **inputs: Any) -> Array:
        """Return int [keep], the annotated images first, the others in the order of the draw.

        Raise PrunebenchError if more than `keep` images are annotated.
        """
        draw = self.draw.draw  # type: ignore[attr-defined]
        if known_labels is None:
            return draw(**inputs, count=keep)  # type: ignore[no-any-return]
        annotated, others = annotated_and_others(known_labels, keep, self.name)
        count = keep - len(annotated)
        if not count:
            return annotated
        if "labeled" in self.draw.needs():
            drawn = draw(**inputs, count=count, labeled=known_labels >= 0)
        else:
            drawn = others[draw(**sliced(inputs, others), count=count)]
        return np.concatenate([annotated, drawn])
