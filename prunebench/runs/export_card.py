"""A subset as a folder with a dataset card, as Hugging Face keeps datasets."""

from __future__ import annotations

import json
from pathlib import Path

from prunebench.results.rows import line
from prunebench.runs.export import Kept, listed, table
from prunebench.system.escaping import markdown
from prunebench.system.files import write_folder

# The categories that the hub has, by the numbers of rows below which they end.
SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
}
LARGEST = "10M<n<100M"
FIELDS = ("dataset", "fingerprint", "method", "method_key", "ratio", "seed", "suite", "recipe", "tuning")
LABELS = ("labels_selection", "labels_total")
COLUMNS = {
    "index": "of the image, from 0, in the order of the dataset",
    "file": "the name of the image",
    "label": "the number of its class",
    "class": "the name of its class",
    "score": "higher = harder",
}


def write_card(kept: Kept, output: str) -> bool:
    """Write a folder with the subset, its row and a card. Return False if it is up to date already.

    README.md is the card, subset.csv and subset.json are the subset as `export` writes it, rows.jsonl is the
    row of the cell. The images are not in it.

    Raise PrunebenchError if the folder exists with other content.
    """
    subset = table(kept)
    columns = subset.decode().split("\n", 1)[0].split(",")
    files: dict[str, bytes | Path] = {
        "README.md": card(kept, columns).encode(),
        "subset.csv": subset,
        "subset.json": listed(kept),
        "rows.jsonl": line(kept.row.values),
    }
    return write_folder(Path(output).expanduser(), files)


def card(kept: Kept, columns: list[str]) -> str:
    """Return the card. columns: those of subset.csv.

    Source: the metadata of dataset cards, at huggingface.co/docs/hub/datasets-cards.
    """
    manifest = kept.manifest
    images = f"{len(kept.index):,} of {manifest.images:,} training images of {markdown(manifest.dataset)}"
    facts = [*FIELDS, *(f"changes: {path}" for path in manifest.changes), *LABELS]
    values = manifest.model_dump() | {f"changes: {path}": value for path, value in manifest.changes.items()}
    return "\n".join(
        [
            *_front_matter(kept),
            "",
            f"# {images}",
            "",
            f"Chosen by {markdown(manifest.method)}. This folder says which images these are, and has none.",
            "",
            *_markdown_table("column of `subset.csv`", {name: COLUMNS[name] for name in columns}),
            "",
            *_markdown_table("field", {name: str(values[name]) for name in facts}),
            "",
            f"A network that was trained on them has a test accuracy of {kept.row.accuracy:.2f} %. "
            "`rows.jsonl` has the row of that training, and `subset.json` the indices for "
            "`prunebench.load_subset`.",
            "",
        ]
    )


def _front_matter(kept: Kept) -> list[str]:
    """Return the lines of YAML at the top of a card. JSON text is YAML text."""
    name = f"{kept.manifest.dataset}, {len(kept.index)} images by {kept.manifest.method}"
    size = next((name for limit, name in SIZES.items() if len(kept.index) < limit), LARGEST)
    return [
        "---",
        f"pretty_name: {json.dumps(name)}",
        "task_categories: [image-classification]",
        f"size_categories: [{json.dumps(size)}]",
        "tags: [dataset-pruning, coreset, prunebench]",
        "configs:",
        "- config_name: default",
        "  data_files: subset.csv",
        "---",
    ]


def _markdown_table(title: str, rows: dict[str, str]) -> list[str]:
    lines = [f"| {title} | |", "|---|---|"]
    return lines + [f"| {markdown(name)} | {markdown(value)} |" for name, value in rows.items()]
