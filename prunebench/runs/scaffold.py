"""A new package of a third party: a part or dataset that works, with its test. Its author then edits it."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.registry import CHECKED, Registry
from prunebench.system.files import beside_of, writing

TEMPLATES = Path(__file__).with_name("templates")
NAME = re.compile("(?!.{41})[a-z][a-z0-9]*(_[a-z0-9]+)*")


def create(kind: str, name: str, parent: Path, registry: Registry) -> Path:
    """Write the folder prunebench-NAME of a new package, whole or not at all. Return its path.

    kind: "backbone", "labeler", "scorer", "selector", "draw" or "dataset".
    name: of the part or dataset. Package, module, class and method are named after it.
    parent: the folder that will hold the new one.
    registry: of the parts that exist.

    Raise PrunebenchError if the kind is unknown, or if the name is unfit or taken.
    Raise PrunebenchError if the folder exists or cannot be written.
    """
    if kind not in CHECKED:
        raise unknown("kind", kind, CHECKED, "prunebench new --help")
    _check_free(name, registry)
    files = _files(kind, name)
    folder = parent / _distribution(name)
    if folder.exists():
        raise PrunebenchError(f"{folder} exists already; remove it, or choose another name")
    beside = beside_of(folder)
    with writing(folder, "working folder"):
        try:
            beside.mkdir()
            for file, content in files.items():
                (beside / file).write_text(content, encoding="utf-8")
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _distribution(name: str) -> str:
    return f"prunebench-{name.replace('_', '-')}"


def _check_free(name: str, registry: Registry) -> None:
    """Raise PrunebenchError unless a part may have the name."""
    if not NAME.fullmatch(name):
        raise PrunebenchError(
            f"{name!r} cannot name a package; use lower-case words with '_' between them, as in margin_std, "
            "and 40 characters at most"
        )
    for kind, items in registry.found.items():
        if name in items:
            owner = registry.owners[kind, name]
            raise PrunebenchError(
                f"{owner} has a {kind.removesuffix('s')} named {name!r} already; choose another name. "
                f"See: prunebench list {kind}"
            )
    if find_spec(f"prunebench_{name}"):
        raise PrunebenchError(f"a module prunebench_{name} is installed already; choose another name")


def _files(kind: str, name: str) -> dict[str, str]:
    """Return the content of each file of a package.

    Raise PrunebenchError if the class would have a name that its module uses for something else.
    """
    words = name.split("_")
    values = {
        "kind": kind,
        "name": name,
        "distribution": _distribution(name),
        "module": f"prunebench_{name}",
        "Class": "".join(map(str.capitalize, words)),
        "title": " ".join(words).capitalize(),
    }
    source = _template(f"{kind}.py")
    class_name = values["Class"]
    if iskeyword(class_name) or re.search(rf"(?<!\$)\b{class_name}\b", source.template):
        raise PrunebenchError(
            f"{name!r} would name its class {class_name}, which is taken; choose another name"
        )
    group = "dataset" if kind == "dataset" else "part"
    readme = kind if kind in ("dataset", "draw") else "part"  # the others come with a method
    templates = {
        "pyproject.toml": _template("pyproject.toml"),
        "README.md": _template(f"{readme}.md"),
        f"prunebench_{name}.py": source,
        f"test_{name}.py": _template(f"{group}_test.py"),
    }
    return {file: template.substitute(values) for file, template in templates.items()}


def _template(name: str) -> Template:
    return Template((TEMPLATES / f"{name}.template").read_text(encoding="utf-8"))
