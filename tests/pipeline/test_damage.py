"""Whatever becomes of stored files, the same command mends the store in one go and gives the same rows."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from prunebench.parts import registry
from prunebench.parts.base import Grid, Selector
from prunebench.parts.method import Method
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.schedule import REPAIRS
from prunebench.pipeline.stages import STAGES
from prunebench.results import record
from prunebench.runs import status
from prunebench.runs.run import run_matrix

# Payloads that a row is made from.
READ = {"known_labels", "quality", "choice", "scores", "subset", "accuracy"}
# Of each a file of its entry is damaged, but for those of other methods and of photos.
OTHERS = (
    *("given", "proxy_embeddings", "labeler_accuracy", "pooled_embeddings", "selection_work", "order"),
    "learning_curve",
    "duplicates",
)
KINDS = [kind.kind for kind in STAGES if kind.kind not in OTHERS]
ALL = "all{recipe.final_backbone=pixels}"
FILES = ["payload.safetensors", "manifest.json"]
HARMS = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "emptied": lambda file: file.write_bytes(b""),
    "flipped": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "gone": Path.unlink,
}


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@dataclass(frozen=True, kw_only=True)
class From(Selector):
    """Keeps the images from a share `start` of the ranking on, which a search chooses."""

    name: ClassVar[str] = "from"
    grids: ClassVar = (Grid(field="start", values=(0.0, 0.25), at_most="ratio", each=True),)
    start: float = 0.0

    def select(self, scores, keep):
        return np.argsort(scores, kind="stable")[int(self.start * len(scores)) :][:keep]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for a store that was made once."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture
def whole(matrix, offer, store, kept):
    """A finished cell with a stage of each kind."""
    offer(From)
    parts = registry.load()
    spread = {"part": "propagate", "backbone": "pixels", "label_fraction": 0.5, "neighbors": 5}
    labeler = parts.part("labeler", spread)
    method = Method("all", title="All", labeler=labeler, scorer=parts.part("scorer", "el2n"), selector=From())
    matrix = matrix(method, tuning="search", changes={"recipe.final_backbone": "pixels"})
    if kept.exists():
        shutil.copytree(kept, store.root)
    else:
        assert run_matrix(matrix, forecast_from_store(matrix), None, Engine(workers=0)) == {}
        shutil.copytree(store.root, kept)
    assert {stage.kind for stage in matrix.graph.stages.values()} == {*KINDS}
    return matrix


def outcome(matrix):
    """Return the row of the one cell, and what is stored, but for times."""
    (cell,) = matrix.cells
    row = record.row(matrix, cell)
    stored = {key: matrix.store.manifest(key)["sha256"] for key in matrix.graph.stages}
    work = {kind: units | {"cpu_seconds": 0.0} for kind, units in row.work.items()}
    timeless = {"seconds": dict.fromkeys(row.seconds, 0.0), "work": work, "date": ""}
    return row.model_copy(update=timeless), stored


def rerun(matrix):
    """Run the same command; return what became of the cell, and how many rows it gave."""
    assert run_matrix(matrix, forecast_from_store(matrix), None, Engine(workers=0)) == {}
    assert matrix.missing() == {}
    return outcome(matrix)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_of_any_kind_of_stage_is_mended(whole, file, harm):
    """96 injections in all: known_labels, labels, embeddings, ..., accuracy."""
    before = outcome(whole)
    for kind in KINDS:
        stage = next(stage for stage in whole.graph.stages.values() if stage.kind == kind)
        HARMS[harm](whole.store.path(stage.key) / file)
        if harm == "gone" and file == "payload.safetensors":
            assert status.status(whole).cells == [["toy", ALL, 0, 0, 0, 0, 1]]
        assert rerun(whole) == before, kind
        unread = harm == "flipped" and file == "payload.safetensors" and kind not in READ
        assert whole.store.verify(stage.key) != unread, kind
    assert rerun(whole) == before
    assert status.status(whole).cells == [["toy", ALL, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("file", FILES)
def test_so_are_all_of_them_at_once(whole, file):
    before = outcome(whole)
    for number, key in enumerate(whole.graph.stages):
        [*HARMS.values()][number % len(HARMS)](whole.store.path(key) / file)
    assert rerun(whole) == before


def test_so_are_entries_that_somebody_deleted(whole):
    before = outcome(whole)
    for key in whole.graph.stages:
        shutil.rmtree(whole.store.path(key))
        assert rerun(whole) == before


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("file", FILES)
def test_so_is_what_is_damaged_as_soon_as_it_is_made(whole, file, harm):
    before, harmed, rows = outcome(whole), set(), []
    shutil.rmtree(whole.store.root)

    def damage(stage):
        if stage.key not in harmed:
            harmed.add(stage.key)
            HARMS[harm](whole.store.path(stage.key) / file)

    executor = InlineExecutor(lambda *_progress: None)
    failures = whole.run(executor, whole.missing(), damage, lambda cell: rows.append(record.row(whole, cell)))
    assert (failures, len(rows), len(harmed)) == ({}, 1, len(whole.graph.stages))
    assert outcome(whole) == before


def test_what_vanishes_again_and_again_fails_its_cell_in_the_end(whole):
    (cell,) = whole.cells
    target, made = whole.graph.targets[cell], []

    def damage(stage):
        made.append(stage.kind)
        shutil.rmtree(whole.store.path(target.key), ignore_errors=True)

    whole.store.remove(target.key)
    executor = InlineExecutor(lambda *_progress: None)
    failures = whole.run(executor, whole.missing(), damage, lambda cell: record.row(whole, cell))
    assert str(failures[cell]) == (
        f"artefact {target.key[:12]} is gone or damaged, however often it is made; "
        f"find out what else changes {whole.store.root}"
    )
    assert made == ["accuracy"] * (1 + REPAIRS)


# From the command line


@pytest.mark.parametrize(
    ("kind", "harm"),
    [("subset", "gone"), ("known_labels", "emptied"), ("dynamics", "flipped"), ("accuracy", "cut")],
)
@pytest.mark.parametrize("file", FILES)
def test_one_command_mends_the_store(toy, suite_file, cli, store, kind, harm, file):
    line = f"run --suite {suite_file()} --workers 0"
    page = cli(line).out
    entry = next(path for path in store.root.glob("??/*") if f'"kind": "{kind}"' in manifest(path))
    HARMS[harm](entry / file)
    told = cli(line)
    assert (told.code, told.err) == (0, "")
    assert told.out.partition("\n\n")[2] == page.partition("\n\n")[2]
    lines = cli(f"status --suite {suite_file()}").out.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["toy", "random", "2", "0", "0", "0", "0"],
        ["toy", "el2n_supervised", "2", "0", "0", "0", "0"],
    ]
    assert store.sound(entry.parent.name + entry.name)


def manifest(entry):
    return (entry / "manifest.json").read_text()


# What is remembered of a dataset


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b'"a"', b'{"content": "00"}'])
def test_a_damaged_note_of_a_dataset_is_read_again_from_the_content(toy, store, tmp_path, content):
    key = dataset_key(toy, tmp_path / "data", store)
    (note,) = (store.root / "datasets").iterdir()
    note.write_bytes(content)
    assert dataset_key(toy, tmp_path / "data", store, look=False) == "absent:toy"
    assert dataset_key(toy, tmp_path / "data", store) == key
    assert dataset_key(toy, tmp_path / "data", store, look=False) == key


def test_a_wrong_digit_in_it_is_not_believed(toy, store, tmp_path):
    key = dataset_key(toy, tmp_path / "data", store)
    (note,) = (store.root / "datasets").iterdir()
    note.write_text(note.read_text().replace(key, f"{'0' if key[0] != '0' else '1'}{key[1:]}"))
    assert dataset_key(toy, tmp_path / "data", store) == key


def test_nor_is_the_note_of_another(toy, store, tmp_path):
    key = dataset_key(toy, tmp_path / "data", store)
    (note,) = (store.root / "datasets").iterdir()
    path = tmp_path / "data" / "toy.npy"
    np.save(path, 255 - np.load(path))
    other = dataset_key(toy, tmp_path / "data", store)
    (new,) = {*(store.root / "datasets").iterdir()} - {note}
    new.write_bytes(note.read_bytes())
    assert dataset_key(toy, tmp_path / "data", store) == other != key
