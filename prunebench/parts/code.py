"""The source code of plugins: the modules that a part needs, and a hash of each."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import distributions
from pathlib import Path

from prunebench.errors import PrunebenchError

SHARED = {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}


@cache
def code_hash(module: str) -> str:
    """Return a hash of a module's syntax tree, without docstrings and comments.

    For a compiled module, return the hash of its file. Raise PrunebenchError if no source can be read.
    """
    path = _file(module)
    try:
        if path is None:
            raise OSError("it is in no file")
        content = path.read_bytes()
        if path.suffix != ".py":
            return hashlib.sha256(content).hexdigest()[:16]
        tree = ast.parse(content)
    except (OSError, SyntaxError) as error:
        raise PrunebenchError(
            f"cannot read the source of {module}, which is part of every key of its parts: {error}"
        ) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False):
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


@cache
def helpers(modules: frozenset[str]) -> frozenset[str]:
    """Return the modules that `modules` import, directly or not, from their own distributions.

    Imports are read from the source, also those inside functions. Imports by a computed name and data files
    are not seen.
    """
    waiting = list(modules)
    seen = set(modules)
    while waiting:
        importer = waiting.pop()
        for name in _imports(importer) - seen:
            if _same_distribution(name, importer) and _file(name):
                seen.add(name)
                waiting.append(name)
    return frozenset(seen) - modules


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the full names of all modules that a module may import."""
    path = _file(module)
    if path is None or path.suffix != ".py":
        return frozenset()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return frozenset()  # code_hash raises the error
    return frozenset(name for node in ast.walk(tree) for name in _imported(node, package))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the modules that a statement may import. For `from a import b` they are a and a.b."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            names = package.split(".")
            parents = names[: len(names) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        yield base
        for alias in node.names:
            yield f"{base}.{alias.name}"


def _same_distribution(name: str, importer: str) -> bool:
    """Whether two modules belong to one distribution."""
    top = name.partition(".")[0]
    importer_top = importer.partition(".")[0]
    if top == importer_top:
        return True
    if top in sys.stdlib_module_names:
        return False
    folder = _folder(top)
    if folder is None or folder != _folder(importer_top):
        return False
    listed = _listed_with(importer_top)
    if listed:
        return top in listed
    # An editable install lists no modules, and has a folder of its own.
    return folder not in SHARED


def _folder(top: str) -> Path | None:
    """Return the folder that holds a top-level module or package, or None if it has no file."""
    path = _file(top)
    if path is None:
        return None
    return path.parent.parent if path.name == "__init__.py" else path.parent


@cache
def _listed_with(top: str) -> frozenset[str]:
    """Return all top-level names of the distribution that has `top` in its list of files."""
    for distribution in distributions():
        lines = (distribution.read_text("RECORD") or "").splitlines()
        if any(line.startswith((f"{top}/", f"{top}.")) for line in lines):
            return frozenset(re.split(r"[/.]", line)[0] for line in lines)
    return frozenset()


def _file(module: str) -> Path | None:
    """Return the file of a module, imported or not, or None if it has none."""
    spec = _spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        path = getattr(sys.modules.get(module), "__file__", None)
        return Path(path) if path else None
    return Path(spec.origin)


def _spec(module: str) -> ModuleSpec | None:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    try:
        return spec or importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # the name of a function or class in a module
        return None
