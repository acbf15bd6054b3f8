"""The pretended device: what it refuses, which waits it counts, and all that runs on it.

The tests marked `pretended` run in a process that has the device; the last one starts it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prunebench import Images, Recipe
from prunebench.nn import training
from prunebench.nn.ahead import ReadAhead
from prunebench.nn.multicrop import Crops, multicrop
from prunebench.nn.randaugment import randaugment
from prunebench.parts import images
from prunebench.parts.conformance import conform
from prunebench.parts.problem import synthetic_problem
from prunebench_plugins.backbones.preparing import Prepared
from prunebench_plugins.backbones.swav import loop as swav_loop
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch import loop
from prunebench_plugins.labelers.fixmatch.loop import FixedThreshold
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.temi import loop as temi_loop
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.selectors.herding import follow_mean
from tests import pretend_gpu
from tests.faults.test_guards import Watched, methods
from tests.plugins.brief import READY, brief
from tests.suites.test_side import OWN, PROXY

ROOT = Path(__file__).parent.parent.parent
STEPS = 5


def pictures(n: int, side: int) -> Images:
    pixels = np.random.default_rng(0).integers(256, size=(n, 3, side, side), dtype=np.uint8)
    return Images(pixels, mean=(0.5,) * 3, std=(0.25,) * 3)


def waits_of(step) -> dict[str, int]:
    """Return how often a step waits, by kind, once it is warm."""
    for _ in range(STEPS):
        step()
    with pretend_gpu.counted() as waits:
        for _ in range(STEPS):
            step()
    kinds: dict[str, int] = {}
    for line, count in waits.items():
        kind = line.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + count
    assert all(count % STEPS == 0 for count in kinds.values())
    return {kind: count // STEPS for kind, count in kinds.items()}


# What it refuses


@pytest.mark.pretended
def test_tensors_of_both_devices_do_not_mix() -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert there.device == torch.device("cuda:0") and here.device == torch.device("cpu")
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        there + here
    with pytest.raises(RuntimeError, match="indices should be"):
        here[torch.tensor([0], device="cuda")]
    assert (there + 1).is_cuda and (there + torch.tensor(1.0)).is_cuda


@pytest.mark.pretended
def test_a_generator_draws_on_its_own_device_alone() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    assert torch.rand(2, generator=generator, device="cuda").is_cuda
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.rand(2, generator=generator)


@pytest.mark.pretended
def test_the_state_of_a_generator_is_that_of_its_device_alone() -> None:
    here, there, other = torch.Generator(), torch.Generator("cuda"), torch.Generator("cuda")

    def draw(generator: torch.Generator) -> list[float]:
        return torch.rand(2, generator=generator, device="cuda").tolist()

    first = draw(there.manual_seed(2**63 + 1))
    state = there.get_state()
    assert (state.dtype, state.device.type, len(state)) == (torch.uint8, "cpu", 16)
    second = draw(there)
    assert draw(other.set_state(state)) == second != first
    assert draw(other.manual_seed(2**63 + 1)) == first
    for refusing, given in ((there, here), (here, there)):
        with pytest.raises(RuntimeError, match="RNG state"):
            refusing.set_state(given.get_state())


@pytest.mark.pretended
def test_its_tensors_are_no_arrays() -> None:
    there = torch.ones(3, device="cuda")
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        there.numpy()
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        np.asarray(there)
    assert there.cpu().numpy().tolist() == [1, 1, 1]


# What it counts


@pytest.mark.pretended
def test_reads_copies_and_shapes_that_depend_on_values_are_waits() -> None:
    there = torch.arange(3, device="cuda")
    with pretend_gpu.counted() as waits:
        float(there[0])
        there.nonzero()
        there.cpu()
        torch.ones(2).to("cuda")
        torch.ones(2).pin_memory().to("cuda", non_blocking=True)
        torch.ones(2)[0].item()
        there + 1
    kinds = sorted(line.partition(":")[0] for line in waits.elements())
    assert kinds == ["__float__", "cpu", "nonzero", "to the device"]
    assert all("tests/nn/test_pretended_gpu.py" in line for line in waits)


@pytest.mark.pretended
def test_values_that_torch_reads_itself_are_waits() -> None:
    """Also in a gradient: that of a trace fills a diagonal by a number on the host."""
    square, place = torch.ones(2, 2, device="cuda", requires_grad=True), torch.tensor(0, device="cuda")
    with pretend_gpu.counted() as waits:
        square.trace().backward()
        square.detach()[place]
    assert waits.total() == 2
    assert all(line.startswith("read within torch") for line in waits)
    assert any("aten::index_fill_" in line for line in waits)


@pytest.mark.pretended
@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"crop": 4, "flip": True},
        {"resized_crop": (0.5, 1.0), "flip": True},
        {"crop": 4, "optimizer": "adam"},
    ],
)
def test_a_training_step_never_waits(record, changes) -> None:
    images, labels = pictures(64, 32).to("cuda"), np.arange(64) % 10
    recipe = Recipe(network="resnet8", epochs=100, batch=16, **changes)
    rng = np.random.default_rng(0)
    run = training._Run(images, labels, np.arange(64), recipe, classes=10, rng=rng, record=record)
    run.network.train()
    order = torch.arange(16, device="cuda")
    assert waits_of(lambda: run.learn(order)) == {}


@pytest.mark.pretended
@pytest.mark.filterwarnings("ignore")  # timm's own, on import
def test_a_step_of_fine_tuning_never_waits() -> None:
    import timm

    images, labels = pictures(64, 24).to("cuda"), np.arange(64) % 10
    recipe = Recipe(network="cnn", epochs=100, batch=16, resized_crop=(0.5, 1.0), flip=True)
    body = timm.create_model("test_resnet", num_classes=0)
    run = training._Run(
        *(images, labels, np.arange(64), recipe),
        **{"classes": 10, "rng": np.random.default_rng(0), "record": False},
        body=lambda: Prepared(body, 32, (0.5,) * 3, (0.25,) * 3),
    )
    run.network.train()
    order = torch.arange(16, device="cuda")
    assert waits_of(lambda: run.learn(order)) == {}


@pytest.mark.pretended
def test_a_step_on_images_that_do_not_fit_never_waits(monkeypatch) -> None:
    monkeypatch.setattr(images, "SHARE", 0.0)
    labels, rng = np.arange(400) % 10, np.random.default_rng(0)
    recipe = Recipe(network="resnet8", epochs=3, batch=16, crop=4)
    run = training._Run(
        pictures(400, 32).to("cuda"), labels, np.arange(400), recipe, classes=10, rng=rng, record=True
    )
    assert run.reader.reads_ahead and run.per_epoch > 3 * STEPS  # an epoch begins with a wait
    assert waits_of(run.advance) == {}


@pytest.mark.pretended
@pytest.mark.parametrize("mapped", [False, True])
def test_a_training_on_images_that_do_not_fit_is_the_same(monkeypatch, tmp_path, mapped) -> None:
    """Also if images are in a memory map, and the last batch is an odd one."""
    array = pictures(90, 16).array
    if mapped:
        array.tofile(tmp_path / "pixels")
        array = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=array.shape)
    pixels, labels = Images(array, mean=(0.5,) * 3, std=(0.25,) * 3), np.arange(90) % 10
    recipe = Recipe(network="resnet8", epochs=3, batch=16, crop=2, flip=True)

    def trained(share):
        monkeypatch.setattr(images, "SHARE", share)
        rng = np.random.default_rng(0)
        index = np.arange(0, 90, 2)
        test = pixels.take(np.arange(1, 90, 2)), labels[1::2]
        return training.train(
            pixels, labels, recipe, classes=10, rng=rng, device="cuda", index=index, test=test, record=True
        )

    whole, ahead = trained(0.5), trained(0.0)
    assert whole.predictions is not None and ahead.predictions is not None
    assert whole.predictions.tolist() == ahead.predictions.tolist()
    assert whole.dynamics is not None and ahead.dynamics is not None
    np.testing.assert_array_equal(whole.dynamics.entropy, ahead.dynamics.entropy)


@pytest.mark.pretended
def test_only_the_images_that_are_trained_on_move_to_the_device(monkeypatch) -> None:
    settled, moved = Images._settled, []

    def noting(given):
        moved.append(len(given))
        return settled(given)

    monkeypatch.setattr(Images, "_settled", noting)
    labels, rng = np.arange(90) % 10, np.random.default_rng(0)
    recipe = Recipe(network="resnet8", epochs=1, batch=16)
    options = {"classes": 10, "rng": rng, "device": "cuda", "index": np.arange(0, 90, 3)}
    training.train(pictures(90, 16), labels, recipe, **options)
    assert moved == [30]


@pytest.mark.pretended
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_fixmatch_on_images_that_do_not_fit_is_the_same(monkeypatch, weight) -> None:
    labels = np.where(np.arange(60) % 3, -1, np.arange(60) % 4)
    part = FixMatch(network="resnet8", batch=4, mu=2, iterations=13, weight_u=weight)

    def label(share):
        monkeypatch.setattr(images, "SHARE", share)
        given = synthetic_problem("cuda").inputs(part) | {"images": pictures(60, 16), "known_labels": labels}
        return part.label(**given)

    whole, ahead = label(0.5), label(0.0)
    # Recorded steps average the weights in an order of their own, and steps that read ahead are not recorded.
    np.testing.assert_allclose(whole.confidences, ahead.confidences, rtol=1e-5)


@pytest.mark.pretended
def test_swav_on_images_that_do_not_fit_is_the_same(monkeypatch) -> None:
    part = Swav(network="resnet8", hidden=8, projection=4, epochs=3, batch=16, warmup_epochs=0)

    def embed(share):
        monkeypatch.setattr(images, "SHARE", share)
        return part.embed(**synthetic_problem("cuda").inputs(part) | {"images": pictures(60, 16)})

    np.testing.assert_array_equal(embed(0.5), embed(0.0))


@pytest.mark.pretended
def test_all_epochs_share_a_stream() -> None:
    """torch keeps memory for each stream that it has seen, and it serves no other."""
    shown = pictures(8, 4).to("cuda")
    first, second = (ReadAhead(shown, [np.arange(4), np.arange(4, 8)]) for _ in range(2))
    assert first.stream is second.stream


@pytest.mark.pretended
def test_what_cannot_be_read_ahead_ends_the_training() -> None:
    class Torn:
        shape, dtype, ndim = (8, 3, 4, 4), np.dtype(np.uint8), 4

        def __len__(self):
            return 8

        def __getitem__(self, index):
            raise OSError("the disk is gone")

    torn = Images(Torn(), mean=(0.5,) * 3, std=(0.25,) * 3, device="cuda")
    with pytest.raises(OSError, match="the disk is gone"):
        ReadAhead(torn, [np.arange(4), np.arange(4, 8)])


@pytest.mark.pretended
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says what memory is of files")
def test_reading_ahead_holds_few_images_however_many_there_are(monkeypatch, tmp_path) -> None:
    """40 GB of images, in a file without content, and a device of 24 GB. Pages of the file do not count."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_given: (24 * 2**30, 24 * 2**30))
    count = 40 * 10**9 // (3 * 256**2)
    with (tmp_path / "pixels").open("wb") as file:
        file.truncate(count * 3 * 256**2)
    array = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=(count, 3, 256, 256))
    many = Images(array, mean=(0.5,) * 3, std=(0.25,) * 3, device="cuda")
    recipe = Recipe(network="cnn", epochs=1, batch=64, side=32)
    rng, labels = np.random.default_rng(0), np.arange(count) % 10
    before = own_memory()
    run = training._Run(many, labels, np.arange(count), recipe, classes=10, rng=rng, record=False)
    assert run.reader.reads_ahead
    held = []
    for _ in range(12):
        run.advance()
        held.append(own_memory() - before)
    batch = 64 * 3 * 256**2  # bytes. Three wait, and two are on the device
    assert 3 * batch < max(held) < 14 * batch  # 176 MB, with all that torch keeps of the first steps


def own_memory() -> int:
    """Return the bytes of this process that are no pages of files."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


@pytest.mark.pretended
@pytest.mark.parametrize("side", [32, 33])
def test_randaugment_never_waits(side) -> None:
    batch = pictures(64, side).to("cuda")[:]
    generator = torch.Generator("cuda").manual_seed(0)
    assert waits_of(lambda: randaugment(batch, generator)) == {}


@pytest.mark.pretended
@pytest.mark.parametrize("joint", [False, True])
def test_a_step_of_fixmatch_never_waits(joint) -> None:
    known_labels = np.where(np.arange(320) % 4, -1, np.arange(320) % 10)
    settings = FixMatch(network="resnet8", batch=2, mu=2, epochs=100, joint=joint)
    rng = np.random.default_rng(0)
    run = loop._Run(pictures(320, 32).to("cuda"), known_labels, 10, settings, FixedThreshold(0.9), rng)
    assert run.per_epoch > 3 * STEPS  # an epoch ends with a wait
    assert waits_of(run.advance) == {}


@pytest.mark.pretended
@pytest.mark.parametrize("channels", [1, 3])
def test_random_crops_never_wait(channels) -> None:
    batch = pictures(16, 32).to("cuda")[:][:, :channels]
    crops = Crops(count=2, side=24, smallest=0.1, largest=1.0, flip=True, jitter=0.8, blur=2.0)
    generator = torch.Generator("cuda").manual_seed(0)
    assert waits_of(lambda: multicrop(batch, crops, generator)) == {}


@pytest.mark.pretended
@pytest.mark.parametrize("crops", [((2, 1.0, 0.1, 1.0),), ((2, 1.0, 0.1, 1.0), (6, 0.5, 0.05, 0.14))])
def test_a_step_of_swav_never_waits(crops) -> None:
    sizes = {"hidden": 8, "projection": 4, "batch": 4, "queue": 8}
    settings = Swav(network="resnet8", crops=crops, queue_epochs=0, **sizes)
    run = swav_loop._Run(pictures(80, 16).to("cuda"), 6, settings, np.random.default_rng(0))
    assert run.per_epoch > 3 * STEPS  # an epoch ends with a wait
    assert waits_of(run.advance) == {}


@pytest.mark.pretended
def test_an_epoch_of_temi_never_waits() -> None:
    settings = Temi(heads=2, hidden=5, bottleneck=4, neighbors=3, batch=20)
    embeddings = np.random.default_rng(0).normal(size=(70, 6))
    run = temi_loop._Run(embeddings, 3, settings, np.random.default_rng(0), "cuda")
    assert waits_of(run.advance) == {}


@pytest.mark.pretended
def test_herding_waits_once_for_a_block_of_picks() -> None:
    points = torch.tensor(np.random.default_rng(0).normal(size=(140, 5)), device="cuda").float()
    with pretend_gpu.counted() as waits:
        assert len(next(follow_mean(points, farthest=False))) == 100
    assert [line.partition(":")[0] for line in waits.elements()] == ["cpu"]


# All that runs on it


@pytest.mark.pretended
@pytest.mark.parametrize("name", methods())
def test_every_method_runs(matrix, make, offer, name) -> None:
    offer(Watched(), owner="watchers")
    ran = make(matrix(name, datasets=["watched"], device="cuda"))
    assert ran.failures == {}
    assert [(row.method, row.device) for row in ran.rows] == [(name, "cuda")]


@pytest.mark.pretended
@pytest.mark.parametrize(("device", "precision"), [("cuda", "fp32"), ("cuda", "tf32"), ("cpu", "tf32")])
@pytest.mark.parametrize(
    ("method", "function"), [(OWN, "classify"), (PROXY, "embed")], ids=["labeler", "proxy"]
)
def test_a_gpu_looks_with_stored_networks_in_the_precision_of_the_recipe(
    matrix, make, monkeypatch, method, function, device, precision
) -> None:
    """A CPU looks in IEEE float32, and in the layout in which it always did."""
    real, seen = getattr(training, function), []

    def noting(network, images, **more):
        layouts = {weights.is_contiguous() for weights in network.parameters() if weights.dim() == 4}
        seen.append((more["precision"], False not in layouts))
        return real(network, images, **more)

    monkeypatch.setattr(training, function, noting)
    assert make(matrix(method, device=device, changes={"recipe.precision": precision})).failures == {}
    assert seen == [("fp32", True) if device == "cpu" else (precision, False)]


@pytest.mark.pretended
@pytest.mark.parametrize(("kind", "name"), READY)
def test_every_part_keeps_its_contract(kind, name) -> None:
    conform(brief(kind, name), "cuda")


def pretending(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.pretend_gpu", "-p", "no:cacheprovider"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_tests_of_parts_run_on_the_device_that_is_named() -> None:
    told = pretending("--device", "cuda", "tests/plugins/test_herding.py")
    assert told.returncode == 0, told.stdout[-3000:]
    waits, outcome = told.stdout.splitlines()[-2:]
    assert re.fullmatch(r"The pretended GPU made its host wait [1-9]\d* times\.", waits)
    assert "1 deselected" in outcome  # the test of a wrong field, which computes nothing


@pytest.mark.timeout(1200)  # a hundred and sixty tests in one
@pytest.mark.new_torch  # an older torch has no sparse operations for it
def test_the_tests_of_a_gpu_pass_on_a_pretended_one() -> None:
    told = pretending("-m", "gpu or pretended", "tests")
    assert told.returncode == 0, told.stdout[-3000:]
    assert "passed" in told.stdout.splitlines()[-1]
