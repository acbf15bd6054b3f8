"""Named random streams: every random number comes from (root seed, stream name, repeat).

A stream never depends on method, ratio or dataset, so that work can be shared between them and
compared with common random numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

ROOT_SEED = 0


def stream(name: str, repeat: int) -> np.random.Generator:
    """Return the generator of the stream `name` in repeat `repeat`, always the same one."""
    digest = hashlib.sha256(f"{ROOT_SEED}/{name}/{repeat}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def torch_generator(rng: np.random.Generator, device: str = "cpu") -> torch.Generator:
    """Return a torch generator on `device`, seeded by the next draw of `rng`."""
    import torch

    return torch.Generator(device=device).manual_seed(int(rng.integers(2**63)))
