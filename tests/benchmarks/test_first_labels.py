"""The comparison of draws gives each of them all that it asks for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.first_labels import drawn
from prunebench.parts.registry import load


@pytest.mark.parametrize("name", load().found["draws"])
def test_a_draw_draws_as_many_images_as_the_command_would(name: str) -> None:
    draw = load().part("draw", {"part": name})
    embeddings = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    assert len(np.unique(drawn(draw, embeddings, 10, seed=0))) == 10  # type: ignore[arg-type]
