"""Counts what a reader meets in a package: rooms and floors, lengths, density, and words.

`python -m tests.counts [FOLDER ...]` prints one column per folder, by default the core and the plugins.
No test holds these counts: they are symptoms.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
PACKAGES = [ROOT / "prunebench", ROOT / "plugins" / "prunebench_plugins"]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)
WORDS = ("what", "where", "those", "whose")


class Source:
    """The modules of a package: their texts and syntax trees, by path."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
        self.trees = {path: ast.parse(text) for path, text in self.texts.items()}

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Yield all nodes of some kinds."""
        for tree in self.trees.values():
            yield from (node for node in ast.walk(tree) if isinstance(node, kinds))

    def docstrings(self) -> list[str]:
        """Return all docstrings."""
        texts = (ast.get_docstring(node) for node in self.nodes(*DOCUMENTED))  # type: ignore[arg-type]
        return [text for text in texts if text]


def rooms(source: Source) -> dict[str, str]:
    """Count modules, and what lies in the top folder."""
    lengths = [text.count("\n") for text in source.texts.values()]
    top = [path for path in source.package.iterdir() if path.name not in ("__pycache__", "benchmarks")]
    folders = [path for path in top if path.is_dir()]
    return {
        "modules / lines": f"{len(lengths)} / {sum(lengths)}",
        "entries at the top / folders": f"{len(top)} / {len(folders)}",
        "module: median / longest": f"{statistics.median(lengths):.0f} / {max(lengths)}",
    }


def code_lines(source: Source) -> tuple[int, int]:
    """Count the lines that hold code, and those that hold a comment."""
    code, comments = set[tuple[Path, int]](), set[tuple[Path, int]]()
    silent = (
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    )
    for path, text in source.texts.items():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comments.add((path, token.start[0]))
            elif token.type not in silent:
                code |= {(path, line) for line in range(token.start[0], token.end[0] + 1)}
    return len(code), len(comments)


def lengths(source: Source) -> dict[str, str]:
    """Measure functions."""
    nodes = [node for node in source.nodes(*FUNCTIONS) if isinstance(node, FUNCTIONS)]
    sizes = sorted((node.end_lineno or 0) - node.lineno + 1 for node in nodes)
    median = statistics.median(sizes)
    long = sum(size > 40 for size in sizes)
    many = sum(len(node.args.args) + len(node.args.kwonlyargs) > 6 for node in nodes)
    return {
        "function: median / p90 / longest": f"{median:.0f} / {sizes[len(sizes) * 9 // 10]} / {sizes[-1]}",
        "functions over 40 lines": f"{100 * long / len(sizes):.1f} %",
        "functions of more than 5 parameters": f"{100 * many / len(sizes):.1f} %",
    }


def density(source: Source) -> dict[str, str]:
    """Count what packs ideas, per 1,000 lines of code."""
    code, comments = code_lines(source)
    tuples = [
        node
        for node in source.nodes(ast.Assign)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    ]
    nested = [node for node in source.nodes(*COMPREHENSIONS) if _holds(node, COMPREHENSIONS)]
    chained = [node for node in source.nodes(ast.IfExp) if _holds(node, (ast.IfExp,))]
    counts = {
        "comprehensions": len([*source.nodes(*COMPREHENSIONS)]),
        "nested comprehensions": len(nested),
        "conditional expressions": len([*source.nodes(ast.IfExp)]),
        "chained conditional expressions": len(chained),
        "assignments of tuples": len(tuples),
    }
    shares = {f"{name} in 1,000 lines": f"{1000 * count / code:.1f}" for name, count in counts.items()}
    return {"comment lines": f"{100 * comments / (code + comments):.1f} %"} | shares


def _holds(node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    return any(isinstance(inner, kinds) for inner in ast.walk(node) if inner is not node)


def words(source: Source) -> dict[str, str]:
    """Count words of docstrings that are read twice, per 1,000."""
    text = " ".join(source.docstrings()).lower()
    total = len(re.findall(r"[a-z]+", text))
    counts = {f"'{word}'": len(re.findall(rf"\b{word}\b", text)) for word in WORDS}
    counts["semicolons"] = text.count(";")
    functions = [ast.get_docstring(node) or "" for node in source.nodes(*FUNCTIONS)]  # type: ignore[arg-type]
    returning = sum(text.startswith("Return") for text in functions) / len(functions)
    shares = {
        f"{name} in 1,000 words of docstrings": f"{1000 * count / total:.1f}"
        for name, count in counts.items()
    }
    return shares | {"function docstrings that begin with Return": f"{100 * returning:.0f} %"}


def count(package: Path) -> dict[str, str]:
    """Return all counts of a package, by name."""
    source = Source(package)
    return rooms(source) | lengths(source) | density(source) | words(source)


def main() -> None:
    """Print one column per folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=PACKAGES)
    folders = parser.parse_args().folders
    columns = [count(folder) for folder in folders]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    sys.stdout.write(tabulate(rows, ["", *map(str, folders)], disable_numparse=True) + "\n")


if __name__ == "__main__":
    main()
