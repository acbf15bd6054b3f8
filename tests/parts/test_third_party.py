"""A stranger's package, installed, listed, checked, run and edited; and four that are broken, beside it."""

import json
import re

import pytest

from prunebench.parts import code, registry
from prunebench.parts.identity import identity

# As in docs/plugins.md: nothing but this and one entry point.
MARGIN_STD = '''
from dataclasses import dataclass
from prunebench import Dynamics, Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class MarginStd(Scorer):
    """How much the margin still moves over the last epochs."""
    name = "margin_std"
    window: int = 10

    def score(self, dynamics: Dynamics):
        return dynamics.margin[-self.window:].std(axis=0)

@hookimpl
def register_scorers():
    return [MarginStd]
'''
SUITE = """
title = "Mine"
datasets = ["digits"]
methods = ["margin", "aum_supervised"]
ratios = [90]
seeds = 1
recipe = "tiny"
[method.margin]
labeler = "ground_truth"
scorer = "margin_std"
selector = "top"
"""
BROKEN = {
    "absent": ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "exits": ("import sys; sys.exit('goodbye')", "importing exits raised SystemExit: goodbye"),
    "twice": (MARGIN_STD, "TypeError: scorer 'margin_std' is offered by twice and by margins"),
    "slip": (
        MARGIN_STD.replace("register_scorers", "register_scorer"),
        "PluginValidationError: unknown hook 'register_scorer' in plugin",
    ),
}


@pytest.fixture
def margins(install):
    return install("margins", MARGIN_STD)


def test_a_package_is_listed_checked_run_and_edited(margins, process, suite_file, tmp_path):
    listed = process("list scorers")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("margin_std")]
    assert line.split()[1] == "margins" and line.endswith("window=10")
    assert "How much the margin still moves over the last epochs." in listed.out
    assert process("check margin_std").code == 0

    path = suite_file(SUITE)
    options = f"--suite {path} --set recipe.epochs=2"
    ran = process(f"run {options} --workers 0")
    assert (ran.code, ran.err) == (0, "")
    assert "margin{recipe.epochs=2}" in ran.out

    def to_make():
        lines = process(f"plan {options} --each").out.splitlines()[1:-2]
        return [line.split()[1] for line in lines if re.search(r" [0-9a-f]{12} +0 +1 ", line)]

    assert to_make() == []
    margins.write_text(MARGIN_STD.replace("How much", "By how much"))
    assert to_make() == []
    margins.write_text(MARGIN_STD.replace("self.window:", "self.window : -1"))
    assert to_make() == ["scores", "subset", "accuracy"]  # of its method; the other's stay


def test_an_edited_helper_of_a_part_changes_its_key(install, tmp_path):
    """Whatever the statement that imports it, and through another helper too."""
    site = tmp_path / "site"
    (site / "kit").mkdir()
    (site / "kit" / "__init__.py").write_text("from . import deep\n")
    (site / "kit" / "deep.py").write_text("FACTOR = 1\n")
    (site / "near.py").write_text("import kit.deep\n")
    (site / "unused.py").write_text("FACTOR = 1\n")
    score = "def score(self, dynamics: Dynamics):"
    install("helped", MARGIN_STD.replace(score, f"{score}\n        import near"))

    def key():
        for cached in (code.code_hash, code.helpers, code._imports):
            cached.cache_clear()
        return json.dumps(identity(registry.load().part("scorer", "margin_std")))

    before = key()
    (site / "kit" / "deep.py").write_text("'Said otherwise.'\nFACTOR = 1  # still\n")
    (site / "unused.py").write_text("FACTOR = 2\n")
    assert key() == before
    (site / "kit" / "deep.py").write_text("FACTOR = 2\n")
    assert key() != before


def test_broken_packages_are_named_and_harm_nothing(margins, install, process):
    for name, (source, _reason) in BROKEN.items():
        install(name, source)
    plugins = {line.split()[0]: line for line in process("list plugins").out.splitlines()}
    for name, (_source, reason) in BROKEN.items():
        assert f"broken: {reason}" in plugins[name]
    assert plugins["margins"].endswith("ok")
    listed = process("list scorers")
    owners = {line.split()[0]: line.split()[1] for line in listed.out.splitlines()}
    assert (owners["margin_std"], owners["aum"]) == ("margins", "prunebench")
    assert listed.err.count("broken plugin ") == 4
    assert process("status --suite quickstart --methods random").code == 0


def test_strangers_can_be_left_out(margins, process):
    assert "margin_std" not in process("list scorers", PRUNEBENCH_PLUGINS="").out
    assert "margin_std" in process("list scorers", PRUNEBENCH_PLUGINS="margins").out
