"""Tests of faults count what they inject and what it cost, and together write docs/reliability.md."""
# ruff: noqa: E402 - see below

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.register_assert_rewrite("tests.faults.toys")  # before it is imported

from tests.faults.reliability import PAGE, Outcome, Tally, page
from tests.faults.toys import MINI, SMALL, TOY, Place

OUTCOMES = pytest.StashKey[dict[int, Outcome]]()
TALLY = pytest.StashKey[Tally]()


def pytest_addoption(parser):
    parser.addoption(
        "--write-reliability", action="store_true", help="write docs/reliability.md from what this run counts"
    )


def pytest_configure(config):
    config.stash[OUTCOMES] = {}


@pytest.fixture
def count(request):
    """What this test counts, for the row of its fault."""
    request.node.stash[TALLY] = Tally()
    return request.node.stash[TALLY]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Fail a test that injected nothing, or lost something and did not say so."""
    result = yield
    if tally := pyfuncitem.stash.get(TALLY, None):
        assert tally.times, "this test injected nothing"
        assert tally.lost == 0
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    mark = item.get_closest_marker("fault")
    if mark is None or item.config.stash.get(OUTCOMES, None) is None:
        return report
    number, how = mark.args
    outcome = item.config.stash[OUTCOMES].setdefault(number, Outcome())
    if report.failed or report.skipped:
        outcome.failed.append(item.name)
    elif report.when == "call":
        outcome.seconds += report.duration
        outcome.tallies.setdefault(how, []).append(item.stash[TALLY])
    return report


def pytest_sessionfinish(session):
    if session.config.getoption("--write-reliability", default=False):
        before = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page(session.config.stash[OUTCOMES], before), encoding="utf-8")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """undisturbed(TOY) is where this suite ran from its start to its end, once for all tests."""
    places = {}

    def ran(text):
        if text not in places:
            folder = tmp_path_factory.mktemp("undisturbed")
            (folder / "toy.toml").write_text(text)
            place = places[text] = Place(folder / "run", folder / "toy.toml")
            command = [sys.executable, "-m", "prunebench", *place.line().split()]
            subprocess.run(command, check=True, capture_output=True, cwd=folder, env=dict(os.environ))
        return places[text]

    return ran


@pytest.fixture
def small(undisturbed, tmp_path):
    """Where the small matrix is to run."""
    return Place(tmp_path / "small", undisturbed(SMALL).suite)


@pytest.fixture
def mini(undisturbed, tmp_path):
    """mini("a") is a folder in which two cells are to run."""
    return lambda name: Place(tmp_path / name, undisturbed(MINI).suite)


@pytest.fixture
def toy_place(undisturbed, tmp_path):
    """toy_place("a") is a folder in which the toy matrix is to run."""
    return lambda name: Place(tmp_path / name, undisturbed(TOY).suite)
