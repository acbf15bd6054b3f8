"""The generated block of docs/paper.md. `python tests/paper_blocks.py` writes it. A test checks it."""

from __future__ import annotations

import re
from pathlib import Path

from tabulate import tabulate

from prunebench.paper import claims, points

PAGE = Path(__file__).parent.parent / "docs" / "paper.md"


def outcomes() -> str:
    """Return a table of the paper's claims checked against its own numbers, and remarks on the exceptions."""
    rows = []
    remarks = []
    for name, claim in claims.claims().claim.items():
        outcome = claims.examine(claim, points.printed())
        rows.append([f"`{name}`", claim.sentence, claim.section, f"**{outcome.verdict}**", outcome.scale])
        if claim.where == "every" and outcome.against:
            cells = ", ".join(f"{cell.place}: {outcome.spell(cell.mean)}" for cell in outcome.against)
            remarks.append(f"- `{name}`, cells against it: {cells}.")
        if claim.note:
            remarks.append(f"- `{name}`: {claim.note}")
    header = ["claim", "sentence, in our words", "section", "its own numbers", "gain"]
    table = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    return "\n".join([table, "", *remarks])


def filled(text: str) -> str:
    """Return the text of the page with its generated block brought up to date."""
    marker = "<!-- claims: made by tests/paper_blocks.py -->"
    block = f"{marker}\n{outcomes()}\n<!-- end -->"
    return re.sub(f"{re.escape(marker)}.*?<!-- end -->", lambda _: block, text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
