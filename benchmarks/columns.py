"""Which test do the columns of the committed pages use? Writes a paragraph of docs/statistics.md.

    python benchmarks/columns.py

A column is one ratio of one board. It is ranked if at least two methods without all labels have all seeds
there, and their spread is known. p of the block effect is of F, the mean square of the seeds over that of the
residuals, in a randomized block design of the ranked methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import f as f_distribution

from prunebench.results.board import boards
from prunebench.results.rows import suites
from prunebench.results.separation import Runs
from prunebench.runs.pages import page_of

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "statistics.md"
BEGIN = "<!-- what follows is made by: python benchmarks/columns.py -->"
END = "<!-- what was made by benchmarks/columns.py ends here -->"
LEVEL = 0.05
PAIRED, OTHER_SEEDS, WELCH = "one spread, blocks", "one spread, other seeds", "Welch"


def tests_of(folder: Path) -> Iterator[tuple[str, float | None]]:
    """Yield the test of each ranked column of all pages, and p of its block effect.

    Only PAIRED has p: the others have no blocks, or spreads that differ, for which its test does not hold.
    """
    for name in suites(folder):
        for board in boards(page_of(name, folder)):
            for ratio, ranking in board.rankings.items():
                if ranking.comparison is None:
                    continue
                groups = [*board.ranked(ratio).values()]
                if not ranking.comparison.pooled:
                    yield WELCH, None
                elif any(runs.keys() != groups[0].keys() for runs in groups):
                    yield OTHER_SEEDS, None
                else:
                    yield PAIRED, block_effect(groups)


def block_effect(groups: Sequence[Runs]) -> float:
    """Return p of the seeds that all groups share, in a randomized block design."""
    table = np.array([[runs[seed] for seed in sorted(groups[0])] for runs in groups])
    methods, seeds = table.shape
    means = table.mean(axis=0)
    residuals = table - table.mean(axis=1, keepdims=True) - means + table.mean()
    between = methods * np.sum((means - table.mean()) ** 2) / (seeds - 1)
    within = np.sum(residuals**2) / ((methods - 1) * (seeds - 1))
    return float(f_distribution.sf(between / within, seeds - 1, (methods - 1) * (seeds - 1)))


def counted(found: Iterable[tuple[str, float | None]]) -> str:
    """Return in words how many columns use which test, and in how many of the paired ones seeds count."""
    columns = [*found]
    counts = Counter(kind for kind, _ in columns)
    p_values = [p for _, p in columns if p is not None]
    lines = [
        f"Of {len(columns)} ranked columns on the committed pages, {counts[PAIRED]} are paired by seed.",
        f"{counts[WELCH]} are compared by Welch's t, which is not paired.",
    ]
    if counts[OTHER_SEEDS]:
        lines.append(f"{counts[OTHER_SEEDS]} have one spread, but not the same seeds for all methods.")
    lines.append(
        f"p of the block effect is below {LEVEL} in {sum(p < LEVEL for p in p_values)} of the "
        f"{len(p_values)} paired columns. Chance alone has it in one of twenty."
    )
    return "\n".join(lines)


def filled(text: str) -> str:
    """Return the text of the page with the counts of the committed rows between the marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{counted(tests_of(ROOT / 'leaderboard'))}\n\n{END}{tail}"


def main() -> None:
    """Write the counts into their page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
