"""The hooks of a plugin: seven that register items, one for executors, one told of finished cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from prunebench.parts.base import Backbone, Draw, Labeler, Scorer, Selector
    from prunebench.parts.dataset import Dataset
    from prunebench.parts.method import Method

hookspec = pluggy.HookspecMarker("prunebench")
hookimpl = pluggy.HookimplMarker("prunebench")
"""Marks a function of a plugin as a hook, as in `@hookimpl`."""


@hookspec
def register_datasets() -> list[Dataset | type[Dataset]]:  # type: ignore[empty-body]
    """Return dataset values, or dataset classes that take a path, for use as NAME:PATH@PIXELS."""


@hookspec
def register_backbones() -> list[type[Backbone]]:  # type: ignore[empty-body]
    """Return the classes that turn images into embeddings."""


@hookspec
def register_labelers() -> list[type[Labeler]]:  # type: ignore[empty-body]
    """Return the classes that give each training image a label."""


@hookspec
def register_scorers() -> list[type[Scorer]]:  # type: ignore[empty-body]
    """Return the classes that give each training image one number, higher = harder."""


@hookspec
def register_selectors() -> list[type[Selector]]:  # type: ignore[empty-body]
    """Return the classes that turn scores into a subset."""


@hookspec
def register_draws() -> list[type[Draw]]:  # type: ignore[empty-body]
    """Return the classes that say which images to label first."""


@hookspec
def register_methods() -> list[Method]:  # type: ignore[empty-body]
    """Return the named methods: a labeler, a scorer and a selector each."""


@hookspec
def register_executors() -> dict[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return what makes executors, by the name for --executor: `prunebench.pipeline.executors` says how."""


@hookspec
def cell_finished(row: Any) -> None:
    """Take the row of a finished cell, a `prunebench.Result`, which nobody can change.

    It is called in the process of the command, between two stages, once for each new row: after the row is
    written, or after the cell was made if no rows are written. An error is reported and changes nothing.
    """
