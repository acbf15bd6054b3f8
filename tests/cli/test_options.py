"""The options that commands share."""

import inspect
from dataclasses import fields

import pytest

from prunebench.cli.main import COMMANDS
from prunebench.cli.options import CellOptions, cell_options, pairs, per_gpu
from prunebench.errors import PrunebenchError
from prunebench.suites.cells import Filters

OPTIONS = {field.name for field in fields(CellOptions)}


@cell_options(without=("ratios",))
def toy(options: CellOptions, name: str, count: int = 1) -> None:
    """A command."""
    toy.called = options, name, count


def test_a_command_is_called_with_the_options_as_one_value():
    toy(**dict.fromkeys(OPTIONS - {"ratios", "seeds"}), seeds="3", name="a", count=2)
    options, name, count = toy.called
    assert (options.seeds, options.ratios, name, count) == ("3", None, "a", 2)
    assert options.filters() == Filters(seeds=[0, 1, 2])


@pytest.mark.parametrize(("text", "value"), [(None, None), ("auto", "auto"), ("1", 1), ("12", 12)])
def test_workers_per_gpu(text, value):
    assert per_gpu(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "1000"])
def test_workers_per_gpu_that_are_no_number(text):
    with pytest.raises(
        PrunebenchError, match=f"--workers-per-gpu '{text}': expected a number from 1 to 999, or auto"
    ):
        per_gpu(text)


def test_pairs_of_names_and_values():
    assert pairs("--executor-option", ["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    assert pairs("--executor-option", None) == {}


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a=1", "a=2"]])
def test_pairs_that_are_none(words):
    with pytest.raises(PrunebenchError, match="expected NAME=VALUE, each name once"):
        pairs("--executor-option", words)


def test_required_options_come_first():
    names = list(inspect.signature(toy).parameters)
    assert names == ["name", *(f.name for f in fields(CellOptions) if f.name != "ratios"), "count"]


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("run", set()),
        ("plan", set()),
        ("status", set()),
        ("labels", {"ratios"}),
        ("figures", {"tuning", "repeats", "on_bad"}),
        ("export", {"methods", "datasets", "ratios", "seeds", "on_bad", "device"}),
    ],
)
def test_which_options_a_command_has(command, without):
    parameters = inspect.signature(COMMANDS[command]).parameters
    assert OPTIONS & set(parameters) == OPTIONS - without
    assert "options" not in parameters


def test_options_that_say_which_cells():
    assert CellOptions(device="cpu", store="here", changes=["a.b=1"]).empty
    assert not CellOptions(seeds="1").empty
    assert CellOptions(datasets="all").filters().datasets is None
    with pytest.raises(PrunebenchError, match="--ratios 'ten'"):
        CellOptions(ratios="ten").filters()
