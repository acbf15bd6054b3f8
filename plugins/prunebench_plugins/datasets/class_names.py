"""The classes of published datasets, known without their files: one a line, in classes/DATASET.txt.

ImageNet and Tiny-ImageNet have two columns: WordNet IDs, in order, each with its first word in WordNet. Two
words name two classes each: the second crane is called `crane bird` here, and the second maillot `tank suit`.
Caltech-101 has two columns: the names, each with its number of images, 8677 in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def class_names(dataset: str) -> tuple[str, ...]:
    """Return the lines of a dataset whose file has one column, in the order of the labels."""
    return tuple(_lines(dataset))


@cache
def class_table(dataset: str) -> Mapping[str, str]:
    """Return {first column: second column} of a dataset whose file has two, in the order of the labels."""
    return dict(line.split(maxsplit=1) for line in _lines(dataset))


def _lines(dataset: str) -> list[str]:
    file = files("prunebench_plugins.datasets") / "classes" / f"{dataset}.txt"
    return file.read_text(encoding="utf-8").splitlines()
