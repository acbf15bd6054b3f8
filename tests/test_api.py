"""The Python API: what `run` returns, writes and raises, what `load_subset` hands to torch, and its page."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import prunebench
from prunebench import api
from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.base import Selector
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.pipeline import jobs
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import Store
from prunebench.results.rows import read
from tests.photo_folders import write_photos
from tests.readme_blocks import ROOT


@pytest.fixture(autouse=True)
def nothing_in_memory():
    yield
    api._pictures.cache_clear()


@pytest.fixture
def run(toy, suite_file, monkeypatch, tmp_path):
    """run(**arguments) runs the toy suite in this process, where `cli` runs."""
    monkeypatch.chdir(tmp_path)
    path = suite_file()
    return lambda **arguments: prunebench.run(path, **{"workers": 0} | arguments)


# Running


def test_run_returns_the_rows_that_the_command_writes(run, cli, suite_file, tmp_path):
    rows = run()
    assert [(row.method, row.seed) for row in rows] == [
        *[("random", 0), ("random", 1), ("el2n_supervised", 0), ("el2n_supervised", 1)]
    ]
    assert cli(f"run --suite {suite_file()} --workers 0").code == 0
    written, _ = read(tmp_path / "leaderboard", "toys")
    assert {row.id for row in rows} == {row.id for row in written}


def test_run_writes_rows_where_it_is_told_alone(run, cli, tmp_path):
    before = sorted(tmp_path.iterdir())
    rows = run(seeds=1)
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in before} == {"store"}
    run(seeds=1, results="pages")
    assert [row.id for row in read(tmp_path / "pages", "toys")[0]] == [rows[1].id, rows[0].id]  # by file name
    # The suite is no shipped one, and is kept beside its rows.
    assert cli("leaderboard --results pages --suite toys").out == "wrote pages/toys.md\n"


def test_progress_goes_to_stderr(run, capsys):
    run(methods="random", seeds=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("1/1  toy            random")


def test_what_is_stored_is_not_made_again(run, monkeypatch):
    first = run()
    monkeypatch.setattr(jobs, "run", None)
    assert run() == first


def test_arguments_choose_as_the_options_do(run, suite_file):
    def chosen(**arguments):
        return [(row.method, row.ratio, row.seed) for row in run(methods="random", **arguments)]

    assert chosen(ratios=30, seeds=[1]) == [("random", 30, 1)]
    assert chosen(ratios=np.array([30, 50]), seeds=np.int64(1)) == [("random", 30, 0), ("random", 50, 0)]
    assert chosen(datasets=["toy"], seeds=[0], changes={"recipe.epochs": 2}) == [
        ("random{recipe.epochs=2}", 50, 0)
    ]
    assert chosen(ratios=(ratio for ratio in [30]), seeds=iter([0])) == [("random", 30, 0)]
    assert len(run(methods="all", datasets="all", seeds=1)) == 2


def test_a_tuple_is_the_list_of_the_command():
    changes = {"grand.seeds": (1, 2), "file.path": Path("a.npy")}
    filters = api._filters("m", "d", 50, 1, None, None, None, changes)
    assert filters.changes == {"grand.seeds": [1, 2], "file.path": "a.npy"}


def test_a_suite_may_be_a_path(toy, suite_file):
    (row,) = prunebench.run(Path(suite_file()), methods="random", seeds=1, workers=0)
    assert (row.suite, row.dataset) == ("toys", "toy")


def test_places_and_recipe_are_given(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_DATA", "nowhere")
    (row,) = run(
        methods="random", seeds=1, recipe="tiny", store=tmp_path / "mine", data=str(tmp_path / "data")
    )
    assert (tmp_path / "mine" / row.accuracy_key[:2] / row.accuracy_key[2:]).is_dir()
    assert not (tmp_path / "store").exists()


def test_files_that_changed_are_read_again(run, tmp_path):
    """A process that runs cells twice must not store what old images give under the key of new ones."""
    first = run(methods="el2n_supervised", seeds=1)[0]
    path = tmp_path / "data" / "toy.npy"
    np.save(path, 255 - np.load(path))
    found = []
    for name in ("one", "other"):
        (row,) = run(methods="el2n_supervised", seeds=1, store=tmp_path / name)
        store = Store(tmp_path / name)
        (scores,) = (key for name, _of, key in store.manifest(row.subset_key)["inputs"] if name == "scores")
        found.append(store.manifest(scores)["sha256"])
        api.context.load_split.cache_clear()
    assert row.dataset_hash != first.dataset_hash
    assert found[0] == found[1]


# Mistakes and failures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": "duel"}, "no method named 'duel'. Did you mean 'dual'? See: prunebench list methods"),
        ({"methods": 5}, "methods is 5, expected a name, or several"),
        ({"datasets": ["toy", None]}, "datasets is ['toy', None], expected a name, or several"),
        ({"ratios": [100]}, "ratios is [100], expected whole numbers from 0 to 99"),
        ({"ratios": []}, "ratios is [], expected one or several, or None for those of the suite"),
        ({"ratios": np.array([], int)}, "ratios is [], expected one or several, or None for those of the"),
        ({"methods": ()}, "methods is [], expected one or several, or None for those of the suite"),
        ({"datasets": []}, "datasets is [], expected one or several, or None for those of the suite"),
        ({"seeds": []}, "seeds is [], expected one or several, or None for those of the suite"),
        ({"ratios": "30"}, "ratios is ['30'], expected whole numbers from 0 to 99"),
        ({"seeds": 0}, "seeds is 0, expected a count from 1, or a list"),
        ({"seeds": [-1]}, "seeds is [-1], expected whole numbers from 0 to 9999"),
        ({"workers": -1}, "workers is -1, expected 0 or more"),
        ({"device": "gpu"}, "device is 'gpu', expected cpu, cuda (a GPU) or auto. See: prunebench doctor"),
        ({"changes": {"dual.window": 5}}, "--set dual.window: no chosen method has such a part."),
        ({"tuning": "serach"}, "no tuning rule named 'serach'. Did you mean 'search'? See: docs/"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(run, tmp_path, arguments, message):
    with pytest.raises(PrunebenchError, match=re.escape(message)) as error:
        run(**arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store" / "locks").exists()


def test_all_of_standard_is_not_begun_by_accident(monkeypatch):
    monkeypatch.setattr(api, "choose", None)
    for arguments in ({}, {"suite": "standard", "workers": 0, "results": "leaderboard"}):
        with pytest.raises(PrunebenchError, match="this would run all of suite standard: choose, or say"):
            prunebench.run(**arguments)


def test_absent_data_is_an_error(run, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    with pytest.raises(DataAbsentError, match=r"write toy\.npy"):
        run()


def test_a_failed_cell_is_named_when_the_others_are_done(run, offer, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Moody(Selector):
        name = "moody"

        def select(self, images, keep):
            raise ValueError("not today")

    offer(Method("moody", title="Moody", selector=Moody()), Moody)
    with pytest.raises(prunebench.CellsFailedError) as caught:
        run(methods=["moody", "random"], results=tmp_path / "pages")
    assert str(caught.value) == "2 of 4 cells failed, the first: moody toy 50% seed 0: ValueError: not today"
    assert caught.value.failures == {f"moody toy 50% seed {seed}": "ValueError: not today" for seed in (0, 1)}
    assert [(row.method, row.seed) for row in caught.value.rows] == [("random", 0), ("random", 1)]
    assert len(read(tmp_path / "pages", "toys")[0]) == 2


RUNGS = 'repeats = ["pipeline", "training"]\n'


def test_a_failed_cell_takes_no_row_of_another_rung_with_it(run, suite_file, monkeypatch):
    suite_file(more=RUNGS)
    whole = Matrix.run

    def without_training(matrix, *arguments):
        failed = [cell for cell in matrix.cells if cell.repeats == "training"]
        return whole(matrix, *arguments) | dict.fromkeys(failed, RuntimeError("not today"))

    monkeypatch.setattr(Matrix, "run", without_training)
    with pytest.raises(prunebench.CellsFailedError) as caught:
        run(methods="random", seeds=1)
    assert caught.value.failures == {"random toy 50% seed 0 of training": "RuntimeError: not today"}
    assert [row.repeats for row in caught.value.rows] == ["pipeline"]


def test_one_of_several_rungs_is_run_and_loaded(run, suite_file):
    path = suite_file(more=RUNGS)
    (row,) = run(methods="random", seeds=1, repeats="training")
    assert row.repeats == "training"
    subset = prunebench.load_subset(method="random", dataset="toy", ratio=50, suite=path, repeats="training")
    assert len(subset) == row.kept


def test_a_script_needs_no_guard_for_its_workers(tmp_path):
    """Workers are fresh processes; were the script imported in them, it would run, and print, again."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import prunebench

            print("once")
            rows = prunebench.run(
                "quickstart", methods="random", datasets="digits", ratios=90, seeds=1,
                changes={"recipe.epochs": 1}, device="cpu", workers=1,
            )
            print(len(rows), rows[0].kept)
        """)
    )
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=os.environ)
    assert (told.returncode, told.stdout) == (0, "once\n1 134\n"), told.stderr


# Subsets


@pytest.fixture
def cell(run, suite_file):
    """What chooses a finished cell for `load_subset`."""
    run(methods=["random", "el2n_supervised"], seeds=1)
    return {"method": "el2n_supervised", "dataset": "toy", "ratio": 50, "suite": suite_file()}


@pytest.fixture
def exported(cell, cli, tmp_path):
    """exported(name): the path of the cell's subset, exported."""

    def export(name):
        told = cli(
            f"export {' '.join(f'--{option} {value}' for option, value in cell.items())} --output {name}"
        )
        assert told.code == 0, told.err
        return tmp_path / name

    return export


def test_a_subset_holds_the_kept_images_and_their_labels(cell, exported, toy, tmp_path):
    subset = prunebench.load_subset(**cell)
    index = np.load(exported("kept.npy")).tolist()
    images, labels = toy.load(tmp_path / "data", "train")
    assert type(subset) is Subset
    assert subset.indices == index
    for place, (image, label) in zip(index, subset, strict=True):
        assert (image.dtype, image.shape, type(label)) == (torch.uint8, (1, 8, 8), int)
        assert (image.numpy() == images[place]).all()
        assert label == labels[place]
    assert (subset.dataset.classes, subset.dataset.mean, subset.dataset.std) == (toy.classes, (0.5,), (0.25,))


def test_a_seed_is_chosen(run, suite_file):
    run(methods="random")
    choice = {"method": "random", "dataset": "toy", "ratio": 50, "suite": suite_file()}
    found = [prunebench.load_subset(**choice, seed=seed).indices for seed in (0, 1)]
    assert prunebench.load_subset(**choice).indices == found[0] != found[1]


def test_a_loader_takes_it_with_a_transform(cell):
    subset = prunebench.load_subset(**cell, transform=halved)
    loader = DataLoader(pickle.loads(pickle.dumps(subset)), batch_size=20)  # as its processes get it
    batches = list(loader)
    assert [tuple(images.shape) for images, _ in batches] == [(20, 1, 8, 8), (12, 1, 8, 8)]
    assert batches[0][0].dtype == torch.float32
    assert torch.equal(batches[0][0][0], halved(prunebench.load_subset(**cell)[0][0]))
    assert torch.cat([labels for _, labels in batches]).tolist() == [label for _, label in subset]


def test_a_process_of_a_loader_is_told_where_the_images_are(cell, toy, tmp_path):
    """A memory map would be pickled whole, and for each of the processes."""
    subset = prunebench.load_subset(**cell, transform=halved)
    assert len(pickle.dumps(subset)) < 64 * 64  # bytes of the images
    api._pictures.cache_clear()
    found = pickle.loads(pickle.dumps(subset))
    assert found.indices == subset.indices and found.dataset.images is not subset.dataset.images
    for (image, label), (same, again) in zip(subset, found, strict=True):
        assert torch.equal(image, same) and label == again
    # Of another process are the file, and nothing else: it has changed since.
    images = np.load(tmp_path / "data" / "toy.npy")
    np.save(tmp_path / "data" / "toy.npy", images ^ 1)
    api._pictures.cache_clear()
    changed = pickle.loads(pickle.dumps(subset))
    assert torch.equal(changed[3][0] * 2, torch.tensor(images[subset.indices[3]] ^ 1).float())


@pytest.mark.parametrize("cache", [True, False])
def test_photos_that_are_mapped_or_decoded_anew_go_to_other_processes(tmp_path, monkeypatch, cache):
    monkeypatch.setattr("prunebench_plugins.datasets.io.decoding.SMALL", 0)
    for place in ("train/a", "train/b", "test/a"):
        write_photos(tmp_path / "photos" / place, 12)
    np.save(tmp_path / "kept.npy", [0, 2, 5])
    family = {"family": "folder", "path": str(tmp_path / "photos"), "side": 8, "cache": cache}
    monkeypatch.setattr(api.resolve, "dataset_spec", lambda *_: family)
    subset = prunebench.load_subset(tmp_path / "kept.npy", dataset="photos")
    kind = "memmap" if cache else "Undecoded"
    assert type(subset.dataset.images.array).__name__ == kind
    loader = DataLoader(subset, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    images, labels = (torch.cat(batches) for batches in zip(*loader, strict=True))
    assert torch.equal(images, torch.stack([image for image, _ in subset]))
    assert labels.tolist() == [label for _, label in subset] == [0, 0, 1]


def halved(image):
    return image.float() / 2


def test_what_a_transform_does_to_an_image_changes_no_other(cell):
    subset = prunebench.load_subset(**cell, transform=lambda image: image.zero_())
    before = prunebench.load_subset(**cell)[3][0]
    assert subset[3][0].max() == 0
    assert torch.equal(prunebench.load_subset(**cell)[3][0], before)
    assert before.max() > 0


def test_images_that_are_fetched_when_asked_for(cell):
    class Fetched:
        """What a dataset too large for the disk gives: only slices and arrays of integers are known."""

        dtype, shape, ndim = np.dtype(np.uint8), (64, 1, 8, 8), 4

        def __len__(self):
            return 64

        def __getitem__(self, index):
            assert isinstance(index, slice | np.ndarray)
            return np.zeros(self.shape, np.uint8)[index] + 7

    pixels = prunebench.load_subset(**cell).dataset
    pixels.images = Images(Fetched(), mean=(0.5,), std=(0.5,))
    assert pixels[3][0].tolist() == np.full((1, 8, 8), 7).tolist()
    with pytest.raises(IndexError):
        pixels[64]


def test_subsets_of_one_dataset_share_its_images(cell):
    found = [prunebench.load_subset(**cell | {"method": method}) for method in ("random", "el2n_supervised")]
    assert found[0].dataset.images is found[1].dataset.images
    assert found[0].indices != found[1].indices


@pytest.mark.parametrize(
    ("name", "more"), [("k.json", {}), ("k.json", {"dataset": "toy"}), ("k.npy", {"dataset": "toy"})]
)
def test_an_exported_file_is_loaded(cell, exported, name, more, tmp_path):
    path = exported(name)
    found = prunebench.load_subset(path, **more, transform=halved, store=tmp_path / "another")
    wanted = prunebench.load_subset(**cell, transform=halved)
    assert found.indices == wanted.indices
    assert torch.equal(found[5][0], wanted[5][0]) and found[5][1] == wanted[5][1]


def test_a_file_for_other_images_is_refused(exported, tmp_path):
    path = exported("kept.json")
    images = np.load(tmp_path / "data" / "toy.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(tmp_path / "data" / "toy.npy", images)
    with pytest.raises(
        PrunebenchError, match=r"is of toy with fingerprint [0-9a-f]{12}, but toy here has [0-9a-f]{12};"
    ):
        prunebench.load_subset(path)
    with pytest.raises(
        PrunebenchError, match=r"is of toy with fingerprint [0-9a-f]{12}, but digits here has "
    ):
        prunebench.load_subset(path, dataset="digits")


def test_a_file_of_a_folder_is_told_where_that_is(exported, tmp_path):
    path = exported("kept.json")
    file = json.loads(path.read_text())
    file["manifest"]["dataset"] = "folder-photos-8"
    path.write_text(json.dumps(file))
    with pytest.raises(
        PrunebenchError, match=r"folder-photos-8, which is not registered here: say dataset='NAME'"
    ):
        prunebench.load_subset(path)


def test_indices_beyond_the_dataset_are_refused(toy, tmp_path):
    np.save(tmp_path / "kept.npy", [3, 64])
    with pytest.raises(
        PrunebenchError, match=re.escape("kept.npy lists image 64, but toy has 64; choose its")
    ):
        prunebench.load_subset(tmp_path / "kept.npy", dataset="toy")
    np.save(tmp_path / "kept.npy", [3, 63])
    assert prunebench.load_subset(tmp_path / "kept.npy", dataset="toy").indices == [3, 63]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "load_subset needs a method, or a file that prunebench export wrote"),
        (
            {"method": "random", "dataset": "toy"},
            "load_subset needs a ratio, or a file that prunebench export",
        ),
        ({"source": "k.npy", "ratio": 50}, "method and ratio is (None, 50), expected unset with a source"),
        ({"source": "k.npy"}, "k.npy names no dataset: say dataset='NAME', or dataset='folder:PATH@PIXELS'"),
        (
            {"source": "none.json"},
            "none.json cannot be read ([Errno 2] No such file or directory: 'none.json')",
        ),
    ],
)
def test_what_load_subset_needs(toy, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("k.npy", [0, 1])
    with pytest.raises(PrunebenchError, match=re.escape(message)):
        prunebench.load_subset(**arguments)


def test_an_unfinished_cell_is_told_with_its_command(toy, suite_file, cli):
    choice = {"method": "random", "dataset": "toy", "ratio": 30, "suite": suite_file(), "seed": 2}
    changes = {"recipe.epochs": 1, "recipe.padding": "zero", "recipe.flip": True}
    with pytest.raises(PrunebenchError, match="toy 30% seed 2 is not finished; run: prunebench run") as error:
        prunebench.load_subset(**choice, changes=changes)
    words = shlex.split(str(error.value).partition("prunebench ")[2])
    assert cli(" ".join([*words, "--workers", "0"])).code == 0
    assert len(prunebench.load_subset(**choice, changes=changes)) == 44


# Names and pages


def test_every_public_name_is_there():
    assert [name for name in prunebench.__all__ if not hasattr(prunebench, name)] == []
    assert dir(prunebench) == prunebench.__all__


def test_the_names_of_the_api_load_nothing_heavy():
    script = "import sys, prunebench; prunebench.run, prunebench.load_subset, prunebench.prune; "
    script += (
        "print([name for name in ('torch', 'sklearn', 'pandas', 'scipy', 'typer') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


def test_the_examples_of_the_page_run(cli, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == [*3 * ["python"], *2 * ["bash", "python"]]
    names: dict[str, object] = {}
    for language, block in blocks:
        if language == "python":
            exec(compile(block, "docs/api.md", "exec"), names)
            continue
        for line in block.splitlines():
            told = cli(line.removeprefix("prunebench "))
            assert told.out.startswith("wrote "), told.err
    assert len(names["rows"]) == 6
    assert len(names["subset"]) == 404
    assert names["scores"].shape == (1347,)
