"""Where cells are made: the folders of artefacts and data, and the device."""

from __future__ import annotations

import os
from pathlib import Path

from prunebench.errors import PrunebenchError, unknown
from prunebench.system.files import absolute

Place = str | Path | None


def folder(name: str, given: Place = None) -> Path:
    """Return the folder "store" or "data": as given, or as the environment says, or in the user's cache.

    Raise PrunebenchError where it is to be in the cache of a user who has no home.
    """
    if chosen := given or os.environ.get(f"PRUNEBENCH_{name.upper()}"):
        return absolute(chosen)
    try:
        cache = absolute(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except PrunebenchError:
        raise PrunebenchError(
            "this user has no home folder for a cache; choose folders with --store and --data"
        ) from None
    return cache / "prunebench" / name


def pick_device(name: str) -> str:
    """Return "cpu" or "cuda"; raise PrunebenchError for a device that is not there."""
    if name == "cpu":
        return name
    if name not in ("auto", "cuda"):
        raise unknown("device", name, ["auto", "cpu", "cuda"], "prunebench doctor")
    # A driver leaves these behind; without one there is no need to import torch to know.
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists() or os.name == "nt"):
        there = False
    else:
        import torch

        there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise PrunebenchError(
            "--device cuda: this machine has no CUDA device; use --device cpu, see prunebench doctor"
        )
    return "cuda" if there else "cpu"
