"""Which device trains in which precision."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from prunebench.errors import PrunebenchError
from prunebench.nn import replay, training
from prunebench.nn.loop import run
from prunebench.parts.images import Images, Vectors
from prunebench.parts.precision import arithmetic, autocast, can_run, check_precision
from prunebench.parts.recipe import Recipe
from prunebench.system.isolation import isolated
from prunebench_plugins.backbones.swav import loop as swav
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch import loop as fixmatch
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from tests import pretend_gpu

IEEE, TF32 = (False, "highest", False), (True, "high", False)


@pytest.mark.parametrize(
    ("precision", "device"), [("fp32", "cpu"), ("tf32", "cpu"), ("tf32", "cuda"), ("bf16", "cuda")]
)
def test_what_a_device_can_do(precision: str, device: str) -> None:
    assert can_run(precision, device)
    check_precision("recipe.precision", precision, device)


def test_a_cpu_has_no_half_precision_and_the_error_names_what_it_has() -> None:
    assert not can_run("bf16", "cpu")
    check_precision("swav.precision", "bf16")  # on a device that is not known yet
    with pytest.raises(PrunebenchError) as error:
        check_precision("swav.precision", "bf16", "cpu")
    assert str(error.value) == "swav.precision 'bf16' needs a CUDA device; on a CPU use 'fp32'"


def test_other_precisions_are_refused() -> None:
    with pytest.raises(
        PrunebenchError, match=r"recipe\.precision is 'fp16', expected 'fp32', 'tf32' or 'bf16'"
    ):
        check_precision("recipe.precision", "fp16", "cuda")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_passes_compute_in_it(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 2)
    with autocast(precision, "cpu"):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32


@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_only_tf32_rounds_factors_and_only_inside(precision, rounds):
    """PyTorch lets convolutions round by default; inside, a precision is what it says."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    with arithmetic(precision):
        assert cudnn.allow_tf32 is rounds
        assert torch.get_float32_matmul_precision() == ("high" if rounds else "highest")
    assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == before


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch 2.9 brought it")
@pytest.mark.parametrize("outside", ["highest", "high", "medium"])
def test_a_cpu_rounds_nothing_even_if_it_can(outside):
    """Some of Intel know TF32, and more know bfloat16."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(outside)
        with arithmetic("tf32"):
            assert torch.backends.cuda.matmul.fp32_precision == "tf32"
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert torch.get_float32_matmul_precision() == outside
    finally:
        torch.set_float32_matmul_precision(before)


def test_an_error_inside_restores_what_was_set():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ValueError, match="inside"), arithmetic("tf32"):
        raise ValueError("inside")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_training_steps_in_the_precision_of_its_recipe(monkeypatch, precision):
    seen = set()
    advance = training._Run.advance

    def noting(run):
        seen.add(torch.backends.cudnn.allow_tf32)
        return advance(run)

    monkeypatch.setattr(training._Run, "advance", noting)
    values = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    recipe = Recipe(network="linear", epochs=1, precision=precision)
    labels = np.arange(8) % 2
    training.train(Vectors(values), labels, recipe, classes=2, rng=np.random.default_rng(0), device="cpu")
    assert seen == {precision == "tf32"}


class Noting(TorchFunctionMode):
    """Notes in which precision a GPU would make each operation on float32.

    seen: by its name, whether convolutions round, how matrix products do, and whether bf16 is on.
    """

    def __init__(self):
        super().__init__()
        self.seen = defaultdict(set)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float32:
            matmul = torch.get_float32_matmul_precision()
            bf16 = torch.is_autocast_enabled("cpu")
            self.seen[func.__name__].add((torch.backends.cudnn.allow_tf32, matmul, bf16))
        return func(*args, **(kwargs or {}))

    def check(self, network):
        """The matrix products of augmentation are IEEE's, and what networks do is in their precision."""
        assert self.seen["matmul"] == {IEEE}
        assert self.seen["conv2d"] == {network}


PICTURES = Images(
    np.random.default_rng(0).integers(256, size=(40, 3, 16, 16), dtype=np.uint8),
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
)


def crops(precision, images=PICTURES):
    """Train on resized crops that are larger than the images, and look at a test split that is enlarged."""
    labels, rng = np.arange(len(images)) % 4, np.random.default_rng(0)
    recipe = Recipe(
        network="cnn", epochs=3, batch=8, side=20, resized_crop=(0.5, 1.0), flip=True, precision=precision
    )
    return training.train(
        images, labels, recipe, classes=4, rng=rng, device="cpu", test=(images, labels), record=True
    )


@pytest.mark.parametrize("recorded", [False, True])
def test_images_are_cropped_in_ieee_float32_whatever_the_network_computes_in(monkeypatch, recorded):
    """Also where steps are one CUDA graph, which keeps the settings under which it was recorded."""
    if recorded:
        monkeypatch.setattr(replay, "recordable", lambda device: True)
        monkeypatch.setattr(replay, "Replay", pretend_gpu.Replay)
        monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    with Noting() as noted:
        crops("tf32")
    assert not recorded or pretend_gpu.Replay.calls > 0
    noted.check(TF32)
    assert noted.seen["backward"] == {TF32}


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_test_split_is_looked_at_in_the_precision_of_the_recipe(monkeypatch, precision):
    real, seen = training.classify, []

    def classify(*given, **more):
        with Noting() as noted:
            found = real(*given, **more)
        seen.append(noted.seen["conv2d"])
        return found

    monkeypatch.setattr(training, "classify", classify)
    crops(precision)
    assert seen == [{TF32 if precision == "tf32" else IEEE}] * 3


def test_images_of_a_test_are_enlarged_in_ieee_float32_and_seen_in_bf16():
    network = crops("fp32").network
    with Noting() as noted:
        training.classify(network, PICTURES, device="cpu", side=20, precision="bf16")
    noted.check((False, "highest", True))


def test_strong_views_of_fixmatch_are_cropped_in_ieee_float32():
    known = np.where(np.arange(40) % 2, -1, np.arange(40) % 4)
    part = FixMatch(network="cnn", batch=4, mu=2, iterations=3, precision="tf32")
    rng = np.random.default_rng(0)
    training = fixmatch._Run(PICTURES, known, 4, part, fixmatch.FixedThreshold(0.9), rng, side=12)
    with Noting() as noted:
        run(training, None, None)
    noted.check(TF32)


def test_views_of_swav_are_cropped_and_blurred_in_ieee_float32():
    part = Swav(network="cnn", hidden=8, projection=4, epochs=1, batch=8, warmup_epochs=0, precision="tf32")
    training = swav._Run(PICTURES, 6, part, np.random.default_rng(0))
    with Noting() as noted:
        run(training, None, None)
    noted.check(TF32)


def test_a_stage_rests_on_ieee_float32_and_a_change_of_it_is_named():
    with isolated("here") as changed:
        assert torch.backends.cudnn.allow_tf32 is False
        torch.backends.cudnn.allow_tf32 = True
    assert changed == ["torch.backends.cudnn.allow_tf32"]


def test_importing_torch_within_a_stage_changes_nothing():
    """PyTorch itself begins with TF32 allowed, which no part is to blame for."""
    text = (
        "from prunebench.system.isolation import isolated\n"
        "with isolated('a part') as changed:\n    import torch\n"
        "print(changed, torch.backends.cudnn.allow_tf32)"
    )
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("[] False\n", "")
