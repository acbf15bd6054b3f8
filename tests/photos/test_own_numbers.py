"""Embeddings and scores of one's own, by file name, in the commands for photos."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from prunebench.photos import evaluate, recommend
from prunebench.photos.drawing import DrawRequest, DrawWork
from prunebench.photos.estimate import preview
from prunebench.photos.prune import draw, prune
from prunebench.photos.request import Workspace, construct_request
from prunebench.pipeline import context
from tests.messages import line
from tests.photo_folders import LABELS, write_labels, write_photos


@pytest.fixture
def photos(tmp_path):
    """60 photos, 12 labels, e.npy with embeddings that show the classes, and scores.csv: their numbers."""
    folder = tmp_path / "photos"
    truth = write_photos(folder)
    vectors = np.eye(3, 5)[[LABELS.index(label) for label in truth.values()]]
    vectors += np.random.default_rng(0).normal(0, 0.01, vectors.shape)
    np.save(tmp_path / "e.npy", vectors[::-1].astype(np.float32))
    (tmp_path / "e.csv").write_text("\n".join(["file", *reversed(truth), ""]))
    scores = {name: int(name[-7:-4]) for name in truth}
    rows = [f"{name},{score / 7!r}" for name, score in scores.items()]
    (tmp_path / "scores.csv").write_text("\n".join(["file,score", *rows, ""]))
    known = dict(list(truth.items())[::5])
    yield SimpleNamespace(
        folder=folder,
        truth=truth,
        known=write_labels(tmp_path / "known.csv", known),
        labeled=known,
        scores=scores,
        backbone=f"file:{tmp_path / 'e.npy'}",
        made={"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0},
        side={"side": 8},
        place=Workspace.at(tmp_path / "store", tmp_path / "data", "cpu"),
    )
    context.load_split.cache_clear()


# Embeddings


def test_a_draw_spreads_over_them(photos):
    changes = {"typiclust.starts": 10}
    chosen = draw(
        photos.folder,
        3,
        by="typiclust",
        backbone=photos.backbone,
        changes=changes,
        **photos.side,
        **photos.made,
    )
    assert {photos.truth[name] for name in chosen} == {*LABELS}


def test_prune_guesses_and_chooses_by_them(photos):
    options = {"method": "typiclust", "backbone": photos.backbone, **photos.side, **photos.made}
    pruned = prune(photos.folder, photos.known, budget=20, **options)
    assert len(pruned.chosen("to_label")) == 8 and len(pruned.chosen("keep_labeled")) == 12
    assert pruned.pseudo_labels == tuple(photos.truth[name] for name in pruned.files)


def test_the_preview_times_them_and_names_no_better_backbone(photos):
    request = construct_request(
        folder=photos.folder,
        known=photos.known,
        budget=20,
        method="k_center_pixels",
        backbone=photos.backbone,
        **photos.side,
    )
    costs = preview(request, photos.place)
    assert (costs.backbones, costs.advice) == (("file",), "")
    assert "unknown" not in costs.time


def test_evaluate_and_recommend_train_on_them(photos, tmp_path):
    made = {"backbone": photos.backbone, **photos.made}
    pruned = prune(photos.folder, photos.known, budget=30, **photos.side, **made)
    pruned.to_csv(tmp_path / "kept.csv")
    everything = write_labels(tmp_path / "all.csv", photos.truth)
    set_apart = photos.made | {"backbone": "file", "changes": {"file.path": str(tmp_path / "e.npy")}}
    compared = evaluate.evaluate(tmp_path / "kept.csv", everything, holdout=0.2, seeds=2, **set_apart)
    assert compared.ours == compared.random == (100, 100)
    found = recommend.recommend(photos.folder, everything, seeds=2, methods=(), **photos.side, **made)
    assert found.networks.startswith("mlp on file") and found.expected.value == 100


@pytest.mark.parametrize("by", ["draw", "prune", "evaluate"])
def test_a_photo_without_one_is_one_line_before_any_is_read(photos, tmp_path, by, monkeypatch):
    shutil.copy(photos.folder / "sea/001.png", photos.folder / "new.png")
    (tmp_path / "kept.csv").write_text("file,status\nsea/001.png,keep_labeled\n")

    def act():
        if by == "draw":
            request = DrawRequest(folder=photos.folder, labels=3, by="usl", backbone=photos.backbone, side=8)
            DrawWork(request, photos.place)
        elif by == "prune":
            prune(photos.folder, photos.known, budget=20, backbone=photos.backbone, **photos.made)
        else:
            evaluate.evaluate(
                tmp_path / "kept.csv",
                photos.known,
                folder=photos.folder,
                side=8,
                backbone=photos.backbone,
                **photos.made,
            )

    said = line(act)
    assert said.endswith("e.npy has no embedding of 1 of the 61 images: new.png")
    assert not (tmp_path / "data").exists()


def test_a_photo_that_cannot_be_read_needs_none(photos):
    (photos.folder / "broken.jpg").write_bytes(b"")
    options = {"backbone": photos.backbone, "on_bad": "skip", **photos.side, **photos.made}
    assert len(draw(photos.folder, 60, by="kcenter", **options)) == 60


# Scores


def bought(photos, **options):
    pruned = prune(photos.folder, photos.known, **photos.side, **photos.made, **options)
    return pruned, {*pruned.chosen("to_label")}


def test_the_highest_scores_are_bought_to_an_exact_budget(photos, tmp_path):
    pruned, chosen = bought(photos, budget=20, scores=tmp_path / "scores.csv", backbone="pixels")
    others = [name for name in photos.truth if name not in photos.labeled]
    assert chosen == {*sorted(others, key=photos.scores.get)[-8:]}
    assert pruned.scores.tolist() == pytest.approx([photos.scores[name] / 7 for name in pruned.files])


def test_the_preview_knows_that_scores_take_no_time(photos, tmp_path):
    asked = {"folder": photos.folder, "known": photos.known, "budget": 20, "backbone": "pixels", "side": 8}
    costs = preview(construct_request(**asked, scores=tmp_path / "scores.csv"), photos.place)
    assert costs.method == "Own scores, annotated kept"
    assert "unknown" not in costs.time


def test_scores_may_be_parquet(photos, tmp_path):
    pa, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = sorted(photos.scores, key=photos.scores.get)
    table = {"file": names, "score": pa.array([-photos.scores[name] for name in names], pa.float32())}
    written.write_table(pa.table(table), tmp_path / "s.parquet")
    _, chosen = bought(photos, budget=20, scores=tmp_path / "s.parquet", backbone="pixels")
    assert chosen == {*[name for name in names if name not in photos.labeled][:8]}


def test_of_duplicates_one_is_bought_whatever_they_score(photos, tmp_path):
    best = max((name for name in photos.truth if name not in photos.labeled), key=photos.scores.get)
    shutil.copy(photos.folder / best, photos.folder / "copy.png")
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("copy.png,1000\n")
    pruned, chosen = bought(photos, budget=20, scores=tmp_path / "scores.csv", backbone="pixels")
    assert len(chosen & {best, "copy.png"}) == 1 and len(chosen) == 8
    assert dict(zip(pruned.files, pruned.duplicate_of, strict=True))[best] == "copy.png"


def test_other_scores_are_another_choice(photos, tmp_path):
    first = bought(photos, budget=20, scores=tmp_path / "scores.csv", backbone="pixels")[1]
    text = (tmp_path / "scores.csv").read_text()
    (tmp_path / "scores.csv").write_text(text.replace(",", ",-").replace("file,-", "file,"))
    assert not first & bought(photos, budget=20, scores=tmp_path / "scores.csv", backbone="pixels")[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("sea/001.png,", "sea/001.png,x"),
            "has the score 'x0.14285714285714285' of sea/001.png, expected a",
        ),
        (("0.14285714285714285", "nan"), "has the score 'nan' of sea/001.png, expected a number"),
        (("0.14285714285714285", ""), "has no score of 1 of the 60 images: sea/001.png"),
        (("sea/001.png", "sea/006.jpg"), "has two scores of sea/006.jpg; keep one of the two"),
        (("sea/001.png", "SEA/006.jpg"), "has two scores of sea/006.jpg; keep one of the two"),
        (("sea/001.png", "gone.png"), "lists 1 file(s) that are no images in"),
        (("file,score", "file,value"), "needs one column 'score' and has none"),
    ],
)
def test_wrong_scores_are_one_line_before_any_photo_is_read(photos, tmp_path, change, message):
    path = tmp_path / "scores.csv"
    text = path.read_text().replace(*change, 1)
    assert text != path.read_text()
    path.write_text(text)
    assert message in line(lambda: bought(photos, budget=20, scores=path))
    assert not (tmp_path / "data").exists()


def test_scores_stand_in_the_place_of_a_method(photos, tmp_path):
    said = line(lambda: bought(photos, budget=20, scores=tmp_path / "scores.csv", method="zcore_pixels"))
    assert said == "--scores chooses in the place of --method zcore_pixels; give one of them"


def test_the_command_takes_both(photos, cli, tmp_path):
    asked = f"prune {photos.folder} --known {photos.known} --budget 20 --scores {tmp_path / 'scores.csv'}"
    told = cli(
        f"{asked} --backbone {photos.backbone} --side 8 --workers 0 --yes --output {tmp_path / 'k.csv'}"
    )
    assert (told.code, told.err) == (0, "")
    assert "Own scores" in told.out and "12 keep_labeled, 8 to_label, 40 drop" in told.out
