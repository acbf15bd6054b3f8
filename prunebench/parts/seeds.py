"""Named random streams: every random number comes from (root seed, stream name, repeat).

A stream never depends on method, ratio or dataset. So methods can share work, and their results compare
under common random numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

ROOT_SEED = 0


def stream(name: str, repeat: int) -> np.random.Generator:
    """Return a new generator at the start of the stream `name` of repeat `repeat`."""
    digest = hashlib.sha256(f"{ROOT_SEED}/{name}/{repeat}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def torch_generator(rng: np.random.Generator, device: str = "cpu") -> torch.Generator:
    """Return a torch generator on `device`, seeded by the next draw of `rng`."""
    import torch

    return torch.Generator(device=device).manual_seed(int(rng.integers(2**63)))
