"""Sentences on where methods lose: what seeds support, what they do not, and what was never run."""

import pytest

from prunebench.results.board import Page, boards
from prunebench.results.document import document
from prunebench.results.losses import sentences
from prunebench.results.render.markdown import markdown

FEW = {"label_fraction": 0.1, "label_draw": "uniform", "labels_selection": 6, "labels_total": 35}
ALL = {"label_fraction": 1.0, "labels_selection": 64, "labels_total": 64}
NOT_RUN = ["Random with as many labels was not run.", "Random trained as long was not run."]
NOISE = (0.0, 0.3, -0.3)  # of seeds, which all methods share in part


@pytest.fixture
def board(row):
    """board({(method, ratio): mean}, {method: {...}}, ...) is a board with three seeds of each cell."""

    def made(means, fields, seeds=3, **page):
        rows = [
            row(
                method=method,
                ratio=ratio,
                seed=seed,
                accuracy=mean + NOISE[seed] + 0.1 * ((place + seed) % 3),
                **fields.get(method, {}),
            )
            for place, ((method, ratio), mean) in enumerate(means.items())
            for seed in range(seeds)
        ]
        (found,) = boards(Page("toys", "Toys", "", [30, 90], range(3), rows, **page))
        return found

    return made


def told(board):
    """Return the sentences without those on what was not run."""
    return [sentence for sentence in sentences(board) if sentence not in NOT_RUN]


def matched(method):
    return {"reference": True, "matched_to": method}


SEMI = {"semi_aum": FEW, "random_matched{semi_aum}": matched("semi_aum")}


def test_a_loss_is_told_by_ratio_and_a_gap_that_seeds_do_not_separate_is_not_called_one(board):
    means = {("semi_aum", 30): 89.9, ("semi_aum", 90): 70.0, ("random", 30): 90.0, ("random", 90): 85.0}
    means |= {("random_matched{semi_aum}", 30): 90.1, ("random_matched{semi_aum}", 90): 86.0}
    assert told(board(means, SEMI)) == [
        "Semi_Aum is worse than Random with as many labels by 16.0 points at 90 % pruned; below it, but not "
        "separated, by 0.2 points at 30 %."
    ]


def test_a_method_that_is_nowhere_below_is_named(board):
    means = {("semi_aum", 90): 90.0, ("random_matched{semi_aum}", 90): 86.0}
    assert told(board(means, SEMI)) == ["Nowhere below Random with as many labels: Semi_Aum."]


def test_a_single_seed_makes_no_loss(board, row):
    means = {("semi_aum", 90): 70.0, ("random_matched{semi_aum}", 90): 86.0}
    rows = [one for one in board(means, SEMI).rows if one.seed == 0]
    (alone,) = boards(Page("toys", "Toys", "", [90], [0], rows))
    assert told(alone) == [
        "Semi_Aum is below Random with as many labels by 16.1 points at 90 % pruned, not separated."
    ]


def test_random_that_was_not_run_beats_nobody_and_is_named(board):
    assert sentences(board({("semi_aum", 90): 70.0}, SEMI)) == NOT_RUN
    timed = {"reference": True, "matched_to": "semi_aum", "matched_in": "work"}
    means = {("semi_aum", 90): 70.0, ("random_timed{semi_aum}", 90): 86.0}
    assert sentences(board(means, {**SEMI, "random_timed{semi_aum}": timed})) == [
        NOT_RUN[0],
        "Semi_Aum is worse than Random trained as long by 16.0 points at 90 % pruned.",
    ]
    assert sentences(board({("near", 90): 70.0, ("random", 90): 80.0}, {})) == NOT_RUN[1:]
    assert sentences(board({("random", 90): 80.0}, {})) == []  # which is as long as itself


def test_fixmatchs_own_network_is_compared_at_every_ratio_with_methods_of_its_labels(board):
    means = {("semi_aum", 30): 90.0, ("semi_aum", 90): 70.0, ("other", 90): 60.0, ("ssl_model", 90): 80.0}
    own = {**FEW, "reference": True, "title": "FixMatch's own network"}
    found = told(board(means, {**SEMI, "ssl_model": own, "other": {**FEW, "label_fraction": 0.2}}))
    assert found == ["Semi_Aum is worse than FixMatch's own network by 10.0 points at 90 % pruned."]


def test_methods_are_compared_with_their_probe(board):
    means = {
        ("semi_aum", 90): 70.0,
        ("probe_aum", 90): 75.0,
        ("semi_dual", 90): 75.0,
        ("probe_dual", 90): 70.0,
    }
    found = told(board(means, dict.fromkeys(["semi_aum", "probe_aum", "semi_dual", "probe_dual"], FEW)))
    assert found == [
        "Semi_Aum is worse than the same with a linear probe for FixMatch by 5.0 points at 90 % pruned.",
        "Nowhere below the same with a linear probe for FixMatch: Semi_Dual.",
    ]


def test_methods_with_all_labels_are_counted_against_all_images(board):
    means = {("el2n", 30): 90.0, ("el2n", 90): 40.0, ("aum", 30): 90.1, ("aum", 90): 60.0, ("full", 0): 90.0}
    fields = {"el2n": ALL, "aum": ALL, "full": {"reference": True, "kept": 64}}
    assert told(board(means, fields)) == [
        "Of 2 methods that need all labels, worse than a training on all images: "
        "0 at 30 and 2 at 90 % pruned."
    ]


def test_a_ratio_at_which_nothing_was_compared_counts_no_losses(board):
    means = {("el2n", 30): 90.0, ("aum", 30): 90.1, ("full", 0): 90.0}
    fields = {"el2n": ALL, "aum": ALL, "full": {"reference": True, "kept": 64}}
    assert told(board(means, fields)) == [
        "Of 2 methods that need all labels, worse than a training on all images: 0 at 30 % pruned."
    ]


def test_values_chosen_on_the_test_split_lose_to_nobody(board):
    means = {("semi_aum", 90): 70.0, ("random_matched{semi_aum}", 90): 86.0}
    fields = {name: {**of, "tuning": "oracle_test"} for name, of in SEMI.items()}
    assert sentences(board(means, fields)) == []


def test_a_page_has_them_below_its_accuracies_and_titles_stay_text(board):
    fields = {**SEMI, "semi_aum": {**FEW, "title": "<b>Semi"}}
    means = {("semi_aum", 90): 70.0, ("random_matched{semi_aum}", 90): 86.0}
    page = markdown([document(board(means, fields).page)])
    assert page.index("### Accuracy") < page.index("### In words") < page.index("### Equal labels")
    assert r"- \<b>Semi is worse" in page
