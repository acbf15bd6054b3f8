"""Text of strangers, such as titles, notes, labels and file names, made harmless for where it is shown."""

from __future__ import annotations

import re

# Control characters, marks and overrides of the direction of writing, ends of lines, halves of characters.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Code, cells of tables, HTML, links and images, headings, quotes.
MARKUP = re.compile(r"[\\`|<]|\](?=\()|^[#>]")
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {letter: f"{{{letter}}}" for letter in "[*"}  # after a \\, each is an argument of it
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
    | {"±": r"$\pm$", "·": r"$\cdot$", "×": r"$\times$", "−": "$-$"}
)


def plain(text: str) -> str:
    r"""Return text as one line that steers no terminal: of each such character its escape, \x1b for ESC."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def markdown(text: str) -> str:
    """Return text as one line that markdown shows as it is, but for emphasis."""
    return MARKUP.sub(r"\\\g<0>", plain(text))


def latex(text: str) -> str:
    """Return text as one line that LaTeX sets as it is: no command, no comment, no end of a cell."""
    return plain(text).translate(LATEX)
