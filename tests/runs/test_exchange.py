"""Pushed and pulled artefacts: a run begins where the other ended, and nothing wrong is taken."""

from __future__ import annotations

import errno
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from prunebench.parts.artefacts import Scores
from prunebench.pipeline import context, jobs
from prunebench.pipeline.store import Store
from prunebench.results.rows import read

SUITE = """
title = "Toys"
datasets = ["toy"]
methods = ["random", "el2n_supervised", "forgetting_supervised"]
ratios = [50]
seeds = 2
recipe = "tiny"
"""
BEFORE = {
    "known_labels": 1,
    "labels": 1,
    "dynamics": 2,
    "scores": 4,
}  # stages of a kind, before the selection
AFTER = {"subset": 6, "accuracy": 6}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A folder for a store that was made once."""
    return tmp_path_factory.mktemp("made_once") / "store"


@pytest.fixture
def options(cli, toy, suite_file, tmp_path, made_once):
    """The options that choose the cells of the toy suite, which are finished in one store."""
    path = suite_file(SUITE)
    if made_once.exists():
        shutil.copytree(made_once, tmp_path / "store")
    else:
        assert cli(f"run --suite {path} --workers 0 --results first").code == 0
        shutil.copytree(tmp_path / "store", made_once)
    return f"--suite {path}"


@pytest.fixture
def made(monkeypatch):
    """The number of stages of each kind that were computed since."""
    kinds: Counter[str] = Counter()
    run = jobs.run

    def counted(job, *more):
        kinds[job.kind] += 1
        run(job, *more)

    monkeypatch.setattr(jobs, "run", counted)
    return kinds


def entries(root):
    """Return the keys of all entries of a store."""
    return {path.parent.parent.name + path.parent.name for path in root.glob("??/*/manifest.json")}


def kinds_in(root):
    return Counter(Store(root).manifest(key)["kind"] for key in entries(root))


def of_kind(root, kind):
    """Return the key of an entry of a kind."""
    return next(key for key in sorted(entries(root)) if Store(root).manifest(key)["kind"] == kind)


def table(out):
    """Return the printed counts by kind of stage and state."""
    header, *lines = [re.split(r" {2,}", line) for line in out.partition("\n\n")[0].splitlines()]
    return {line[1]: dict(zip(header[2:], map(int, line[2:]), strict=True)) for line in lines}


# From one store to another


def test_after_a_pull_a_run_begins_at_the_selection(options, cli, made, tmp_path):
    told = cli(f"push shared {options}")
    assert (told.code, told.err) == (0, "")
    assert table(told.out) == {kind: {"copied": count} for kind, count in BEFORE.items()}
    assert re.search(r"\n\npushed to shared: 8 of 8 stages, \d+ kB\n$", told.out)
    assert kinds_in(tmp_path / "shared") == BEFORE

    there = f"{options} --store there"
    told = cli(f"pull shared {there}")
    assert (told.code, told.err) == (0, "")
    assert "\n\npulled from shared: 8 of 8 stages, " in told.out
    assert cli(f"plan {there}").out.splitlines()[-1].startswith("6 cells: 8 stages stored, 12 to make, ")
    assert cli(f"run {there} --workers 0 --results second").code == 0
    assert made == AFTER
    first, second = (read(tmp_path / name, "toys")[0] for name in ("first", "second"))
    assert [row.accuracy for row in second] == [row.accuracy for row in first]
    assert [row.subset_key for row in second] == [row.subset_key for row in first]


def test_all_kinds_leave_nothing_to_run(options, cli, made, tmp_path):
    for line in (f"push shared {options}", f"pull shared {options} --store there"):
        assert cli(f"{line} --kinds all").code == 0
    assert kinds_in(tmp_path / "there") == BEFORE | AFTER
    assert cli(f"run {options} --store there --workers 0").code == 0
    assert made == {}


def test_only_the_chosen_kinds_of_the_chosen_cells_are_moved(options, cli, tmp_path):
    cli(f"push shared {options} --kinds all")
    told = cli(
        f"pull shared {options} --store there --methods el2n_supervised --seeds 1, --kinds labels,scores"
    )
    assert table(told.out) == {"labels": {"copied": 1}, "scores": {"copied": 1}}
    assert kinds_in(tmp_path / "there") == {"labels": 1, "scores": 1}


def test_the_pushed_folder_is_a_store(options, cli, made):
    cli(f"push shared {options} --kinds all")
    assert cli(f"run {options} --store shared --workers 0").code == 0
    assert made == {}


def test_what_is_there_stays_and_what_is_new_is_added(options, cli, tmp_path):
    cli(f"push shared {options} --seeds 1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.*s*")}
    told = cli(f"push shared {options}")
    assert table(told.out)["scores"] == {"copied": 2, "there already": 2}
    assert before and before == {path: path.stat().st_mtime_ns for path in before}
    key = of_kind(tmp_path / "shared", "scores")
    there = Store(tmp_path / "there")
    there.write(key, [Scores(values=np.ones(64))], {})
    cli(f"pull shared {options} --store there")
    assert there.read(key, Scores).values.tolist() == [1] * 64


def test_an_interrupted_pull_resumes(options, cli, tmp_path, monkeypatch):
    cli(f"push shared {options}")
    pull = f"pull shared {options} --store there"
    take = Store.take

    def interrupted(store, key, source):
        if len(entries(tmp_path / "there")) == 3:
            raise KeyboardInterrupt
        take(store, key, source)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "take", interrupted)
        assert cli(pull).code == 130
    assert len(entries(tmp_path / "there")) == 3
    assert "pulled from shared: 5 of 8 stages, " in cli(pull).out


# What is not taken


@pytest.mark.parametrize("file", ["payload.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_a_damaged_entry_is_one_line_and_the_others_are_taken(options, cli, tmp_path, file, harm):
    cli(f"push shared {options}")
    key = of_kind(tmp_path / "shared", "dynamics")
    path = Store(tmp_path / "shared").path(key) / file
    content = path.read_bytes()
    match harm:
        case "cut":
            path.write_bytes(content[:-20])
        case "flipped":
            path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
        case "gone":
            path.unlink()
    shared = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*")}
    told = cli(f"pull shared {options} --store there")
    assert told.code == 1
    assert told.err == f"damaged: toy dynamics cnn, 4 epochs, {key[:12]}; it was not copied\n"
    assert table(told.out)["dynamics"] == {"copied": 1, "damaged": 1}
    assert "pulled from shared: 7 of 8 stages, " in told.out
    taken = entries(tmp_path / "there")
    assert len(taken) == 7 and key not in taken
    assert shared == {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*")}


def test_an_entry_of_another_stage_under_this_key_is_refused(options, cli, tmp_path):
    cli(f"push shared {options}")
    shared = Store(tmp_path / "shared")
    first, second = [key for key in sorted(entries(shared.root)) if shared.manifest(key)["kind"] == "scores"][
        :2
    ]
    shutil.rmtree(shared.path(first))
    shutil.copytree(shared.path(second), shared.path(first))
    told = cli(f"pull shared {options} --store there")
    assert told.code == 1
    assert re.fullmatch(
        f"of another stage: toy scores [a-z0-9_]+.*, {first[:12]}; it was not copied\n", told.err
    )
    assert first not in Store(tmp_path / "there") and second in Store(tmp_path / "there")


def test_what_another_process_makes_is_left_to_it(options, cli, tmp_path):
    cli(f"push shared {options}")
    there = Store(tmp_path / "there")
    with there.lease(of_kind(tmp_path / "shared", "labels"), "labels"):
        told = cli(f"pull shared {options} --store there")
    assert (told.code, table(told.out)["labels"]) == (0, {"copied": 0, "busy": 1})


def test_an_entry_that_was_cut_short_in_the_store_is_replaced(options, cli, tmp_path):
    cli(f"push shared {options}")
    cli(f"pull shared {options} --store there")
    there = Store(tmp_path / "there")
    key = of_kind(there.root, "labels")
    path = there.path(key) / "payload.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    assert "pulled from shared: 1 of 8 stages, " in cli(f"pull shared {options} --store there").out
    assert there.verify(key)


def test_other_images_take_nothing(options, cli, tmp_path):
    cli(f"push shared {options}")
    images = np.load(tmp_path / "data" / "toy.npy")
    np.save(tmp_path / "data" / "toy.npy", 255 - images)
    context.load_split.cache_clear()
    told = cli(f"pull shared {options} --store there")
    assert (told.code, told.out) == (2, "")
    assert told.err == (
        f"Error: {tmp_path}/shared has none of the 8 stages of these cells; their keys follow from the "
        "content of the dataset and from all settings, see: prunebench plan --each\n"
    )


# Requests that make no sense


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pull nowhere", "there is no folder nowhere; name one that prunebench push wrote"),
        (
            "push shared --kinds score",
            "no kind of stage named 'score'. Did you mean 'scores'? See: prunebench plan",
        ),
        (
            "push shared --store empty",
            "{tmp_path}/empty has none of the 8 stages of these cells; their keys ",
        ),
        (
            "push shared --methods random",
            "these cells have no stage of these kinds, such as labels and scores; --k",
        ),
        ("push data/toy.npy", "cannot write {tmp_path}/data/toy.npy: Not a directory; choose another FOLDER"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(options, cli, tmp_path, line, message):
    told = cli(f"{line} {options}")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"Error: {message.format(tmp_path=tmp_path)}") and told.err.count("\n") == 1


def test_absent_data_is_told(options, cli, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    told = cli(f"push shared {options}")
    assert (told.code, told.err) == (2, f"Error: toy is not in {tmp_path / 'data'}: write toy.npy.\n")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(options, cli, tmp_path, monkeypatch):
    cli(f"push shared {options}")

    def no_space(*_files):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", no_space)
        told = cli(f"pull shared {options} --store there")
    assert told.code == 2 and told.err.count("\n") == 1
    assert told.err.startswith(f"Error: cannot write {tmp_path}/there/making/")
    there = tmp_path / "there"
    assert entries(there) == set() and list((there / "making").iterdir()) == []
    assert "pulled from shared: 8 of 8 stages, " in cli(f"pull shared {options} --store there").out
