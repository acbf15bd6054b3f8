"""Commands about what is installed: `list`, `check` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from prunebench.cli.options import DataOption, SetOption, StoreOption
from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.registry import KINDS, load
from prunebench.runs.places import folder
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
) -> None:
    """Put an installed part through the contract that every part keeps; --set makes a slow one short."""
    from prunebench.parts import conformance
    from prunebench.parts.identity import change

    kind, _, part = part.rpartition(":")
    given = dict(map(resolve.parse_change, changes or []))
    if strange := [path for path in given if path.partition(".")[0] != part]:
        raise PrunebenchError(f"--set {strange[0]}: only {part} is checked; write --set {part}.FIELD=VALUE")
    fields = {path.partition(".")[2]: value for path, value in given.items()}
    found = [
        change(load().part(kinds.removesuffix("s"), part), fields, part)
        for kinds in ("backbones", "labelers", "scorers", "selectors")
        if part in load().found[kinds] and kind in ("", kinds.removesuffix("s"))
    ]
    if not found:
        everything = [
            name
            for kinds in KINDS
            if kinds not in ("datasets", "methods") and kind in ("", kinds.removesuffix("s"))
            for name in load().found[kinds]
        ]
        raise unknown("part", part, everything, "prunebench list scorers")
    checks = [outcome for one in found for outcome in conformance.check(one)]
    for outcome in checks:
        echo(
            f"{'ok    ' if outcome.error is None else 'FAILED'}  {outcome.name}"
            + (f": {outcome.error}" if outcome.error else "")
        )
    if any(outcome.error for outcome in checks):
        raise typer.Exit(1)


def doctor(data: DataOption = None, store: StoreOption = None) -> None:
    """Show what can run here, and what to install for the rest."""
    from prunebench.runs import doctor

    for line in doctor.doctor(load(), folder("data", data), folder("store", store)):
        echo(line)
