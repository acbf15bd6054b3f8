"""Images: uint8 square pictures in memory, memory-mapped, decoded when asked for, or on a device."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Artefact

if TYPE_CHECKING:
    import torch

SHARE = 0.5  # of a device's free memory that images may take; the rest is for networks
TOGETHER = 1024  # images that are moved there in one go


class Elsewhere(Protocol):
    """Images that are fetched when asked for: what `Images` needs of something that is no array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, channels, side, side]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""

    @property
    def ndim(self) -> int:
        """4."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Array, /) -> Array:
        """Return the images of a slice or int array, as an array of its own."""


class Images:
    """The pictures of one split, without labels.

    array: uint8 [n, channels, side, side], read-only; may be a memory map, or an `Elsewhere`, of which no
    more is ever in memory than is asked for. mean and std are per channel, in 0..1. `images[index]` returns
    a uint8 tensor [b, channels, side, side] on `device`, for an index that is a slice, an int array or an
    int tensor, counted from 0; it is a copy. With a `device` other than "cpu" all images live there from
    the first look on, if they take at most half of its free memory (`SHARE`); else each batch is moved when
    asked for.
    """

    def __init__(
        self,
        array: Array | Elsewhere,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str = "cpu",
    ) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[2] != array.shape[3]:
            raise PrunebenchError(
                f"images are {array.dtype} {array.shape}, expected uint8 [n, channels, side, side]"
            )
        if not len(mean) == len(std) == array.shape[1]:
            raise PrunebenchError(
                f"images have {array.shape[1]} channel(s), but {len(mean)} mean(s) and {len(std)} std(s)"
            )
        if isinstance(array, np.ndarray):
            array = array.view()
            array.setflags(write=False)
        self.array = cast(Array, array)
        self.mean, self.std, self.device = tuple(mean), tuple(std), device
        self._source: torch.Tensor | Elsewhere | None = None

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
        """Return the same images, for use on `device`."""
        return (
            self if device == self.device else Images(self.array, mean=self.mean, std=self.std, device=device)
        )

    def take(self, index: Array) -> Images:
        """Return the images of `index` alone, in its order; what is not in memory stays where it is."""
        if len(index) == len(self) and np.array_equal(index, np.arange(len(self))):
            return self
        # What another device takes needs no second copy in the memory of the host.
        copied = self.device == "cpu" and _in_memory(self.array)
        taken = self.array[index] if copied else Chosen(self.array, np.asarray(index))
        return Images(taken, mean=self.mean, std=self.std, device=self.device)

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        import torch

        if self._source is None:
            self._source = self._settled()
        if isinstance(index, np.ndarray):
            index = torch.tensor(index)
        if not isinstance(self._source, torch.Tensor):
            place = index if isinstance(index, slice) else index.cpu().numpy()
            batch = torch.from_numpy(self._source[place])
        elif isinstance(index, slice):
            batch = self._source[index].clone()  # whoever changes it must not change the images
        else:
            # On a CPU several times faster than source[index]; of a memory map it reads no other rows.
            batch = self._source.index_select(0, index.to(self._source.device))
        if batch.device.type == torch.device(self.device).type:
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)  # while the device computes

    @property
    def resident(self) -> bool:
        """Whether a batch is taken on the device itself, without a wait; known after the first one."""
        import torch

        return isinstance(self._source, torch.Tensor) and self._source.device.type == self.device

    def _settled(self) -> torch.Tensor | Elsewhere:
        """Return what batches are taken from: all images on the device, if they fit, or where they are."""
        import torch

        if isinstance(self.array, np.ndarray):
            with warnings.catch_warnings():
                # The memory is shared rather than copied; torch warns that it is not ours to write.
                warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
                shared = torch.from_numpy(self.array)
            return shared.to(self.device) if self._fits() else shared
        if self.device == "cpu" or not self._fits():
            return self.array
        resident = torch.empty(self.array.shape, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self), TOGETHER):
            rows = torch.from_numpy(self.array[start : start + TOGETHER])
            resident[start : start + TOGETHER] = rows.to(self.device)
        return resident

    def _fits(self) -> bool:
        """Whether all images may live on the device: always on a CPU, where nothing is moved."""
        size = int(np.prod(self.array.shape, dtype=np.int64)) * self.array.dtype.itemsize
        return self.device == "cpu" or size <= SHARE * free_bytes(self.device)


def free_bytes(device: str) -> int:
    """Return the free memory of a CUDA device: what the driver has, and what torch holds but does not use."""
    import torch

    free, _total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some of the images of a memory map, or of what is like one, which stay where they are.

    base: [n, channels, side, side]. index: int [m], which of them, in order.
    """

    base: Array | Elsewhere
    index: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """[m, channels, side, side]."""
        return len(self.index), *self.base.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the base."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """That of the base."""
        return self.base.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: slice | Array) -> Array:
        return np.asarray(self.base[self.index[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)


def _in_memory(array: Array | Elsewhere) -> bool:
    """Whether images are an array that is not, and shows no part of, a memory map."""
    return isinstance(array, np.ndarray) and not isinstance(_owner(array), np.memmap | mmap)


def _guarded(array: Array) -> bool:
    """Whether an array shows a memory map that was opened for reading alone."""
    owner = _owner(array)
    return isinstance(owner, np.memmap) and owner.mode == "r"


def _owner(array: Array) -> Any:
    """Return the memory map that an array shows a part of, or else what owns its memory."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    return base


class Vectors(Images):
    """Embeddings in the place of images: float32 [n, d] seen as d channels of one pixel each.

    Mean and standard deviation are those of each coordinate, so that whoever normalises images
    standardises these; a coordinate that never changes becomes 0.
    """

    def __init__(self, values: Array, *, device: str = "cpu", like: Vectors | None = None) -> None:
        self.array = values.reshape(*values.shape[:2], 1, 1)
        self.device, self._source = device, None
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


PER_IMAGE = ("embeddings", "labels", "dynamics", "scores", "known")


class Handed(Images):
    """The images that a part gets. Its slices are copies; `altered` tells whether it wrote to one.

    No other stage sees what is written to a copy. It is worth a word, as its author may believe otherwise.
    """

    def __init__(self, images: Images) -> None:
        vars(self).update(vars(images))
        self._last: torch.Tensor | None = None  # the slice handed out last: torch counts the writes to it
        self._altered = False

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        batch = super().__getitem__(index)
        if isinstance(index, slice):
            self._altered = self.altered
            self._last = batch
        return batch

    @property
    def altered(self) -> bool:
        """Whether a slice that was handed out was changed in place."""
        last = self._last
        written = last is not None and not last.is_inference() and last._version > 0
        return self._altered or written


def checksums(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return a CRC-32 of each input that holds arrays, to notice whether a part changed them.

    Images elsewhere are not looked at, nor a memory map that the system keeps from being written.
    """
    found: dict[str, int] = {}
    for name, value in inputs.items():
        array = value.array if isinstance(value, Images) else value
        arrays = array.arrays()[0].values() if isinstance(array, Artefact) else [array]
        for one in arrays:
            if isinstance(one, np.ndarray) and not _guarded(one):
                found[name] = zlib.crc32(np.ascontiguousarray(one).data, found.get(name, 0))
    return found


def sliced(inputs: Mapping[str, Any], index: Array) -> dict[str, Any]:
    """Return a part's inputs as they are for the images of `index` alone."""
    cut = {name: value[index] if name in PER_IMAGE else value for name, value in inputs.items()}
    if "images" in cut:
        cut["images"] = cut["images"].take(index)
    if cut.get("names"):
        cut["names"] = tuple(map(cut["names"].__getitem__, index))
    return cut
