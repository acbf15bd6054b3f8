"""Labels that people gave in Label Studio, CVAT or FiftyOne, read from what these programs export.

Pseudo-labels are no labels: predictions of Label Studio, tags of CVAT with the source "auto", and all
fields of FiftyOne but `ground_truth` are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

from pydantic import BaseModel, TypeAdapter, ValidationError

from prunebench.errors import PrunebenchError
from prunebench.system import tables

CONTROL = "label"  # the name that `convert` gives to the choices of Label Studio
LOCAL_FILES = "/data/local-files/?d="  # of Label Studio: a file below its document root
AUTO = "auto"  # the source of a tag of CVAT that no person set


class Given(NamedTuple):
    """The label that a file gives to an image.

    where: the place in the file, for messages.
    name: of the image, as the file has it.
    label: of the image. It may be empty.
    """

    where: str
    name: str
    label: str


class Region(BaseModel):
    """One result of an annotation of Label Studio."""

    type: str
    from_name: str = ""
    value: dict[str, Any] = {}


class Annotation(BaseModel):
    """What one annotator said of a task of Label Studio."""

    result: list[Region]
    was_cancelled: bool = False


class Task(BaseModel):
    """A task of Label Studio, as its format JSON has it."""

    data: dict[str, Any]
    annotations: list[Annotation]


class Classification(BaseModel):
    """A class in FiftyOne."""

    label: str | None = None


class Sample(BaseModel):
    """A sample of a FiftyOneDataset."""

    filepath: str
    file: str | None = None
    ground_truth: Classification | None = None


class Samples(BaseModel):
    """The file samples.json of a FiftyOneDataset."""

    samples: list[Sample]


TASKS = TypeAdapter(list[Task])
SAMPLES = TypeAdapter(Samples)


def from_json(path: Path) -> list[Given]:
    """Return the labels in a JSON export of Label Studio, or in samples.json of FiftyOne.

    Raise PrunebenchError if the file cannot be read, is neither of the two, or says of an image more than
    one class.
    """
    content = _content(path)
    if content.lstrip().startswith(b"["):
        tasks = _validated(
            path, TASKS, content, "no JSON export of Label Studio (JSON-MIN is another format)"
        )
        return list(_of_tasks(path, tasks))
    dataset = _validated(
        path, SAMPLES, content, "neither a JSON export of Label Studio nor samples.json of FiftyOne"
    )
    return [
        Given(f"sample {number}", sample.file or sample.filepath, _label(sample.ground_truth))
        for number, sample in enumerate(dataset.samples, 1)
    ]


def _content(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None


def _validated(path: Path, form: TypeAdapter[Any], content: bytes, refusal: str) -> Any:
    try:
        return form.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PrunebenchError(f"{path} is {refusal}: {place}: {first['msg']}") from None


def _label(value: Classification | None) -> str:
    return (value.label if value else None) or ""


def _of_tasks(path: Path, tasks: Sequence[Task]) -> Iterator[Given]:
    """Yield the labels of tasks of Label Studio."""
    control = _control(path, tasks)
    for number, task in enumerate(tasks, 1):
        where = f"task {number}"
        name = _name(path, where, task.data)
        for region in _choices(task):
            chosen = region.value.get("choices")
            if region.from_name != control:
                continue
            if not (isinstance(chosen, list) and len(chosen) == 1 and isinstance(chosen[0], str)):
                raise PrunebenchError(f"{path} has the choices {chosen!r} in {where}, expected one class")
            yield Given(where, name, chosen[0])


def _choices(task: Task) -> Iterator[Region]:
    """Yield the choices of all annotators who did not skip a task."""
    for annotation in task.annotations:
        if not annotation.was_cancelled:
            yield from (region for region in annotation.result if region.type == "choices")


def _control(path: Path, tasks: Sequence[Task]) -> str:
    """Return the name of the control whose choices are the classes."""
    names = sorted({region.from_name for task in tasks for region in _choices(task)})
    if len(names) > 1 and CONTROL not in names:
        raise PrunebenchError(
            f"{path} has choices of {len(names)} controls ({', '.join(names)}), and which are the classes? "
            f'Give that control the name "{CONTROL}" in the labeling setup'
        )
    return CONTROL if CONTROL in names else "".join(names)


def _name(path: Path, where: str, data: Mapping[str, Any]) -> str:
    """Return the name of the image of a task: the file that `convert` wrote, or the image's address."""
    name = data.get("file", data.get("image"))
    if not isinstance(name, str):
        raise PrunebenchError(f"{path} names no image in {where}: its data needs the text `file` or `image`")
    return name if "file" in data else _path_in(name)


def _path_in(address: str) -> str:
    """Return the path in an address of Label Studio. Text that is no address is a path already."""
    _, local, below = address.partition(LOCAL_FILES)
    if local:
        return unquote(below)
    return unquote(urlsplit(address).path) if "://" in address else address


def from_xml(path: Path) -> list[Given]:
    """Return the tags in an export of CVAT, "CVAT for images 1.1".

    No entity of the file is ever replaced: a document type is refused, so there is none.

    Raise PrunebenchError if the file cannot be read, or is no such export.
    """
    tags = _Tags(path)
    try:
        tags.parser.Parse(_content(path), True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for an odd encoding
        raise PrunebenchError(f"{path} is no XML ({error}); export it again") from None
    if not tags.images:
        raise PrunebenchError(f"{path} lists no image; export it from CVAT as CVAT for images 1.1")
    return tags.found


class _Tags:
    """Collects the tags of images while a file is parsed.

    found: the tags.
    images: number of images.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Given] = []
        self.images = 0
        self._open: list[str] = []  # the elements around
        self._image = ""
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    @property
    def _where(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"

    def _refuse(self, *_: object) -> None:
        raise PrunebenchError(
            f"{self.path} declares a document type in {self._where}, and no export of CVAT does; "
            "export it again"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        if self._open == ["annotations", "image"]:
            self.images += 1
            self._image = self._attribute(name, attributes, "name")
        elif self._open == ["annotations", "image", "tag"] and attributes.get("source") != AUTO:
            label = self._attribute(name, attributes, "label")
            self.found.append(Given(self._where, self._image, label))

    def _attribute(self, element: str, attributes: dict[str, str], name: str) -> str:
        if name not in attributes:
            raise PrunebenchError(f"{self.path} has an element {element!r} without {name!r} in {self._where}")
        return attributes[name]

    def _end(self, _: str) -> None:
        self._open.pop()


READERS: Mapping[str, Callable[[Path], list[Given]]] = {".json": from_json, ".xml": from_xml}


def common_folder(addresses: Sequence[str], names: Collection[str]) -> str:
    """Return what stands before the names of images in their addresses, the same before each, or "".

    Other programs know an image by its path on their machine. The folders before the folder of photos are
    the only ones without which every address is an image.

    addresses: the images, as another program names them.
    names: the images of the folder.
    """
    parts = addresses[0].split("/") if addresses else []
    folders = ["", *("/".join(parts[:count]) + "/" for count in range(1, len(parts)))]
    fitting = [folder for folder in folders if _fits(folder, addresses, names)]
    return fitting[0] if "" in fitting or len(fitting) == 1 else ""


def _fits(folder: str, addresses: Sequence[str], names: Collection[str]) -> bool:
    if not all(address.startswith(folder) for address in addresses):
        return False
    inside = {address.removeprefix(folder) for address in addresses}
    return len(tables.match(inside, names)) == len(inside)
