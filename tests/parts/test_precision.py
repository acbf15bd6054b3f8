"""Which device trains in which precision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.parts.images import Vectors
from prunebench.parts.precision import arithmetic, autocast, can_run, check_precision
from prunebench.parts.recipe import Recipe
from prunebench.system.isolation import isolated


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
