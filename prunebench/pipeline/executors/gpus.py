"""The GPUs that this process may use."""

from __future__ import annotations

import os


def visible() -> tuple[str, ...]:
    """Return the GPUs that this process may use, in torch's order, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else list(map(str, range(count)))
    return tuple(name.strip() for name in names[:count])
