"""The energy that a GPU takes while a stage runs, as its driver counts it."""

from __future__ import annotations

from typing import Any


class Meter:
    """Counts the joules of the GPU of this process, from the moment this object was created.

    It counts the whole GPU. So nobody else should use it.
    """

    def __init__(self, device: str) -> None:
        self._gpu = _gpu() if device == "cuda" else None
        self._before = self._read()

    def joules(self) -> float | None:
        """Return the joules so far, or None if nothing counts them.

        None on a CPU, without the package nvidia-ml-py, and on GPUs before Volta.
        """
        now = self._read()
        return None if now is None or self._before is None else round(now - self._before, 1)

    def _read(self) -> float | None:
        if self._gpu is None:
            return None
        import pynvml

        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1000  # millijoules
        except pynvml.NVMLError:
            return None


def _gpu() -> Any:
    """Return the driver's handle of the GPU that torch uses, or None if it cannot be asked."""
    try:
        import pynvml
    except ImportError:
        return None
    import torch

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties('cuda').uuid}")
    except pynvml.NVMLError:
        return None
