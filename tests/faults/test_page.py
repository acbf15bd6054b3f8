"""docs/reliability.md is what the tests of this folder counted, all of them, as they are today."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.faults.reliability import FAULTS, PAGE, Outcome, Tally, page, rows
from tests.readme_blocks import ROOT


def ways():
    """Return how each fault is injected, by the tests there are."""
    found = {}
    for path in Path(__file__).parent.glob("test_*.py"):
        for value in vars(import_module(f"tests.faults.{path.stem}")).values():
            for mark in getattr(value, "pytestmark", []) if callable(value) else []:
                if mark.name == "fault":
                    found.setdefault(mark.args[0], set()).add(mark.args[1])
    return found


def test_each_of_the_28_faults_is_injected():
    assert sorted(ways()) == list(FAULTS) == list(range(1, 29))


def test_the_page_was_made_by_the_tests_of_today_and_nothing_was_lost():
    """Else run the command that it names."""
    found = rows(PAGE.read_text(encoding="utf-8"))
    injected = {
        number: {re.sub(r"^[\d,]+ × ", "", how) for how in row["injected"].split("; ")}
        for number, row in found.items()
    }
    assert {number: row["fault"] for number, row in found.items()} == FAULTS
    assert injected == ways()
    assert {(row["lost"], row["verdict"]) for row in found.values()} == {("0", "pass")}


def test_a_row_holds_what_passed_tests_counted():
    kills = Tally(times=3, repeated=2, measured={"status": "1.2 s"})
    outcome = Outcome({"SIGKILL": [kills, Tally(times=1000)], "SIGSTOP | both": [Tally(times=1)]}, 61.4)
    written = rows(page({1: outcome, 2: Outcome(failed=["test_two"])}))
    assert tuple(written[1].values()) == (
        *("1", "The runner is killed", "1,003 × SIGKILL; 1 × SIGSTOP | both"),
        *("0", "2", "pass", "61", "status 1.2 s"),
    )
    assert written[2]["verdict"] == "failed: test_two"
    later = rows(page({2: Outcome({"SIGKILL": [kills]})}, page({1: outcome})))
    assert later[1] == written[1] and later[2]["verdict"] == "pass"
    assert written[3]["verdict"] == "not run"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_the_page_is_found(name):
    assert "reliability.md)" in (ROOT / name).read_text(encoding="utf-8")
