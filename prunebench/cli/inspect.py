"""The commands `list`, `check` and `doctor`, which show and test the installation."""

from __future__ import annotations

from typing import Annotated

import typer

from prunebench.cli.options import DataOption, DeviceOption, SetOption, StoreOption
from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.registry import KINDS, load
from prunebench.runs.places import folder, pick_device
from prunebench.suites import resolve
from prunebench.system.terminal import echo


def list_(
    what: Annotated[
        str,
        typer.Argument(help="datasets, backbones, labelers, scorers, selectors, methods, suites, plugins"),
    ],
    data: DataOption = None,
) -> None:
    """List what is installed."""
    from prunebench.runs import listing
    from prunebench.runs.format import table

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
        str, typer.Argument(help="The name of a backbone, labeler, scorer or selector, or KIND:NAME.")
    ],
    changes: SetOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Test that an installed part keeps the contract of its kind. Use --set to make a slow part fast."""
    from prunebench.parts import conformance
    from prunebench.parts.identity import change

    kind, _, part = part.rpartition(":")
    fields = {}
    for path, value in dict(map(resolve.parse_change, changes or [])).items():
        changed, _, field = path.partition(".")
        if changed != part:
            raise PrunebenchError(f"--set {path}: only {part} is checked; write --set {part}.FIELD=VALUE")
        fields[field] = value
    parts = []
    names: list[str] = []
    for kinds in ("backbones", "labelers", "scorers", "selectors"):
        singular = kinds.removesuffix("s")
        if kind in ("", singular):
            names += load().found[kinds]
            if part in load().found[kinds]:
                parts.append(change(load().part(singular, part), fields, part))
    if not parts:
        raise unknown("part", part, names, "prunebench list scorers")
    checks = []
    for checked in parts:
        checks += conformance.check(checked, pick_device(device))
    for outcome in checks:
        if outcome.error:
            echo(f"FAILED  {outcome.name}: {outcome.error}")
        else:
            echo(f"ok      {outcome.name}")
    if any(outcome.error for outcome in checks):
        raise typer.Exit(1)


def doctor(data: DataOption = None, store: StoreOption = None) -> None:
    """Show what this machine can run, and what to install for the rest."""
    from prunebench.runs import doctor

    for line in doctor.doctor(load(), folder("data", data), folder("store", store)):
        echo(line)
