"""A check of the Python in documents, which runs next to nothing of it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_args, get_origin, get_type_hints

import prunebench


def python(text: str) -> None:
    """Check that what a block takes from prunebench exists. Run it if it defines a part."""
    tree = ast.parse(text)
    Names().visit(tree)
    if any(isinstance(node, ast.ClassDef) for node in tree.body):
        exec(compile(tree, "<block>", "exec"), {"__name__": __name__})


@dataclass(frozen=True)
class Value:
    """A value of a class, of which nothing else is known."""

    cls: Any


class Names(ast.NodeVisitor):
    """What the names of a block stand for, as far as imports and prunebench's own annotations say it.

    A name that stands for nothing raises AttributeError, wrong arguments TypeError. Blocks may go on where
    others ended, so the public names need no import.
    """

    def __init__(self) -> None:
        self.known: dict[str, Any] = {name: getattr(prunebench, name) for name in prunebench.__all__}
        self.known["prunebench"] = prunebench

    def visit_Import(self, node: ast.Import) -> None:
        self.known |= {name.name: import_module(name.name) for name in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name in node.names:
            self.known[name.name] = imported(str(node.module), name.name)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        self.known |= {to.id: self.meaning(node.value) for to in node.targets if isinstance(to, ast.Name)}

    def visit_For(self, node: ast.For) -> None:
        several = self.meaning(node.iter)
        if several and isinstance(node.target, ast.Name):
            self.known[node.target.id] = Value(*get_args(several.cls))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self.meaning(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self.meaning(node.func)
        if getattr(called, "__module__", "").startswith("prunebench"):
            inspect.signature(called).bind(*node.args, **{word.arg: word.value for word in node.keywords})

    def meaning(self, node: ast.expr) -> Any:
        """Return what an expression stands for, or None if nothing is known of it."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            return member(self.meaning(node.value), node.attr)
        if isinstance(node, ast.Call):
            return result(self.meaning(node.func))
        return None


def imported(module: str, name: str) -> Any:
    """Return what `from MODULE import NAME` imports: an attribute or a submodule.

    None if another package is not installed. Then nothing is known of what it holds.
    """
    if find_spec(module.partition(".")[0]) is None:
        return None
    if find_spec(module).submodule_search_locations and find_spec(f"{module}.{name}"):
        return import_module(f"{module}.{name}")
    return getattr(import_module(module), name)


def member(owner: Any, name: str) -> Any:
    """Return an attribute, or None if nothing is known of its owner or of its value."""
    if isinstance(owner, Value):
        cls = get_origin(owner.cls) or owner.cls
        if name not in get_type_hints(cls):
            getattr(cls, name)
        return None
    return None if owner is None else getattr(owner, name)


def result(called: Any) -> Value | None:
    """Return what a class or function of prunebench returns, if that can be known without running it."""
    if isinstance(called, type):
        return Value(called)
    hint = getattr(called, "__annotations__", {}).get("return")
    try:
        return Value(eval(hint, called.__globals__)) if hint else None
    except NameError:  # a name for type checkers alone
        return None
