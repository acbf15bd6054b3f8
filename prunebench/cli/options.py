"""Options that several commands share, and the cells that they choose."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prunebench.errors import PrunebenchError
from prunebench.system.files import absolute, home, near

if TYPE_CHECKING:
    from prunebench.pipeline.matrix import Matrix
    from prunebench.suites.cells import Filters


def file_option(name: str, **more: Any) -> Any:
    """Return an option that takes a path. ~ stands for the home folder."""
    return typer.Option(name, parser=home, metavar="PATH", **more)


def folder_option(name: str, **more: Any) -> Any:
    """Return an option that takes a folder. The path is absolute, as plugins may change folders."""
    return typer.Option(name, parser=absolute, metavar="FOLDER", **more)


SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="A shipped suite or a .toml file.", show_default="standard")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
DevicesOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda (all GPUs), or some: cuda:1,cuda:3.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="PART.field=value: a variant with its own name.")
]
StoreOption = Annotated[
    Path | None,
    folder_option(
        "--store", envvar="PRUNEBENCH_STORE", help="Where artefacts are kept.", show_default="user cache"
    ),
]
DataOption = Annotated[
    Path | None,
    folder_option("--data", envvar="PRUNEBENCH_DATA", help="Where datasets are.", show_default="user cache"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, help="Processes; 0 works in this one.", show_default="one a core, or 1 a GPU"
    ),
]
WorkersPerGpuOption = Annotated[
    str | None,
    typer.Option(
        "--workers-per-gpu", help="Processes, or auto: as many as its memory holds.", show_default="1"
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes-per-training",
        min=1,
        help="Processes that train a network together, each on a GPU or core.",
    ),
]
StageTimeoutOption = Annotated[
    float | None,
    typer.Option("--stage-timeout", help="Seconds after which a stage is stopped.", show_default="never"),
]
ResultsOption = Annotated[Path, folder_option("--results", help="Where rows and pages are written.")]


def with_rows(wanted: Sequence[str], results: Path) -> Sequence[str]:
    """Return the wanted suites by name, or all that have rows if none is.

    Raise PrunebenchError if one has no rows.
    """
    from prunebench.results.rows import suites

    known = list(suites(results))
    if not known:
        raise PrunebenchError(
            f"no results under {near(results)}/results; run something first, or name --results DIR"
        )
    for name in wanted:
        if name not in known:
            raise PrunebenchError(
                f"no rows of suite {name!r} under {near(results)}/results (there are: {', '.join(known)}); "
                "choose with --suite and --results, or run it first"
            )
    return wanted or known


def split(text: str | None) -> list[str] | None:
    """Return the words of a comma-separated option. Commas in the braces of a variant's name do not count."""
    if text is None:
        return None
    words = re.split(r",(?![^{]*\})", text)
    return [word.strip() for word in words if word.strip()]


def numbers(option: str, text: str | None, limit: int) -> list[int] | None:
    """Return the numbers of a comma-separated option.

    Raise PrunebenchError unless they are whole numbers from 0 to below `limit`.
    """
    words = split(text)
    if words is None:
        return None
    in_range = all(re.fullmatch(r"[0-9]{1,9}", word) and int(word) < limit for word in words)
    if not words or not in_range:
        raise PrunebenchError(f"{option} {text!r}: expected whole numbers from 0 to {limit - 1}, with commas")
    return [int(word) for word in words]


def per_gpu(text: str | None) -> int | Literal["auto"] | None:
    """Return the value of --workers-per-gpu. Raise PrunebenchError unless it is a number or "auto"."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise PrunebenchError(f"--workers-per-gpu {text!r}: expected a number from 1 to 999, or auto")
    return int(text)


def pairs(option: str, words: list[str] | None) -> dict[str, str]:
    """Return the values of an option NAME=VALUE that may be given several times, by name.

    Raise PrunebenchError unless each is written so, and each name is given once.
    """
    found: dict[str, str] = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not (name and equals) or name in found:
            raise PrunebenchError(f"{option} {word!r}: expected NAME=VALUE, each name once")
        found[name] = value
    return found


def shares(text: str) -> tuple[int, int]:
    """Return number and count of --shard I/N. Raise PrunebenchError unless 1 <= I <= N."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise PrunebenchError(f"--shard {text!r}: expected I/N, as 2/8 for the second of eight shares")
    return number, count


def listed(option: str, text: str | None) -> list[int] | None:
    """Return the seeds that --seeds describes. A single number is a count, unless a comma follows it."""
    from prunebench.suites import schema

    seeds = numbers(option, text, schema.SEEDS)
    if seeds and text and "," not in text:
        return list(range(seeds[0]))
    return seeds


def parsed(changes: list[str] | None) -> dict[str, Any]:
    """Return the values of --set, by PART.field."""
    from prunebench.suites import resolve

    return dict(map(resolve.parse_change, changes or []))


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """The options that choose cells, their folders and their device, as the user wrote them."""

    suite: SuiteOption = None
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="Names with commas, or all.", show_default="those of the suite"),
    ] = None
    datasets: Annotated[
        str | None,
        typer.Option(
            "--datasets",
            help="Names with commas, or folder:PATH@PIXELS.",
            show_default="those of the suite",
        ),
    ] = None
    ratios: Annotated[
        str | None,
        typer.Option("--ratios", help="Percent pruned, such as 30,90.", show_default="those of the suite"),
    ] = None
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            help="A count (3 means 0,1,2) or a list (0,3 or 3,).",
            show_default="those of the suite",
        ),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="How networks are trained.", show_default="that of the suite"),
    ] = None
    tuning: Annotated[
        str | None, typer.Option("--tuning", help="How values are chosen.", show_default="as the suite says")
    ] = None
    repeats: Annotated[
        str | None,
        typer.Option(
            "--repeats", help="The first rung that a seed repeats.", show_default="as the suite says"
        ),
    ] = None
    on_bad: Annotated[
        str | None,
        typer.Option("--on-bad", help="Photos that cannot be read: fail or skip.", show_default="fail"),
    ] = None
    changes: SetOption = None
    device: DevicesOption = "auto"
    store: StoreOption = None
    data: DataOption = None

    @property
    def empty(self) -> bool:
        """Whether no option says which cells."""
        names = (self.suite, self.methods, self.datasets, self.recipe, self.tuning, self.repeats)
        return not any((*names, self.ratios, self.seeds))

    def filters(self) -> Filters:
        """Return what the options choose from the suite. Raise PrunebenchError if an option is invalid."""
        from prunebench.suites.cells import Filters

        return Filters(
            methods=split(self.methods),
            datasets=None if self.datasets == "all" else split(self.datasets),
            ratios=numbers("--ratios", self.ratios, 100),
            seeds=listed("--seeds", self.seeds),
            recipe=self.recipe,
            tuning=self.tuning,
            repeats=self.repeats,
            on_bad=self.on_bad,
            changes=parsed(self.changes),
        )

    def matrix(self, elsewhere: bool = False) -> Matrix:
        """Return the matrix of the chosen cells.

        elsewhere: whether other machines compute it.

        Raise PrunebenchError if an option is invalid, or no cell is chosen.
        """
        from prunebench.runs.select import choose

        filters = self.filters()
        return choose(
            self.suite, filters, device=self.device, store=self.store, data=self.data, elsewhere=elsewhere
        )


Command = Callable[..., None]


def cell_options(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command the options of CellOptions. Their values are its first argument, a CellOptions.

    without: the fields whose options the command lacks.
    """

    def with_cell_options(command: Command) -> Command:
        fields = inspect.signature(CellOptions, eval_str=True).parameters
        shared = {name: field for name, field in fields.items() if name not in without}
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def called(**values: Any) -> None:
            options = CellOptions(**{name: values.pop(name) for name in shared})
            command(options, **values)

        # The help lists required options first. By keyword, any order is a signature.
        parameters = sorted([*shared.values(), *own], key=lambda one: one.default is not one.empty)
        by_keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
        called.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
        return called

    return with_cell_options
