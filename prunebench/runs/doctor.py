"""The lines of `doctor`: what this machine can run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from prunebench.errors import DataAbsentError
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
    yield f"data: {data}"
    for name, item in sorted(registry.found["datasets"].items()):
        if not isinstance(item, type):
            try:
                yield f"  {name}: {item.files(data)[0].parent}"
            except DataAbsentError as error:
                yield f"  {name}: absent. {error}"
    for plugin in registry.plugins:
        if plugin.error:
            details = f"{plugin.distribution} {plugin.release} ({plugin.module}): {plugin.error}"
            yield f"broken plugin {plain(details)}"


def _space(folder: Path) -> str:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{shutil.disk_usage(existing).free / 2**30:.0f} GiB free"
