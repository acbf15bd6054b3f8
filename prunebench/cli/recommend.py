"""The command `recommend`: how many labels of a folder of photos are enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import DataOption, DeviceOption, StoreOption, WorkersOption, file_option, split
from prunebench.cli.photos import (
    Clock,
    DuplicatesOption,
    FolderArgument,
    GroupsOption,
    KnownOption,
    OnBadOption,
    QuickOption,
    SideOption,
    outcome,
    unpacked,
    warn,
    warn_of_older,
)
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.photos.recommend import Recommendation


def recommend(
    folder: FolderArgument,
    known: KnownOption,
    target: Annotated[
        float | None, typer.Option("--target", help="The accuracy to reach, in percent.")
    ] = None,
    gain: Annotated[
        float,
        typer.Option("--gain", help="Points that twice the labels must bring to be worth it."),
    ] = 1.0,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="The number of random splits.")] = 10,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Compared with Random; or none.",
            show_default="probe_aum and facility location",
        ),
    ] = None,
    recipe: QuickOption = "quick",
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="The source of all embeddings.", show_default="that of the recipe"),
    ] = None,
    side: SideOption = None,
    on_bad: OnBadOption = "fail",
    duplicates: DuplicatesOption = "keep-one",
    groups: GroupsOption = None,
    output: Annotated[
        Path | None, file_option("--output", help="A .csv of the learning curve to write.")
    ] = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
) -> None:
    """Say how many images to label, from the labels there are, and whether choosing them is worth it."""
    from prunebench.photos import folder as photos
    from prunebench.photos.cost import STORED
    from prunebench.photos.recommend import COLUMNS, default_methods, recommend

    folder = unpacked(folder, data)
    if output is not None:
        photos.check_outside(folder, output, "--output")
        photos.check_writable(output)
        photos.rows_there(output, COLUMNS)
    clock = Clock()

    def tell(told: str, advice: str) -> None:
        clock.tell(told, advice)
        if output is not None and told != STORED:
            warn_of_older(output)

    found = recommend(
        folder,
        known,
        target=target,
        gain=gain,
        seeds=seeds,
        methods=default_methods() if methods is None else [] if methods == "none" else split(methods) or [],
        recipe=recipe,
        backbone=backbone,
        side=side,
        on_bad=on_bad,
        duplicates=duplicates,
        groups=groups,
        device=device,
        store=store,
        data=data,
        workers=workers,
        tell=tell,
    )
    clock.stop()
    _show(found)
    warn(found.warnings)
    if output is not None:
        echo(f"{outcome(found.to_csv(output), output)}: the learning curve")


def _show(found: Recommendation) -> None:
    """Print the learning curve, then the answer and the contests in words."""
    from prunebench.runs.format import table

    beside = f", beside {found.passed:,} that others stand for" if found.passed else ""
    echo(
        f"{found.labeled:,} of {found.images:,} images in {found.folder} have a label{beside}; trained: "
        f"{found.networks}\n"
    )
    rows = [
        (
            f"{point.labels:,}",
            f"{point.accuracy.value:.1f}",
            f"{point.accuracy.low:.1f} to {point.accuracy.high:.1f}",
            "measured" if point.measured else "predicted",
        )
        for point in found.points
    ]
    echo(table(rows, ["labels", "accuracy, %", "95 % interval", ""]))
    echo(f"\n{found.answer}")
    for contest in found.contests:
        echo(contest.verdict)
