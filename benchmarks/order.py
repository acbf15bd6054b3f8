"""Does a result depend on the order of the images? Writes the tables of docs/order.md.

    prunebench run --suite order
    python benchmarks/order.py

Reads the rows of the suite `order`. It runs each method on the same images in three orders: as shipped,
sorted by class, and shuffled. p comes from a one-way analysis of variance over the three orders. After
correction for the number of methods by Holm's rule, it is small for a method that measures the position of
an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scipy.stats import f_oneway
from tabulate import tabulate

from prunebench.results.rows import Result, read
from prunebench.results.statistics import holm, summarize

BASES = ("digits", "fashion_mnist_tiny")
ORDERS = {"as shipped": "", "by class": "_by_class", "shuffled": "_shuffled"}
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "order.md"
MARKER = "<!-- what follows is made by: python benchmarks/order.py -->"
HEADER = ["method", *ORDERS, "widest gap", "p"]
SIGNIFICANT = 0.05


def tables(rows: Iterable[Result]) -> Iterator[str]:
    """Yield a table in markdown and a sentence for each base dataset with rows in all orders."""
    accuracies: dict[str, dict[str, list[float]]] = {}
    titles: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        accuracies.setdefault(row.method, {}).setdefault(row.dataset, []).append(row.accuracy)
        titles[row.method] = row.title
    for base in BASES:
        names = [base + suffix for suffix in ORDERS.values()]
        groups: dict[str, list[list[float]]] = {}  # method -> the accuracies in each order
        for method, by_dataset in accuracies.items():
            if all(name in by_dataset for name in names):
                groups[method] = [by_dataset[name] for name in names]
        if not groups:
            continue
        methods = list(groups)
        p_values = [f_oneway(*groups[method]).pvalue for method in methods]
        body = []
        for method, p in sorted(zip(methods, p_values, strict=True)):
            body.append([titles[method], *_cells(groups[method]), f"{p:.3f}"])
        corrected = zip(methods, holm(p_values), strict=True)
        dependent = [titles[method] for method, p in corrected if p < SIGNIFICANT]
        yield f"### {base}\n\n{tabulate(body, HEADER, tablefmt='github', disable_numparse=True)}\n"
        yield (
            f"Of {len(methods)} methods, corrected p is below {SIGNIFICANT} for: "
            f"{', '.join(dependent) or 'none'}. The smallest p is {min(p_values):.3f}.\n"
        )


def _cells(groups: Sequence[Sequence[float]]) -> list[str]:
    """Return the mean of each order, and the widest gap between two of them, as text."""
    summaries = [summarize(group) for group in groups]
    means = [summary.mean for summary in summaries]
    return [*map(str, summaries), f"{max(means) - min(means):.1f}"]


def filled(text: str) -> str:
    """Return the text of the page with the tables of the committed rows after the marker."""
    rows, _complaints = read(ROOT / "leaderboard", "order")
    head, _, _ = text.partition(MARKER)
    return head + MARKER + "\n\n" + "\n".join(tables(rows))


def main() -> None:
    """Write the tables into their page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
