"""The lines of `doctor`: what this machine can run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from prunebench.errors import DataAbsentError
from prunebench.parts.dataset import Dataset
from prunebench.parts.registry import Registry
from prunebench.pipeline.executors.local import default_workers
from prunebench.system.escaping import plain


def doctor(registry: Registry, data: Path, store: Path) -> Iterator[str]:
    """Yield lines on versions, device, folders, datasets and broken plugins."""
    import torch

    yield f"prunebench {version('prunebench')}, torch {torch.__version__}, numpy {version('numpy')}"
    if torch.cuda.is_available():
        yield f"device: cuda ({torch.cuda.get_device_name()})"
    else:
        yield "device: cpu (no CUDA device found)"
    yield f"workers on the CPU: {default_workers('cpu')}, one thread each"
    yield f"store: {store} ({_space(store)})"
    yield f"  {_disk(store)}"
    yield f"data: {data}"
    places: dict[str, list[str]] = {}  # datasets by where they are, or by what they lack: views share both
    for name, item in sorted(registry.found["datasets"].items()):
        if not isinstance(item, type):
            places.setdefault(_where(item, data), []).append(name)
    for where, names in places.items():
        yield f"  {', '.join(names)}: {where}"
    for plugin in registry.plugins:
        if plugin.error:
            details = f"{plugin.distribution} {plugin.release} ({plugin.module}): {plugin.error}"
            yield f"broken plugin {plain(details)}"


def _where(dataset: Dataset, data: Path) -> str:
    """Return the folder of the files of a dataset, or that it is absent and what to do."""
    try:
        return str(dataset.files(data)[0].parent)
    except DataAbsentError as error:
        return f"absent. {error}"


def _disk(store: Path) -> str:
    """Return whether the disk of a store does what the store and its leases need, or what it cannot do."""
    if not store.is_dir():
        return "not there yet; run makes it"
    doing = "make a folder"
    try:
        with TemporaryDirectory(dir=store, prefix="doctor-") as folder:
            old, new = Path(folder) / "old", Path(folder) / "new"
            doing = "write a file"
            old.mkdir()
            (old / "file").write_bytes(b"x")
            doing = "rename a folder"
            old.replace(new)
            doing = "list a folder"
            if [path.name for path in new.iterdir()] != ["file"]:
                raise OSError("the file in it is gone")
            doing = "touch a file"
            os.utime(new / "file", (0, 0))
            if (new / "file").stat().st_mtime != 0:
                raise OSError("its time stays")
            doing = "delete a file"
    except OSError as error:
        return f"its disk cannot serve as a store: {doing}: {error.strerror or error}"
    return "its disk renames, lists, touches and deletes, as a store needs it"


def _space(folder: Path) -> str:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{shutil.disk_usage(existing).free / 2**30:.0f} GiB free"
