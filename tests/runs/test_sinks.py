"""Who hears of finished cells: plugins, a log file and a tracker, once the row is written."""

from __future__ import annotations

import json
import sys

import pytest

from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.results import record
from prunebench.results.journal import Journal
from prunebench.results.rows import Failure, Record, path_of, read, read_all
from prunebench.runs.run import run_matrix
from prunebench.runs.sinks import Sinks, Tracker, numbers

PLUGIN = """
from pathlib import Path
from prunebench import hookimpl

@hookimpl
def cell_finished(row):
    if row.seed == 1:
        raise ValueError("the server\\nis away")
    with Path("told").open("a") as file:
        file.write(f"{row.method} {row.seed} {row.id}\\n")
"""


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "leaderboard")


@pytest.fixture
def command(cli, toy, suite_file):
    """command("--log x") runs the toy suite in this process."""
    return lambda more="": cli(f"run --suite {suite_file()} --workers 0 {more}")


def ran(matrix, where):
    return run_matrix(matrix, Forecast(), where, Engine(workers=0))


def test_each_new_row_is_told_once_and_is_on_disk_by_then(matrix, journal, tmp_path):
    heard, folder = [], journal.folder

    def listener(row):
        heard.append(row)
        assert row in read(folder, "toys")[0]

    chosen = matrix("random", seeds=[0, 1])
    ran(chosen, Sinks(journal, [("me", listener)]))
    assert [row.seed for row in heard] == [0, 1]
    with pytest.raises(ValueError, match="frozen"):
        heard[0].accuracy = 100.0
    ran(chosen, Sinks(journal, [("me", listener)]))  # all is stored and written
    assert len(heard) == 2
    folder = tmp_path / "other"
    ran(chosen, Sinks(Journal(folder), [("me", listener)]))  # stored, and written elsewhere
    assert len(heard) == 4


def test_a_row_that_is_there_is_not_made_again(matrix, journal, tmp_path, monkeypatch, capsys):
    chosen = matrix("random", seeds=[0, 1])
    ran(chosen, Sinks(journal, []))
    (accuracy, _) = (row.accuracy for row in read(journal.folder, "toys")[0])
    capsys.readouterr()
    monkeypatch.setattr(record, "row", None)
    for again in (journal, Journal(journal.folder)):
        ran(chosen, Sinks(again, []))
        told = capsys.readouterr().out.splitlines()
        assert [line.split()[-3:] for line in told] == [[f"{accuracy:.2f}", "%", "stored"]] * 2
    with pytest.raises(TypeError):
        ran(chosen, Sinks(Journal(tmp_path / "other"), []))


def test_a_row_of_another_training_is_not_taken_for_that_of_this_store(matrix, journal):
    """Such as that of a machine which rounds otherwise: its key is the same."""
    chosen = matrix("random")
    ran(chosen, Sinks(Journal(journal.folder), []))
    (row,) = read(journal.folder, "toys")[0]
    path_of(journal.folder, row).unlink()
    theirs = row.model_copy(update={"accuracy": row.accuracy / 2, "date": "2026-01-01T00:00:00Z"})
    journal.append(theirs)
    ran(chosen, Sinks(Journal(journal.folder), []))
    assert read(journal.folder, "toys")[0] == [theirs, row]


def test_without_files_of_rows_a_row_is_told_when_its_cell_was_made(matrix):
    heard = []
    for _ in range(2):
        ran(matrix("random"), Sinks(None, [("me", lambda row: heard.append(row.method))]))
    assert heard == ["random"]


def test_a_failure_is_written_and_not_told(row, journal, tmp_path):
    heard = []
    record = row().model_dump(include={*Record.model_fields})
    where = Sinks(journal, [("me", lambda row: heard.append(row))])
    where.add(Failure(**record, failed="not today"), made=False)
    assert [found.failed for found in read_all(tmp_path / "leaderboard", "toys").failures] == ["not today"]
    assert heard == []


@pytest.mark.parametrize("error", [ValueError("the server\nis away"), SystemExit(3)])
def test_a_listener_that_fails_loses_no_row_and_is_named_once(matrix, journal, tmp_path, capsys, error):
    heard = []

    def broken(row):
        heard.append(row.seed)
        raise error

    chosen = matrix("random", seeds=[0, 1])
    both = [("the plugin sick", broken), ("me", lambda row: heard.append(row.method))]
    assert ran(chosen, Sinks(journal, both)) == {}
    assert heard == [0, "random", 1, "random"]
    assert len(read(tmp_path / "leaderboard", "toys")[0]) == 2
    what = " ".join(f"{type(error).__name__}: {error}".split())
    line = f"warning: the plugin sick failed on a finished cell: {what}. The run goes on\n"
    assert capsys.readouterr().err == line


def test_a_run_tells_plugins_and_the_log(command, install, tmp_path, monkeypatch):
    install("nosy", PLUGIN)
    told = command("--log logs/all.jsonl")
    assert told.code == 0
    what = "ValueError: the server is away (nosy.py:8). The run goes on"
    assert told.err == f"warning: the plugin nosy failed on a finished cell: {what}\n"
    lines = [json.loads(line) for line in (tmp_path / "logs" / "all.jsonl").read_text().splitlines()]
    rows = {row.id: row for row in read(tmp_path / "leaderboard", "toys")[0]}
    assert [(line["method"], line["seed"]) for line in lines] == [
        (method, seed) for method in ("random", "el2n_supervised") for seed in (0, 1)
    ]
    assert len({line["run"] for line in lines}) == 1
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    for line in lines:
        row = rows[line["id"]]
        assert {name: line[name] for name in row.values} == json.loads(json.dumps(row.values))
    heard = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert heard == [[line["method"], "0", line["id"]] for line in lines if line["seed"] == 0]
    again = command("--log logs/all.jsonl --seeds 3")
    assert again.code == 0
    more = [json.loads(line) for line in (tmp_path / "logs" / "all.jsonl").read_text().splitlines()]
    assert more[:4] == lines
    assert [line["seed"] for line in more[4:]] == [2, 2]
    assert more[4]["run"] != lines[0]["run"]


def test_a_log_that_cannot_be_written_stops_a_run_before_it_begins(command, tmp_path):
    (tmp_path / "folder").mkdir()
    told = command("--log folder")
    assert (told.code, told.out) == (2, "")
    assert told.err == f"Error: cannot write {tmp_path}/folder: Is a directory; choose another --log\n"


def test_a_missing_tracker_is_one_line(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "trackio", None)
    told = command("--track birds --log all.jsonl")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("Error: --track needs trackio (")
    assert told.err.endswith("; run: pip install 'prunebench[trackio]'\n")
    assert not (tmp_path / "all.jsonl").exists()


def test_numbers_are_what_was_measured(row):
    found = numbers(
        row(accuracy=80.0, ratio=30, seconds={"subset": 1.0, "accuracy": 2.0}, quality={"known": 0.5}, seed=7)
    )
    assert found["accuracy"] == 80.0
    assert (found["seconds"], found["seconds/subset"], found["quality/known"]) == (3.0, 1.0, 0.5)
    assert not {"ratio", "seed", "certified", "constant_scores", "date"} & {*found}
    assert all(isinstance(number, int | float) for number in found.values())


class Pretended:
    """A tracker that notes what it is told, and prints as the real one does."""

    def __init__(self):
        self.told = []

    def init(self, **options):
        sys.stdout.write("* Created new run\n")
        self.told.append(("init", options))

    def log(self, metrics, step=None):
        self.told.append((step, metrics))

    def finish(self):
        self.told.append("finish")


def test_a_tracker_gets_a_run_for_each_row(monkeypatch, capsys, row):
    tracker = Pretended()
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    Tracker("birds").cell_finished(row(history=[[5, 70.0], [10, 80.0]], accuracy=80.0))
    (_, options), first, second, (step, last), end = tracker.told
    assert (options["project"], options["group"], options["config"]["ratio"]) == ("birds", "random", 50)
    assert first == (5, {"epoch_accuracy": 70.0})
    assert second == (10, {"epoch_accuracy": 80.0})
    assert (step, last["accuracy"], end) == (None, 80.0, "finish")
    assert capsys.readouterr() == ("", "--track: see the cells with: trackio show --project birds\n")


@pytest.mark.filterwarnings("ignore")  # those of its dependencies
def test_the_real_tracker_keeps_a_row_without_a_network(monkeypatch, tmp_path, row):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    Tracker("birds").cell_finished(row(history=[[5, 70.0]]))
    [run] = trackio.Api().runs("birds")
    assert run.name == "toys toy random 50 % seed 0"
    assert (run.config["ratio"], run.config["label_fraction"]) == (50, 0.0)
