"""Any machine: without git, a home, a module of Unix, with homes in paths, with folders of somebody else."""

import builtins
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import prunebench
from prunebench import PrunebenchError
from prunebench.pipeline import jobs
from prunebench.runs.places import folder
from prunebench.system import files

HERE = Path(prunebench.__file__).parent.parent


# The command


@pytest.mark.parametrize("options", [[], ["-P"], ["-OO"], ["-u"]], ids=" ".join)
def test_the_module_is_the_command(tmp_path, options):
    command = [sys.executable, *options, "-m", "prunebench", "--version"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "prunebench 0.1.0\n", "")


# Git


@pytest.fixture
def git(tmp_path, monkeypatch):
    """git("exit 128") puts a git that does this first on the path; None: there is no git at all."""
    monkeypatch.setattr(jobs, "GIT_SECONDS", 0.5)
    jobs.commit.cache_clear()

    def put(does):
        path = tmp_path / "bin" / "git"
        path.parent.mkdir()
        if does is not None:
            path.write_text(f"#!/bin/sh\n{does}\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/bin:/usr/bin" if does else str(path.parent))
        return path

    yield put
    jobs.commit.cache_clear()


@pytest.mark.parametrize(
    "does", [None, "exit 128", "sleep 60", "echo fatal: not a commit", "kill -9 $$", r"printf '\377'"]
)
def test_a_git_that_does_not_tell_leaves_the_commit_unknown(git, does):
    git(does)
    assert jobs.commit() is None


@pytest.mark.parametrize("kind", ["folder", "not executable"])
def test_so_does_what_is_only_called_git(git, monkeypatch, kind):
    path = git(None)
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("#!/bin/sh\n")
    assert jobs.commit() is None


@pytest.mark.skipif(not (HERE / ".git").exists(), reason="no checkout")
def test_the_commit_is_that_of_our_own_tree(git, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path / "other"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))  # as in a hook
    assert re.fullmatch(r"[0-9a-f]{40}", jobs.commit())


def test_without_git_a_stage_is_stored_all_the_same(git, matrix, make):
    git(None)
    made = make(matrix("random"))
    assert made.failures == {}
    assert [row.commit for row in made.rows] == [None]


# Modules that Windows lacks


@pytest.fixture
def windows(monkeypatch):
    """Hide what Python has on Unix alone."""
    real = builtins.__import__

    def importing(name, *more):
        if name in ("resource", "pwd", "grp", "termios"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", importing)
    for name in ("sched_getaffinity", "statvfs", "getuid", "register_at_fork"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: SimpleNamespace(free=2**30)
    )  # Windows has its own


def test_without_the_module_resource_a_stage_is_stored_without_its_memory(windows, matrix, make, store):
    made = make(matrix("random"))
    assert made.failures == {}
    assert [store.manifest(stage.key)["peak_bytes"] for stage in made.stages] == [None, None]


@pytest.mark.parametrize("line", ["list scorers", "doctor", "plan --suite quickstart"])
def test_without_what_unix_has_commands_work(windows, cli, line):
    told = cli(line)
    assert (told.code, told.err) == (0, "")


# Homes


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """The home of whoever runs these tests, in a folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PRUNEBENCH_STORE", "PRUNEBENCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "data").rename(tmp_path / "home" / "data")
    return tmp_path / "home"


def made(tmp_path):
    """Return the names of all files and folders that are not in the home."""
    return {path.name for path in tmp_path.iterdir()} - {"home"}


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ("--store ~/store --data ~/data --results ~/res", {}),
        ("--store=~/store --data=~/data --results=~/res", {}),
        ("--results ~/res", {"PRUNEBENCH_STORE": "~/store", "PRUNEBENCH_DATA": "~/data"}),
        ("--store ~{user}/store --data ~{user}/data --results ~{user}/res", {}),
        ("--results ~/res --data ~/data", {"XDG_CACHE_HOME": "~/cache"}),
    ],
)
def test_a_tilde_is_the_home(cli, toy, suite_file, at_home, tmp_path, monkeypatch, options, variables):
    entry = pwd.getpwuid(os.getuid())
    fields = [*entry[:5], str(at_home), entry.pw_shell]
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: pwd.struct_passwd(fields))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    suite = Path(suite_file()).rename(at_home / "toys.toml").name
    line = f"run --suite ~/{suite} --workers 0 --seeds 1 --methods random {options}"
    assert cli(line.replace("{user}", entry.pw_name)).code == 0
    assert made(tmp_path) == set()
    assert (at_home / "res" / "toys.md").exists()
    store = at_home / "cache" / "prunebench" / "store" if "XDG_CACHE_HOME" in variables else at_home / "store"
    assert len([*store.glob("??/*/manifest.json")]) == 2


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("list datasets --data ~nobody_here/data", "~nobody_here/data"),
        ("leaderboard --results ~nobody_here/lb", "~nobody_here/lb"),
        ("plan --suite ~nobody_here/s.toml", "~nobody_here/s.toml"),
        ("draw ~nobody_here/photos --labels 5 --output a.csv", "~nobody_here/photos"),
    ],
)
def test_a_home_of_nobody_is_one_line(cli, line, path):
    told = cli(line)
    assert told.err == (f"Error: {path}: there is no home folder ~nobody_here here; write the whole path\n")
    assert told.code == 2


@pytest.fixture
def homeless(monkeypatch):
    """A user with neither HOME nor an entry among the users, as in a container."""

    def nobody(_who):
        raise KeyError("no such user")

    for name in ("HOME", "PRUNEBENCH_STORE", "PRUNEBENCH_DATA", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, name, nobody)


def test_without_a_home_it_says_which_folders_to_name(homeless, cli):
    told = cli("plan --suite quickstart")
    assert (told.code, told.out) == (2, "")
    message = "this user has no home folder for a cache; choose folders with --store and --data"
    assert told.err == f"Error: {message}\n"
    assert cli("plan --suite quickstart --store s --data d").code == 0
    assert cli("list scorers").code == 0


def test_a_cache_that_cannot_be_made_is_one_line(cli, toy, suite_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("PRUNEBENCH_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told = cli(f"run --suite {suite_file()} --workers 0")
    assert told.code == 2 and told.err.startswith(f"Error: cannot write {tmp_path}/file/prunebench/store")
    assert told.err.endswith("; choose another --store\n") and told.err.count("\n") == 1


# Folders of somebody else


@pytest.mark.parametrize("blocked", [".", "results", "results/toys", "results/toys/toy"])
def test_results_that_cannot_be_written_are_told_before_any_work(
    cli, toy, suite_file, tmp_path, monkeypatch, blocked
):
    """Root may write everywhere, so a file stands where a folder has to be."""
    path = tmp_path / "lb" / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    monkeypatch.setattr(jobs, "run", None)
    told = cli(f"run --suite {suite_file()} --workers 0 --results lb")
    assert told.code == 2 and told.err.startswith("Error: cannot write ")
    assert told.err.endswith("; choose another --results\n") and told.err.count("\n") == 1


def test_a_folder_of_another_user_is_told_and_nothing_left_in_it(tmp_path, monkeypatch):
    files.check_folder(tmp_path / "to" / "be" / "made", "--results")
    assert list(tmp_path.iterdir()) == []

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PrunebenchError, match=r"^cannot write .*/lb: Permission denied; choose another --"):
        files.check_folder(tmp_path / "lb", "--results")


def test_a_name_that_is_too_long_is_one_line(cli, toy, suite_file):
    told = cli(f"run --suite {suite_file()} --workers 0 --results {'x' * 300}")
    assert told.code == 2 and told.err.endswith(": File name too long; choose another --results\n")


# Working folders


def test_no_plugin_can_move_the_folders(toy, cli, suite_file, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    path = suite_file()
    before = jobs.run

    def wandering(*arguments):
        os.chdir(tmp_path / "elsewhere")
        before(*arguments)

    monkeypatch.setattr(jobs, "run", wandering)
    line = f"run --suite {path} --workers 0 --seeds 1 --methods random --store s --results r --data data"
    assert cli(line).code == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "r" / "toys.md").exists()


def test_a_working_folder_that_is_gone_is_one_line(cli, tmp_path, monkeypatch):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    told = cli("leaderboard --results lb")
    assert (told.code, told.err) == (2, "Error: lb: the working folder is gone; write the whole path\n")


def test_folders_from_python_and_the_environment_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNEBENCH_STORE", "mine")
    assert folder("store") == tmp_path / "mine"
    assert folder("store", "given") == tmp_path / "given"
    monkeypatch.delenv("PRUNEBENCH_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert folder("store") == tmp_path / "cache" / "prunebench" / "store"
