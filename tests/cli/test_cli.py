"""The command line: what is printed where, and with which exit code."""

import json
import re
import resource
import subprocess
import sys
from dataclasses import dataclass

import pytest
import typer
from PIL import Image

from prunebench.cli.main import app
from prunebench.parts.base import Scorer, Selector
from prunebench.parts.method import Method
from prunebench.parts.registry import CHECKED
from prunebench.pipeline import jobs, matrix
from prunebench.results.render.formats import FORMATS

SHAKY = """
from dataclasses import dataclass
import numpy as np
from prunebench import Method, Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Shaky(Scorer):
    name = "shaky"
    def score(self, images):
        return np.stack([])

@hookimpl
def register_scorers(): return [Shaky]

@hookimpl
def register_methods():
    from prunebench_plugins.selectors.top import Top
    return [Method("shaky", title="Shaky", scorer=Shaky(), selector=Top())]
"""


@pytest.fixture
def run(cli, toy, suite_file):
    """run("--ratios 30") runs the toy suite in this process, or a filtered part of it."""
    path = suite_file()
    return lambda options="": cli(f"run --suite {path} --workers 0 {options}")


def cells(out):
    """Return the lines of finished cells, without their place."""
    return [line.split(None, 1)[1] for line in out.splitlines() if " %  seed " in line]


# Errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("list scores", "no list named 'scores'. Did you mean 'scorers'? See: prunebench list --help"),
        ("check aumm", "no part named 'aumm'. Did you mean 'aum'? See: prunebench list scorers"),
        (
            "check aum:el2n",
            "no kind named 'aum'. Known: backbone, dataset, draw, labeler, scorer, selector. See: ",
        ),
        (
            "check aum --set dual.window=5",
            "--set dual.window: only aum is checked; write --set aum.FIELD=VAL",
        ),
        ("check folder", "dataset 'folder': write it as folder:PATH@PIXELS, such as folder:photos@64"),
        ("run --suite quickstrat", "no suite named 'quickstrat'. Did you mean 'quickstart'? See: prunebench"),
        ("plan --methods duel", "no method named 'duel'. Did you mean 'dual'? See: prunebench list methods"),
        ("plan --datasets digit", "no dataset named 'digit'. Did you mean 'digits'? See: prunebench list"),
        ("plan --ratios 30,100", "--ratios '30,100': expected whole numbers from 0 to 99, with commas"),
        ("plan --ratios ten", "--ratios 'ten': expected whole numbers from 0 to 99, with commas"),
        ("plan --seeds 0", "these options choose no cell; --seeds counts from 1, and a suite needs methods"),
        ("plan --set dual", "--set 'dual': write it as PART.field=value or recipe.field=value"),
        ("plan --device gpu", "device is 'gpu', expected cpu, cuda (a GPU) or auto. See: prunebench doctor"),
        ("leaderboard", "no results under leaderboard/results; run something first, or name --results DIR"),
        (
            "leaderboard --suite quickstart",
            "no results under leaderboard/results; run something first, or name --results DIR",
        ),
        (
            "run --methods random",
            "say on which datasets: --datasets NAME,NAME or, for all that can be had, --datasets all. "
            "See: prunebench list datasets",
        ),
        ("run --suite quickstart --executor rai", "no executor named 'rai'. Did you mean 'ray'?"),
        ("run --suite quickstart --executor-option a", "--executor-option 'a': expected NAME=VALUE, each"),
        ("run --suite quickstart --executor dask --device cuda:1", "--device cuda:1: only --executor local"),
        ("run --methods random --datasets digits --fresh aum", "no part in the chosen cells named 'aum'."),
        (
            "check aum --set aum.windw=3",
            "no field of aum named 'windw'. Known: margin. See: prunebench list scor",
        ),
        (
            "check digits_lt --set digits_lt.factr=1",
            "no field of dataset digits_lt named 'factr'. Did you mean",
        ),
        (
            "plan --set recipe.epoch=3",
            "no field of recipe named 'epoch'. Did you mean 'epochs'? See: docs/suites",
        ),
        ("prnue", "no command named 'prnue'. Did you mean 'prune'? See: prunebench --help"),
        (
            "--foo list",
            "no option of prunebench named '--foo'. Known: --strict, --traceback, --version. See: ",
        ),
        (
            "run --sweet x",
            "no option of prunebench run named '--sweet'. Did you mean '--set'? See: prunebench run --help",
        ),
        ("draw a --output b --labels 1e3", "--labels: '1e3' is no whole number"),
        ("plan --detect much", "--detect: 'much' is no number"),
        ("run --workers -1", "--workers: '-1' is below 0"),
        ("export --dataset digits --output a.csv --ratio 100", "--ratio: '100' is above 99"),
        ("run --suite", "Option '--suite' requires an argument."),
        ("doctor now", "Got unexpected extra argument(s) (now). See: prunebench doctor --help"),
        ("draw a --output b", "prunebench draw needs --labels: "),
        ("push", "prunebench push needs FOLDER: The folder that is shared. See: prunebench push --help"),
        (
            "list",
            "prunebench list needs WHAT: datasets, backbones, labelers, scorers, selectors, draws, methods, "
            "suites, plugins. See: prunebench list --help",
        ),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(cli, line, message):
    told = cli(line)
    assert told.code == 2
    assert told.out == ""
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1


def test_a_bare_command_is_help(cli):
    told = cli("")
    assert (told.code, told.err) == (2, "") and "Usage: prunebench" in told.out


def test_what_a_command_needs_is_explained():
    groups = typer.main.get_command(app).commands.values()
    required = [parameter for command in groups for parameter in command.params if parameter.required]
    assert len(required) > 10 and all(parameter.help for parameter in required)


def test_a_traceback_only_where_it_was_asked_for(cli):
    assert "Traceback" in cli("--traceback list scores").err


def test_version(cli):
    assert cli("--version").out == "prunebench 0.1.0\n"


# Running


def test_without_a_choice_run_says_what_is_here_and_what_to_type(process, tmp_path):
    told = process("run")
    lines = told.out.splitlines()
    assert (told.code, told.err) == (0, "")
    assert lines[0] == "Nothing was run: say what to run. What is here:"
    assert ": digits, " in lines[1] and "of 5" in lines[2]
    assert "  prunebench run --suite quickstart  # real images to a leaderboard, in minutes" in lines
    assert len(lines) <= 15
    assert not (tmp_path / "leaderboard").exists()


def test_run_prints_a_line_per_cell_and_the_table(run, tmp_path):
    told = run()
    assert (told.code, told.err) == (0, "")
    assert [line.split()[:6] for line in cells(told.out)] == [
        ["toy", method, "50", "%", "seed", seed] for method in ("random", "el2n_supervised") for seed in "01"
    ]
    assert told.out.endswith("The whole page: leaderboard/toys.md\n")
    assert "EL2N (all labels)  all labels" in told.out
    page = (tmp_path / "leaderboard" / "toys.md").read_text()
    assert "| EL2N (all labels) | all labels " in page
    rows = (tmp_path / "leaderboard" / "results" / "toys" / "toy" / "random.jsonl").read_text().splitlines()
    assert [json.loads(row)["seed"] for row in rows] == [0, 1]


def test_run_refuses_a_dataset_of_one_class(cli, tmp_path):
    for folder in ("train", "test"):
        (tmp_path / "one" / folder / "ant").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "one" / folder / "ant" / "a.png")
    told = cli(f"run --suite quickstart --methods random --datasets folder:{tmp_path}/one@8 --workers 0")
    assert told.code == 2
    assert told.err.endswith(" has the class 'ant' alone; a network needs two\n")
    assert not (tmp_path / "leaderboard").exists()


def test_run_prints_what_was_asked_for_alone(run, tmp_path):
    """The page has the earlier cells, too."""
    run()
    told = run("--ratios 70 --seeds 2, --methods random")
    (line,) = [line for line in told.out.splitlines() if line.startswith("Random ")]
    assert "70 % pruned" in told.out and "50 % pruned" not in told.out
    assert "seeds" not in line and "EL2N" not in told.out
    page = (tmp_path / "leaderboard" / "toys.md").read_text()
    assert "50 % pruned" in page and "70 % pruned" in page and "EL2N" in page


def test_a_second_run_makes_nothing_and_says_the_same(run, tmp_path, monkeypatch):
    first = run()
    page = (tmp_path / "leaderboard" / "toys.md").read_bytes()
    monkeypatch.setattr(jobs, "run", None)
    again = run()
    assert again.code == 0
    accuracies = [{line.rpartition(" %")[0] for line in cells(told.out)} for told in (first, again)]
    assert accuracies[0] == accuracies[1]
    assert all(line.endswith("stored") for line in cells(again.out))
    assert (tmp_path / "leaderboard" / "toys.md").read_bytes() == page


def test_another_ratio_trains_only_what_it_keeps(run, cli, suite_file):
    run()
    path = suite_file()
    told = cli(f"plan --suite {path} --ratios 50,70")
    assert told.out.splitlines()[-1].startswith("8 cells: 14 stages stored, 8 to make, ")


def test_fresh_makes_a_part_anew_with_what_follows(run):
    run()
    told = run("--fresh el2n")
    assert [line.endswith("stored") for line in sorted(cells(told.out))] == [False, False, True, True]


def test_a_changed_suite_leaves_old_rows_stale(cli, toy, suite_file):
    path = suite_file(more='[method.mine]\nselector = {part = "random", stream = 2}\n')
    cli(f"run --suite {path} --workers 0 --methods mine")
    suite_file(more='[method.mine]\nselector = {part = "random", stream = 3}\n')
    told = cli(f"run --suite {path} --workers 0 --methods random")
    assert "stale: 2 row(s) of mine on toy were made with other settings and are left out" in told.out


def test_a_failed_cell_is_told_and_the_others_are_done(run, offer, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Moody(Selector):
        name = "moody"

        def select(self, images, keep):
            raise ValueError("not today")

    offer(Moody, Method("moody", title="Moody", selector=Moody()))
    told = run("--methods random,moody --seeds 1")
    assert told.code == 1
    assert told.err == "failed: moody toy 50% seed 0: ValueError: not today\n"
    assert "not today" not in told.out
    assert [line.split()[1] for line in cells(told.out)] == ["random"]
    page = (tmp_path / "leaderboard" / "toys.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("| Moody "))
    assert [cell.strip() for cell in line.split("|")] == ["", "Moody", "no labels", "·", ""]
    assert "- failed: 1 cell(s) of moody on toy: ValueError: not today" in page


def test_a_failure_of_a_plugin_has_its_line_and_a_traceback_if_asked_for(cli, toy, suite_file, install):
    install("shaky", SHAKY)
    reason = "ValueError: need at least one array to stack (shaky.py:10)"
    run = f"run --suite {suite_file()} --workers 0 --seeds 1 --methods shaky"
    for line, failed in (
        ("check shaky", f"FAILED  runs: {reason}\n"),
        (run, f"shaky toy 50% seed 0: {reason}\n"),
    ):
        told = cli(line)
        assert told.code == 1 and failed in told.out + told.err
        assert "Traceback" not in told.out + told.err
        told = cli(f"--traceback {line}")
        assert told.err.count("Traceback") == 1 and "in score\n    return np.stack([])" in told.err


@pytest.mark.parametrize("line", ["run", "plan"])
def test_ctrl_c_before_anything_runs(cli, toy, suite_file, monkeypatch, line):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(matrix, "roots_of", interrupt)
    told = cli(f"{line} --suite {suite_file()}")
    assert (told.code, told.out) == (130, "")
    assert "Traceback" not in told.err


def test_a_run_of_which_nothing_comes_is_told_too(run):
    told = run("--methods random --set recipe.network=cmm")
    assert told.code == 1
    failure = "random{recipe.network=cmm} toy 50% seed 0: no network named 'cmm'."
    assert told.err.startswith(f"failed: {failure}")


def test_absent_data_is_one_line_and_a_plan_all_the_same(run, cli, tmp_path, suite_file):
    (tmp_path / "data" / "toy.npy").unlink()
    told = run()
    assert (told.code, told.err) == (2, f"Error: toy is not in {tmp_path / 'data'}: write toy.npy.\n")
    told = cli(f"plan --suite {suite_file()}")
    assert told.code == 0
    assert told.out.startswith(f"absent: toy is not in {tmp_path / 'data'}: write toy.npy. All its stages ")
    assert "4 cells: 0 stages stored, 14 to make, ? of computation" in told.out


def test_a_variant_has_a_file_of_its_own(run, tmp_path):
    run("--methods el2n_supervised --seeds 1 --set el2n.stop=2")
    folder = tmp_path / "leaderboard" / "results" / "toys" / "toy"
    assert [path.name for path in folder.iterdir()] == ["el2n_supervised{el2n.stop=2}.jsonl"]


def test_status_counts(run, cli, suite_file):
    run("--seeds 1")
    told = cli(f"status --suite {suite_file()}")
    *lines, empty, total = told.out.splitlines()
    assert [line.split() for line in lines] == [
        ["dataset", "method", "done", "running", "interrupted", "failed", "left"],
        ["toy", "random", "1", "0", "0", "0", "1"],
        ["toy", "el2n_supervised", "1", "0", "0", "0", "1"],
    ]
    assert empty == ""
    lines = cli(f"status --suite {suite_file()} --methods random,dual").out.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["method", "random"]
    assert lines[2] == "not begun: 1 pair(s) of dataset and method"
    assert cli(f"status --suite {suite_file()} --methods dual").out.startswith("not begun: 1 pair(s) of")
    assert re.fullmatch(r"2 of 4 cells done; 6 of 14 stages to make, about [0-9.]+ s on one worker", total), (
        total
    )


def test_a_store_that_cannot_be_written_is_one_line(cli, toy, suite_file, tmp_path):
    (tmp_path / "file").write_text("")
    told = cli(f"run --suite {suite_file()} --workers 0 --store {tmp_path}/file/store")
    assert told.code == 2
    assert told.err.startswith(f"Error: cannot write {tmp_path}/file/store/")


# Pages


def test_leaderboard_check_fails_after_an_edit(run, cli, tmp_path):
    """A suite of one's own is kept beside its rows, so its file need not be named again."""
    run()
    check = "leaderboard --check"
    assert "leaderboard/README.md" in cli(check).err  # a run writes the page alone, not the index
    cli("leaderboard --figures")
    assert cli(check).out == "up to date: leaderboard/toys.md, leaderboard/README.md\n"
    (tmp_path / "leaderboard" / "toys.md").write_text("mine is better")
    told = cli(check)
    assert told.code == 2
    assert told.err == (
        "Error: not up to date: leaderboard/toys.md; run: prunebench leaderboard --results leaderboard\n"
    )
    cli("leaderboard")
    assert cli(check).code == 0


def test_leaderboard_prints_other_formats_and_writes_nothing(run, cli, tmp_path, monkeypatch):
    run()
    page = tmp_path / "leaderboard" / "toys.md"
    page.write_text("mine")
    (found,) = json.loads(cli("leaderboard --format json").out)
    assert (found["suite"], found["sections"][0]["tables"][0]["title"]) == ("toys", "Accuracy")
    assert cli("leaderboard --format csv").out.startswith("suite,recipe_changes,dataset,recipe,")
    assert "\\toprule" in cli("leaderboard --format latex --suite toys").out
    monkeypatch.setitem(FORMATS, "titles", lambda documents: f"{[one.title for one in documents]}\n")
    assert cli("leaderboard --format titles").out == f"{[found['title']]}\n"
    assert page.read_text() == "mine"
    assert [path.name for path in page.parent.glob("toys*")] == ["toys.md"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format cvs", "no format named 'cvs'. Did you mean 'csv'? See: prunebench leaderboard --help"),
        ("--format csv --check", "--check is about pages, which are markdown; leave out --format csv"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(cli, options, message):
    told = cli(f"leaderboard {options}")
    assert (told.code, told.out, told.err) == (2, "", f"Error: {message}\n")


# Lists


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("scorers", "aum prunebench Area under the margin"),
        ("selectors", "random prunebench Keep images uniformly at random, without replacement. stream=0"),
        ("methods", "random prunebench 0% random Random"),
        ("datasets", "digits prunebench 10 8 "),
        ("suites", "quickstart Quickstart: scikit-learn's digits digits"),
        ("plugins", "prunebench 0.1.0 scorers prunebench_plugins.scorers ok"),
    ],
)
def test_lists(cli, what, line):
    assert any(" ".join(row.split()).startswith(line.strip()) for row in cli(f"list {what}").out.splitlines())


def test_a_list_names_broken_plugins_on_stderr(cli, install):
    install("sick", "import nothing_of_this_name")
    told = cli("list scorers")
    assert told.code == 0 and "aum" in told.out
    assert told.err == "broken plugin sick 1.0: ModuleNotFoundError: No module named 'nothing_of_this_name'\n"


def test_check_passes_and_fails(cli, offer):
    @dataclass(frozen=True, kw_only=True)
    class Careless(Scorer):
        name = "careless"

        def score(self, labels):
            return labels[:-1] / 1

    offer(Careless)
    assert cli("check aum").code == 0
    told = cli("check careless")
    assert told.code == 1
    assert "FAILED  one score per image: shape is (119,), expected (120,)" in told.out


def test_check_of_an_unknown_part_says_why_it_may_be_unknown(cli, install):
    told = cli("check wobble").err
    assert told.endswith("See: prunebench list scorers; is its package installed?\n")
    assert "Known: " not in told  # dozens
    install("sick", "import nothing_of_this_name")
    assert cli("check wobble").err.endswith("(broken plugins: sick; see: prunebench list plugins)\n")


def test_check_takes_datasets_too(cli, toy, tmp_path):
    assert cli("check toy").out.startswith("ok      loads\nok      fields are JSON\n")
    assert "ok      images\n" in cli("check dataset:digits_lt --set digits_lt.factor=0.5").out
    told = cli("check folder:nowhere@8")
    assert told.code == 1
    assert told.out.startswith(f"FAILED  loads: there is no folder {tmp_path}/nowhere; expected train/CLASS/")


def test_doctor_names_what_is_absent(cli, toy, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    told = cli("doctor")
    assert told.code == 0
    assert f"  toy: absent. toy is not in {tmp_path / 'data'}: write toy.npy.\n" in told.out


# What is never loaded

HEAVY = ["torch", "torchvision", "sklearn", "scipy", "pandas"]


def test_no_stage_of_this_very_process_can_be_stopped(cli):
    line = "run --suite quickstart --methods random --ratios 90 --seeds 1 --workers 0 --stage-timeout"
    assert cli(f"{line} 60").err.endswith(
        "Error: --stage-timeout stops worker processes, and --workers 0 has none; use --workers 1 or more\n"
    )
    assert cli(f"{line} -1").err.endswith("Error: --stage-timeout -1: expected seconds, above 0\n")


def test_list_and_a_warm_run_load_nothing_heavy_and_are_quick(process, tmp_path):
    run = "run --suite quickstart --methods random --ratios 90 --seeds 1 --set recipe.epochs=1 --workers 0"
    assert process(run).code == 0
    for line, limit in (("list scorers", 1), (run, 3)):
        script = f"""
import sys
sys.argv = ["prunebench", *{line.split()}]
from prunebench.cli.main import app
try:
    app()
except SystemExit as end:
    assert not end.code
print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
        assert told.stdout.splitlines()[-1] == "loaded: []", told.stderr
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3 * limit  # CPU seconds


@pytest.mark.parametrize("line", ["--help", "--version", "run --help"])
def test_help_loads_neither_numpy_nor_the_parts(line):
    script = f"""
import sys
sys.argv = ["prunebench", *{line.split()}]
from prunebench.cli.main import app
try:
    app()
except SystemExit as end:
    assert not end.code
folders = {{".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("prunebench")}}
print("loaded:", sorted({{"numpy", "pluggy", "safetensors", *{HEAVY}}} & {{*sys.modules}}), *sorted(folders))
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    own = "prunebench prunebench.cli prunebench.errors prunebench.system"
    assert told.stdout.splitlines()[-1] == f"loaded: [] {own}", told.stderr


def test_help_shows_defaults(cli):
    """Whatever stands in brackets within a help text is lost, as rich takes it for markup."""
    shown = " ".join(cli("run --help").out.replace("│", " ").split())
    assert "[default: (standard)]" in shown and "[default: (user cache)]" in shown
    commands = typer.main.get_command(app).commands.values()
    texts = [option.help or "" for command in commands for option in command.params]
    assert len(texts) > 100 and not [text for text in texts if "[" in text]


def test_help_names_all_formats_and_all_kinds_of_parts(cli):
    """It is written out there, as importing them would make every command slower."""
    shown = " ".join(cli("leaderboard --help").out.replace("│", " ").split())
    assert ", ".join(FORMATS) in shown
    assert ", ".join(CHECKED) in " ".join(cli("new --help").out.replace("│", " ").split())


def test_importing_any_module_loads_nothing_heavy():
    """Save networks and their training, which parts and stages import when they run."""
    script = f"""
import importlib, pkgutil, sys
import prunebench
for module in pkgutil.walk_packages(prunebench.__path__, "prunebench."):
    if not module.name.startswith("prunebench.nn."):
        importlib.import_module(module.name)
        assert not (found := [name for name in {HEAVY} if name in sys.modules]), (module.name, found)
importlib.import_module("prunebench.parts.registry").load()
assert not (found := [name for name in {HEAVY} if name in sys.modules]), found
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_a_variant_hides_neither_its_base_nor_other_methods(cli, toy, suite_file):
    run = f"run --suite {suite_file()} --methods random,el2n_supervised --seeds 1 --workers 0"
    variant = cli(f"{run} --set el2n.stop=2").out
    both = cli(run).out
    assert "stale" not in variant + both
    assert [line.split("  ")[0] for line in both.splitlines() if line.startswith(("Random", "EL2N"))] == [
        "Random",
        "EL2N (all labels)",
        "EL2N (all labels){el2n.stop=2}",
    ]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (OSError(5, "Input/output error", "/x"), "OSError: [Errno 5] Input/output error: '/x'"),
        (RecursionError("maximum\ndepth"), "RecursionError: maximum depth"),
        (MemoryError(), "MemoryError"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
def test_an_unexpected_error_is_one_line_that_asks_for_a_report(cli, monkeypatch, problem, said):
    def fail():
        raise problem

    monkeypatch.setattr("prunebench.parts.registry.load", fail)
    told = cli("list scorers")
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"Error: {said}. This is a bug; report it with what prunebench --traceback shows of it.\n"
    )
    assert f", in fail\n    raise problem\n{said.split(':')[0]}" in cli("--traceback list scorers").err
