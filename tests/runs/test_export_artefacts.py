"""Exported scores, embeddings and dynamics: what is in the files, of which methods, and reading them back."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from safetensors import safe_open

from prunebench.parts.artefacts import Dynamics, Embeddings, Scores, Subset
from prunebench.parts.base import Grid, Scorer
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.pipeline.store import Store
from prunebench.results.rows import read
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.moderate import Moderate
from prunebench_plugins.selectors.top import Top

SUITE = """
title = "Toys"
datasets = ["toy"]
methods = ["random", "el2n_supervised", "forgetting_supervised", "near", "small", "far"]
ratios = [50, 70]
seeds = 1
recipe = "tiny"
[method.near]
labeler = "ground_truth"
scorer = {part = "moderate", backbone = "pixels"}
selector = "top"
[method.small]
labeler = "ground_truth"
scorer = {part = "moderate", backbone = {part = "pixels", resize = 4}}
selector = "top"
[method.far]
labeler = "ground_truth"
selector = {part = "k_center", backbone = "proxy"}
"""


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A folder for a store and rows that were made once."""
    return tmp_path_factory.mktemp("made_once")


@pytest.fixture
def finished(cli, toy, suite_file, tmp_path, made_once):
    """The toy suite, run at one ratio: the beginning of a command that exports its artefacts."""
    path = suite_file(SUITE)
    for name in ("store", "leaderboard"):
        if (made_once / name).exists():
            shutil.copytree(made_once / name, tmp_path / name)
    if not (tmp_path / "store").exists():
        assert cli(f"run --suite {path} --workers 0 --ratios 50").code == 0
        for name in ("store", "leaderboard"):
            shutil.copytree(tmp_path / name, made_once / name)
    return f"export --suite {path} --dataset toy"


def opened(path):
    """Return the arrays and the header of a .safetensors."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        return arrays, json.loads(file.metadata()["header"])


def stored(tmp_path, header, name, artefact):
    return Store(tmp_path / "store").read(header["artefacts"][name]["key"], artefact)


# What is in the files


def test_scores_of_all_methods_with_their_origin(finished, cli, tmp_path):
    told = cli(f"{finished} --scores all --output scores.safetensors")
    arrays, header = opened(tmp_path / "scores.safetensors")
    assert told.out == (
        "wrote scores.safetensors: scores of 4 of 6 methods, 64 images of toy, fingerprint "
        f"{header['fingerprint'][:12]}\n"
    )
    assert told.err == "left out: methods that make no scores: random, far\n"
    assert list(header["artefacts"]) == ["el2n_supervised", "forgetting_supervised", "near", "small"]
    assert set(arrays) == set(header["artefacts"])
    for name, values in arrays.items():
        assert (values.dtype, values.shape) == (np.float64, (64,))
        assert values.tolist() == stored(tmp_path, header, name, Scores).values.tolist()
    rows, _ = read(tmp_path / "leaderboard", "toys")
    assert {row.dataset_hash for row in rows} == {header["fingerprint"]}
    assert {name: header[name] for name in ("kind", "dataset", "images", "names", "seed", "recipe")} == {
        **{"kind": "scores", "dataset": "toy", "images": 64, "names": [], "seed": 0, "recipe": "tiny"}
    }
    origin = header["artefacts"]["el2n_supervised"]
    manifest = Store(tmp_path / "store").manifest(origin["key"])
    assert {name: origin[name] for name in ("seconds", "versions", "made")} == {
        name: manifest[name] for name in ("seconds", "versions", "made")
    }
    assert (origin["stage"], origin["title"], origin["methods"]) == (
        "scores",
        manifest["title"],
        {"el2n_supervised": 1.0},
    )
    assert origin["identity"]["part"]["fields"]["stop"] == 4


def test_embeddings_are_called_after_their_backbone(finished, cli, tmp_path):
    told = cli(f"{finished} --embeddings all --output embeddings.safetensors")
    assert (
        told.err
        == "left out: methods that make no embeddings: random, el2n_supervised, forgetting_supervised\n"
    )
    arrays, header = opened(tmp_path / "embeddings.safetensors")
    assert {name: array.shape for name, array in arrays.items()} == {
        "pixels": (64, 64),
        "pixels(resize=4)": (64, 16),
        "proxy of far": (64, 64),
    }
    for name, values in arrays.items():
        assert values.tolist() == stored(tmp_path, header, name, Embeddings).values.tolist()
    assert {name: list(origin["methods"]) for name, origin in header["artefacts"].items()} == {
        "pixels": ["near"],
        "pixels(resize=4)": ["small"],
        "proxy of far": ["far"],
    }


def test_dynamics_that_methods_share_are_written_once(finished, cli, tmp_path):
    cli(f"{finished} --dynamics all --output dynamics.safetensors")
    arrays, header = opened(tmp_path / "dynamics.safetensors")
    assert set(arrays) == {f"el2n_supervised/{name}" for name in ("index", *Dynamics.series)}
    origin = header["artefacts"]["el2n_supervised"]
    assert list(origin["methods"]) == ["el2n_supervised", "forgetting_supervised", "far"]
    dynamics = stored(tmp_path, header, "el2n_supervised", Dynamics)
    assert arrays["el2n_supervised/label_probability"].shape == (4, 64)
    for name in ("index", *Dynamics.series):
        assert arrays[f"el2n_supervised/{name}"].tolist() == getattr(dynamics, name).tolist()


def test_a_table_has_a_column_per_method(finished, cli, tmp_path):
    cli(f"{finished} --scores near,el2n_supervised --output scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "near", "el2n_supervised"]
    assert [int(row["index"]) for row in rows] == list(range(64))
    cli(f"{finished} --scores near --output scores.safetensors")
    arrays, _ = opened(tmp_path / "scores.safetensors")
    assert [float(row["near"]) for row in rows] == arrays["near"].tolist()


def test_a_parquet_file_is_the_table_with_its_types(finished, cli, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    asked = f"{finished} --scores near,el2n_supervised --output scores"
    assert cli(f"{asked}.parquet").out.startswith("wrote scores.parquet: scores of 2 of 2 methods, ")
    assert cli(f"{asked}.parquet").out.startswith("up to date: scores.parquet")
    cli(f"{asked}.safetensors")
    table = parquet.read_table(tmp_path / "scores.parquet").to_pydict()
    arrays, _ = opened(tmp_path / "scores.safetensors")
    assert table == {"index": [*range(64)]} | {name: arrays[name].tolist() for name in list(table)[1:]}
    assert [*table] == ["index", "near", "el2n_supervised"]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = cli(f"{finished} --scores near --output other.parquet")
    assert told.err == "Error: a .parquet needs pyarrow: pip install 'prunebench[parquet]'\n"


def test_names_of_images_are_in_every_file(finished, cli, tmp_path, monkeypatch):
    names = tuple(f"{number % 4}/{number}.png" for number in range(64))
    dataset = type(load().dataset("toy"))
    # Named only now, so that the fingerprint of the finished cells stays.
    monkeypatch.setattr("prunebench.pipeline.matrix.roots_of", lambda *_: {"toy": _root(tmp_path)})
    monkeypatch.setattr(dataset, "names", lambda self, root: names)
    for ending in ("csv", "safetensors"):
        assert cli(f"{finished} --scores near --output scores.{ending}").code == 0
    assert opened(tmp_path / "scores.safetensors")[1]["names"] == list(names)
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "index,file,near" and lines[64].startswith("63,3/63.png,")


def _root(tmp_path):
    rows, _ = read(tmp_path / "leaderboard", "toys")
    return rows[0].dataset_hash


# Reading them back


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_exported_scores_are_a_method_with_the_same_subset(finished, cli, suite_file, tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    told = cli(f"{finished} --scores all --output scores.{ending}")
    fingerprint = told.out.split()[-1]
    columns = 'column = "el2n_supervised", index_column = "index"'
    path = suite_file(
        f"""{SUITE}
[method.read]
scorer = {{part = "file", path = "scores.{ending}", {columns}, fingerprint = "{fingerprint}"}}
selector = "top"
"""
    )
    assert cli(f"run --suite {path} --workers 0 --ratios 50 --methods el2n_supervised,read").code == 0
    rows, _ = read(tmp_path / "leaderboard", "toys")
    kept = {row.method: Store(tmp_path / "store").read(row.subset_key, Subset).index.tolist() for row in rows}
    assert kept["read"] == kept["el2n_supervised"] != kept["forgetting_supervised"]
    assert {row.label_fraction for row in rows if row.method == "read"} == {1.0}


# Which methods


def test_a_method_that_was_not_run_is_left_out_of_all_and_an_error_by_name(finished, cli, tmp_path):
    other = f"{finished} --seed 1"
    told = cli(f"{other} --scores all --output scores.csv")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert told.err.startswith(
        "Error: methods that make no scores: random, far; not stored: scores of el2n_supervised, "
        f"forgetting_supervised, near, small; run: prunebench run --suite {tmp_path}/toys.toml --methods all "
    )
    command = re.search("run: prunebench (run .*)", told.err)[1].replace("--methods all", "--methods near")
    assert cli(f"{command} --workers 0").code == 0
    told = cli(f"{other} --scores all --output scores.csv")
    assert told.out.startswith("wrote scores.csv: scores of 1 of 6 methods, ")
    assert told.err.splitlines()[1].startswith(
        "left out: not stored: scores of el2n_supervised, forgetting_s"
    )
    for names, message in (
        ("near,small", "not stored: scores of small; run: prunebench run --suite "),
        ("random,near", "methods that make no scores: random\n"),
    ):
        told = cli(f"{other} --scores {names} --output other.csv")
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert not (tmp_path / "other.csv").exists()


@dataclass(frozen=True, kw_only=True)
class Tuned(Scorer):
    """Scores by the power of the first pixel, which a search chooses for each ratio."""

    name: ClassVar[str] = "tuned"
    grids: ClassVar = (Grid(field="power", values=(1, 2), each=True),)
    power: int = 1

    def score(self, images):
        return images.array[:, 0, 0, 0].astype(float) ** self.power


def test_scores_that_depend_on_the_ratio_need_one(toy, cli, suite_file, offer):
    offer(Tuned, Method("tuned", title="Tuned", labeler=GroundTruth(), scorer=Tuned(), selector=Top()))
    export = f"export --suite {suite_file(SUITE)} --dataset toy --scores tuned --tuning search --output s.csv"
    assert cli(export).err == "Error: tuned has other scores at each ratio; choose one with --ratio\n"
    assert cli(f"{export} --ratio 50").err.startswith("Error: not stored: scores of tuned; run: ")


def test_a_method_with_other_scores_in_each_rung_names_the_option(cli, toy, suite_file):
    path = suite_file(more='repeats = ["pipeline", "training"]\n')
    export = f"export --suite {path} --dataset toy --seed 1 --scores el2n_supervised --output s.csv"
    message = "Error: el2n_supervised has other scores at each rung; choose one with --repeats\n"
    assert cli(export).err == message


def test_a_method_called_as_a_column_is_refused(toy, cli, suite_file, offer):
    offer(
        Method("index", title="I", labeler=GroundTruth(), scorer=Moderate(backbone=Pixels()), selector=Top())
    )
    path = suite_file(SUITE)
    assert cli(f"run --suite {path} --workers 0 --methods index --ratios 50").code == 0
    export = f"export --suite {path} --dataset toy --scores index --output"
    assert cli(f"{export} s.csv").err == (
        "Error: the method 'index' has the name of another column; write a .safetensors\n"
    )
    assert cli(f"{export} s.safetensors").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--output s.csv", "say what to write with one of --method, --scores, --embeddings and --dynamics"),
        ("--scores all --method random --output s.csv", "say what to write with one of --method, --scores, "),
        ("--method random --output s.csv", "a subset has a ratio; choose one with --ratio PERCENT"),
        (
            "--scores all --output s.npy",
            "--output s.npy: scores are written to *.csv, *.parquet, *.safetensors",
        ),
        ("--dynamics all --output s.csv", "--output s.csv: dynamics are written to *.safetensors"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(finished, cli, tmp_path, options, message):
    told = cli(f"{finished} {options}")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert not list(tmp_path.glob("s.*"))


def test_nothing_is_overwritten(finished, cli, tmp_path):
    export = f"{finished} --scores near --output deep/scores.safetensors"
    assert cli(export).out.startswith("wrote deep/scores.safetensors: ")
    assert cli(export).out.startswith("up to date: deep/scores.safetensors: ")
    (tmp_path / "deep" / "scores.safetensors").write_text("mine")
    told = cli(export)
    assert told.code == 2 and "exists and holds something else" in told.err
    assert (tmp_path / "deep" / "scores.safetensors").read_text() == "mine"


def test_absent_data_is_told(finished, cli, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    told = cli(f"{finished} --scores all --output scores.csv")
    assert (told.code, told.err) == (2, f"Error: toy is not in {tmp_path / 'data'}: write toy.npy.\n")
