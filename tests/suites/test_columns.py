"""Which test the columns of pages use, as docs/statistics.md counts them."""

import numpy as np
import pytest

from benchmarks.columns import PAGE, PAIRED, WELCH, block_effect, counted, filled


def test_seeds_that_move_all_methods_alike_are_a_block_effect():
    noise = np.random.default_rng(1).normal(size=(5, 4))
    moved = noise + np.array([0.0, 10.0, 20.0, 30.0])
    alone, together = ([dict(enumerate(map(float, runs))) for runs in table] for table in (noise, moved))
    assert block_effect(alone) > 0.05 > 0.001 > block_effect(together)


def test_two_methods_and_two_seeds_have_a_p_that_is_known():
    """F then has one degree of freedom twice, and a closed form."""
    p = block_effect([{0: 0.0, 1: 3.0}, {0: 1.0, 1: 2.0}])
    assert p == pytest.approx(1 - 2 / np.pi * np.arctan(2.0))  # F is 4 / 1


def test_the_counts_in_words():
    assert counted([(PAIRED, 0.01), (PAIRED, 0.5), (WELCH, None)]) == (
        "Of 3 ranked columns on the committed pages, 2 are paired by seed.\n"
        "1 are compared by Welch's t, which is not paired.\n"
        "p of the block effect is below 0.05 in 1 of the 2 paired columns. "
        "Chance alone has it in one of twenty."
    )


def test_the_page_counts_the_committed_rows():
    text = PAGE.read_text(encoding="utf-8")
    assert text == filled(text), "run: python benchmarks/columns.py"
