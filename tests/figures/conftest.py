"""Rows of a toy suite with their artefacts in a store, as reports and their tests in a browser need them."""

import shutil

import pytest

from prunebench.figures.drawings import Places
from prunebench.results.journal import Journal
from prunebench.results.rows import read
from prunebench.runs.pages import remember
from prunebench.suites import schema

SHORT = {"fixmatch.iterations": 3, "temi.epochs": 1, "temi.heads": 1}
SUITE = """
title = "Toys"
datasets = ["toy"]
methods = ["random", "el2n_supervised", "elfs_pixels", "labeled_only_aum"]
ratios = [30, 50]
seeds = 1
recipe = "tiny"
"""


@pytest.fixture
def places(tmp_path, store):
    return Places(tmp_path / "leaderboard", tmp_path / "data", store)


@pytest.fixture
def filled(toy, places, request, tmp_path_factory):
    """Rows of a suite `toys` on the toy dataset, with their artefacts in the store. They are made once."""
    once = tmp_path_factory.getbasetemp() / "filled"
    if not once.exists():
        request.getfixturevalue("made")
        shutil.copytree(places.store.root, once / "store")
        shutil.copytree(places.results, once / "leaderboard")
    else:
        shutil.copytree(once / "store", places.store.root)
        shutil.copytree(once / "leaderboard", places.results)
    return read(places.results, "toys")[0]


@pytest.fixture
def made(matrix, make, places, suite_file):
    remember(schema.read(suite_file(SUITE)), places.results)
    names = ("random", "el2n_supervised", "elfs_pixels", "labeled_only_aum")
    run = make(matrix(*names, ratios=(30, 50), changes=SHORT))
    assert not run.failures
    for row in run.rows:
        Journal(places.results).append(row)


HOSTILE = "<script>alert(1)</script>\"'`{{7*7}}\u202e&amp;<!--"


@pytest.fixture
def hostile(filled, places, row):
    """The rows of `filled`, and rows of a dataset that nobody knows, all of whose words are code."""
    journal = Journal(places.results)
    words = {"title": HOSTILE, "dataset": HOSTILE, "device_name": HOSTILE, "commit": HOSTILE}
    words |= {"labeler": HOSTILE, "label_draw": HOSTILE, "pretraining": [HOSTILE]}
    for method, accuracy in (("random", 80.0), (HOSTILE, 70.0), ("semi", 90.0)):
        for ratio in (30, 50):
            values = {"method": method, "accuracy": accuracy, "ratio": ratio, "quality": {"hungarian": 1.0}}
            journal.append(row(**words, **values))
    return places
