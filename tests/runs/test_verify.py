"""Verifying: honest rows agree, forged ones differ, and whatever cannot be made again says why."""

import json

import pytest

from prunebench.results.rows import line, read
from prunebench.results.verifications import read as read_verifications
from prunebench.runs import verify
from prunebench.runs.run import Certificates
from prunebench.runs.verify import (
    AGREES,
    DIFFERS,
    LEFT,
    NEAR,
    UNDECIDED,
    judged,
    rows_in,
    sampled,
)

# The rule


@pytest.mark.parametrize(
    ("row_says", "word"),
    [
        ({}, AGREES),
        ({"accuracy": 81.0}, DIFFERS),
        ({"accuracy": 81.0, "device_name": "another"}, UNDECIDED),  # no tolerance is known
        ({"accuracy": 81.0, "versions": {"torch": "1"}}, UNDECIDED),
        ({"accuracy": 81.0, "device_name": "another", "accuracy_key": "older"}, LEFT),
        ({"device_name": "another"}, AGREES),
        ({"accuracy": 81.0, "accuracy_key": "older"}, LEFT),
        ({"accuracy_key": "older"}, AGREES),
        ({"accuracy_key": "older", "images": 12}, DIFFERS),  # no excuse for what is counted
        ({"labels_total": 12}, DIFFERS),
        ({"labels_total": 12, "device_name": "another"}, AGREES),  # another subset, perhaps
        ({"labels_selection": 3, "device_name": "another"}, DIFFERS),  # no rounding changes it
        ({"date": "earlier", "seconds": {}, "commit": "c", "title": "T"}, AGREES),
    ],
)
def test_a_row_is_judged_by_what_its_machine_can_repeat(row, row_says, word):
    assert judged(row(**row_says), row()).word == word


@pytest.mark.parametrize(("points", "word"), [(0.25, AGREES), (0.35, DIFFERS)])
def test_a_gpu_agrees_within_the_tolerance_of_rows(row, points, word):
    there = row(device="cuda", accuracy=80 + points, balanced_accuracy=1.0)
    assert judged(there, row(device="cuda"), tolerance=0.3).word == word


@pytest.mark.parametrize("here", ["cpu", "cuda"])
def test_a_row_that_names_another_gpu_agrees_only_if_it_is_equal(row, here):
    there = row(device="cuda", device_name="another")
    again = row(device=here, accuracy=80.25)
    assert judged(there, again, tolerance=0.3).word == NEAR
    assert judged(there, row(device=here), tolerance=0.3).word == AGREES


ELSEWHERE = [{"device_name": "another"}, {"versions": {"torch": "1"}}]


@pytest.mark.parametrize("machine", ELSEWHERE)
@pytest.mark.parametrize(("points", "word"), [(0.25, NEAR), (-0.25, NEAR), (0.35, DIFFERS), (-0.35, DIFFERS)])
def test_another_machine_agrees_within_the_tolerance(row, machine, points, word):
    there = row(accuracy=80 + points, kept_per_class=[7, 9, 8, 8], **machine)
    assert judged(there, row(), tolerance=0.3).word == word


@pytest.mark.parametrize(("kept", "word"), [([8, 8, 8, 8], DIFFERS), ([7, 9, 8, 8], UNDECIDED)])
def test_seeds_of_the_training_alone_judge_the_same_subset_alone(row, kept, word):
    there = row(accuracy=81.0, device_name="another", repeats="training", kept_per_class=kept)
    assert judged(there, row(repeats="training"), tolerance=0.3).word == word


CONTRADICTIONS = {
    "accuracy 81.0, and 80.0 at the end of its history": {"accuracy": 81.0},
    "best_accuracy 82.0, which is not the best": {"best_accuracy": 82.0},
    "best_accuracy 79.0, which is not the best": {"best_accuracy": 79.0, "history": []},
}


@pytest.mark.parametrize(("why", "forged"), CONTRADICTIONS.items())
def test_a_row_that_contradicts_itself_differs_on_every_machine(row, why, forged):
    honest = {"device_name": "another", "history": [[5, 81.0], [10, 80.0]]}
    assert judged(row(**honest), row(), tolerance=3).word == AGREES
    verdict = judged(row(**honest | forged), row(), tolerance=3)
    assert (verdict.word, verdict.why) == (DIFFERS, why)


def seeds(row, method, step, **values):
    """Return the rows of three seeds that lie so many points apart."""
    return [row(method=method, seed=seed, accuracy=80 + step * seed, **values) for seed in (0, 1, 2)]


def test_forged_rows_of_several_methods_do_not_widen_what_they_are_judged_by(row):
    forged = [*seeds(row, "one", 9.0), *seeds(row, "other", 8.0)]
    made = [*seeds(row, "one", 0.1), *seeds(row, "other", 0.1)]
    (one,) = verify._tolerances(forged, forged, made)["one"].values()
    assert one < 1


def test_rows_that_are_not_judged_widen_no_other_row_of_their_method(row):
    near, far = seeds(row, "near", 0.1), seeds(row, "far", 9.0)
    within = verify._tolerances(far[:1], [*near, *far], made=[])
    (limit,) = within["far"].values()
    assert limit < 1
    (limit,) = verify._tolerances(far[:1], far, made=[])["far"].values()  # there is no other spread
    assert limit > 9


def test_a_verdict_says_what_differs(row):
    assert judged(row(labels_total=12), row(), None).why == "labels_total 12, here 32"
    there = row(device_name="another", accuracy=80.5)
    assert judged(there, row()).why == (
        "other machine: 0.50 points apart; no two seeds of one method show what chance does"
    )
    assert judged(there, row(), None, 0.7).why == "other machine: 0.50 points apart, at most 0.70 by chance"
    assert judged(
        row(**ELSEWHERE[0], repeats="proxy", accuracy=80.5, kept_per_class=[32]), row(repeats="proxy")
    ).why == (
        "other machine: 0.50 points apart; other images were kept, and no seed repeats the whole pipeline"
    )
    doubted = judged(row(certified=True), row(), "not certified: it looks")
    assert (doubted.word, doubted.why) == (DIFFERS, "it says certified; here not certified: it looks")


# The command


@pytest.fixture
def ran(toy, suite_file, cli, tmp_path):
    """The folder of results of a small toy suite: two rows of Random, trained for one epoch."""
    path = suite_file()
    assert cli(f"run --suite {path} --methods random --set recipe.epochs=1 --workers 0").code == 0
    return tmp_path / "leaderboard"


def rewrite(folder, **values):
    """Write other values into the first row, with a checksum that fits."""
    (path,) = folder.glob("results/*/*/*.jsonl")
    first, *others = path.read_bytes().splitlines(keepends=True)
    changed = {**json.loads(first), **values}
    del changed["check"]
    path.write_bytes(b"".join([line(changed), *others]))


def verdicts(found):
    """Return the verdicts that a command printed."""
    at = found.out.index("verdict")
    return [line[at:].split("  ")[0].strip() for line in found.out.splitlines()[1:-2]]


def test_honest_rows_agree_and_nothing_is_kept(ran, cli, tmp_path):
    before = {path: path.read_bytes() for path in ran.rglob("*") if path.is_file()}
    stored = sorted((tmp_path / "store").rglob("*"))
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (0, ["agrees", "agrees"])
    assert found.out.endswith("\n2 agrees, 0 within tolerance, 0 differs, 0 undecided, 0 cannot be remade\n")
    assert {path: path.read_bytes() for path in ran.rglob("*") if path.is_file()} == before
    assert sorted((tmp_path / "store").rglob("*")) == stored


@pytest.mark.parametrize("machine", [{}, *ELSEWHERE])
def test_a_forged_row_is_caught(ran, cli, machine):
    """Whoever says to have made it: the history of its training still has the accuracy that was."""
    accuracy = read(ran, "toys")[0][0].accuracy
    rewrite(ran, accuracy=accuracy + 1, **machine)
    found = cli("verify leaderboard/results/toys --workers 0")
    assert (found.code, verdicts(found)) == (1, ["differs", "agrees"])
    assert found.out.splitlines()[1].split()[2:6] == ["50", "0", f"{accuracy + 1:.2f}", f"{accuracy:.2f}"]


@pytest.fixture
def ran_seeds(toy, suite_file, cli, tmp_path):
    """As `ran`, with two methods and four seeds of each. The rows say that another machine made them."""
    path = suite_file()
    line = f"run --suite {path} --methods random,random_twin --seeds 4 --set recipe.epochs=3 --workers 0"
    assert cli(line).code == 0
    for file in tmp_path.glob("leaderboard/results/*/*/*.jsonl"):
        values = [json.loads(text) for text in file.read_bytes().splitlines()]
        file.write_bytes(b"".join(moved(one) for one in values))
    return tmp_path / "leaderboard"


def moved(values, **changes):
    """Return a line of a row of another machine, with other values."""
    values = {**values, "device_name": "another", **changes}
    del values["check"]
    return line(values)


def test_honest_rows_of_another_machine_agree(ran_seeds, cli):
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (0, ["agrees"] * 8)


def test_forged_rows_of_another_machine_and_of_several_methods_are_caught(ran_seeds, cli):
    """The forged rows are consistent, and their seeds lie far apart."""
    for file in ran_seeds.glob("results/*/*/*.jsonl"):
        values = [json.loads(text) for text in file.read_bytes().splitlines()]
        for one in values[:2]:
            accuracy = 100.0 if one["accuracy"] < 50 else 0.0
            one |= {"accuracy": accuracy, "best_accuracy": accuracy, "history": []}
        file.write_bytes(b"".join(map(moved, values)))
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (1, ["differs", "differs", "agrees", "agrees"] * 2)
    assert "points apart, at most" in found.out


def test_a_row_that_was_edited_without_its_checksum_is_no_row(ran, cli):
    (path,) = ran.glob("results/*/*/*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"seed": 1', b'"seed": 7'))
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (1, ["agrees"])
    assert found.err.endswith(".jsonl: 1 damaged line(s), 0 row(s) of a newer version\n")


CANNOT = [
    ({"protocol_version": 0}, "other version: protocol 0, here 1"),
    ({"method_key": "older"}, "other key: suite or parts have other settings or code here"),
    ({"dataset_hash": "e" * 64}, "other data: toy has other content here"),
    ({"method": "margin_std", "changes": {}}, "missing: no method named 'margin_std'."),
    ({"dataset": "folder-mine-64-abc"}, "missing: no dataset named 'folder-mine-64-abc'."),
    ({"suite": "gone"}, "no suite named 'gone'."),
]


def test_a_row_that_cannot_be_made_again_says_why(ran, cli, tmp_path):
    row = read(ran, "toys")[0][0]
    lines = [line({**row.values, **values}) for values, _ in CANNOT]
    (tmp_path / "sent.jsonl").write_bytes(b"".join(lines))
    found = cli("verify sent.jsonl --workers 0")
    assert (found.code, verdicts(found)) == (0, ["cannot be remade"] * len(CANNOT))
    for text, (_, why) in zip(found.out.splitlines()[1:], CANNOT, strict=False):
        assert f"cannot be remade  {why}" in text


def test_a_row_that_says_certified_is_certified_again(ran, cli, monkeypatch):
    rewrite(ran, certified=True)

    def caught(matrix, *_):
        (cell,) = matrix.cells
        return Certificates(caught={cell: "not certified: it looks"})

    monkeypatch.setattr(verify, "certificates_of", caught)
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (1, ["differs", "agrees"])
    assert "differs    it says certified; here not certified: it looks\n" in found.out
    monkeypatch.setattr(verify, "certificates_of", lambda matrix, *_: Certificates(certified=matrix.cells))
    assert cli("verify --suite toys --workers 0").code == 0


def test_rows_of_each_rung_agree(toy, suite_file, cli):
    path = suite_file(more='repeats = ["pipeline", "training"]\n')
    line = f"run --suite {path} --methods random --set recipe.epochs=1 --workers 0"
    assert cli(line).code == 0
    found = cli("verify --suite toys --workers 0")
    assert (found.code, verdicts(found)) == (0, ["agrees"] * 4)


def test_absent_data_is_told(ran, cli, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    found = cli("verify --suite toys --sample 1 --workers 0")
    assert "cannot be remade  missing data: toy is not in" in found.out


def test_a_verification_is_recorded_and_counted_on_the_page(ran, cli):
    rewrite(ran, accuracy=1.0)
    found = cli("verify --suite toys --workers 0 --record")
    assert found.out.endswith("recorded 1 of them in leaderboard/results\n")
    (verified,), _ = read_verifications(ran, "toys")
    _forged, honest = read(ran, "toys")[0]
    assert (verified.row, verified.accuracy) == (honest.id, honest.accuracy)
    cli("leaderboard")
    assert "Of 2 cells, 0 have a certified row and 1 a verified one." in (ran / "toys.md").read_text()


def test_rows_that_are_nowhere_are_not_recorded(ran, cli, tmp_path):
    (path,) = ran.glob("results/*/*/*.jsonl")
    path.rename(tmp_path / "sent.jsonl")
    found = cli("verify sent.jsonl --workers 0 --record")
    assert (found.code, verdicts(found)) == (2, ["agrees"] * 2)
    assert found.err.endswith(
        "--record: a row of random{recipe.epochs=1} is not in leaderboard/results; add it there first\n"
    )


@pytest.mark.parametrize("line", ["verify", "verify rows.jsonl --suite toys"])
def test_the_command_asks_which_rows(cli, line):
    assert cli(line).err.startswith("Error: say which rows: a .jsonl file, a folder, or --suite NAME")


def test_a_file_without_rows_is_told(cli, tmp_path):
    assert cli("verify rows.jsonl").err.startswith("Error: no rows in rows.jsonl, which does not exist;")
    (tmp_path / "rows.jsonl").touch()
    assert cli("verify rows.jsonl").err.startswith("Error: no rows in rows.jsonl;")


def test_a_sample_is_the_same_for_the_same_seed(row):
    rows = [row(seed=seed) for seed in range(20)]
    assert sampled(rows, None, 0) == sampled(rows, 30, 0) == rows
    some = sampled(rows, 5, 1)
    assert len(some) == 5 and some == sorted(some, key=lambda one: one.seed)
    assert some == sampled(rows, 5, 1) != sampled(rows, 5, 2)


def test_rows_that_are_superseded_are_left_out(row, tmp_path):
    wrong = row(accuracy=1.0)
    right = row(supersedes=wrong.id)
    (tmp_path / "rows.jsonl").write_bytes(line(wrong.values) + line(right.values))
    assert rows_in(tmp_path).rows == [right]
