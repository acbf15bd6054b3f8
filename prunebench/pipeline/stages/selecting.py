"""Asking a selector for images, for subsets and candidates alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Selector
from prunebench.parts.images import sliced
from prunebench.parts.sampling import apportion
from prunebench.pipeline.part_stage import Call, described

# Arguments that show a selector the number of images.
LENGTHS = ("images", "scores", "embeddings", "labels", "dynamics", "known_labels")


def select(call: Call, keep: int, pool: Array | None = None) -> Array:
    """Return the indices of the images that a selector keeps, ascending: int [keep].

    call: the call of the selector. It is called once, or once per class.
    keep: the number of images to keep.
    pool: the indices to choose from, or None for all images.

    Raise PrunebenchError if the selector does not return `keep` distinct indices.
    """
    part = call.part
    assert isinstance(part, Selector)
    arguments = call.arguments(keep=keep)
    if part.per_class:
        arguments["labels"] = call.one("labels", Labels).values
    if pool is not None:
        arguments = sliced(arguments, pool)
    images = len(call.context.images) if pool is None else len(pool)
    index = _by_class(call, arguments, keep) if part.per_class else _selected(call, arguments, images)
    if len(index) != keep or len(np.unique(index)) != keep:
        raise call.bug(f"returned {len(np.unique(index))} distinct indices, expected {keep}")
    return np.sort(index if pool is None else pool[index])


def _selected(call: Call, arguments: dict[str, Any], images: int) -> Array:
    # Without an argument of length n, a selector cannot know the number of images.
    if not any(name in arguments for name in LENGTHS):
        raise PrunebenchError(f"{call.who} asks for nothing that shows how many images there are")
    index = np.asarray(call(arguments))
    if index.ndim != 1 or not _inside(index, images):
        raise call.bug(f"must return indices in 0..{images - 1}, got {described(index)}")
    return index


def _inside(index: Array, images: int) -> bool:
    if not len(index):
        return True
    return bool(np.issubdtype(index.dtype, np.integer) and index.min() >= 0 and index.max() < images)


def _by_class(call: Call, arguments: dict[str, Any], keep: int) -> Array:
    labels = arguments["labels"]
    # The labels were added to form the classes. The selector gets them only if it asks for them.
    needed = {name: value for name, value in arguments.items() if name in call.part.needs()}
    return np.concatenate(list(_per_class(call, needed, labels, keep)))


def _per_class(call: Call, arguments: dict[str, Any], labels: Array, keep: int) -> Iterator[Array]:
    """Yield the chosen indices of each class. Images without a label (-1) form a class too.

    The classes share `keep` by the largest-remainder rule.
    """
    quotas = apportion(keep, np.bincount(labels + 1))
    for label, quota in enumerate(quotas):
        members = np.flatnonzero(labels + 1 == label)
        if len(members):
            of_class = sliced(arguments, members) | {"keep": int(quota)}
            yield members[_selected(call, of_class, len(members))]
