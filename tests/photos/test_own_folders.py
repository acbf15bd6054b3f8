"""Folders of images by their path: which dataset that is, and under which name its results are kept."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from prunebench.parts import registry
from prunebench.pipeline import context
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.results.rows import read
from prunebench_plugins.datasets.folder import Folder
from prunebench_plugins.datasets.io import decoding

FEW = "--methods random --ratios 50 --seeds 1 --recipe tiny --set recipe.epochs=1 --workers 0"


@pytest.fixture
def write(tmp_path):
    """write("set", classes=2) writes a folder of noise, a class after another, with 4 and 2 images each."""

    def written(name, classes=2, seed=0):
        rng, top = np.random.default_rng(seed), tmp_path / name
        for split, count in (("train", 4), ("test", 2)):
            for number in range(classes):
                for place in range(count):
                    path = top / split / f"class{number}" / f"{place}.ppm"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)
                    os.utime(path, (0, 0))  # as an archive with fixed dates unpacks
        return top

    yield written
    context.load_split.cache_clear()


@pytest.mark.parametrize(
    "names", [("set-1", "set_1"), ("снимки", "кошки"), ("Photos", "photos"), ("a/photos", "b/photos")]
)
def test_two_folders_are_two_datasets_with_rows_of_their_own(cli, tmp_path, write, names):
    for place, name in enumerate(names):
        write(name, classes=2 + place)
    told = cli(f"run --datasets {','.join(f'folder:{name}@8' for name in names)} {FEW} --results lb")
    assert told.code == 0, told.err
    rows, _ = read(tmp_path / "lb", "standard")
    assert sorted(row.images for row in rows) == [8, 12]
    assert len({row.dataset.casefold() for row in rows}) == 2
    assert len({row.dataset_hash for row in rows}) == 2


def test_a_folder_that_is_named_twice_is_run_once(cli, tmp_path, write):
    (tmp_path / "link").symlink_to(write("photos"))
    told = cli(f"run --datasets folder:photos@8,folder:./link/@8 {FEW} --results lb")
    assert told.code == 0, told.err
    assert len(read(tmp_path / "lb", "standard")[0]) == 1


def test_two_projects_that_call_their_photos_alike_share_nothing(cli, tmp_path, write, monkeypatch):
    """Names, sizes and times are the same; only the folder in which the command is given differs."""
    for seed, project in enumerate(("one", "two")):
        write(f"{project}/photos", seed=seed)
        monkeypatch.chdir(tmp_path / project)
        told = cli(f"run --datasets folder:photos@8 {FEW} --results {tmp_path}/lb")
        assert told.code == 0 and "stored" not in told.out
    rows, _ = read(tmp_path / "lb", "standard")
    assert len({row.dataset for row in rows}) == len({row.dataset_hash for row in rows}) == 2


def test_a_worker_elsewhere_reads_the_same_folder(write, tmp_path, monkeypatch):
    monkeypatch.chdir(write("photos").parent)
    spec = registry.anchored("folder:photos@8")
    wanted = registry.load().dataset("folder:photos@8")
    monkeypatch.chdir("/")
    assert registry.load().dataset(spec) == wanted


@pytest.mark.parametrize("name", ["a" * 200, "ö" * 100, "/".join(["a" * 60] * 10)])
def test_a_path_of_any_length_has_results(cli, tmp_path, write, name):
    write(name)
    told = cli(f"run --datasets folder:{name}@8 {FEW} --results lb")
    assert told.code == 0, told.err
    (row,) = read(tmp_path / "lb", "standard")[0]
    assert len(row.dataset.encode()) < 70


def test_a_path_that_is_too_long_for_the_disk_is_one_line(cli):
    told = cli(f"run --datasets folder:{'a' * 300}@8 {FEW}")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert told.err.startswith("Error: there is no folder /")


@pytest.mark.parametrize("spec", ["digits:/no/such/place@64", "cifar10:/mnt/cifar@32", "digits:", "folder:"])
def test_a_path_that_no_dataset_takes_ends_the_command(cli, spec):
    told = cli(f"plan --datasets {spec} --methods random")
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("inside", [".", "train", "train/class0", "train/class0/0.ppm"])
def test_a_link_that_leads_elsewhere_now_shows_other_images(write, tmp_path, store, inside):
    for seed, name in enumerate(("photos", "one", "two")):
        write(name, seed=seed)
    place, keys = tmp_path / "photos" / inside, []
    shutil.move(place, tmp_path / "away")
    for name in ("one", "two"):
        place.unlink(missing_ok=True)
        place.symlink_to(tmp_path / name / inside)
        keys.append(dataset_key(Folder(path=str(tmp_path / "photos"), side=8), tmp_path / "data", store))
        decoding._RECENT.clear()
    assert keys[0] != keys[1]
