"""Which device trains in which precision."""

from __future__ import annotations

import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.parts.precision import autocast, can_run, check_precision


@pytest.mark.parametrize(("precision", "device"), [("fp32", "cpu"), ("fp32", "cuda"), ("bf16", "cuda")])
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
    with pytest.raises(PrunebenchError, match=r"recipe\.precision is 'fp16', expected 'fp32' or 'bf16'"):
        check_precision("recipe.precision", "fp16", "cuda")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_passes_compute_in_it(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 2)
    with autocast(precision, "cpu"):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32
