"""The commands `draw`, `prune` and `evaluate` for your own photos.

The others are in modules of their own: `recommend`, `look` and `convert`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
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
    parsed,
)
from prunebench.errors import PrunebenchError
from prunebench.system.files import home, taken, write_new
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.photos.estimate import Preview
    from prunebench.photos.evaluate import Comparison
    from prunebench.photos.prune import Pruned
    from prunebench.photos.request import Workspace

FolderArgument = Annotated[
    Path,
    typer.Argument(
        parser=home,
        help="The folder of your images, at any depth, or parquet:, webdataset: or hf:NAME. "
        "Nothing is written to it.",
    ),
]
OutputOption = Annotated[
    Path, file_option("--output", help="The .csv to write. An existing file is never overwritten.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another draw.")]
OnBadOption = Annotated[str, typer.Option("--on-bad", help="Images that cannot be read: fail or skip.")]
SideOption = Annotated[
    int | None,
    typer.Option(
        "--side",
        min=8,
        help="Images are shrunk to this size, in pixels.",
        show_default="224, or that of smaller photos",
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option("--backbone", help="The source of embeddings.", show_default="as method and recipe"),
]
GroupsOption = Annotated[
    Path | None,
    file_option("--groups", help="A .csv with the columns file and group: images that count as one."),
]
DuplicatesOption = Annotated[
    str,
    typer.Option("--duplicates", help="keep-one: of equal or similar images one counts. Or ignore."),
]
KnownOption = Annotated[
    list[Path],
    file_option(
        "--known", help="A .csv with the columns file and label, or an export: see convert. May be repeated."
    ),
]
QuickOption = Annotated[str, typer.Option("--recipe", help="How networks are trained.")]


def draw(
    folder: FolderArgument,
    labels: Annotated[int, typer.Option("--labels", help="How many images you will label.")],
    output: OutputOption,
    by: Annotated[
        str, typer.Option("--by", help="See: prunebench list draws. All but uniform embed the images.")
    ] = "uniform",
    backbone: BackboneOption = None,
    side: SideOption = None,
    seed: SeedOption = 0,
    on_bad: OnBadOption = "fail",
    strata: Annotated[
        Path | None,
        file_option("--strata", help="A .csv with the columns file and stratum: each is drawn by its share."),
    ] = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = 1,
) -> None:
    """Draw the images to label first. Writes a .csv to fill in with labels."""
    from prunebench.photos import folder as photos
    from prunebench.photos import prune as pruning
    from prunebench.photos.drawing import DrawRequest, DrawWork
    from prunebench.photos.request import Workspace
    from prunebench.system import tables

    folder = unpacked(folder, data)
    photos.check_outside(folder, output, "--output")
    photos.check_writable(output)
    older = photos.rows_there(output, ["file", "label"])
    if older and (len(older) != labels or any(label for _, label in older)):
        raise taken(output)
    request = DrawRequest(
        folder=folder,
        labels=labels,
        by=by,
        seed=seed,
        backbone=backbone,
        side=side,
        on_bad=on_bad,
        strata=strata,
        changes=parsed(changes),
    )
    if request.looks:
        clock = Clock()
        work = DrawWork(request, Workspace.at(store, data, device))
        echo(work.plan)
        clock.tell(work.told, work.advice)
        found = pruning.drawn(work, 1 if workers is None else workers)
        clock.stop()
    else:
        found = pruning.drawn_unseen(request, data)
    table = tables.written(["file", "label"], [[name, ""] for name in found.files])
    written = write_new(output, table.encode())
    warn(filter(None, [photos.survey(folder).remark, _left_out(found.left_out)]))
    echo(f"{outcome(written, output)}: {len(found.files):,} images to label; fill in the column label")
    if found.copies:
        echo(f"{found.copies:,} cop{'y' if found.copies == 1 else 'ies'} passed over")


def prune(
    folder: FolderArgument,
    known: KnownOption,
    output: OutputOption,
    budget: Annotated[
        int | None,
        typer.Option("--budget", help="Labels in all: those you have, and those still to annotate."),
    ] = None,
    ratio: Annotated[
        int | None, typer.Option("--ratio", help="Instead of --budget: the percent of images to drop.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="See: prunebench list methods. Labeled images are always kept.")
    ] = "random",
    scores: Annotated[
        Path | None,
        file_option("--scores", help="Instead of --method: a table with the columns file and score."),
    ] = None,
    recipe: QuickOption = "quick",
    backbone: BackboneOption = None,
    classes: Annotated[
        int | None, typer.Option("--classes", help="The number of classes, if the labels do not show all.")
    ] = None,
    side: SideOption = None,
    seed: SeedOption = 0,
    on_bad: OnBadOption = "fail",
    duplicates: DuplicatesOption = "keep-one",
    groups: GroupsOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after showing the costs.")] = False,
) -> None:
    """Choose the images worth labeling, if a few have labels already. Shows the costs first."""
    from prunebench.photos import folder as photos
    from prunebench.photos.estimate import preview
    from prunebench.photos.prune import make
    from prunebench.photos.request import Request, Workspace
    from prunebench.runs.kept import COLUMNS, DROP

    folder = unpacked(folder, data)
    photos.check_outside(folder, output, "--output")
    photos.check_writable(output)
    older = photos.rows_there(output, COLUMNS)
    if older and budget is not None and budget != sum(status != DROP for _, status, *_ in older):
        raise taken(output)
    workplace = Workspace.at(store, data, device)
    request = Request(
        folder=folder,
        known=workplace.labels(known, folder),
        budget=budget,
        ratio=ratio,
        method=method,
        scores=scores,
        recipe=recipe,
        backbone=backbone,
        classes=classes,
        side=side,
        seed=seed,
        on_bad=on_bad,
        duplicates=duplicates,
        groups=groups,
        changes=parsed(changes),
    )
    costs = preview(request, workplace)
    _show_preview(costs, folder, workplace)
    if not costs.stored:
        warn_of_older(output)
    if not (yes or costs.stored) and not _confirmed():
        echo("\nNothing was made. The same command with --yes goes on.")
        raise typer.Exit(1)
    clock = Clock()
    clock.start(costs.time)
    pruned = make(request, workplace, 1 if workers is None else workers)
    clock.stop()
    _show_pruned(pruned, output, duplicates != "ignore" or groups is not None)
    warn(filter(None, [_left_out(pruned.left_out)]))


def evaluate(
    kept: Annotated[Path, typer.Argument(parser=home, help="The .csv that prunebench prune wrote.")],
    labels: Annotated[
        list[Path],
        file_option("--labels", help="Labels of all kept images, and of others. Files as for --known."),
    ],
    holdout: Annotated[
        float, typer.Option("--holdout", help="Share of the labeled images to test on, in 0..1.")
    ] = 0.1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="The number of trainings of each.")] = 10,
    folder: Annotated[
        Path | None, file_option("--folder", help="Where the images are.", show_default="as for prune")
    ] = None,
    side: Annotated[
        int | None,
        typer.Option("--side", min=8, help="Images are shrunk to this size.", show_default="as for prune"),
    ] = None,
    recipe: QuickOption = "quick",
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="The source of embeddings.", show_default="that of the recipe"),
    ] = None,
    on_bad: Annotated[
        str | None, typer.Option("--on-bad", help="Images that cannot be read.", show_default="as for prune")
    ] = None,
    groups: GroupsOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
) -> None:
    """Compare training on the kept images with training on as many random images."""
    from prunebench.photos.evaluate import evaluate

    clock = Clock()
    comparison = evaluate(
        kept,
        labels,
        folder=folder,
        holdout=holdout,
        seeds=seeds,
        side=side,
        recipe=recipe,
        backbone=backbone,
        changes=parsed(changes),
        on_bad=on_bad,
        groups=groups,
        device=device,
        store=store,
        data=data,
        workers=workers,
        tell=clock.tell,
    )
    clock.stop()
    _show_comparison(comparison)
    warn(comparison.warnings)


def unpacked(source: Path, data: Path | None) -> Path:
    """Return the folder of photos that a source means, and say where it is if it is another."""
    from prunebench.photos.source import folder_of

    folder = folder_of(source, data)
    if folder != source:
        echo(f"the images of {source} are files in {folder}")
    return folder


def warn(warnings: Iterable[str]) -> None:
    """Print warnings to stderr, a line each."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def warn_of_older(output: Path) -> None:
    """Warn that an output is there already. Call it before work whose result may be another."""
    if output.exists():
        warn([f"{output} exists; it is not overwritten if the result differs"])


def _left_out(names: Sequence[str]) -> str:
    """Return a line on images that cannot be read, or "" if there are none."""
    from prunebench.photos.folder import some

    return f"{len(names):,} image(s) cannot be read and are left out: {some(names)}" if names else ""


class Clock:
    """Prints how long a command will take, and in the end how long it took."""

    def __init__(self) -> None:
        self.told = ""
        self.begin = 0.0

    def tell(self, told: str, advice: str) -> None:
        """Print how long it will take, in words, and begin to count.

        advice: which backbone is used by default and what a better one needs, or "". It is said in time for
            a choice.
        """
        from prunebench.photos.cost import STORED

        if advice and told != STORED:
            echo(f"backbone: {advice}")
        echo(f"time  {told}")
        self.start(told)

    def start(self, told: str) -> None:
        """Begin to count. told: how long it will take, as it was printed."""
        self.told, self.begin = told, time.monotonic()

    def stop(self) -> None:
        """Print how long it took, unless nothing was to be done."""
        from prunebench.photos.cost import STORED
        from prunebench.runs.format import duration

        if self.told != STORED:
            echo(f"took {duration(time.monotonic() - self.begin)}; told before: {self.told}")


def outcome(written: bool, output: Path) -> str:
    """Say whether a file was written, or held the same already."""
    return f"wrote {output}" if written else f"{output} is up to date"


def _confirmed() -> bool:
    """Ask the user whether to go on. Without a terminal the answer is no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("\nGo on? [y/N]: ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False


def _show_preview(costs: Preview, folder: Path, workplace: Workspace) -> None:
    """Print the costs of a request. Raise PrunebenchError if the disk is too small."""
    from prunebench.photos.estimate import free
    from prunebench.photos.folder import some
    from prunebench.runs.format import size, table

    classes = [f"{some([name])} {count:,}" for name, count in costs.classes.items()]
    first_classes = ", ".join(classes[:10])
    if len(classes) > 10:
        first_classes += ", ..."
    room = min(free(workplace.store.root), free(workplace.data))
    method = costs.method
    if costs.backbones:
        method += f" on {' + '.join(costs.backbones)}"
    passed = "not known before the images are read and compared"
    if costs.passed is not None:
        passed = f"{costs.passed:,} images that others stand for" if costs.passed else "none"
    lines = [
        ("images", f"{costs.images:,} in {folder}"),
        ("duplicates", passed),
        ("classes", f"{len(classes)}: {first_classes}"),
        ("labeled", f"{costs.labeled:,}, all kept"),
        ("to label", f"{costs.keep - costs.labeled:,}, which makes {costs.keep:,} in all"),
        ("to drop", f"{costs.images - costs.keep:,} images"),
        ("method", method),
        *([("pseudo-labels", costs.labeler)] if costs.labeler else []),
        *([("backbone", costs.advice)] if costs.advice else []),
        ("time", costs.time),
        ("disk", f"{size(costs.disk) if costs.disk else 'none'} of {size(room)} free"),
    ]
    echo(table(lines, ()))
    warn(costs.warnings)
    if costs.disk > room:
        raise PrunebenchError(
            f"{size(costs.disk)} are needed and {size(room)} are free; "
            "choose another --store or --data, or a smaller --side"
        )


def _show_pruned(pruned: Pruned, output: Path, compared: bool) -> None:
    """Write the .csv and print how many images it has of each status. compared: whether some count as one."""
    from prunebench.runs.kept import STATUSES

    written = pruned.to_csv(output)
    counts = [f"{len(pruned.chosen(status)):,} {status}" for status in STATUSES]
    groups = len({*pruned.duplicate_of} - {""})
    others = sum(map(bool, pruned.duplicate_of))
    found = "no duplicates found\n"
    if groups:
        found = f"{groups:,} group(s) of duplicates found, {others:,} image(s) beside one of each\n"
    echo(f"\n{found if compared else ''}{outcome(written, output)}: {', '.join(counts)}")


def _range(counts: Sequence[int]) -> str:
    """Return the least and the largest count, or the only one."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _show_comparison(comparison: Comparison) -> None:
    """Print the accuracies of the kept images and of Random, and the verdict."""
    from prunebench.results.statistics import summarize
    from prunebench.runs.format import table

    echo(
        f"{comparison.labeled:,} of {comparison.images:,} images in {comparison.folder} have a label, "
        f"{comparison.kept:,} are kept"
    )
    if comparison.labeled < comparison.images:
        echo(
            "Random is drawn from labeled images, so the comparison is only fair if the labeled images "
            "beside the kept ones were drawn at random too"
        )
    tested, trained = map(_range, (comparison.tested, comparison.trained))
    echo(
        f"tested on {tested} that are held out, trained on {trained}; "
        f"Random has about {comparison.in_common:.0f} % of its images in common with the kept\n"
    )
    header = ["", "kept", "Random", "difference"]
    mean = ["accuracy, %", summarize(comparison.ours), summarize(comparison.random), comparison.difference]
    each = zip(comparison.ours, comparison.random, comparison.differences, strict=True)
    rows = [mean]
    for seed, values in enumerate(each):
        rows.append([f"seed {seed}", *(f"{value:.1f}" for value in values)])
    echo(table(rows, header))
    if comparison.interval:
        low, high = comparison.interval
        echo(f"\n95 % interval of the difference: {low:+.1f} to {high:+.1f}")
    echo(comparison.verdict)
