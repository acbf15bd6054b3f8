"""The code blocks of documents, and a check for each language. A check raises, or fails an assertion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from markdown_it import MarkdownIt

from prunebench.cli.figures import NAMES
from prunebench.cli.main import app
from prunebench.cli.options import CellOptions, split
from prunebench.parts.registry import CHECKED, load
from prunebench.results.render.formats import FORMATS
from prunebench.runs.select import choose
from prunebench.suites import schema
from prunebench.suites.cells import Filters
from prunebench.suites.recipes import recipe_table
from prunebench.suites.resources import parse_toml
from tests.doc_python import python
from tests.readme_blocks import ROOT

PAGES = ("*.md", "docs/**/*.md", "leaderboard/*.md", "benchmarks/*/*.md")
UNCHECKED = ("text",)  # pictures of files and of data
# What a command checks only when it runs.
CHOICES = {("leaderboard", "format_name"): FORMATS, ("new", "kind"): CHECKED, ("figures", "name"): NAMES}
PROGRAMS = ("cd", "do", "done", "for", "mkdir", "pip", "pre-commit", "rm", "tar", "unzip")  # not ours
COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Block:
    """A code block: PAGE:LINE, its language and its text."""

    place: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    """Yield all blocks of all documents. An indented one, without a fence, is a formula."""
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            name = page.relative_to(ROOT).as_posix()
            for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
                if token.type == "fence" and token.map:
                    yield Block(f"{name}:{token.map[0] + 1}", token.info, token.content)
                elif token.type == "code_block" and token.map:
                    yield Block(f"{name}:{token.map[0] + 1}", "formula", token.content)


# bash


def bash(text: str) -> None:
    """Check each command of a block."""
    written: list[str] = []
    for words in simple_commands(text):
        if words[0] == "prunebench":
            written += words[3:4] if words[1] == "new" else []
            prunebench(words[1:], written)
        elif words[0] == "python":
            script(words[1:])
        elif words[0] in ("bash", "pytest"):
            assert all((ROOT / word).exists() for word in words if "/" in word), words
        else:
            assert words[0] in PROGRAMS, f"{words[0]} is unknown"


def simple_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command: what stands between &&, | and ; on a line, without redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        while words:
            command = list(takewhile(lambda word: word not in ("&&", "|", ";"), words))
            words = words[len(command) + 1 :]
            yield list(takewhile(lambda word: word != ">", command))


def prunebench(words: Sequence[str], written: Sequence[str]) -> None:
    """Parse the words of a command, and resolve what it names: parts, methods, datasets, formats.

    written: the parts that `prunebench new` wrote before.
    """
    values = COMMANDS.commands[words[0]].make_context(words[0], list(words[1:])).params
    for (command, name), choices in CHOICES.items():
        assert command != words[0] or values[name] in choices, f"{name} is {values[name]}"
    if words[0] == "check":
        assert values["part"] in written, f"{values['part']} is no part that the block writes"
    if "changes" in values and "suite" in values:
        choose(values["suite"], filters(values, written), device="cpu")
    else:
        given = values.get("suite") or []
        for name in [given] if isinstance(given, str) else given:
            schema.read(name)


def filters(values: dict[str, Any], written: Sequence[str]) -> Filters:
    """Return the filters that the values of a command's options describe, without parts of one's own."""
    shared = {entry.name: values[entry.name] for entry in fields(CellOptions) if entry.name in values}
    chosen = CellOptions(**shared).filters()
    named = [values.get(name) for name in ("methods", "method", "scores", "embeddings", "dynamics")]
    methods = [name for text in named if text != "all" for name in split(text) or [] if name not in written]
    datasets = chosen.datasets or split(values.get("dataset"))
    return replace(chosen, methods=methods or None, datasets=datasets, seeds=[0])


def script(words: Sequence[str]) -> None:
    """Check that a script of this repository exists, and that it knows the options it is given."""
    if words[0] == "-m":
        *_, folder = find_spec(words[1]).submodule_search_locations
        source = "".join(path.read_text() for path in Path(folder).glob("*.py"))
    else:
        source = (ROOT / words[0]).read_text()
    for option in re.findall(r"--\w+", " ".join(words)):
        assert f'"{option}"' in source, f"{words[0]} has no {option}"


# toml


def toml(text: str) -> None:
    """Check a block as what it is part of: a pyproject.toml, the recipes, or a suite."""
    tables = parse_toml(text)
    if "project" in tables:
        assert set(tables["project"]["entry-points"]) == {"prunebench"}
    elif "recipe" in tables:
        recipe_tables(tables["recipe"])
    else:
        suite(tables, text)


def recipe_tables(tables: Mapping[str, Any]) -> None:
    """Check [recipe.NAME.DATASET.PART] tables: all that they name exists."""
    for recipe, datasets in tables.items():
        for dataset, parts in datasets.items():
            assert recipe in recipe_table()
            load().get("datasets", dataset)
            for part, values in parts.items():
                kind = next(kind for kind, found in load().found.items() if part in found)
                load().part(kind.removesuffix("s"), {"part": part, **values})


def suite(tables: Mapping[str, Any], text: str) -> None:
    """Check a suite, or some keys of one: its cells can be resolved, with its own methods and datasets."""
    methods = [*tables.get("methods", []), *tables.get("method", {})]
    datasets = [*tables.get("dataset", {})] or ["digits"]
    chosen = Filters(methods=methods or None, datasets=datasets, seeds=[0])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shown.toml"
        path.write_text(text if "extends" in tables else f'extends = "standard"\n{text}', encoding="utf-8")
        choose(path, chosen, device="cpu")


def formula(text: str) -> None:
    """Check that no line of an indented block is a command, which nobody would check."""
    for line in text.splitlines():
        assert line.split()[0] not in ("prunebench", "python", "bash", "pytest", *PROGRAMS), line


CHECKS = {"bash": bash, "python": python, "toml": toml, "formula": formula}
