"""What other programs read: the photos of a table as files of Label Studio, CVAT, FiftyOne and others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from prunebench.errors import PrunebenchError
from prunebench.photos.annotations import AUTO, CONTROL, LOCAL_FILES
from prunebench.photos.folder import some
from prunebench.runs.export import class_folders
from prunebench.runs.kept import DROP, KEPT, TO_LABEL, turn
from prunebench.system import parquet as parquet_files
from prunebench.system import tables

# Characters that no XML file can hold.
NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A line of the table.

    file: path below the folder of photos.
    status: "keep_labeled", "to_label" or "drop".
    label: annotated class, or "".
    pseudo_label: the labeler's class of an image without a label, or "".
    confidence: of the pseudo-label, in 0..1, or None.
    score: higher is harder, or None.
    """

    file: str
    status: str
    label: str = ""
    pseudo_label: str = ""
    confidence: float | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A .csv of `draw` or `prune`.

    path: of the .csv.
    photos: its lines.
    ordered: whether the lines are in the order in which to label, as those of `draw` are.
    folder: the folder of photos, absolute, or None if unknown.
    prefix: what stands before each file where another program sees it, or None for its default.
    """

    path: Path
    photos: tuple[Photo, ...]
    ordered: bool = False
    folder: Path | None = None
    prefix: str | None = None

    @property
    def classes(self) -> list[str]:
        """The classes of labels and pseudo-labels, sorted."""
        return sorted({name for photo in self.photos for name in (photo.label, photo.pseudo_label)} - {""})

    @property
    def to_annotate(self) -> list[Photo]:
        """The photos that have a label or are worth one."""
        return [photo for photo in self.photos if photo.status != DROP]

    def top(self, target: str) -> Path:
        """Return the folder of photos. Raise PrunebenchError if it is unknown."""
        if self.folder is None:
            raise PrunebenchError(
                f"{target} needs to know where the photos of {self.path} are, and no prune with this --store "
                "wrote these lines; say so with --folder FOLDER"
            )
        return self.folder

    def no_prefix(self, target: str) -> None:
        """Raise PrunebenchError if there is a prefix."""
        if self.prefix is not None:
            raise PrunebenchError(f"--prefix is for label-studio and cvat; {target} has no use for it")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(values: Iterable[Any]) -> str:
    """Return a JSON list with an entry a line."""
    return "[\n" + ",\n".join(map(_json, values)) + "\n]"


def label_studio(table: Table) -> dict[str, bytes]:
    """Return tasks.json, and labels.xml with a labeling setup if the table knows classes.

    Labels are annotations, pseudo-labels are predictions. Dropped photos are no tasks.
    Source: the task format at labelstud.io/guide/tasks and /guide/predictions.
    """
    prefix = table.prefix
    if prefix is None:
        prefix = f"{LOCAL_FILES}{quote(table.top('label-studio').name)}/"
    tasks = [_task(photo, prefix + quote(photo.file)) for photo in table.to_annotate]
    files = {"tasks.json": f"{_lines(tasks)}\n".encode()}
    if table.classes:
        choices = "".join(f"    <Choice value={_attribute(table, name)}/>\n" for name in table.classes)
        files["labels.xml"] = (
            f'<View>\n  <Image name="image" value="$image"/>\n  <Choices name="{CONTROL}" toName="image" '
            f'choice="single" showInLine="true">\n{choices}  </Choices>\n</View>\n'
        ).encode()
    return files


def _task(photo: Photo, address: str) -> dict[str, Any]:
    data: dict[str, Any] = {"image": address, "file": photo.file, "status": photo.status}
    if photo.score is not None:
        data["score"] = photo.score
    task: dict[str, Any] = {"data": data}
    if photo.label:
        task["annotations"] = [{"result": [_choice(photo.label)]}]
    if photo.pseudo_label:
        prediction = {"model_version": "prunebench", "result": [_choice(photo.pseudo_label)]}
        if photo.confidence is not None:
            prediction["score"] = photo.confidence  # type: ignore[assignment]
        task["predictions"] = [prediction]
    return task


def _choice(name: str) -> dict[str, Any]:
    return {"from_name": CONTROL, "to_name": "image", "type": "choices", "value": {"choices": [name]}}


def _attribute(table: Table, text: str) -> str:
    """Return text as a quoted attribute of XML. Raise PrunebenchError if no XML can hold it."""
    return quoteattr(_checked(table, text))


def _checked(table: Table, text: str) -> str:
    if NO_XML.search(text):
        raise PrunebenchError(f"{table.path} has {text!r}, which no XML file can hold; rename it")
    return text


def cvat(table: Table) -> dict[str, bytes]:
    """Return images.txt, annotations.xml and labels.json for a task of CVAT.

    Labels are tags. Pseudo-labels are tags with the source "auto". Dropped photos are left out.
    Source: CVAT for images 1.1, at docs.cvat.ai/docs/dataset_management/formats/format-cvat.
    """
    # Sorted, as CVAT sorts the images of a task: older versions tell images by their number.
    listed = sorted(table.to_annotate, key=lambda photo: photo.file)
    names = [_checked(table, (table.prefix or "") + photo.file) for photo in listed]
    if broken := [name for name in names if len(name.splitlines()) > 1]:
        raise PrunebenchError(f"images.txt has a file a line, but the name {some(broken)} has several lines")
    images = [
        f'  <image id="{index}" name={_attribute(table, name)}>\n{_tag(table, photo)}  </image>\n'
        for index, (name, photo) in enumerate(zip(names, listed, strict=True))
    ]
    labels = [{"name": name, "type": "tag", "attributes": []} for name in table.classes]
    return {
        "images.txt": "".join(f"{name}\n" for name in names).encode(),
        "annotations.xml": _annotations(table, images).encode(),
        "labels.json": f"{_lines(labels)}\n".encode(),
    }


def _tag(table: Table, photo: Photo) -> str:
    name, source = (photo.label, "manual") if photo.label else (photo.pseudo_label, AUTO)
    return f'    <tag label={_attribute(table, name)} source="{source}"/>\n' if name else ""


def _annotations(table: Table, images: Sequence[str]) -> str:
    labels = "".join(
        f"<label><name>{escape(_checked(table, name))}</name><type>tag</type><attributes/></label>\n"
        for name in table.classes
    )
    task = f"<task><size>{len(images)}</size><mode>annotation</mode><labels>\n{labels}</labels></task>"
    head = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>{task}</meta>'
    )
    return f"{head}\n{''.join(images)}</annotations>\n"


def fiftyone(table: Table) -> dict[str, bytes]:
    """Return samples.json and metadata.json of a FiftyOneDataset, which names the photos where they are.

    All photos are samples. Labels are the field ground_truth, pseudo-labels are pseudo_label.
    Source: the form without a database, which fiftyone.utils.data.importers reads as
    LegacyFiftyOneDatasetImporter.
    """
    table.no_prefix("fiftyone")
    top = table.top("fiftyone")
    samples = _lines(_sample(photo, top) for photo in table.photos)
    info = {"classes": table.classes}
    return {
        "samples.json": f'{{"samples": {samples}}}\n'.encode(),
        "metadata.json": f"{_json({'media_type': 'image', 'info': info})}\n".encode(),
    }


def _sample(photo: Photo, top: Path) -> dict[str, Any]:
    return {
        "filepath": str(top / photo.file),
        "tags": [photo.status],
        "file": photo.file,
        "status": photo.status,
        "ground_truth": _classification(photo.label, None),
        "pseudo_label": _classification(photo.pseudo_label, photo.confidence),
        "score": photo.score,
    }


def _classification(name: str, confidence: float | None) -> dict[str, Any] | None:
    return {"_cls": "Classification", "label": name, "confidence": confidence} if name else None


def links(table: Table) -> dict[str, Path]:
    """Return the file of each photo by its path in a folder of links, STATUS/CLASS/FILE.

    The class is the label, or else the pseudo-label. Photos with neither are in STATUS/FILE.
    """
    table.no_prefix("links")
    top = table.top("links")
    folders = dict(zip(table.classes, class_folders(table.classes), strict=True))
    wanted = {}
    for photo in table.photos:
        name = photo.label or photo.pseudo_label
        inside = f"{folders[name]}/{photo.file}" if name else photo.file
        wanted[f"{photo.status}/{inside}"] = top / photo.file
    if len(wanted) < len(table.photos):
        raise PrunebenchError(
            f"{table.path} has photos without a class in folders that are called as a class"
        )
    return wanted


def parquet(table: Table) -> bytes:
    """Return a Parquet file of the table. Numbers and missing values are such.

    Raise PrunebenchError if there is no pyarrow.
    """
    table.no_prefix("parquet")
    kinds = dict.fromkeys(("file", "status", "label", "pseudo_label"), "string")
    kinds |= dict.fromkeys(("confidence", "score"), "double")
    columns = {name: [getattr(photo, name) for photo in table.photos] for name in kinds}
    for name in ("label", "pseudo_label"):
        columns[name] = [value or None for value in columns[name]]
    return parquet_files.written(columns, kinds)


def csv(table: Table) -> bytes:
    """Return a .csv of the photos to label, with the columns file and label. A person fills in label.

    A draw keeps its order. Else they come as `kept.turn` sorts them.

    Raise PrunebenchError if no photo is to be labeled.
    """
    table.no_prefix("csv")
    photos = [photo for photo in table.photos if photo.status == TO_LABEL]
    if not photos:
        raise PrunebenchError(f"{table.path} has no photo to label; csv lists the lines of status {TO_LABEL}")
    if not table.ordered:
        photos.sort(key=lambda photo: turn(photo.file, photo.score))
    return tables.written(["file", "label"], [(photo.file, "") for photo in photos]).encode()


# The statuses of photos in targets that do not have all.
PARTIAL = {"csv": (TO_LABEL,), "cvat": (KEPT, TO_LABEL), "label-studio": (KEPT, TO_LABEL)}
TARGETS: Mapping[str, Callable[[Table], Mapping[str, bytes | Path] | bytes]] = {
    "label-studio": label_studio,
    "csv": csv,
    "cvat": cvat,
    "fiftyone": fiftyone,
    "links": links,
    "parquet": parquet,
}
