"""New packages: each kind is checked and run as it was written; names that would not work are refused."""

from __future__ import annotations

import importlib
import runpy
import sys
import tomllib

import numpy as np
import pytest

from prunebench.parts import registry
from prunebench.parts.registry import CHECKED
from prunebench.runs import scaffold
from tests.photo_folders import write_photos

PARTS = ("backbone", "labeler", "scorer", "selector")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A new package of each kind, on the path, with the metadata that pip would write."""
    parts = registry.load()
    folders = [scaffold.create(kind, f"my_{kind}", tmp_path, parts) for kind in CHECKED]
    for folder in folders:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        metadata = folder / f"{project['name']}-{project['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        lines = [f"{name} = {module}" for name, module in project["entry-points"]["prunebench"].items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[prunebench]", *lines, ""]))
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, folders)))
    monkeypatch.delenv("PRUNEBENCH_PLUGINS")
    importlib.invalidate_caches()
    registry.load.cache_clear()
    before = set(sys.modules)
    yield
    registry.load.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("prunebench_my_", "test_my_")):
            del sys.modules[name]


def test_every_kind_passes_its_check_and_its_test_and_runs(packages, cli, toy, suite_file, tmp_path):
    for kind in CHECKED:
        told = cli(f"check my_{kind}")
        assert (told.code, "FAILED" in told.out, "ok" in told.out) == (0, False, True), told.out + told.err
    for kind in PARTS:
        importlib.import_module(f"test_my_{kind}").test_it_keeps_the_contract()
    importlib.import_module("test_my_dataset").test_it_keeps_the_contract(tmp_path)
    importlib.import_module("test_my_draw").test_it_keeps_the_contract()
    photos = write_photos(tmp_path / "photos")
    drawn = cli(
        "draw photos --labels 5 --by my_draw --backbone pixels --side 8 --workers 0 --output first.csv"
    )
    assert (drawn.code, drawn.err) == (0, "")
    lines = (tmp_path / "first.csv").read_text().splitlines()[1:]
    assert len(lines) == 5 and {line.removesuffix(",") for line in lines} <= {*photos}
    methods = ",".join(f"my_{kind}" for kind in PARTS)
    ran = cli(f"run --suite {suite_file()} --methods {methods} --seeds 1 --workers 0")
    assert (ran.code, ran.err) == (0, "")
    assert [kind for kind in PARTS if f"\nMy {kind} " in ran.out] == list(PARTS)
    line = "run --datasets my_dataset --methods random --recipe tiny --ratios 90 --seeds 1 --workers 0"
    assert cli(f"{line} --set recipe.epochs=1").code == 0


def test_the_drawn_images_have_the_mean_and_deviation_that_they_declare(tmp_path):
    folder = scaffold.create("dataset", "drawn", tmp_path, registry.load())
    dataset = runpy.run_path(str(folder / "prunebench_drawn.py"))["Drawn"]()
    pixels = dataset.load(None, "train")[0] / 255
    assert dataset.mean == (pytest.approx(pixels.mean(), abs=5e-4),)
    assert dataset.std == (pytest.approx(np.std(pixels), abs=5e-4),)


def test_the_command_says_what_it_wrote_and_what_to_type(cli, tmp_path):
    folder = tmp_path / "prunebench-margin-std"
    told = cli("new scorer margin_std")
    assert told.out == (
        f"wrote {folder.name}/: README.md, prunebench_margin_std.py, pyproject.toml, test_margin_std.py\n"
        f"Try it: pip install -e ./{folder.name} && prunebench check margin_std\n"
    )
    assert "class MarginStd(Scorer):" in (folder / "prunebench_margin_std.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scoer wobble", "no kind named 'scoer'. Did you mean 'scorer'? See: prunebench new --help"),
        (
            "scorer Wobble",
            "'Wobble' cannot name a package; use lower-case words with '_' between them, as in ",
        ),
        ("scorer ../wobble", "'../wobble' cannot name a package; use lower-case words with '_' between them"),
        (
            "scorer wobble_",
            "'wobble_' cannot name a package; use lower-case words with '_' between them, as in ",
        ),
        (
            f"scorer {41 * 'a'}",
            f"'{41 * 'a'}' cannot name a package; use lower-case words with '_' between th",
        ),
        (
            "scorer aum",
            "prunebench has a scorer named 'aum' already; choose another name. See: prunebench list ",
        ),
        (
            "dataset digits",
            "prunebench has a dataset named 'digits' already; choose another name. See: prune",
        ),
        (
            "scorer semi_aum",
            "prunebench has a method named 'semi_aum' already; choose another name. See: prun",
        ),
        ("scorer plugins", "a module prunebench_plugins is installed already; choose another name"),
        ("scorer scorer", "'scorer' would name its class Scorer, which is taken; choose another name"),
        ("labeler true", "'true' would name its class True, which is taken; choose another name"),
    ],
)
def test_a_name_that_would_not_work_is_one_line_and_no_file(cli, tmp_path, line, message):
    before = list(tmp_path.iterdir())
    told = cli(f"new {line}")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == before


def test_an_existing_folder_stays_as_it_is(cli, tmp_path):
    (tmp_path / "prunebench-wobble").mkdir()
    told = cli("new scorer wobble")
    assert told.err == (
        f"Error: {tmp_path}/prunebench-wobble exists already; remove it, or choose another name\n"
    )
    assert list((tmp_path / "prunebench-wobble").iterdir()) == []


def test_an_interrupted_command_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def write_text(path, *_content, **_options):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_text", write_text)
    with pytest.raises(KeyboardInterrupt):
        scaffold.create("scorer", "wobble", tmp_path, registry.load())
    assert len(written) == 3 and list(tmp_path.iterdir()) == []
