"""Final networks that are pretrained, and all of whose weights are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from prunebench.errors import PrunebenchError
from prunebench.nn import networks, training
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.results.document import facts
from prunebench.runs.run import run_matrix
from prunebench.system.sealed_json import canonical
from prunebench_plugins.backbones.any_of_timm import Timm
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top
from tests.pipeline.searched import Powered

RANDOM = Method("r", title="R", selector=Random())
SCORED = Method("m", title="M", labeler=GroundTruth(), scorer=Aum(), selector=Top())
pytestmark = pytest.mark.filterwarnings("ignore")  # timm's own, on import


def weights_at(path: Path, seed: int = 0) -> Path:
    """Write random weights of a small network of timm, as timm lays them out."""
    torch.manual_seed(seed)
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture
def tuned(tmp_path):
    """The changes of a recipe that fine-tunes a small network of timm from a local file."""
    return {
        "recipe.final_backbone": "timm:test_resnet",
        "recipe.finetune": True,
        "timm.weights": str(weights_at(tmp_path / "w.safetensors")),
        "timm.side": 32,
    }


def keys(matrix):
    return {stage.kind: stage.key for stage in matrix.graph.stages.values()}


def test_a_final_network_is_the_backbone_with_a_new_layer(matrix, make, tuned):
    made = make(matrix(RANDOM, changes=tuned | {"recipe.epochs": 20, "recipe.lr": 0.03}))
    assert made.failures == {}
    assert {stage.kind: stage.title for stage in made.stages} == {
        "subset": "random",
        "accuracy": "timm:test_resnet fine-tuned, 20 epochs",
    }
    assert made.rows[0].accuracy > 50  # 25 is chance


def test_all_weights_are_trained_and_the_run_starts_from_the_file(matrix, make, tuned, monkeypatch):
    trained, train = [], training.train
    monkeypatch.setattr(training, "train", lambda *given, **named: kept(trained, train(*given, **named)))
    make(matrix(RANDOM, changes=tuned | {"recipe.lr": 0.01}))
    part = Timm(model="test_resnet", side=32, weights=Path(tuned["timm.weights"]))
    before = dict(part.trainable(1).named_parameters())
    after = dict(trained[0].network.body[1].named_parameters())
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == list(before)
    apart = sum((after[name] - before[name]).abs().mean() for name in before) / len(before)
    assert apart < 0.02  # near to where it started


def kept(into, value):
    into.append(value)
    return value


def test_the_row_and_its_page_say_which_weights_were_trained(matrix, make, tuned):
    rows = make(matrix(RANDOM, changes=tuned)).rows
    told = "timm: the weights of timm's test_resnet, whose card says what they saw, fine-tuned, weights "
    assert rows[0].final_network.startswith(told)
    assert len(rows[0].final_network) == len(told) + 12  # digits of the hash of the file
    assert f"Final networks: {rows[0].final_network}. " in facts(rows)


def test_the_content_of_the_weights_is_in_the_key_and_their_path_is_not(matrix, tuned, tmp_path):
    def key(path):
        return keys(matrix(RANDOM, changes=tuned | {"timm.weights": str(path)}))["accuracy"]

    first = key(tuned["timm.weights"])
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(Path(tuned["timm.weights"]).read_bytes())
    assert key(copy) == first
    assert key(weights_at(tmp_path / "other.safetensors", seed=1)) != first


def test_the_content_of_weights_in_a_cache_is_in_the_key_too(matrix, make, tuned, tmp_path, monkeypatch):
    """Its names are links to files without an ending."""
    link, blob = tmp_path / "model.safetensors", tmp_path / "1a2b"
    blob.write_bytes(Path(tuned["timm.weights"]).read_bytes())
    link.symlink_to(blob)
    monkeypatch.setattr(Timm, "kept_weights", lambda self: link)
    cached = {name: value for name, value in tuned.items() if name != "timm.weights"} | {"recipe.epochs": 1}
    named = matrix(RANDOM, changes=tuned | {"recipe.epochs": 1})
    found = matrix(RANDOM, changes=cached)
    assert keys(named)["accuracy"] == keys(found)["accuracy"]
    assert make(found).failures == {}


def test_a_selection_knows_nothing_of_it(matrix, offer, tuned):
    offer(Powered)
    method = Method("p", title="P", labeler=GroundTruth(), scorer=Powered(), selector=Top())
    same, other = (keys(matrix(method, changes=changes)) for changes in ({}, tuned))
    assert {kind for kind in same if same[kind] != other[kind]} == {"accuracy"}
    assert "backbone" not in matrix(SCORED).graph.targets[matrix(SCORED).cells[0]].identity


def test_a_search_fine_tunes_too(matrix, make, offer, tuned):
    offer(Powered)
    method = Method("p", title="P", labeler=GroundTruth(), scorer=Powered(), selector=Top())
    made = make(matrix(method, changes=tuned | {"recipe.epochs": 1}, tuning="search"))
    assert made.failures == {}
    titles = {stage.title for stage in made.stages if stage.kind == "validation"}
    assert titles == {"timm:test_resnet fine-tuned, 1 epochs, trying exponent"}


def test_it_sits_the_exams_of_networks_that_see_images(matrix, make, tuned):
    with pytest.raises(PrunebenchError, match="exam 'resnet8' needs final networks from scratch, but"):
        matrix(RANDOM, exams=["resnet8"], changes=tuned)
    made = make(matrix(RANDOM, exams=["shift", "calibration"], changes=tuned | {"recipe.epochs": 1}))
    assert made.failures == {}
    assert made.rows[0].accuracy_shifted and made.rows[0].calibration


# What networks see


def test_a_network_sees_pixels_as_its_pretraining_did(tuned):
    """Whatever the dataset is normalized by, and whatever the size of its images."""
    part = Timm(model="test_resnet", side=32, weights=Path(tuned["timm.weights"]))
    array = np.random.default_rng(0).integers(256, size=(3, 3, 12, 12), dtype=np.uint8)
    images = Images(array, mean=(0.2, 0.4, 0.6), std=(0.3, 0.2, 0.1))
    network = networks.on_pretrained(
        part.trainable(3), mean=images.mean, std=images.std, classes=4, resolution=12, generator_seed=0
    )
    found = training.embed(network, images, device="cpu")
    expected = part.embed(images, "cpu", lambda *_: None, Nothing())
    np.testing.assert_allclose(found, expected, atol=1e-4)


class Nothing:
    """A checkpoint that keeps nothing."""

    def load(self):
        return None

    def save(self, state):
        """Forget it."""


def test_the_seed_decides_the_new_layer_alone(tuned):
    part = Timm(model="test_resnet", side=32, weights=Path(tuned["timm.weights"]))

    def weights(seed):
        shape = {"mean": (0.5,), "std": (0.5,), "classes": 4, "resolution": 8}
        return networks.on_pretrained(part.trainable(1), generator_seed=seed, **shape).state_dict()

    first, other = weights(0), weights(1)
    assert {name for name in first if not torch.equal(first[name], other[name])} == {
        "head.weight",
        "head.bias",
    }


# What is told


def test_a_cpu_tells_the_time_in_one_line(matrix, tuned, capsys, monkeypatch):
    monkeypatch.setattr(training, "seconds_per_step", lambda recipe, **_named: 10.0 * recipe.batch)
    chosen, here = matrix(RANDOM, seeds=[0, 1], changes=tuned), Engine(workers=0)
    assert run_matrix(chosen, Forecast(), None, here) == {}
    # 4 epochs of 64 images, of which half are kept; 15 % are added for the test
    assert "2 fine-tuning(s) on a CPU: about 55 min of one core\n" in capsys.readouterr().err
    assert run_matrix(chosen, Forecast(), None, here) == {}
    assert "fine-tuning" not in capsys.readouterr().err  # all is stored


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe.final_backbone": "pixels", "recipe.finetune": True},
            "backbone 'pixels' has no weights to fine-tune; name a pretrained one",
        ),
        (
            {"recipe.final_backbone": "timm:test_resnt", "recipe.finetune": True},
            "timm has no weights of a model named 'test_resnt'. Did you mean 'test_resnet.r160_in1k'?",
        ),
        (
            {"recipe.final_backbone": "timm:test_vit", "recipe.finetune": True},
            "run `hf download timm/test_vit.r160_in1k model.safetensors`, or name a copy of it: --set timm.",
        ),
        (
            {"recipe.final_backbone": "timm:test_vit", "recipe.finetune": True, "timm.weights": "gone.pth"},
            "timm.weights cannot be read: ",
        ),
    ],
)
def test_what_cannot_be_fine_tuned_is_one_line_before_all_work(matrix, store, changes, message):
    with pytest.raises(PrunebenchError) as error:
        run_matrix(matrix(RANDOM, changes=changes), Forecast(), None)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not [*store.root.glob("??/*")]


def test_a_wrong_number_of_channels_is_one_line(tuned):
    part = load().part("backbone", "timm:test_resnet")
    with pytest.raises(PrunebenchError, match=r"^timm: channels of the images is 2, expected 1 or 3$"):
        replace(part, weights=Path(tuned["timm.weights"])).trainable(2)


def test_weights_of_another_network_are_one_line(matrix, tuned):
    changes = tuned | {"recipe.final_backbone": "timm:test_vit"}
    with pytest.raises(PrunebenchError, match=r"w\.safetensors does not hold the weights of timm \("):
        run_matrix(matrix(RANDOM, changes=changes), Forecast(), None)


def test_without_a_backbone_there_is_nothing_to_fine_tune():
    with pytest.raises(PrunebenchError, match=r"^recipe\.finetune needs recipe\.final_backbone"):
        Recipe(network="cnn", epochs=1, finetune=True)


def test_proxy_networks_are_trained_as_before():
    recipe = Recipe(network="cnn", epochs=1, final_backbone="timm:test_vit", finetune=True)
    assert recipe.proxy() == Recipe(network="cnn", epochs=1)
    assert recipe.final().finetune and "finetune" in canonical(recipe.identity())
