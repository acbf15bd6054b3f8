"""The site: it is built without a warning, says what GitHub says, and asks nobody for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import prunebench
from tests.browser import CHROMIUM, Page
from tests.readme_blocks import ROOT
from tests.test_docs import PUBLIC

pytestmark = pytest.mark.skipif(not find_spec("mkdocs"), reason='needs pip install -e ".[docs]"')
CONFIG = ROOT / "docs" / "site" / "mkdocs.yml"
# Pages with wide tables, long commands and signatures.
WIDE = ("index.html", "leaderboard/real.html", "docs/verification.html", "reference/prunebench.html")
SOURCES = [path for name in ("*.md", "docs/**/*.md", "leaderboard/**/*.md") for path in ROOT.glob(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site. A warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(CONFIG), "-d", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def page_of(site: Path, source: Path) -> Path:
    """Return the page that is made of a markdown file."""
    path = site / source.relative_to(ROOT).with_suffix(".html")
    return path.with_name("index.html") if source.name == "README.md" else path


class Tags(HTMLParser):
    """Counts the tags of a text that a reader would see in another markdown, too."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("ul", "ol", "li", "table", "tr", "td", "pre", "h1", "h2", "h3", "strong", "em", "img"):
            self.counts[tag] += 1


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_the_structure_that_it_has_on_github(site: Path, source: Path) -> None:
    """Markdown differs from Markdown: a list that follows a paragraph at once is one on GitHub alone."""
    github = MarkdownIt("gfm-like", {"linkify": False}).render(source.read_text(encoding="utf-8"))
    article = re.search(r"<article.*?>(.*)</article>", page_of(site, source).read_text("utf-8"), re.DOTALL)
    assert article
    assert Tags(article[1]).counts == Tags(github).counts


@pytest.mark.parametrize(("module", "names"), PUBLIC)
def test_the_reference_has_every_public_name(site: Path, module: str, names: str) -> None:
    page = "prunebench" if module == "prunebench" else "modules"
    text = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
    public = prunebench.__all__ if module == "prunebench" else re.findall(r"`(\w+)`", names)
    assert [name for name in public if f'id="{module}.{name}"' not in text] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.glob("**/*.html"):
        loads = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:|//)[^ >]*", path.read_text("utf-8"))
        loads += re.findall(r"<link[^>]* href=\"?(?:https?:|//)[^ >]*", path.read_text("utf-8"))
        assert loads == [], path


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_fits_its_window(site: Path, width: int, tmp_path: Path) -> None:
    with Page(tmp_path / "profile") as page:
        for name in WIDE:
            page.open(site / name, width=width)
            assert page.complaints == []
            assert [url for url in page.requests if not url.startswith("file:")] == []
            assert not page.run("document.documentElement.scrollWidth > innerWidth"), name
