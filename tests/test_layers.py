"""The shape of the core: imports point one way, strangers stay strangers, nothing stored is ever code."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import prunebench

CORE = Path(prunebench.__file__).parent
PLUGINS = CORE.parent / "plugins" / "prunebench_plugins"
# Reading order: a folder imports only folders before it.
FOLDERS = (
    *("errors", "system", "parts", "nn", "suites", "pipeline", "results", "paper"),
    *("runs", "figures", "photos", "api", "cli", "__main__"),
)
MAP = CORE.parent / "docs" / "architecture.md"


def modules(package):
    """Return the syntax trees of the modules in a package, by their full name."""
    named = {path.relative_to(package.parent).with_suffix(""): path for path in package.rglob("*.py")}
    trees = {".".join(name.parts): ast.parse(path.read_text()) for name, path in named.items()}
    return {name: tree for name, tree in trees.items() if not name.endswith(".__init__")}


MODULES = modules(CORE)


def imported(tree):
    """Yield the full name of everything a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(trees):
    """Return the modules among these that each of them imports, by name: as a whole, or a name in them."""
    return {
        name: {module for found in imported(tree) for module in (found, found.rpartition(".")[0])} & {*trees}
        for name, tree in trees.items()
    }


def folder(name):
    """Return the folder of prunebench.FOLDER..., or None for anything else."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "prunebench" and rest else None


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_up(name):
    above = {*FOLDERS[: FOLDERS.index(folder(name)) + 1], None}
    assert {folder(found) for found in imported(MODULES[name])} <= above


def test_the_core_can_be_surveyed_at_a_glance():
    assert {folder(name) for name in MODULES} == set(FOLDERS)
    assert len([path for path in CORE.iterdir() if path.name not in ("__pycache__", "benchmarks")]) <= 16


def test_the_folders_are_nine_floors():
    """A folder is one floor above the highest folder that it imports."""
    below = {}
    for name, tree in MODULES.items():
        own = folder(name)
        below.setdefault(own, set()).update(
            {folder(found) for found in imported(tree)} & set(FOLDERS) - {own}
        )
    floors = {}
    for name in FOLDERS:
        lower = [floors[other] for other in below[name]]
        # A single module beside the folders is no floor.
        floors[name] = max(lower, default=0) + (CORE / name).is_dir()
    assert max(floors.values()) <= 9


def mapped():
    """Yield the full names of the modules in the order in which the map of the core lists them."""
    folder = ""
    for line in re.findall(r"^\| (.*?) \|", MAP.read_text(encoding="utf-8"), re.MULTILINE):
        for name in re.findall(r"`([\w/]+)`", line):
            if line.startswith("**"):
                folder = name.replace("/", ".")
            else:
                top = name in ("errors", "api", "__main__")
                yield f"prunebench.{'' if top else folder}{name.replace('/', '.')}"


def test_the_map_lists_every_module_below_those_that_it_imports():
    order = [*mapped()]
    assert sorted(order) == sorted(MODULES)
    for name, above in arrows(MODULES).items():
        assert above <= {*order[: order.index(name)]}, name


@pytest.mark.parametrize("package", [CORE, PLUGINS], ids=["core", "plugins"])
def test_no_modules_import_one_another_in_a_circle(package):
    """Nor for type hints alone."""
    TopologicalSorter(arrows(modules(package))).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_the_core_finds_its_own_plugins_as_it_finds_a_strangers(name):
    assert not [found for found in imported(MODULES[name]) if found.startswith("prunebench_plugins")]


@pytest.mark.parametrize("path", [*CORE.rglob("*.py"), *PLUGINS.rglob("*.py")], ids=lambda path: path.stem)
def test_a_module_can_be_read_in_one_sitting(path):
    """At most 400 lines of code: blank lines, comments and docstrings explain, and do not count."""
    tree = ast.parse(path.read_text())
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            body = getattr(node, "body", None)
            last = node.body[0].lineno - 1 if isinstance(body, list) else node.end_lineno
            lines |= set(range(node.lineno, last + 1))
    assert len(lines) <= 400


RUNS_WHAT_IT_READS = {
    f"{module}.{name}"
    for module in ("pickle", "dill", "marshal", "joblib", "shelve", "yaml")
    for name in ("load", "loads", "open", "Unpickler")
}


@pytest.mark.parametrize("path", [*CORE.rglob("*.py"), *PLUGINS.rglob("*.py")], ids=lambda path: path.stem)
def test_nothing_that_is_read_can_run_code(path):
    tree = ast.parse(path.read_text())
    assert not RUNS_WHAT_IT_READS & {*imported(tree)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, options = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in RUNS_WHAT_IT_READS
        reads_weights = name in ("torch.load", "load_checkpoint") or "pretrained" in options
        assert not reads_weights or options.get("weights_only") == "True"
        assert options.get("allow_pickle", "False") == "False"
