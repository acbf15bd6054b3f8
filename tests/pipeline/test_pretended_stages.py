"""Every kind of stage and the commands for photos on the pretended device, and runs that change the device.

The tests run in the process that the last test of tests/nn/test_pretended_gpu.py starts.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from prunebench.nn import loop
from prunebench.parts.method import Method
from prunebench.pipeline import context
from prunebench.pipeline.stages import STAGES
from prunebench.pipeline.store import FileCheckpoint
from prunebench_plugins.labelers.file import File
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.herding import Herding
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top
from tests.faults.test_guards import Watched
from tests.miniatures import PARTS
from tests.photo_folders import write_labels, write_photos
from tests.pipeline.searched import Powered
from tests.pipeline.test_finetune import weights_at

# What each of the tests below makes: kinds of stages on the CPU, and kinds on the pretended device.
MADE = {
    "search": (
        "known_labels labels embeddings test_embeddings scores candidate choice subset selection_work",
        "dynamics validation accuracy",
    ),
    "finetune": ("subset", "accuracy"),
    "features of the proxy": ("known_labels labels", "dynamics proxy_embeddings subset accuracy"),
    "network of the labeler": ("known_labels quality subset", "labels labeler_accuracy"),
    "given labels": ("given labels quality scores subset", "dynamics accuracy"),
    "photos": (
        "given labels embeddings pooled_embeddings scores subset",
        "duplicates order dynamics learning_curve accuracy",
    ),
}


def test_every_kind_of_stage_is_among_them():
    kinds = {kind for made in MADE.values() for kind in " ".join(made).split()}
    assert kinds == {stage.kind for stage in STAGES}


def made_in(store):
    """Return the kinds of all stored stages: those made on the CPU, and those on the device."""
    manifests = [json.loads(path.read_text()) for path in store.root.glob("??/*/manifest.json")]
    return tuple({one["kind"] for one in manifests if one["device"] == device} for device in ("cpu", "cuda"))


def expected(name):
    return tuple(set(kinds.split()) for kinds in MADE[name])


# Stages


@pytest.mark.pretended
def test_a_search_with_heads_on_frozen_features(matrix, make, offer, store):
    offer(Powered)
    method = Method("p", title="P", labeler=GroundTruth(), scorer=Powered(), selector=Top())
    more = {"tuning": "search", "references": ["random_timed"]}
    ran = make(matrix(method, device="cuda", changes={"recipe.final_backbone": "pixels"}, **more))
    assert ran.failures == {} and len(ran.rows) == 2
    assert made_in(store) == expected("search")


@pytest.mark.pretended
@pytest.mark.filterwarnings("ignore")  # timm's own, on import
def test_finetune(matrix, make, store, tmp_path):
    changes = {
        "recipe.final_backbone": "timm:test_resnet",
        "recipe.finetune": True,
        "recipe.epochs": 1,
        "timm.weights": str(weights_at(tmp_path / "w.safetensors")),
        "timm.side": 32,
    }
    ran = make(matrix(Method("r", title="R", selector=Random()), device="cuda", changes=changes))
    assert ran.failures == {} and len(ran.rows) == 1
    assert made_in(store) == expected("finetune")


@pytest.mark.pretended
def test_features_of_the_proxy(matrix, make, store):
    method = Method("h", title="H", labeler=GroundTruth(), selector=Herding())
    ran = make(matrix(method, device="cuda"))
    assert ran.failures == {} and len(ran.rows) == 1
    assert made_in(store) == expected("features of the proxy")


@pytest.mark.pretended
def test_the_network_of_a_labeler(matrix, make, store):
    fixmatch = FixMatch(**PARTS["fixmatch"] | {"label_fraction": 0.5})
    method = Method("o", title="O", labeler=fixmatch, selector=Annotated(), ratio=50, final="labeler")
    ran = make(matrix(method, device="cuda"))
    assert ran.failures == {} and len(ran.rows) == 1
    assert made_in(store) == expected("network of the labeler")


@pytest.mark.pretended
def test_given_labels(matrix, make, store, write):
    labels, annotated = write("labels.npy", np.arange(64) % 4), write("annotated.npy", range(16))
    labeler = File(path=labels, label_fraction=0.25, annotated=annotated)
    method = Method("g", title="G", labeler=labeler, scorer=Aum(), selector=Top())
    ran = make(matrix(method, device="cuda"))
    assert ran.failures == {} and len(ran.rows) == 1
    assert made_in(store) == expected("given labels")


@pytest.mark.pretended
def test_a_labeler_without_memory_makes_no_smaller_steps_but_fails_in_one_line(matrix, make, monkeypatch):
    def convolve(*_given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total")

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    labeler = FixMatch(**PARTS["fixmatch"] | {"label_fraction": 0.5})
    method = Method("f", title="F", labeler=labeler, scorer=Aum(), selector=Top())
    (message,) = make(matrix(method, device="cuda")).failures.values()
    assert message == (
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB; "
        "free the GPU, lower the part's batch, or use --device cpu"
    )


# Commands


@pytest.mark.pretended
def test_the_commands_for_photos(cli, tmp_path, store):
    truth = write_photos(tmp_path / "photos")
    write_labels(tmp_path / "few.csv", dict(list(truth.items())[:30]))
    write_labels(tmp_path / "all.csv", truth)
    for command in (
        "draw photos --labels 9 --by typiclust --side 8 --output draw.csv",
        "prune photos --known few.csv --budget 40 --method probe_aum --set recipe.epochs=3 --side 8 --yes "
        "--output kept.csv",
        "evaluate kept.csv --labels all.csv --holdout 0.2 --seeds 2",
        "recommend photos --known few.csv --seeds 2 --methods none --side 8",
    ):
        told = cli(f"{command} --backbone pixels --device cuda --workers 0")
        assert (told.code, told.err) == (0, ""), command
        assert " on cuda" in told.out
    assert made_in(store) == expected("photos")
    context.load_split.cache_clear()


@pytest.mark.pretended
def test_check(cli):
    told = cli("check k_center --device cuda")
    assert told.code == 0 and "FAILED" not in told.out and "ok      runs" in told.out


# From device to device


@pytest.fixture
def watched(matrix, offer, monkeypatch):
    """watched("random", "cuda") is the matrix of a method. Its trainings save after each step."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVING_SHARE", 0.0)
    offer(Watched(), owner="watchers")
    return lambda name, device: matrix(name, datasets=["watched"], device=device)


@pytest.fixture
def interrupt(make, monkeypatch):
    """interrupt(matrix, "labels") runs it until a training of such a stage has saved a checkpoint."""

    def run(matrix, kind):
        save = FileCheckpoint.save

        def saved(checkpoint, state):
            save(checkpoint, state)
            if matrix.graph.stages[checkpoint.path.name].kind == kind:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(FileCheckpoint, "save", saved)
            with pytest.raises(KeyboardInterrupt):
                make(matrix)

    return run


@pytest.mark.pretended
def test_a_training_begun_on_another_device_begins_anew(watched, interrupt, make, store):
    """And gives what it gives undisturbed."""
    (alone,) = make(watched("random", "cpu")).rows
    shutil.rmtree(store.root)
    for device in ("cpu", "cuda"):
        interrupt(watched("random", device), "accuracy")
    ran = make(watched("random", "cpu"))
    assert ran.failures == {}
    (row,) = ran.rows
    assert (row.device, row.accuracy, row.history) == ("cpu", alone.accuracy, alone.history)


@pytest.mark.pretended
def test_a_run_may_go_from_device_to_device(watched, interrupt, make, store):
    """What was made on one is read on the other."""
    interrupt(watched("semi_aum", "cpu"), "labels")
    interrupt(watched("semi_aum", "cuda"), "dynamics")
    ran = make(watched("semi_aum", "cpu"))
    assert ran.failures == {}
    assert [row.method for row in ran.rows] == ["semi_aum"]
    on_cpu, on_device = made_in(store)
    assert on_device == {"labels"} and {"dynamics", "accuracy"} <= on_cpu
