"""The shape of the core: imports point one way, strangers stay strangers, nothing stored is ever code."""

import ast
import re
from pathlib import Path

import pytest

import prunebench

CORE = Path(prunebench.__file__).parent
PLUGINS = CORE.parent / "plugins" / "prunebench_plugins"
# Reading order: a module imports only modules before it.
LAYERS = re.findall(
    r"\w+",
    """
    errors escaping signals terminal files tables leases artefacts isolation trial parts code identity
    hookspecs seeds sampling store registry images photos
    randaugment augment multicrop wide_resnet networks replay training neighbours quality
    shipped published tuning suite stages making jobs schedule executors results statistics matrix
    forecast display running planning leaderboard comparison claims pages labels figures listing conformance
    choosing pruning previewing evaluating exporting api options commands cli __main__
    """,
)
MODULES = {
    ".".join(path.relative_to(CORE).with_suffix("").parts): ast.parse(path.read_text())
    for path in CORE.rglob("*.py")
    if path != CORE / "__init__.py"
}
TYPES_ONLY = {"suite": {"results"}}  # current_keys reads the rows it is given


def imported(tree):
    """Yield the full name of everything a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name):
    """Return the layer of prunebench.LAYER..., or None for anything else."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "prunebench" and rest else None


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_up(name):
    own = layer(f"prunebench.{name}")
    above = {*LAYERS[: LAYERS.index(own)], own}
    below = {layer(found) for found in imported(MODULES[name])} - above - {None} - TYPES_ONLY.get(own, set())
    assert not below


def test_every_module_has_its_layer():
    assert {layer(f"prunebench.{name}") for name in MODULES} <= set(LAYERS)


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
