"""The source code of plugins: which modules a part rests on, and a hash of each."""

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

    Of a compiled module it is that of the file. Raise PrunebenchError where there is no source to read.
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
    """Return the modules of the same distributions that these import, and those import, and so on.

    Imports are read from the source, those inside functions too. What a module imports by a name that it
    computes is not seen, nor are files of data.
    """
    waiting, seen = list(modules), set(modules)
    while waiting:
        importer = waiting.pop()
        for name in _imports(importer) - seen:
            if _same_distribution(name, importer) and _file(name):
                seen.add(name)
                waiting.append(name)
    return frozenset(seen) - modules


@cache
def _imports(module: str) -> frozenset[str]:
    """Return all names after `import` in a module that may be modules, in full."""
    path = _file(module)
    if path is None or path.suffix != ".py":
        return frozenset()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return frozenset()  # which code_hash says
    return frozenset(name for node in ast.walk(tree) for name in _imported(node, package))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield what one statement imports; of `from a import b` both a and a.b, since b may be a module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *([base] if base else [])])
        yield base
        for alias in node.names:
            yield f"{base}.{alias.name}"


def _same_distribution(name: str, importer: str) -> bool:
    """Whether two modules come with one distribution."""
    top, own = name.partition(".")[0], importer.partition(".")[0]
    if top == own:
        return True
    if top in sys.stdlib_module_names or (folder := _folder(top)) is None or folder != _folder(own):
        return False
    listed = _listed_with(own)
    # What is installed for editing lists nothing, and has a folder for itself.
    return top in listed if listed else folder not in SHARED


def _folder(top: str) -> Path | None:
    """Return the folder that holds a module or package of the highest level."""
    path = _file(top)
    return path and (path.parent.parent if path.name == "__init__.py" else path.parent)


@cache
def _listed_with(top: str) -> frozenset[str]:
    """Return all names of the highest level in the distribution that lists this one among its files."""
    for distribution in distributions():
        lines = (distribution.read_text("RECORD") or "").splitlines()
        if any(line.startswith((f"{top}/", f"{top}.")) for line in lines):
            return frozenset(re.split(r"[/.]", line)[0] for line in lines)
    return frozenset()


def _file(module: str) -> Path | None:
    """Return the file of a module, imported or not; None where there is none."""
    spec = _spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        loaded = getattr(sys.modules.get(module), "__file__", None)
        return Path(loaded) if loaded else None
    return Path(spec.origin)


def _spec(module: str) -> ModuleSpec | None:
    loaded = getattr(sys.modules.get(module), "__spec__", None)
    try:
        return loaded or importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # no module, but a name in one
        return None
