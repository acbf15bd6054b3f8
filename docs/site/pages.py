"""A hook of MkDocs: pages of the site have the paths of the repository, so that links work in both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PAGES = (
    "*.md",
    "LICENSE",
    "CITATION.cff",
    "docs/**/*.md",
    "docs/figures/*.png",
    "leaderboard/**/*.md",
    "leaderboard/figures/*.svg",
    "benchmarks/*/*.md",
)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the files of the repository, and the reference."""
    for pattern in PAGES:
        for path in ROOT.glob(pattern):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for name, content in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))


def reference() -> dict[str, str]:
    """Return the pages of what a user may import, as the table in docs/plugins.md lists it."""
    table = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(prunebench[._a-z]*)` \| (.*) \| .* \|$", table, flags=re.MULTILINE)
    pages = {"prunebench": "# prunebench\n", "modules": "# Modules for plugins\n"}
    for module, names in rows:
        if module == "prunebench":
            pages["prunebench"] += f"\n::: {module}\n    options: {{show_root_heading: false}}\n"
        else:
            members = ", ".join(re.findall(r"`(\w+)`", names))
            pages["modules"] += f"\n::: {module}\n    options: {{members: [{members}]}}\n"
    return pages
