"""Built-in parts are keyed by their `version`, not by their code: an output that changes needs a new one.

`python -m tests.plugins.test_pins` writes pins.json anew, once a version was bumped.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from prunebench.artefacts import Labels
from prunebench.conformance import synthetic_problem
from prunebench.parts import Part
from prunebench.registry import load

PINS = Path(__file__).parent / "pins.json"
BUILT_IN = [
    (kind, name)
    for (kind, name), owner in sorted(load().owners.items())
    if owner == "prunebench" and kind in ("backbones", "labelers", "scorers", "selectors")
]


def pin(kind: str, name: str) -> dict[str, int | str]:
    """Return a part's version and a hash of what it computes at its defaults on the synthetic problem."""
    part: Part = load().part(kind.removesuffix("s"), name)
    part = part.at(70) if hasattr(part, "at") else part
    result = getattr(part, part.method)(**synthetic_problem().inputs(part))
    values = np.asarray(result.values if isinstance(result, Labels) else result)
    # Four digits, which other processors agree on, and no negative zero.
    rounded = np.char.mod("%.3e", values.astype(np.float64) + 0.0)
    return {
        "version": part.version,
        "output": hashlib.sha256("".join(rounded.flat).encode()).hexdigest()[:16],
    }


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_changed_output_has_a_new_version(kind: str, name: str) -> None:
    pinned = json.loads(PINS.read_text())
    assert f"{kind}/{name}" in pinned, "a new part: run python -m tests.plugins.test_pins"
    before, now = pinned[f"{kind}/{name}"], pin(kind, name)
    if before["version"] == now["version"]:
        assert before["output"] == now["output"], f"{name} computes something else: bump its version"
    assert before == now, "run python -m tests.plugins.test_pins"


if __name__ == "__main__":
    PINS.write_text(json.dumps({f"{k}/{n}": pin(k, n) for k, n in BUILT_IN}, indent=1) + "\n")
