"""Certifying: what is honest is certified, and whatever looks at labels that nobody annotated is caught."""

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Labels
from prunebench.parts.method import Method
from prunebench.pipeline import schedule
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.forecast import Forecast
from prunebench.results.rows import read_all
from prunebench.runs import certify
from prunebench.runs.certify import certificates_of, obstacle, selection, without_truth
from prunebench.runs.run import Certificates, run_matrix
from prunebench.runs.select import choose
from prunebench.runs.sinks import sinks
from prunebench.suites.cells import Filters
from prunebench_plugins.scorers.file import File
from prunebench_plugins.selectors.top import Top

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
methods = ["aum_supervised", "elfs_pixels", "labeled_only_aum", "random", "honest", "names", "files", "loads"]
ratios = [50]
seeds = 1
recipe = "tiny"
"""
SCORERS = {"honest": "bright", "names": "name_reader", "files": "file_reader", "loads": "loader"}
BRIEF = {
    **{"recipe.epochs": 2, "recipe.batch": 8, "pixels.components": 4},
    **{"temi.epochs": 2, "temi.heads": 2, "temi.neighbors": 5},
    **{"fixmatch.iterations": 4, "fixmatch.network": "cnn", "labeled_only.label_fraction": 0.4},
}


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


def test_what_reads_labels_that_nobody_annotated_is_caught(photos, install, suite_file):
    """One method of each kind of labeler is certified: none, few labels, clusters, all labels."""
    install("cheats", CHEATS.replace("PHOTOS", repr(str(photos))))
    tables = [f"[method.{name}]\nscorer='{scorer}'\nselector='top'\n" for name, scorer in SCORERS.items()]
    path = suite_file(SUITE.replace("PHOTOS", str(photos)), more="".join(tables))
    found = certificates_of(choose(path, Filters(changes=BRIEF)), Forecast(), Engine(workers=1))

    def names(cells):
        return [cell.method.name.partition("{")[0] for cell in cells]

    honest = ["aum_supervised", "elfs_pixels", "honest", "labeled_only_aum", "random"]
    assert sorted(names(found.certified)) == honest
    caught = dict(zip(names(found.caught), found.caught.values(), strict=True))
    replaced = "change if names, the test split and the labels that nobody annotated are replaced"
    assert caught.pop("names") == f"not certified: scores of name_reader {replaced}"
    assert caught.keys() == {"files", "loads"}
    for why in caught.values():
        assert "among the files of the dataset, and with it the truth" in why


def test_rows_say_what_was_certified_and_what_was_caught_has_none(matrix, tmp_path):
    cells = matrix("random", "random_twin", seeds=(0, 1)).cells
    certificates = Certificates(certified=cells[:1], caught={cells[3]: "not certified: it looks"})
    chosen = matrix("random", "random_twin", seeds=(0, 1), changes={})
    failures = run_matrix(chosen, Forecast(), sinks(tmp_path), Engine(workers=0), certificates)
    assert failures == {"random_twin toy 50% seed 1": "not certified: it looks"}
    found = read_all(tmp_path, "toys")
    assert [(row.method, row.seed, row.certified) for row in found.rows] == [
        ("random", 0, True),
        ("random", 1, False),
        ("random_twin", 0, False),
    ]
    assert [(one.method, one.seed, one.failed) for one in found.failures] == [
        ("random_twin", 1, "not certified: it looks")
    ]


def test_a_run_of_which_every_cell_was_caught_makes_nothing_and_says_why(matrix, tmp_path):
    chosen = matrix("random", seeds=(0,))
    certificates = Certificates(caught=dict.fromkeys(chosen.cells, "not certified: it looks"))
    failures = run_matrix(chosen, Forecast(), sinks(tmp_path), Engine(workers=0), certificates)
    assert failures == {"random toy 50% seed 0": "not certified: it looks"}
    assert [one.failed for one in read_all(tmp_path, "toys").failures] == ["not certified: it looks"]


def test_the_command_certifies_and_tells_what_it_cannot(toy, suite_file, cli, monkeypatch, tmp_path):
    def certified(matrix, *_):
        first, second, *_others = matrix.cells
        return Certificates(certified=[first], exempt={second: "it reads a file"})

    monkeypatch.setattr(certify, "certificates_of", certified)
    line = f"run --suite {suite_file()} --methods random --set recipe.epochs=1 --workers 0"
    assert cli(line).code == 0
    ran = cli(f"{line} --certify")
    assert ran.code == 0
    assert ran.err == "cannot be certified: random{recipe.epochs=1} toy 50% seed 1: it reads a file\n"
    rows = read_all(tmp_path / "leaderboard", "toys").rows
    assert [(row.seed, row.certified) for row in rows] == [(1, False), (0, True)]
    page = (tmp_path / "leaderboard" / "toys.md").read_text()
    assert "Of 2 cells, 1 have a certified row and 0 a verified one." in page


# What is compared


@pytest.mark.parametrize(
    ("method", "last"),
    [
        ("semi_aum", ["subset"]),
        ("pseudo_all", ["subset", "labels"]),  # whose final network trains on the labels
        ("ssl_model", ["subset", "labels"]),  # whose labeler's network is tested
        ("random_matched{semi_aum}", ["subset"]),
    ],
)
def test_all_that_a_method_makes_is_made_again_and_no_final_training(matrix, method, last):
    seen = matrix("semi_aum", "pseudo_all", "ssl_model", "random_matched")
    (cell,) = (cell for cell in seen.cells if cell.method.name == method)
    assert [stage.kind for stage in selection(seen, cell)] == last


def test_the_stages_without_truth_are_others_of_the_same_kinds(matrix):
    seen = matrix("semi_aum")
    unseen = without_truth(seen)
    kinds = [[stage.kind for stage in one.graph.stages.values()] for one in (seen, unseen)]
    assert kinds[0] == kinds[1]
    assert not seen.graph.stages.keys() & unseen.graph.stages.keys()
    (stage, *_) = unseen.graph.stages.values()
    assert unseen.job(stage).dataset == {"blinded": "toy"}


@pytest.mark.parametrize("draw", ["uniform", "stratified"])
def test_the_label_draw_is_that_of_the_run(matrix, store, draw):
    """Also a draw that reads every label."""
    seen = matrix("labeled_only", label_draw=draw)
    drawn = []
    for one in (seen, without_truth(seen)):
        needed = schedule.missing(selection(one, one.cells[0]), store)
        schedule.walk(needed, store, InlineExecutor(lambda *_: None), one.job, lambda stage: None)
        (stage,) = (stage for stage in needed.values() if stage.kind == "known_labels")
        drawn.append(store.read(stage.key, Labels).values)
    assert (drawn[0] >= 0).sum() == 6
    assert drawn[0].tolist() == drawn[1].tolist()


# What cannot be certified


def test_what_nothing_can_show_is_not_certified(matrix, write):
    path = write("scores.npy", np.arange(64.0))
    from_file = Method("from_file", title="F", scorer=File(path=path, label_fraction=0.0), selector=Top())
    (file,) = matrix(from_file).cells
    assert obstacle(file) == "file reads a file, and nothing shows what that was made from"
    (honest,) = matrix("semi_aum", tuning="search").cells
    assert obstacle(honest) is None
    (oracle,) = matrix("semi_aum", tuning="oracle_test").cells
    assert obstacle(oracle) == "its values are chosen on the test split"


@pytest.mark.parametrize(
    ("device", "workers", "why"),
    [("cuda", 1, "a GPU adds in no fixed order"), ("cpu", 0, "needs processes of its own")],
)
def test_where_nothing_can_be_compared_nothing_is_certified(matrix, device, workers, why):
    with pytest.raises(PrunebenchError, match=why):
        certificates_of(matrix("random", device=device), Forecast(), Engine(workers=workers))
