"""What methods of `prune` are worth on folders of photos whose labels are all known.

    python benchmarks/photo_methods.py trash=trash:trash.csv ants=ants:ants.csv --rows worth.jsonl

For each draw, folder and method: `draw` chooses the photos that are labeled first, `prune` those that are
labeled next, `evaluate` trains heads on both and on as many random photos. Each draw of first labels is a
selection of its own, and the unit of the interval. Rows are appended to a file. Those in it are not measured
again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import prunebench
from prunebench.photos.folder import read_labels
from prunebench.results.statistics import mean_interval
from prunebench.system import tables

METHODS = (
    *("random", "probe_aum", "probe_dual", "uncertainty_entropy", "uncertainty_margin"),
    *("prototypicality_efficientnet", "zcore_efficientnet"),
    *("k_center_efficientnet", "facility_location_efficientnet"),
)


@dataclass(frozen=True)
class Photos:
    """A folder of photos with a .csv of all their labels."""

    name: str
    folder: Path
    labels: Path


def main() -> None:
    """Measure what is missing, and print the table."""
    options = parsed()
    rows = Rows(options.rows)
    for draw in range(options.draws):
        for photos in options.photos:
            for method in options.methods.split(","):
                rows.measure(photos, draw, method, options)
    print(table(rows.found))


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("photos", nargs="+", type=named, help="NAME=FOLDER:LABELS.csv")
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas")
    parser.add_argument("--labels", type=int, default=150, help="labeled first")
    parser.add_argument("--budget", type=int, default=450, help="labels in all")
    parser.add_argument("--draws", type=int, default=5, help="of the first labels")
    parser.add_argument("--seeds", type=int, default=4, help="trainings for each draw")
    parser.add_argument("--rows", type=Path, required=True, help="file of what was measured")
    return parser.parse_args()


def named(text: str) -> Photos:
    """Return the photos that NAME=FOLDER:LABELS.csv means."""
    name, _, places = text.partition("=")
    folder, _, labels = places.rpartition(":")
    if not (name and folder and labels):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER:LABELS.csv")
    return Photos(name, Path(folder), Path(labels))


class Rows:
    """What was measured, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.found: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def measure(self, photos: Photos, draw: int, method: str, options: argparse.Namespace) -> None:
        """Measure a method on a draw of first labels, unless that is known."""
        about = {"photos": photos.name, "draw": draw, "method": method}
        about |= {name: getattr(options, name) for name in ("labels", "budget", "seeds")}
        if any(about.items() <= row.items() for row in self.found):
            return
        row = about | measured(photos, draw, method, options)
        self.found.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr)


def measured(photos: Photos, draw: int, method: str, options: argparse.Namespace) -> dict[str, float]:
    """Return the mean accuracy on the kept photos and on as many random ones, in percent."""
    labels = read_labels(photos.labels)
    first = prunebench.draw(photos.folder, options.labels, seed=draw)
    with tempfile.TemporaryDirectory() as folder:
        known, kept = Path(folder, "known.csv"), Path(folder, "kept.csv")
        known.write_text(tables.written(["file", "label"], [[name, labels[name]] for name in first]))
        request = {"budget": options.budget, "method": method, "seed": draw, "workers": 0}
        prunebench.prune(photos.folder, known, **request).to_csv(kept)
        compared = prunebench.evaluate(kept, photos.labels, seeds=options.seeds, workers=0)
    return {"kept": float(np.mean(compared.ours)), "random": float(np.mean(compared.random))}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the differences to Random as Markdown: a line for each method, best mean first.

    Draws that lack a method or a set are left out.
    """
    names = list(dict.fromkeys(row["photos"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    values = {(row["photos"], row["method"], row["draw"]): row["kept"] - row["random"] for row in rows}
    draws = [
        draw
        for draw in sorted({row["draw"] for row in rows})
        if all((name, method, draw) in values for name in names for method in methods)
    ]
    if not draws:
        return "No draw is complete yet."

    def differences(method: str, *chosen: str) -> list[float]:
        """Return the mean difference over the chosen sets, by draw."""
        return [float(np.mean([values[name, method, draw] for name in chosen])) for draw in draws]

    lines = [["method", *names, "mean of the sets"], ["---"] * (len(names) + 2)]
    for method in sorted(methods, key=lambda name: -float(np.mean(differences(name, *names)))):
        cells = [cell(differences(method, *chosen)) for chosen in (*((name,) for name in names), names)]
        lines.append([f"`{method}`", *cells])
    told = f"{len(draws)} draws of first labels"
    return "\n".join([told, "", *(f"| {' | '.join(line)} |" for line in lines)])


def cell(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval, bold if that does not hold 0."""
    mean_of, interval = f"{np.mean(values):+.1f}", mean_interval(values)
    if interval is None:
        return mean_of
    low, high = interval
    decided = "**" if low > 0 or high < 0 else ""
    return f"{decided}{mean_of}{decided} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
