"""Certifying: what is honest is certified, and whatever looks at labels that nobody annotated is caught."""

import json

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import PrunebenchError
from prunebench.parts.blinded import Blinded
from prunebench.parts.registry import load
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.results.rows import read_all
from prunebench.runs.certify import certificates_of, obstacle, without_truth

CHEATS = '''
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Method, Scorer, hookimpl
from prunebench.parts.registry import load

@dataclass(frozen=True, kw_only=True)
class Bright(Scorer):
    """Honest."""
    name = "bright"

    def score(self, images):
        return images[:].float().mean(dim=(1, 2, 3)).numpy()

@dataclass(frozen=True, kw_only=True)
class NameReader(Scorer):
    """Reads the class out of the name of the file."""
    name = "name_reader"

    def score(self, names):
        return np.unique([name.partition("/")[0] for name in names], return_inverse=True)[1] + 0.0

@dataclass(frozen=True, kw_only=True)
class FileReader(Scorer):
    """Finds the files by itself."""
    name = "file_reader"

    def score(self, images):
        files = sorted(Path(PHOTOS, "train").rglob("*.png"))
        return np.unique([file.parent.name for file in files], return_inverse=True)[1] + 0.0

@dataclass(frozen=True, kw_only=True)
class Loader(Scorer):
    """Loads the dataset where the core does not see it, and falls back to something if it cannot."""
    name = "loader"

    def score(self, images):
        dataset = load().dataset(f"folder:{PHOTOS}@8")
        with ThreadPoolExecutor() as pool:
            try:
                return pool.submit(dataset.load, Path("data"), "train").result()[1] + 0.0
            except OSError:
                return np.arange(len(images)) + 0.0

@hookimpl
def register_scorers():
    return [Bright, NameReader, FileReader, Loader]
'''
SUITE = """
title = "Cheats"
datasets = ["folder:PHOTOS@8"]
methods = ["random", "labeled_only_aum", "aum_supervised", "elfs_pixels", "random_matched"]
recipe = "tiny"
"""
HONEST = ["aum_supervised", "elfs_pixels", "honest", "labeled_only_aum", "random"]


@pytest.fixture
def photos(tmp_path):
    """Forty gray photos in four classes, ten in each of train/CLASS/ and as many in test/CLASS/."""
    rng = np.random.default_rng(0)
    for number in range(80):
        folder = tmp_path / "photos" / ("test" if number % 2 else "train") / "abcd"[number // 20]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(60, size=(8, 8)) + 60 * (number // 20)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


def test_what_reads_labels_that_nobody_annotated_is_caught(photos, install, cli, suite_file, tmp_path):
    install("cheats", CHEATS.replace("PHOTOS", repr(str(photos))))
    cheats = {"honest": "bright", "names": "name_reader", "files": "file_reader", "loads": "loader"}
    tables = "".join(
        f"[method.{name}]\nscorer = '{scorer}'\nselector = 'top'\n" for name, scorer in cheats.items()
    )
    path = suite_file(SUITE.replace("PHOTOS", str(photos)), more=tables)
    methods = ",".join([*cheats, *HONEST])
    ran = cli(
        f"run --suite {path} --methods {methods} --ratios 50 --seeds 1 --workers 1 --certify"
        " --set recipe.epochs=2 --set recipe.batch=8 --set temi.epochs=2 --set temi.heads=2 --set temi.neighbors=5"
        " --set fixmatch.iterations=4 --set fixmatch.network=cnn --set pixels.components=4"
        " --set labeled_only.label_fraction=0.4"
    )
    found = read_all(tmp_path / "leaderboard", "toys")
    certified = {row.method.partition("{")[0] for row in found.rows if row.certified}
    assert certified == {row.method.partition("{")[0] for row in found.rows} == {*HONEST}
    caught = {one.method.partition("{")[0]: one.failed for one in found.failures}
    replaced = "change if names, the test split and the labels that nobody annotated are replaced"
    assert caught.pop("names") == f"not certified: scores of name_reader {replaced}"
    assert caught.keys() == {"files", "loads"}
    for why in caught.values():
        assert "among the files of the dataset, and with it the truth" in why
    assert ran.code == 1
