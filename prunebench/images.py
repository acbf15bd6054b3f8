"""Images: a uint8 array of square pictures, in memory, memory-mapped, or resident on a device."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from prunebench.artefacts import Array
from prunebench.errors import PrunebenchError

if TYPE_CHECKING:
    import torch


class Images:
    """The pictures of one split, without labels.

    array: uint8 [n, channels, side, side], read-only; may be a memory map. mean and std are per
    channel, in 0..1. `images[index]` returns a uint8 tensor [b, channels, side, side] on `device`,
    for an index that is a slice, an int array or an int tensor, counted from 0; with `device` other
    than "cpu" all images live there from the first look on.
    """

    def __init__(
        self, array: Array, *, mean: tuple[float, ...], std: tuple[float, ...], device: str = "cpu"
    ) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[2] != array.shape[3]:
            raise PrunebenchError(
                f"images are {array.dtype} {array.shape}, expected uint8 [n, channels, side, side]"
            )
        if not len(mean) == len(std) == array.shape[1]:
            raise PrunebenchError(
                f"images have {array.shape[1]} channel(s), but {len(mean)} mean(s) and {len(std)} std(s)"
            )
        self.array = array.view()
        self.array.setflags(write=False)
        self.mean, self.std, self.device = tuple(mean), tuple(std), device
        self._tensor: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.array)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[1])

    @property
    def resolution(self) -> int:
        """Side of the images, in pixels."""
        return int(self.array.shape[-1])

    def to(self, device: str) -> Images:
        """Return the same images, resident on `device`."""
        return (
            self if device == self.device else Images(self.array, mean=self.mean, std=self.std, device=device)
        )

    def take(self, index: Array) -> Images:
        """Return the images of `index` alone, in its order."""
        return Images(self.array[index], mean=self.mean, std=self.std, device=self.device)

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        import torch

        pictures = self._resident()
        if isinstance(index, slice):
            return pictures[index]
        if isinstance(index, np.ndarray):
            index = torch.tensor(index, device=self.device)
        return pictures.index_select(0, index)  # on a CPU several times faster than pictures[index]

    def _resident(self) -> torch.Tensor:
        import torch

        if self._tensor is None:
            with warnings.catch_warnings():
                # The memory is shared rather than copied; torch warns that it is not ours to write.
                warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
                self._tensor = torch.from_numpy(self.array).to(self.device)
        return self._tensor


class Vectors(Images):
    """Embeddings in the place of images: float32 [n, d] seen as d channels of one pixel each.

    Mean and standard deviation are those of each coordinate, so that whoever normalises images
    standardises these; a coordinate that never changes becomes 0.
    """

    def __init__(self, values: Array, *, device: str = "cpu", like: Vectors | None = None) -> None:
        self.array = values.reshape(*values.shape[:2], 1, 1)
        self.device, self._tensor = device, None
        if like is None:
            std = values.std(axis=0, dtype=np.float64)
            # Pixels are divided by 255 before they are normalised; these are no pixels.
            self.mean = tuple(values.mean(axis=0, dtype=np.float64) / 255)
            self.std = tuple(np.where(std > 0, std, 1) / 255)
        else:
            self.mean, self.std = like.mean, like.std

    def to(self, device: str) -> Vectors:
        """Return the same vectors, resident on `device`."""
        return self if device == self.device else Vectors(self.array, device=device, like=self)

    def take(self, index: Array) -> Vectors:
        """Return the vectors of `index` alone, standardised as all of them are."""
        return Vectors(self.array[index], device=self.device, like=self)

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        chosen = super().__getitem__(index)
        return chosen.clone() if isinstance(index, slice) else chosen  # float32 is normalised in place


PER_IMAGE = ("embeddings", "labels", "dynamics", "scores", "known")


def sliced(inputs: Mapping[str, Any], index: Array) -> dict[str, Any]:
    """Return a part's inputs as they are for the images of `index` alone."""
    cut = {name: value[index] if name in PER_IMAGE else value for name, value in inputs.items()}
    if "images" in cut:
        cut["images"] = cut["images"].take(index)
    if cut.get("names"):
        cut["names"] = tuple(map(cut["names"].__getitem__, index))
    return cut
