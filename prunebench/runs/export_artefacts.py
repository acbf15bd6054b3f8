"""Export of what methods found out about every training image: scores, embeddings or training dynamics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Array, Artefact, Dynamics, Embeddings, Scores
from prunebench.parts.identity import without_paths
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import CHOICE, Stage
from prunebench.suites.cells import Cell
from prunebench.system import parquet as parquet_files
from prunebench.system import tables
from prunebench.system.files import home, write_new

ARTEFACTS: dict[str, type[Artefact]] = {"scores": Scores, "embeddings": Embeddings, "dynamics": Dynamics}
STAGES = {
    "scores": ("scores",),
    "embeddings": ("embeddings", "proxy_embeddings"),
    "dynamics": ("dynamics",),
}


class Origin(BaseModel):
    """The origin of one exported artefact.

    stage: the kind of its stage.
    title: the part or network that made it.
    identity: all that decides it, except its inputs.
    methods: the share of labels that each method with this artefact has annotated, in 0..1, by method.
    key: its key in the store.
    seconds: the time that it took.
    device: "cpu" or "cuda".
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    title: str
    identity: dict[str, Any]
    methods: dict[str, float]
    key: str
    seconds: float
    device: str
    device_name: str
    versions: dict[str, str]
    commit: str | None
    made: str


class Header(BaseModel):
    """The header of an exported .safetensors.

    kind: "scores", "embeddings" or "dynamics".
    fingerprint: the hash of the dataset's content.
    images: the number of training images, n.
    names: of the training images, in the order of the arrays, or [] if they have none.
    artefacts: the origin of each artefact, by the name of its arrays.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    fingerprint: str
    dataset: str
    images: int
    names: list[str]
    suite: str
    recipe: str
    repeats: str
    tuning: str
    seed: int
    artefacts: dict[str, Origin]


@dataclass(frozen=True)
class Entry:
    """A stage whose artefact is exported.

    stage: the stage.
    methods: the `label_fraction` of each method that has it, by name.
    """

    stage: Stage
    methods: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """Artefacts of one kind and one dataset.

    header: where they come from.
    artefacts: the artefacts, by name.
    left_out: one line for each reason why methods were left out.
    """

    header: Header
    artefacts: Mapping[str, Artefact]
    left_out: list[str]


def exported(matrix: Matrix, kind: str, command: str, *, everything: bool) -> Exported:
    """Return the stored artefacts of the cells of a matrix, which have one dataset and one seed.

    kind: "scores", "embeddings" or "dynamics".
    command: the command that makes them, for the message.
    everything: whether methods without such an artefact are left out. They are an error otherwise.

    Raise PrunebenchError if there is nothing to export, or if one method has several.
    Raise DataAbsentError if the dataset is not on this machine.
    """
    matrix.check_data()
    entries = _entries(matrix, kind)
    users = {name for entry in entries.values() for name in entry.methods}
    without = list(dict.fromkeys(cell.method.name for cell in matrix.cells if cell.method.name not in users))
    artefacts: dict[str, Artefact] = {}
    origins: dict[str, Origin] = {}
    for name, entry in entries.items():
        with suppress(MissingArtefactError):
            origin = _origin(matrix, entry)
            artefacts[name] = matrix.store.read(entry.stage.key, ARTEFACTS[kind])
            origins[name] = origin
    absent = [name for name in entries if name not in artefacts]
    left_out = []
    if without:
        left_out.append(f"methods that make no {kind}: {', '.join(without)}")
    if absent:
        left_out.append(f"not stored: {kind} of {', '.join(absent)}; run: {command}")
    if left_out and not (everything and artefacts):
        raise PrunebenchError("; ".join(left_out))
    images = len(next(iter(artefacts.values())))  # type: ignore[arg-type]
    return Exported(_header(matrix, kind, images, origins), artefacts, left_out)


def _entries(matrix: Matrix, kind: str) -> dict[str, Entry]:
    """Return the stages to export, by name.

    Scores are called after their method. Embeddings are called after their backbone, those of a proxy network
    and dynamics after the first method that has them.
    """
    names: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    for cell in matrix.cells:
        for stage in _stages(matrix, cell, kind):
            name = cell.method.name
            if kind != "scores":
                name = names.setdefault(stage.key, _name(stage, name))
            entry = entries.setdefault(name, Entry(stage))
            if entry.stage.key != stage.key:
                several = len({one.repeats for one in matrix.cells}) > 1
                where = "rung; choose one with --repeats" if several else "ratio; choose one with --ratio"
                raise PrunebenchError(f"{name} has other {kind} at each {where}")
            entry.methods[cell.method.name] = cell.method.label_fraction
    return entries


def _stages(matrix: Matrix, cell: Cell, kind: str) -> Iterator[Stage]:
    """Yield the stages of a kind that the selection of a cell rests on, without those of its searches."""
    if cell.method.matched_to is None:  # else they are those of the other method
        for stage in matrix.graph.subset(cell).ancestors(without=(CHOICE,)):
            if stage.kind in STAGES[kind]:
                yield stage


def _name(stage: Stage, method: str) -> str:
    if stage.kind == "embeddings":
        return stage.title
    return f"proxy of {method}" if stage.kind == "proxy_embeddings" else method


def _origin(matrix: Matrix, entry: Entry) -> Origin:
    manifest = matrix.store.manifest(entry.stage.key)
    return Origin(
        stage=entry.stage.kind,
        title=entry.stage.title,
        identity=without_paths(entry.stage.identity),
        methods=entry.methods,
        key=entry.stage.key,
        **{name: manifest[name] for name in ("seconds", "device", "device_name")},
        **{name: manifest[name] for name in ("versions", "commit", "made")},
    )


def _header(matrix: Matrix, kind: str, images: int, origins: dict[str, Origin]) -> Header:
    cell = matrix.cells[0]
    return Header(
        kind=kind,
        fingerprint=matrix.graph.roots[cell.dataset.name],
        dataset=cell.dataset.name,
        images=images,
        names=list(cell.dataset.names(matrix.data)),
        suite=cell.suite,
        recipe=cell.recipe_name,
        repeats=cell.repeats,
        tuning=cell.tuning,
        seed=cell.seed,
        artefacts=origins,
    )


def write(made: Exported, output: str) -> bool:
    """Write artefacts to a file, completely or not at all. Return False if the file is up to date already.

    output: a name that ends in .safetensors, or for scores in .csv or .parquet.

    Raise PrunebenchError if the file has another ending, or exists with other content.
    """
    path = home(output)
    endings = [".safetensors"] if made.header.kind != "scores" else [*WRITERS]
    if path.suffix not in endings:
        raise PrunebenchError(f"--output {output}: {made.header.kind} are written to *{', *'.join(endings)}")
    return write_new(path, WRITERS[path.suffix](made))


def packed(made: Exported) -> bytes:
    """Return a .safetensors file with the header in its metadata.

    The arrays are NAME for scores, float64 [n], and embeddings, float32 [n, d]. Dynamics are NAME/FIELD, with
    the fields of `Dynamics`.
    """
    from safetensors.numpy import save

    arrays: dict[str, Array] = {}
    for name, artefact in made.artefacts.items():
        for entry, array in artefact.arrays()[0].items():
            arrays[name if entry == "values" else f"{name}/{entry}"] = array
    return save(arrays, metadata={"header": made.header.model_dump_json()})


def table(made: Exported) -> bytes:
    """Return a .csv file of `_columns`."""
    columns = _columns(made)
    rows = zip(*(map(str, column) for column in columns.values()), strict=True)
    return tables.written(list(columns), rows).encode()


def parquet(made: Exported) -> bytes:
    """Return a .parquet file of `_columns`. Raise PrunebenchError if there is no pyarrow."""
    return parquet_files.written(_columns(made))


def _columns(made: Exported) -> dict[str, list[Any]]:
    """Return a row per image: index, file if images have names, and a column per method."""
    columns: dict[str, list[Any]] = {"index": list(range(made.header.images))}
    if made.header.names:
        columns["file"] = made.header.names
    for name, scores in made.artefacts.items():
        if name in columns:
            raise PrunebenchError(f"the method {name!r} has the name of another column; write a .safetensors")
        columns[name] = scores.arrays()[0]["values"].tolist()
    return columns


WRITERS: dict[str, Callable[[Exported], bytes]] = {
    ".csv": table,
    ".parquet": parquet,
    ".safetensors": packed,
}
