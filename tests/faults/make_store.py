"""Writes the store that later versions have to read or set aside.

Run `python -m tests.faults.make_store` where SCHEMA is new.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from prunebench.parts.artefacts import Accuracy, Artefact, Labels, Scores, Subset
from prunebench.pipeline.store import SCHEMA, Store, key
from tests.faults.toys import put

STORES = Path(__file__).parent / "stores"
KINDS: dict[str, type[Artefact]] = {cls.__name__: cls for cls in (Labels, Scores, Subset, Accuracy)}
WRITTEN = [
    Labels(values=[0, 1, -1, 2], annotated=[True, True, False, False], confidences=[1.0, 1.0, 0.0, 0.5]),
    Scores(values=[0.5, -1.0, 2.25, 0.0]),
    Subset(images=4, index=[1, 2]),
    Accuracy(
        predictions=[0, 1, 1],
        accuracy=66.5,
        best_accuracy=70.0,
        balanced_accuracy=66.0,
        worst_decile_recall=50.0,
        history=[[1, 60.0], [2, 66.5]],
        kept_per_class=[1, 1, 0],
    ),
]


def plain(artefact: Artefact) -> dict[str, Any]:
    """Return the values of an artefact as JSON has them."""
    arrays, values = artefact.arrays()
    return {name: array.tolist() for name, array in arrays.items()} | values


def main() -> None:
    """Write the store of the present schema."""
    folder = STORES / f"schema{SCHEMA}"
    written = {}
    for artefact in WRITTEN:
        kind = type(artefact).__name__
        own = key(kind, 1, {}, {})
        put(Store(folder), own, artefact, {"kind": kind.lower(), "inputs": {}, "seconds": 0.1})
        written[own] = [kind, plain(artefact)]
    (folder / "written.json").write_text(json.dumps(written, indent=1) + "\n")
    for aside in ("leases", "making"):
        shutil.rmtree(folder / aside, ignore_errors=True)


if __name__ == "__main__":
    main()
