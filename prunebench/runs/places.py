"""The folders of artefacts and datasets, and the device."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prunebench.errors import PrunebenchError, require
from prunebench.pipeline.executors.gpus import visible
from prunebench.system.files import absolute

Place = str | Path | None


def folder(name: str, given: Place = None) -> Path:
    """Return the folder of artefacts or datasets, absolute.

    It is `given`, else the variable PRUNEBENCH_STORE or PRUNEBENCH_DATA, else a folder in the user's cache.

    name: "store" or "data".
    given: the path that the user chose, or None.

    Raise PrunebenchError if it would be in the cache of a user without a home folder.
    """
    path = given or os.environ.get(f"PRUNEBENCH_{name.upper()}")
    if path:
        return absolute(path)
    try:
        cache = absolute(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except PrunebenchError:
        raise PrunebenchError(
            "this user has no home folder for a cache; choose folders with --store and --data"
        ) from None
    return cache / "prunebench" / name


DRIVER_FILES = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # the last is that of WSL2


def pick_device(name: str) -> str:
    """Return "cpu" or "cuda". "auto" is "cuda" if there is such a device.

    Raise PrunebenchError if the device does not exist.
    """
    if name == "cpu":
        return name
    require(name in ("auto", "cuda"), "device", name, "cpu, cuda (a GPU) or auto. See: prunebench doctor")
    # Linux has one of these files if a driver is installed. Without them there is no need to import torch.
    available = False
    if any(Path(file).exists() for file in DRIVER_FILES) or os.name == "nt":
        import torch

        available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise PrunebenchError(
            "--device cuda: this machine has no CUDA device; use --device cpu, see prunebench doctor"
        )
    return "cuda" if available else "cpu"


def pick_devices(name: str) -> tuple[str, tuple[str, ...]]:
    """Return "cpu" or "cuda", and the GPUs, as CUDA_VISIBLE_DEVICES names them.

    name: as for `pick_device`, which means all GPUs that this process may use; or some, as "cuda:1,cuda:3".

    Raise PrunebenchError if a device does not exist, or is named twice.
    """
    numbers = [re.fullmatch(r"cuda:(\d{1,4})", word.strip()) for word in name.split(",")]
    device = pick_device("cuda" if all(numbers) else name)
    if device == "cpu":
        return device, ()
    seen = visible()
    if not all(numbers):
        return device, seen
    chosen = [int(number[1]) for number in numbers if number]
    if max(chosen) >= len(seen) or len(set(chosen)) < len(chosen):
        known = ", ".join(f"cuda:{number}" for number in range(len(seen)))
        raise PrunebenchError(f"--device {name}: this machine has {known}; name each at most once")
    return device, tuple(seen[number] for number in chosen)
