"""Commands for your own photos: draw, prune and evaluate."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import (
    DataOption,
    DeviceOption,
    SetOption,
    StoreOption,
    WorkersOption,
    file_option,
)
from prunebench.errors import PrunebenchError
from prunebench.suites import resolve
from prunebench.system.files import home, write_new
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.photos.estimate import Preview
    from prunebench.photos.evaluate import Comparison
    from prunebench.photos.prune import Pruned
    from prunebench.photos.request import Workplace

FolderArgument = Annotated[
    Path, typer.Argument(parser=home, help="Your images, at whatever depth. Nothing is written in it.")
]
OutputOption = Annotated[Path, file_option("--output", help="The .csv to write. None is written over.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Another seed, another draw.")]
OnBadOption = Annotated[str, typer.Option("--on-bad", help="Images that cannot be read: fail or skip.")]
SideOption = Annotated[int, typer.Option("--side", min=8, help="Pixels to which images are shrunk.")]
QuickOption = Annotated[str, typer.Option("--recipe", help="How networks are trained.")]


def draw(
    folder: FolderArgument,
    labels: Annotated[int, typer.Option("--labels", help="How many images you are going to label.")],
    output: OutputOption,
    seed: SeedOption = 0,
    on_bad: OnBadOption = "fail",
    data: DataOption = None,
) -> None:
    """Choose which of your images to label first: a uniform draw, into a .csv with the labels to fill in."""
    from prunebench.photos import folder as photos
    from prunebench.photos import prune as pruning
    from prunebench.system import tables

    photos.check_outside(folder, output, "--output")
    photos.check_writable(output)
    chosen = pruning.draw(folder, labels, seed, on_bad=on_bad, data=data)
    table = tables.written(["file", "label"], [[name, ""] for name in chosen])
    written = write_new(output, table.encode())
    _warn(filter(None, [photos.survey(folder).remark]))
    echo(f"{_said(written, output)}: {len(chosen):,} images to label; fill in the column label")


def prune(
    folder: FolderArgument,
    known: Annotated[list[Path], file_option("--known", help="A .csv with the columns file and label.")],
    output: OutputOption,
    budget: Annotated[
        int | None, typer.Option("--budget", help="Labels in all: those known, and those to buy.")
    ] = None,
    ratio: Annotated[
        int | None, typer.Option("--ratio", help="Instead: the percent of images to drop.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="As in: prunebench list methods. What is paid is always kept.")
    ] = "probe_aum",
    recipe: QuickOption = "quick",
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Where embeddings come from. [default: as method and recipe]"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", help="How many there are, where the labels do not show all.")
    ] = None,
    side: SideOption = 64,
    seed: SeedOption = 0,
    on_bad: OnBadOption = "fail",
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Go on after the costs were shown.")] = False,
) -> None:
    """Choose which images are worth a label, where a few have one. First shows what it costs."""
    from prunebench.photos import folder as photos
    from prunebench.photos.estimate import preview
    from prunebench.photos.prune import make
    from prunebench.photos.request import Request, Workplace

    photos.check_outside(folder, output, "--output")
    photos.check_writable(output)
    request = Request(
        folder=folder,
        known=_one("--known", known),
        budget=budget,
        ratio=ratio,
        method=method,
        recipe=recipe,
        backbone=backbone,
        classes=classes,
        side=side,
        seed=seed,
        on_bad=on_bad,
        changes=dict(map(resolve.parse_change, changes or [])),
    )
    place = Workplace.at(store, data, device)
    found = preview(request, place)
    _show_preview(found, folder, place)
    if output.exists() and not found.stored:
        echo(f"warning: {output} exists; what says something else is not written over it", err=True)
    if not (yes or found.stored) and not _asked():
        echo("\nNothing was made. The same command with --yes goes on.")
        raise typer.Exit(1)
    pruned = make(request, place, 1 if workers is None else workers)
    _show_pruned(pruned, output)
    if pruned.left_out:
        echo(f"warning: {pruned.left_out:,} image(s) cannot be read and are left out", err=True)


def evaluate(
    kept: Annotated[Path, typer.Argument(parser=home, help="The .csv that prunebench prune wrote.")],
    labels: Annotated[
        list[Path], file_option("--labels", help="A .csv with the labels of all kept images, and of others.")
    ],
    holdout: Annotated[
        float, typer.Option("--holdout", help="Share of the labelled images to test on, in 0..1.")
    ] = 0.1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many trainings of each.")] = 10,
    folder: Annotated[
        Path | None, file_option("--folder", help="Where the images are. [default: as for prune]")
    ] = None,
    side: Annotated[
        int | None,
        typer.Option("--side", min=8, help="Pixels to which images are shrunk. [default: as for prune]"),
    ] = None,
    recipe: QuickOption = "quick",
    on_bad: Annotated[
        str | None, typer.Option("--on-bad", help="Images that cannot be read. [default: as for prune]")
    ] = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
) -> None:
    """Train on the kept images, and on as many drawn at random, and say which did better."""
    from prunebench.photos.evaluate import evaluate

    found = evaluate(
        kept,
        _one("--labels", labels),
        folder=folder,
        holdout=holdout,
        seeds=seeds,
        side=side,
        recipe=recipe,
        on_bad=on_bad,
        device=device,
        store=store,
        data=data,
        workers=workers,
    )
    _show_comparison(found)
    _warn(found.warnings)


def _one(option: str, paths: list[Path]) -> Path:
    """Return the one path that an option was given; of two, nobody knows which was meant."""
    if len(paths) > 1:
        raise PrunebenchError(f"{option} is given {len(paths)} times; put all labels into one .csv")
    return paths[0]


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def _said(written: bool, output: Path) -> str:
    return f"wrote {output}" if written else f"{output} says so already"


def _asked() -> bool:
    """Ask a person whether to go on; where there is none, do not."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("\nGo on? [y/N]: ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False


def _show_preview(found: Preview, folder: Path, place: Workplace) -> None:
    from prunebench.photos.estimate import free
    from prunebench.photos.folder import some
    from prunebench.runs.format import table

    seen = [f"{some([name])} {count:,}" for name, count in found.classes.items()]
    shown = ", ".join(seen[:10]) + (", ..." if len(seen) > 10 else "")
    roots = [place.store.root, place.data]
    room = min(map(free, roots))
    hours = (
        f"{found.seconds / 3600:.2g} on {place.device}, one worker"
        if not found.stored
        else "0, all is stored"
    )
    untold = f", and what cannot be told before: {', '.join(found.untold)}" if found.untold else ""
    lines = [
        ("images", f"{found.images:,} in {folder}"),
        ("classes", f"{len(seen)}: {shown}"),
        ("labels paid", f"{found.paid:,}, all kept"),
        ("labels to buy", f"{found.keep - found.paid:,}, which makes {found.keep:,} in all"),
        ("to drop", f"{found.images - found.keep:,} images"),
        ("method", f"{found.method}{' on ' + ' + '.join(found.backbones) if found.backbones else ''}"),
        ("hours", hours + untold),
        ("disk", f"{found.disk / 1e9:.2g} GB of {room / 1e9:.3g} GB free"),
    ]
    echo(table(lines, ()))
    _warn(found.warnings)
    if found.disk > room:
        raise PrunebenchError(
            f"{found.disk / 1e9:.2g} GB are needed and {room / 1e9:.2g} GB are free; choose another --store "
            "or --data, or a smaller --side"
        )


def _show_pruned(pruned: Pruned, output: Path) -> None:
    from prunebench.photos.prune import BUY, DROP, KEPT

    written = pruned.to_csv(output)
    counts = [f"{len(pruned.chosen(status)):,} {status}" for status in (KEPT, BUY, DROP)]
    echo(f"\n{_said(written, output)}: {', '.join(counts)}")


def _show_comparison(found: Comparison) -> None:
    from prunebench.results.statistics import summarise
    from prunebench.runs.format import table

    echo(
        f"{found.labelled:,} of {found.images:,} images in {found.folder} have a label, "
        f"{found.kept:,} are kept"
    )
    if found.labelled < found.images:
        echo(
            "Random is drawn from labelled images: unless those beside the kept were drawn at random too, "
            "this is no fair comparison"
        )
    echo(
        f"tested on {found.tested:,} that are held out, trained on {min(found.trained):,}"
        + (f" to {max(found.trained):,}" if len(set(found.trained)) > 1 else "")
        + f"; Random has about {found.in_common:.0f} % of its images in common with the kept\n"
    )
    header = ["", "kept", "Random", "difference"]
    mean = ["accuracy, %", summarise(found.ours), summarise(found.random), found.difference]
    each = zip(found.ours, found.random, found.differences, strict=True)
    seeds = [[f"seed {seed}", *(f"{value:.1f}" for value in values)] for seed, values in enumerate(each)]
    echo(table([mean, *seeds], header))
    if found.interval:
        low, high = found.interval
        echo(f"\n95 % interval of the difference: {low:+.1f} to {high:+.1f}")
    echo(found.verdict)
