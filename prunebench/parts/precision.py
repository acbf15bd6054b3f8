"""The precisions that networks train in, and which device can do which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError, choice

if TYPE_CHECKING:
    import torch


def can_run(precision: str, device: str) -> bool:
    """Whether a device trains faithfully in a precision: a CPU does so in fp32 alone."""
    return precision == "fp32" or device != "cpu"


def check_precision(name: str, value: str, device: str | None = None) -> None:
    """Raise PrunebenchError unless the field `name` is a precision, which the device, if given, can run."""
    choice(name, value, ("fp32", "bf16"))
    if device is not None and not can_run(value, device):
        raise PrunebenchError(f"{name} {value!r} needs a CUDA device; on a CPU use 'fp32'")


def autocast(precision: str, device: str) -> torch.autocast:
    """Return the context in which a forward pass computes in this precision. Compute losses outside it."""
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
