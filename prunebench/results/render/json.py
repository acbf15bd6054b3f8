"""JSON: everything that a page says, as values."""

from __future__ import annotations

import json as encoder
from collections.abc import Sequence
from typing import Any

from prunebench.results.cells import Alternatives, Gap, PerRatio, Text
from prunebench.results.document import Document


def json(documents: Sequence[Document]) -> str:
    """Return a list of documents: objects with their fields by name, numbers as exact as they are.

    Words are strings, gaps null, alternatives lists, and values per ratio objects by ratio.
    The `rank` of a cell is 1 for the best of its column and 2 for the second, where the seeds separate it
    from all others.
    The `ranked` of a table says which cells are compared.
    """
    return encoder.dumps(documents, default=_plain, indent=1) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case Text():
            return value.text
        case Gap():
            return None
        case Alternatives():
            return value.cells
        case PerRatio():
            return dict(value.cells)
        case _:
            return vars(value)
