"""What the documentation says is true: generated blocks, commands, hooks, parts and methods."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from prunebench.cli.main import app
from prunebench.parts import hookspecs
from prunebench.parts.base import VOCABULARY
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.suites import recipes, schema
from tests.readme_blocks import METHODS, README, ROOT, blocks, described, documented, filled

# README.md is that of the repository: it comes last.
DOCS = {path.name: path.read_text(encoding="utf-8") for path in [*ROOT.glob("docs/**/*.md"), README]}
BUILT_IN = [
    (kind, name)
    for (kind, name), owner in load().owners.items()
    if owner == "prunebench" and kind != "datasets"
]


@pytest.mark.parametrize("path", blocks(), ids=lambda path: path.stem)
def test_generated_blocks_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == filled(path), "run: python tests/readme_blocks.py"


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_field_of_a_part_has_a_meaning(kind: str, name: str) -> None:
    part = load().found[kind].get(name)
    if not isinstance(part, type):
        return
    meanings = described(part)
    assert [entry.name for entry in fields(part) if entry.name not in meanings] == []
    page = METHODS.parent / f"{name}.md"
    if fields(part) and page.exists() and name != "file":  # the page of three parts, with a table of its own
        assert name in documented()


@pytest.mark.parametrize(
    "hook", [name for name, value in vars(hookspecs).items() if hasattr(value, "prunebench_spec")]
)
def test_every_hook_is_documented(hook: str) -> None:
    assert f"`{hook}`" in DOCS["plugins.md"]


PUBLIC = re.findall(r"^\| `(prunebench[._a-z]*)` \| (`.*`) \|", DOCS["plugins.md"], flags=re.MULTILINE)


@pytest.mark.parametrize(("module", "names"), PUBLIC)
def test_every_public_name_is_where_the_documentation_says(module: str, names: str) -> None:
    own = vars(import_module(module))
    assert [name for name in re.findall(r"`(\w+)`", names) if name not in own] == []


@pytest.mark.parametrize("name", sorted({name for names in VOCABULARY.values() for name in names}))
def test_every_input_of_the_vocabulary_is_documented(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`", DOCS["plugins.md"], flags=re.MULTILINE)


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_part_and_method_is_documented(kind: str, name: str) -> None:
    if kind == "methods":
        assert f"| `{name}`" in METHODS.read_text(encoding="utf-8")
    elif kind == "backbones" and f"{name}.md" not in DOCS:
        assert f"| `{name}` |" in DOCS["backbones.md"]
    else:
        assert DOCS[f"{name}.md"].startswith(f"# {name}\n")


@pytest.mark.parametrize("name", [n for (kind, n) in load().owners if kind == "datasets"])
def test_every_dataset_is_documented(name: str) -> None:
    base, view = re.fullmatch(r"(.*?)((?:_lt|_c|_c_fixed|_by_class|_shuffled)?)", name).groups()  # type: ignore[union-attr]
    assert f"`{base}" in DOCS["datasets.md"]
    assert not view or f"`NAME{view}`" in DOCS["datasets.md"]


@pytest.mark.parametrize("key", schema.SuiteFile.model_fields)
def test_every_key_of_a_suite_file_is_documented(key: str) -> None:
    assert f"`{key}`" in DOCS["suites.md"] or f"`[{key}.NAME]`" in DOCS["suites.md"]


@pytest.mark.parametrize("field", [entry.name for entry in fields(Recipe)])
def test_every_field_of_a_recipe_is_documented(field: str) -> None:
    assert re.search(rf"^\| [^|]*`{field}`", DOCS["suites.md"], flags=re.MULTILINE)


@pytest.mark.parametrize("name", recipes.recipe_table())
def test_every_recipe_is_documented(name: str) -> None:
    assert f"| `{name}` |" in DOCS["suites.md"]


def test_every_command_a_document_shows_exists() -> None:
    shown = {
        found for text in DOCS.values() for found in re.findall(r"(?:^|`)prunebench ([a-z]+)", text, re.M)
    }
    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert shown and shown <= known | {"list"}


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("docs/*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index


def test_every_page_of_the_leaderboard_is_in_its_index() -> None:
    index = (ROOT / "leaderboard" / "README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("leaderboard/*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index


def test_the_site_has_every_page_once() -> None:
    folders = ("*.md", "docs/**/*.md", "leaderboard/*.md", "benchmarks/*/*.md")
    pages = [path.relative_to(ROOT).as_posix() for folder in folders for path in ROOT.glob(folder)]
    listed = re.findall(r"[\w/]+\.md", (ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted([*pages, "reference/prunebench.md", "reference/modules.md"])


def test_links_between_documents_lead_somewhere() -> None:
    folders = ("*.md", "docs/**/*.md", "leaderboard/*.md", "benchmarks/*/*.md")
    for path in [path for folder in folders for path in ROOT.glob(folder)]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_ci_runs_commands_of_the_readme() -> None:
    """.ci/run takes two lines from the README; there is exactly one of each for it to find."""
    patterns = re.findall(r"grep -E '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert [re.findall(pattern, README.read_text(), flags=re.MULTILINE) for pattern in patterns] == [
        ['pip install -e ".[test]" && pytest -n auto'],
        ["prunebench new scorer wobble && pip install -e ./prunebench-wobble && prunebench check wobble"],
    ]
