"""Escapes foreign text, such as titles, notes, labels and file names, so that it is safe to show."""

from __future__ import annotations

import re

# Control characters, marks and overrides of text direction, line ends, lone surrogates.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Code, table cells, HTML, links and images, headings, quotes.
MARKUP = re.compile(r"[\\`|<]|\](?=\()|^[#>]")
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {letter: f"{{{letter}}}" for letter in "[*"}  # after a \\, each is an argument of it
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
    | {"±": r"$\pm$", "·": r"$\cdot$", "×": r"$\times$", "−": "$-$"}
)


def plain(text: str) -> str:
    r"""Return text as one line that cannot steer a terminal. Control characters are escaped, ESC as \x1b."""
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: str) -> str:
    """Return text as one line that markdown shows as it is, except for emphasis."""
    return MARKUP.sub(r"\\\g<0>", plain(text))


def latex(text: str) -> str:
    """Return text as one line that LaTeX sets as it is: no command, no comment, no end of a cell."""
    return plain(text).translate(LATEX)
