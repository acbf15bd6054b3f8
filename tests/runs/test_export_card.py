"""A subset with a dataset card: its files, what the card says, and how the hub's own code reads it."""

from __future__ import annotations

import gc
import json

import pytest

from prunebench.results.rows import read
from prunebench.runs.export_card import SIZES


@pytest.fixture
def export(cli, toy, suite_file):
    """export("...") exports from the toy suite, which is finished."""
    path = suite_file()
    assert cli(f"run --suite {path} --workers 0").code == 0
    return lambda options: cli(f"export --suite {path} --dataset toy {options}")


def test_a_card_stands_beside_the_subset_and_its_row(export, tmp_path):
    told = export("--method el2n_supervised --ratio 50 --card --output card")
    assert told.out == "wrote card: 32 of 64 images of toy, 64 labels in all\n"
    assert {path.name for path in (tmp_path / "card").iterdir()} == {
        *("README.md", "subset.csv", "subset.json", "rows.jsonl")
    }
    for name in ("subset.csv", "subset.json"):
        export(f"--method el2n_supervised --ratio 50 --output {name}")
        assert (tmp_path / "card" / name).read_bytes() == (tmp_path / name).read_bytes()
    rows, _ = read(tmp_path / "leaderboard", "toys")
    (row,) = [row for row in rows if (row.method, row.seed) == ("el2n_supervised", 0)]
    written = json.loads((tmp_path / "card/rows.jsonl").read_text())
    assert {name: written[name] for name in row.values} == json.loads(json.dumps(row.values))
    text = (tmp_path / "card/README.md").read_text()
    assert f"test accuracy of {row.accuracy:.2f} %" in text
    assert f"| method_key | {row.method_key} |" in text and "| labels_total | 64 |" in text
    assert f"| fingerprint | {row.dataset_hash} |" in text
    assert "| index | of the image, from 0" in text and "| file |" not in text


def test_the_front_matter_is_what_the_hub_reads(export, tmp_path):
    yaml = pytest.importorskip("yaml")
    export("--method random --ratio 50 --card --output card")
    _, front, _ = (tmp_path / "card/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "pretty_name": "toy, 32 images by random",
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["dataset-pruning", "coreset", "prunebench"],
        "configs": [{"config_name": "default", "data_files": "subset.csv"}],
    }


def test_the_hub_accepts_the_card(export, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    export("--method random --ratio 50 --card --output card")
    card = hub.DatasetCard.load(tmp_path / "card/README.md")
    assert card.data.size_categories == ["n<1K"] and card.data.configs[0]["data_files"] == "subset.csv"


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_the_library_loads_the_subset_from_the_folder(export, tmp_path):
    datasets = pytest.importorskip("datasets")
    export("--method random --ratio 50 --card --output card")
    read = datasets.load_dataset(str(tmp_path / "card"), cache_dir=str(tmp_path / "cache"))["train"]
    gc.collect()
    assert read["index"] == json.loads((tmp_path / "card/subset.json").read_text())["index"]


def test_a_card_is_written_once_and_over_nothing(export, tmp_path):
    export("--method random --ratio 50 --card --output card")
    assert export("--method random --ratio 50 --card --output card").out.startswith("up to date: card")
    told = export("--method random --ratio 50 --seed 1 --card --output card")
    assert (told.code, told.err[:24]) == (2, "Error: card exists and h")


def test_scores_have_no_card(export, tmp_path):
    told = export("--scores all --card --output scores.csv")
    assert told.err == "Error: --card describes a subset; choose one with --method and --ratio\n"
    assert not (tmp_path / "scores.csv").exists()


def test_the_categories_of_size_ascend():
    assert [*SIZES] == sorted(SIZES) and len(set(SIZES.values())) == len(SIZES)
