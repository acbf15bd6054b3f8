"""The commands `list`, `check` and `doctor`, which show and test the installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench.cli.options import DataOption, DeviceOption, SetOption, StoreOption, parsed
from prunebench.errors import PrunebenchError, unknown
from prunebench.system import terminal
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.parts.base import Part
    from prunebench.parts.dataset import Dataset


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="datasets, backbones, labelers, scorers, selectors, draws, methods, suites, plugins"
        ),
    ],
    data: DataOption = None,
) -> None:
    """List what is installed."""
    from prunebench.parts.registry import KINDS, load
    from prunebench.runs import listing
    from prunebench.runs.format import table
    from prunebench.runs.places import folder

    if what not in (*KINDS, "suites", "plugins"):
        raise unknown("list", what, [*KINDS, "suites", "plugins"], "prunebench list --help")
    header, rows = listing.rows(what, load(), lambda: folder("data", data))
    echo(table(rows, header))
    if what != "plugins":
        for plugin in load().plugins:
            if plugin.error:
                echo(f"broken plugin {plugin.distribution} {plugin.release}: {plugin.error}", err=True)


def check(
    part: Annotated[
        str,
        typer.Argument(help="A backbone, labeler, scorer, selector, draw or dataset: NAME or KIND:NAME."),
    ],
    changes: SetOption = None,
    device: DeviceOption = "cpu",
    data: DataOption = None,
) -> None:
    """Test that an installed part or dataset keeps its contract. Use --set to make a slow part fast."""
    from prunebench.parts import conformance, dataset_conformance
    from prunebench.parts.dataset import Dataset
    from prunebench.runs.places import folder, pick_device

    checks = []
    for checked in _chosen(part, changes or []):
        if isinstance(checked, Dataset):
            checks += dataset_conformance.check(checked, folder("data", data))
        else:
            checks += conformance.check(checked, pick_device(device))
    for outcome in checks:
        if outcome.error:
            echo(f"FAILED  {outcome.name}: {outcome.error}")
            if terminal.state["traceback"]:
                echo(outcome.trace.rstrip(), err=True)
        else:
            echo(f"ok      {outcome.name}")
    if any(outcome.error for outcome in checks):
        raise typer.Exit(1)


def _chosen(given: str, changes: list[str]) -> list[Part | Dataset]:
    """Return the parts and datasets that NAME, KIND:NAME or FAMILY:PATH@PIXELS stands for, with --set."""
    from prunebench.parts.identity import change
    from prunebench.parts.registry import load

    kinds, name = _kinds_and_name(given)
    registered = name.partition(":")[0]
    values = _values(registered, changes)
    chosen: list[Part | Dataset] = []
    for kind in kinds:
        if registered not in load().found[f"{kind}s"]:
            continue
        if kind == "dataset":
            chosen.append(load().dataset({"of": name, **values}))
        else:
            chosen.append(change(load().part(kind, name), values, name))
    if not chosen:
        names = {other for kind in kinds for other in load().found[f"{kind}s"]}
        hint = load().broken() or "; is its package installed?"
        raise unknown("part", name, names, f"prunebench list scorers{hint}")
    return chosen


def _kinds_and_name(given: str) -> tuple[tuple[str, ...], str]:
    """Return the kinds that may be meant, and the name. Raise PrunebenchError for an unknown kind."""
    from prunebench.parts.registry import CHECKED, load

    kind, colon, name = given.partition(":")
    if not colon:
        return CHECKED, given
    if kind in CHECKED:
        return (kind,), name
    if kind in load().found["datasets"]:
        return ("dataset",), given
    raise unknown("kind", kind, CHECKED, "prunebench check --help")


def _values(name: str, changes: list[str]) -> dict[str, Any]:
    """Return the values of --set by field. Raise PrunebenchError if one is of another part."""
    values = {}
    for path, value in parsed(changes).items():
        changed, _, field = path.partition(".")
        if changed != name:
            raise PrunebenchError(f"--set {path}: only {name} is checked; write --set {name}.FIELD=VALUE")
        values[field] = value
    return values


def doctor(data: DataOption = None, store: StoreOption = None) -> None:
    """Show what this machine can run, and what to install for the rest."""
    from prunebench.parts.registry import load
    from prunebench.runs import doctor
    from prunebench.runs.places import folder

    for line in doctor.doctor(load(), folder("data", data), folder("store", store)):
        echo(line)
