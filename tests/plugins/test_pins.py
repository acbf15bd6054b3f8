"""Built-in parts are keyed by their `version`, not by their code: an output that changes needs a new one.

`python -m tests.plugins.test_pins` writes pins.json anew, once a version was bumped.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prunebench.parts.artefacts import PseudoLabels
from prunebench.parts.problem import synthetic_problem
from tests.plugins.brief import BRIEF, READY, brief

PINS = Path(__file__).parent / "pins.json"


def pin(kind: str, name: str) -> dict[str, Any]:
    """Return a part's version and what it computes on the synthetic problem.

    Networks differ in the last digits between processors: of theirs the labels are kept, or the means of
    some coordinates; of all others a hash of four digits.
    """
    part = brief(kind, name)
    part = part.at(70) if hasattr(part, "at") else part
    result = getattr(part, part.method)(**synthetic_problem().inputs(part))
    values = np.asarray(result.values if isinstance(result, PseudoLabels) else result)
    if (kind, name) in BRIEF:
        return {
            "version": part.version,
            "output": (values if values.ndim == 1 else values.mean(0)[:16]).tolist(),
        }
    # Four digits, which other processors agree on, and no negative zero.
    rounded = np.char.mod("%.3e", values.astype(np.float64) + 0.0)
    digest = hashlib.sha256("".join(rounded.flat).encode()).hexdigest()[:16]
    return {"version": part.version, "output": digest}


def same(before: Any, now: Any) -> bool:
    """Whether two outputs are equal as far as processors agree."""
    if isinstance(now, str) or len(before) != len(now):
        return bool(before == now)
    if isinstance(now[0], int):
        return float(np.mean(np.equal(before, now))) > 0.95
    return bool(np.allclose(before, now, rtol=1e-2, atol=1e-3))


@pytest.mark.new_torch
@pytest.mark.parametrize(("kind", "name"), READY)
def test_a_changed_output_has_a_new_version(kind: str, name: str) -> None:
    pinned = json.loads(PINS.read_text())
    assert f"{kind}/{name}" in pinned, "a new part: run python -m tests.plugins.test_pins"
    before, now = pinned[f"{kind}/{name}"], pin(kind, name)
    if before["version"] == now["version"]:
        assert same(before["output"], now["output"]), f"{name} computes something else: bump its version"
    assert before["version"] == now["version"], "run python -m tests.plugins.test_pins"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    pins = {f"{kind}/{name}": pin(kind, name) for kind, name in READY}
    PINS.write_text(
        "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in pins.items()) + "\n}\n"
    )
