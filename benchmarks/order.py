"""Does a result depend on the order of the images? The table of docs/order.md.

    prunebench run --suite order
    python benchmarks/order.py

Reads the rows of the suite `order`: each method on the same images as shipped, sorted by class and
shuffled. p is that of one-way analysis of variance over the three orders, corrected for the number of
methods by Holm's rule. A method that measures the position of an image has a small one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scipy.stats import f_oneway
from tabulate import tabulate

from prunebench import results
from prunebench.results import Result
from prunebench.statistics import summarise

BASES = ("digits", "fashion_mnist_tiny")
ORDERS = {"as shipped": "", "by class": "_by_class", "shuffled": "_shuffled"}
HEADER = ["method", *ORDERS, "widest gap", "p"]
SIGNIFICANT = 0.05


def tables(rows: Iterable[Result]) -> Iterator[str]:
    """Yield a table in markdown for each base dataset that all orders have rows of, and a sentence on it."""
    accuracies: dict[str, dict[str, list[float]]] = {}
    titles: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        accuracies.setdefault(row.method, {}).setdefault(row.dataset, []).append(row.accuracy)
        titles[row.method] = row.title
    for base in BASES:
        names = [base + suffix for suffix in ORDERS.values()]
        methods = [method for method, found in accuracies.items() if all(name in found for name in names)]
        if not methods:
            continue
        groups = {method: [accuracies[method][name] for name in names] for method in methods}
        adjusted = dict(zip(methods, holm([f_oneway(*groups[m]).pvalue for m in methods]), strict=True))
        body = [
            [titles[method], *_cells(groups[method]), f"{adjusted[method]:.2f}"] for method in sorted(methods)
        ]
        dependent = [titles[method] for method in methods if adjusted[method] < SIGNIFICANT]
        verdict = f"below {SIGNIFICANT}: {', '.join(dependent) or 'none'}"
        yield f"### {base}\n\n{tabulate(body, HEADER, tablefmt='github', disable_numparse=True)}\n"
        yield f"{len(methods)} methods. p {verdict}; the smallest is {min(adjusted.values()):.2f}.\n"


def _cells(groups: Sequence[Sequence[float]]) -> list[str]:
    summaries = [summarise(group) for group in groups]
    means = [summary.mean for summary in summaries]
    return [*map(str, summaries), f"{max(means) - min(means):.1f}"]


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's rule (S. Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def main() -> None:
    """Print the tables."""
    folder = Path(__file__).parent.parent / "leaderboard"
    rows, complaints = results.read(folder, "order")
    sys.stderr.writelines(f"{complaint}\n" for complaint in complaints)
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
