"""Seeds are added where tie groups are open, by a rule that is fixed before the first look."""

import json

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.results.journal import Journal
from prunebench.results.looks import Looks, compare_all, compare_with
from prunebench.results.separation import LEVEL, compare
from prunebench.runs import until_separated
from prunebench.runs.pages import looks_of, page_of
from tests.results.test_separation import drawn, runs

# The rule


def test_the_looks_share_one_error_rate():
    looks = Looks(3, 10)
    groups = runs(np.arange(20.0).reshape(2, 10))
    seen = [(len(part[0]), level) for part, level in looks.parts(groups)]
    assert [seeds for seeds, _ in seen] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert sum(level for _, level in seen) == pytest.approx(LEVEL)
    assert seen[0][1] == pytest.approx(0.3 * LEVEL)


def test_what_a_look_separated_stays_so_though_only_some_methods_go_on():
    rng = np.random.default_rng(0)
    groups = drawn(rng, 4, 5, spread=0.1, gap=2.0)
    early = compare([{seed: one[seed] for seed in range(3)} for one in groups], LEVEL * 3 / 5)
    assert early.apart[0, 1:].all() and not early.apart[1:, 1:].any()
    groups[0] = {seed: groups[0][seed] for seed in range(3)}  # its tie group was closed
    found = compare_all(groups, Looks(3, 5))
    assert found.apart[0, 1:].all()
    assert compare_with(groups[0], groups[1:], Looks(3, 5)) == [-1, -1, -1]
    assert compare_all(groups, None).apart[0, 1:].all()


def test_equal_methods_are_hardly_ever_separated_by_any_look():
    rng = np.random.default_rng(0)
    boards = [compare_all(drawn(rng, 4, 8), Looks(3, 8)) for _ in range(200)]
    once = [compare(drawn(rng, 4, 8)) for _ in range(200)]
    assert np.mean([found.apart.any() for found in boards]) <= LEVEL
    assert np.mean([found.apart.any() for found in once]) > 0


# The command


@pytest.fixture
def suite(toy, matrix, row, tmp_path, monkeypatch):
    """A matrix of three methods with two seeds, and a function that makes up the accuracies of cells."""
    folder = tmp_path / "leaderboard"
    means = {"random": 90.0, "el2n_supervised": 70.0, "prototypicality_pixels": 80.0, "zcore_pixels": 80.1}
    of_suite = matrix("random", "prototypicality_pixels", "zcore_pixels", seeds=(0, 1))
    made = []

    def run(chosen):
        made.append(sorted((cell.method.name, cell.seed) for cell in chosen.cells))
        for cell in chosen.cells:
            noise = np.random.default_rng([cell.seed, len(cell.method.name)]).normal() / 10
            values = {"method": cell.method.name, "accuracy": means[cell.method.name] + noise}
            Journal(folder).append(row(**values, seed=cell.seed, method_key=cell.method_key))
        return {}

    (folder / "results" / "toys").mkdir(parents=True)
    file = {
        "title": "T",
        "datasets": ["toy"],
        "methods": [*means],
        "ratios": [50],
        "seeds": 2,
        "recipe": "tiny",
    }
    (folder / "results" / "toys" / "suite.json").write_text(json.dumps(file))
    return of_suite, folder, run, made


def test_only_methods_of_open_tie_groups_get_more_seeds(suite):
    matrix, folder, run, made = suite
    looks = until_separated.fixed(matrix, 4, folder)
    assert until_separated.run_until_separated(matrix, looks, folder, run) == {}
    both = ["prototypicality_pixels", "zcore_pixels"]
    assert made[1:] == [[(name, 2) for name in both], [(name, 3) for name in both]]
    assert looks_of("toys", folder) == Looks(2, 4)
    assert page_of("toys", folder).looks == Looks(2, 4)


def test_the_rule_is_fixed_before_the_first_row(suite):
    matrix, folder, _, _ = suite
    until_separated.fixed(matrix, 4, folder)
    until_separated.fixed(matrix, 4, folder)
    with pytest.raises(PrunebenchError, match="fixed the looks at 2 to 4 seeds before the first; keep"):
        until_separated.fixed(matrix, 5, folder)


def test_seeds_that_no_rule_made_are_not_looked_at_afterwards(suite, row):
    matrix, folder, _, _ = suite
    Journal(folder).append(row(seed=2))
    with pytest.raises(PrunebenchError, match="has rows of more than 2 seeds, made by no such rule"):
        until_separated.fixed(matrix, 4, folder)


def test_the_first_look_has_the_seeds_of_the_suite(suite, matrix):
    _, folder, _, _ = suite
    with pytest.raises(
        PrunebenchError, match=r"begins with the seeds of the suite, \[0, 1\]; leave out --seeds"
    ):
        until_separated.fixed(matrix("random", seeds=(0, 1, 2)), 4, folder)


@pytest.mark.parametrize("most", [None, 1, 2])
def test_the_number_of_seeds_is_bounded(suite, most):
    matrix, folder, _, _ = suite
    with pytest.raises(PrunebenchError, match="needs --max-seeds above 2"):
        until_separated.fixed(matrix, most, folder)


def test_a_damaged_rule_is_one_line(suite):
    matrix, folder, _, _ = suite
    until_separated.fixed(matrix, 4, folder)
    (folder / "results" / "toys" / "looks.json").write_text("{}")
    with pytest.raises(PrunebenchError, match=r"looks\.json, which says how seeds were added, is damaged"):
        page_of("toys", folder)


def test_the_command_adds_seeds_and_says_so(cli, toy, suite_file):
    line = f"run --suite {suite_file()} --methods random,k_center_pixels --workers 0"
    found = cli(f"{line} --until-separated --max-seeds 3")
    assert found.code == 0, found.err
    assert "Seed 2: 2 cells of open tie groups, 1 look left." in found.err
    assert "over 3 seeds" in found.out and "Looks at 2 to 3 seeds share one error rate." in found.out
    assert cli(f"{line} --max-seeds 3").err == "Error: --max-seeds belongs to --until-separated\n"
