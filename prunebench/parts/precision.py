"""The precisions that networks train in, and which device can do which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError, choice

if TYPE_CHECKING:
    import torch

# "tf32" lets a GPU round the factors of convolutions and matrix products to ten bits. A CPU rounds nothing.
PRECISIONS = ("fp32", "tf32", "bf16")


def can_run(precision: str, device: str) -> bool:
    """Whether a device trains faithfully in a precision. A CPU does not in bf16."""
    return precision != "bf16" or device != "cpu"


def check_precision(name: str, value: str, device: str | None = None) -> None:
    """Raise PrunebenchError unless the field `name` is a precision, which the device, if given, can run."""
    choice(name, value, PRECISIONS)
    if device is not None and not can_run(value, device):
        raise PrunebenchError(f"{name} {value!r} needs a CUDA device; on a CPU use 'fp32'")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let a GPU use TF32 if the precision is "tf32", else IEEE float32. Restore what was set before.

    PyTorch's own default is a mixture: convolutions in TF32, matrix products in IEEE float32.
    """
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # "high" would have a CPU round too, if it knows TF32
    cudnn.allow_tf32 = matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def autocast(precision: str, device: str) -> torch.autocast:
    """Return the context in which a forward pass computes in this precision. Compute losses outside it."""
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
