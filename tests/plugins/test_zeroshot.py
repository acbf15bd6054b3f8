"""Zeroshot labels: images compared with sentences about classes.

CLIP's real weights are not at hand. What depends on them is tested with random ones, in a CLIP that is
small, in a file as open_clip lays it out; the rest with a stand-in that looks sentences up in a table.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench.parts.identity import construct
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.registry import load
from prunebench_plugins.backbones import clip
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.backbones.preparing import prepare
from prunebench_plugins.labelers import zeroshot
from prunebench_plugins.labelers.zeroshot import Zeroshot

CLASSES = ("aquarium_fish", "cat", "maple_tree", "tin {box}")
PROMPTS = ("a photo of a {}.", "a drawing of the {}.", "{}")
DIRECTIONS = {"a cat": (3.0, 0.0), "a dog": (0.0, 0.5), "no cat": (0.0, -4.0), "no dog": (0.0, 2.0)}


@dataclass(frozen=True, kw_only=True)
class Table(clip.Clip):
    """A CLIP that knows four sentences."""

    name: ClassVar[str] = "table"

    def describe(self, sentences, device):
        return np.array([DIRECTIONS[sentence] for sentence in sentences], np.float32)


@dataclass(frozen=True, kw_only=True)
class TinyClip(clip.Clip):
    name: ClassVar[str] = "tiny_clip"
    architecture: ClassVar[str] = "tiny-clip"
    repository: ClassVar[str] = "timm/tiny_clip"
    patch: ClassVar[int] = 8


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A random network of open_clip's format that reads open_clip's own tokens."""
    import open_clip

    layers = {"layers": 1, "width": 64}
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, **layers},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "heads": 1, **layers},
    }
    path = tmp_path_factory.mktemp("clip") / "tiny-clip.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        network = open_clip.create_model("tiny-clip").eval()
        # Untrained, these outweigh the pixels, and all images would be of one class.
        network.visual.class_embedding.zero_()
        network.visual.positional_embedding.zero_()
    return network


@pytest.fixture(scope="module")
def tiny(towers, tmp_path_factory):
    """The backbone that holds these weights."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "open_clip_model.safetensors"
    save_file(towers.state_dict(), path)
    return TinyClip(side=32, weights=path)


def pictures(n=40):
    """Images of four colored quarters: even a random network tells them apart."""
    quarters = np.random.default_rng(0).integers(256, size=(n, 3, 2, 2), dtype=np.uint8)
    return Images(quarters.repeat(8, axis=2).repeat(8, axis=3), mean=(0.5,) * 3, std=(0.5,) * 3)


def read(towers, sentences):
    """Embed sentences with open_clip alone."""
    import open_clip

    with torch.no_grad():
        return towers.encode_text(open_clip.get_tokenizer("tiny-clip")(sentences)).numpy()


# What it says


def test_an_image_gets_the_class_whose_sentence_is_nearest(device):
    part = Zeroshot(backbone=Table(), prompts=("a {}",))
    labels = part.label(np.array([[9.0, 1], [1, 1.01]], np.float32), ("cat", "dog"), device)
    assert labels.values.tolist() == [0, 1]
    assert labels.space == "class"
    cosines = np.array([[9, 1], [1, 1.01]]) / [[82**0.5], [2.0201**0.5]]
    odds = np.exp(100 * np.abs(cosines[:, 0] - cosines[:, 1]))
    np.testing.assert_allclose(labels.confidences, odds / (1 + odds), rtol=1e-4)


def test_several_prompts_are_averaged_at_equal_length(device):
    """Each sentence counts the same, however long its embedding: (3, 0) and (0, -4) meet half way."""
    part = Zeroshot(backbone=Table(), prompts=("a {}", "no {}"))
    half = 0.5**0.5
    np.testing.assert_allclose(part.describe(("cat", "dog"), device), [[half, -half], [0, 1]], atol=1e-6)


def test_underscores_are_spaces_and_other_braces_themselves(device, tiny, towers):
    part = Zeroshot(backbone=tiny, prompts=("a {real} photo of a {}",))
    found = part.describe(("aquarium_fish", "tin {box}"), device)
    expected = read(towers, ["a {real} photo of a aquarium fish", "a {real} photo of a tin {box}"])
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("prompts", [Zeroshot().prompts, PROMPTS])
def test_labels_are_those_of_open_clip(device, prompts, tiny, towers):
    names = ("aquarium fish", "cat", "maple tree", "tin {box}")
    by_prompt = [read(towers, [prompt.replace("{}", name) for name in names]) for prompt in prompts]
    texts = sum(torch.nn.functional.normalize(torch.tensor(found)) for found in by_prompt)
    with torch.no_grad():
        shown = prepare(pictures()[:], 32, tiny.mean, tiny.std)
        seen = towers.encode_image(shown, normalize=True)
    expected = (100 * seen @ torch.nn.functional.normalize(texts).T).softmax(dim=1)

    embeddings = tiny.embed(pictures(), device, lambda done, total: None, MemoryCheckpoint())
    labels = Zeroshot(backbone=tiny, prompts=prompts).label(embeddings, CLASSES, device)
    assert labels.values.tolist() == expected.argmax(dim=1).tolist()
    assert set(labels.values) == set(range(len(CLASSES)))
    np.testing.assert_allclose(
        labels.confidences, expected.amax(dim=1), atol=1e-3 if device == "cpu" else 1e-2
    )


def test_clip_describes_sentences_without_normalizing(device, tiny, towers, monkeypatch):
    sentences = ["a cat", "a very long sentence " * 9, "", "a dog", "birds"]
    whole = tiny.describe(sentences, device)
    assert whole.shape == (5, 16) and whole.dtype == np.float32
    np.testing.assert_allclose(whole, read(towers, sentences), atol=1e-5)
    monkeypatch.setattr(clip, "BATCH", 2)
    np.testing.assert_allclose(tiny.describe(sentences, device), whole, atol=1e-5)


def test_images_compared_in_chunks_get_the_same_labels(device, monkeypatch):
    part = Zeroshot(backbone=Table(), prompts=("a {}",))
    embeddings = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    whole = part.label(embeddings, ("cat", "dog"), device)
    monkeypatch.setattr(zeroshot, "CHUNK", 7)
    chunked = part.label(embeddings, ("cat", "dog"), device)
    assert chunked.values.tolist() == whole.values.tolist()
    np.testing.assert_allclose(chunked.confidences, whole.confidences, rtol=1e-4)


def test_an_embedding_of_zeros_is_undecided(device):
    labels = Zeroshot(backbone=Table(), prompts=("a {}",)).label(np.zeros((1, 2)), ("cat", "dog"), device)
    assert labels.confidences.tolist() == [0.5]


def test_zeroshot_keeps_the_contract(device, tiny):
    conform(Zeroshot(backbone=tiny), device)


# What it refuses


@pytest.mark.parametrize("backbone", [Pixels(), (Table(), Table()), ("clip_vitl14",), "proxy"])
def test_a_backbone_that_cannot_read_is_one_line(backbone):
    with pytest.raises(PrunebenchError, match=r"zeroshot\.backbone is .*, expected one CLIP") as error:
        Zeroshot(backbone=backbone)
    assert "\n" not in str(error.value)


def test_a_name_is_judged_when_it_is_resolved():
    assert load().resolve_backbones(Zeroshot()).backbone == clip.ClipVitl14()
    with pytest.raises(PrunebenchError, match=r"zeroshot\.backbone is DinoVits16.*, expected one CLIP"):
        load().resolve_backbones(Zeroshot(backbone="dino_vits16"))


def test_a_name_alone_labels_nothing():
    with pytest.raises(PrunebenchError) as error:
        Zeroshot().label(np.zeros((1, 2)), ("cat", "dog"), "cpu")
    assert str(error.value) == (
        "zeroshot has only the name of its backbone, 'clip_vitl14'; "
        "outside a run give it the backbone itself, such as ClipVitl14()"
    )


@pytest.mark.parametrize("prompt", ["a photo", "a {} and a {}", "a {name}", ""])
def test_a_prompt_has_one_place_for_the_class(prompt):
    with pytest.raises(PrunebenchError) as error:
        Zeroshot(prompts=("a {}", prompt))
    assert str(error.value) == (
        f"zeroshot.prompts is {prompt!r}, expected a sentence with {{}} in it once, for the class"
    )


def test_there_is_a_prompt():
    assert construct(Zeroshot, {"prompts": ["a {}"]}, "zeroshot").prompts == ("a {}",)
    with pytest.raises(PrunebenchError, match=r"zeroshot\.prompts is \(\), expected one sentence or more"):
        Zeroshot(prompts=())


def test_it_buys_no_label():
    with pytest.raises(PrunebenchError, match=r"zeroshot\.label_fraction is 0\.1, expected 0"):
        Zeroshot(label_fraction=0.1)


def test_weights_that_are_absent_or_wrong_are_one_line(tmp_path, towers):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_text("no weights")
    for path, reason in ((wrong, "does not hold the weights of tiny_clip"), (Path("gone"), "no such file")):
        with pytest.raises(PrunebenchError, match=reason) as error:
            Zeroshot(backbone=TinyClip(side=32, weights=path)).label(np.zeros((1, 16)), ("cat",), "cpu")
        assert "\n" not in str(error.value)


def test_absent_weights_are_noticed_before_a_run(tiny):
    """Even where the embeddings are stored and the images need no CLIP any more."""
    Zeroshot(backbone=tiny).ready()
    with pytest.raises(PrunebenchError, match=r"tiny_clip\.weights is 'gone', but there is no such file"):
        Zeroshot(backbone=TinyClip(weights=Path("gone"))).ready()


def test_importing_it_loads_no_heavy_library():
    heavy = {"torch", "torchvision", "timm", "open_clip", "sklearn"}
    code = f"import prunebench_plugins.labelers.zeroshot, sys; print(*({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
