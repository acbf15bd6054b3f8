"""An extension of griffe: lines `name: meaning` of a docstring become a list of arguments or attributes."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object

ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*(?:\n    .*)*)", re.MULTILINE)
BLOCK = re.compile(rf"(?:{ENTRY.pattern}\n?)+", re.MULTILINE)


class Entries(Extension):
    """Spells the entries of a docstring as Google does, whose style mkdocstrings reads."""

    def on_object(self, *, obj: Object, **_more: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring and not obj.is_module:
            heading = "Args:" if obj.is_function else "Attributes:"
            obj.docstring.value = BLOCK.sub(lambda block: section(heading, block[0]), obj.docstring.value)


def section(heading: str, block: str) -> str:
    """Return a block of entries under a heading. An entry of two names becomes two."""
    entries = []
    for names, meaning in ENTRY.findall(block):
        entries += [f"{name}: {meaning}" for name in names.split(", ")]
    body = indent("\n".join(entries), "    ")
    return f"\n{heading}\n{body}\n\n"
