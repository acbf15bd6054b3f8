"""Exams: what a selection is put to beside the accuracy of the recipe's final network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.parts.recipe import Recipe

TESTS = ("shift", "calibration")  # of the final network. The name of any other exam is that of a network


@dataclass(frozen=True, kw_only=True)
class Exams:
    """The exams of a cell.

    tests: further tests of its final network, in the order of TESTS.
    networks: the names of other networks that train on its subset, in the order of the suite.
    """

    tests: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return the exams as JSON, for keys. {} if there are none. The order of networks does not matter."""
        values = {"tests": list(self.tests), "networks": sorted(self.networks)}
        return {name: value for name, value in values.items() if value}


def exams_of(names: Sequence[str], recipe: Recipe) -> Exams:
    """Return the exams of these names, for selections whose final networks train by a recipe.

    Raise PrunebenchError for the network that the recipe trains anyway, and for an exam that heads on
    embeddings, or fine-tuned backbones, cannot sit.
    """
    tests = tuple(name for name in TESTS if name in names)
    networks = tuple(dict.fromkeys(name for name in names if name not in TESTS))
    for name in (*tests, *networks):
        if name == recipe.final().network:
            raise PrunebenchError(f"exam {name!r} is the network that the recipe trains anyway; name another")
        needed, left = ("from scratch", TESTS) if recipe.finetune else ("that see images", ("calibration",))
        if recipe.final_backbone is not None and name not in left:
            raise PrunebenchError(
                f"exam {name!r} needs final networks {needed}, but recipe.final_backbone is "
                f"{recipe.final_backbone!r}; choose another recipe, or {' and '.join(map(repr, left))} alone"
            )
    return Exams(tests=tests, networks=networks)
