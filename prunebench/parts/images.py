"""Images: square uint8 pictures, in memory, in a memory map, decoded on request, or on a device."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Artefact
from prunebench.system.cores import in_order
from prunebench.system.mapped import MappedRows, has_readable_rows, is_mapped, is_read_only_map

if TYPE_CHECKING:
    import torch

SHARE = 0.5  # of a device's free memory, for images. The rest is for networks
TOGETHER = 1024  # images resized or standardized at a time
NO_POOL = (0, 0)  # of memory that is not that of a CUDA graph
PER_THREAD = 64  # images that a thread fetches in one go
Reader = Callable[[Array, Array], None]


class Elsewhere(Protocol):
    """A lazy array of images, fetched on request: the attributes that `Images` needs of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, channels, side, side]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's uint8."""

    @property
    def ndim(self) -> int:
        """The number of dimensions, which is 4."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Array, /) -> Array:
        """Return the images of a slice or int array, as a new array."""


class Images:
    """The pictures of one split, without labels.

    `images[index]` returns a copy: a uint8 tensor [b, channels, side, side] on `device`. The index is a
    slice, an int array or an int tensor, and counts from 0.

    The first access moves all images to a device other than "cpu", if they take at most half of its free
    memory (`SHARE`). Otherwise each batch is moved on request.

    Raise PrunebenchError if the array is not of square uint8 images, or if `mean` or `std` has not one
    number per channel.

    array: uint8 [n, channels, side, side], read-only. It may be a memory map or an `Elsewhere`. Then only the
        requested images are in memory.
    mean: of each channel, in 0..1.
    std: standard deviation of each channel, in 0..1.
    device: "cpu" or "cuda".
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
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.device = device
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
        if device == self.device:
            return self
        return Images(self.array, mean=self.mean, std=self.std, device=device)

    def take(self, index: Array) -> Images:
        """Return the images of `index` alone, int [m], in its order. Images not in memory are not loaded."""
        if len(index) == len(self) and np.array_equal(index, np.arange(len(self))):
            return self
        # Images that go to another device need no second copy in the memory of the host.
        in_memory = isinstance(self.array, np.ndarray) and not is_mapped(self.array)
        copied = self.device == "cpu" and in_memory
        subset = self.array[index] if copied else Chosen(self.array, np.asarray(index))
        return Images(subset, mean=self.mean, std=self.std, device=self.device)

    def resized(self, side: int | None) -> Images:
        """Return the images resized to `side` pixels, bilinear and antialiased. None: as they are.

        Raise PrunebenchError if `side` exceeds theirs.
        """
        if side is None or side == self.resolution:
            return self
        if side > self.resolution:
            raise PrunebenchError(f"images of {self.resolution} pixels cannot be resized to {side}")
        import torch
        from torch.nn import functional

        array = np.empty((len(self), self.channels, side, side), np.uint8)
        for start in range(0, len(self), TOGETHER):
            batch = torch.tensor(self.array[start : start + TOGETHER])
            smaller = functional.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)
            array[start : start + len(batch)] = smaller.numpy()
        return Images(array, mean=self.mean, std=self.std, device=self.device)

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        import torch

        if self._source is None:
            self._source = self._settled()
        if isinstance(index, np.ndarray):
            index = torch.tensor(index)
        if not isinstance(self._source, torch.Tensor):
            # A lazy array accepts slices and int arrays only.
            positions = index if isinstance(index, slice) else index.cpu().numpy()
            batch = torch.from_numpy(self._source[positions])
        elif isinstance(index, slice):
            batch = self._source[index].clone()  # so that a change of the batch does not change the images
        else:
            # Several times faster on a CPU than source[index]. It reads only these rows of a memory map.
            batch = self._source.index_select(0, index.to(self._source.device))
        if batch.device.type == torch.device(self.device).type:
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)  # while the device computes

    @property
    def fits(self) -> bool:
        """Whether all images may live on the device. Always true for a CPU, as nothing moves there."""
        size = int(np.prod(self.array.shape, dtype=np.int64)) * self.array.dtype.itemsize
        return self.device == "cpu" or size <= SHARE * free_bytes(self.device)

    @property
    def resident(self) -> bool:
        """Whether all images live on `device`, so that no batch has to wait. Known after the first batch."""
        import torch

        return isinstance(self._source, torch.Tensor) and self._source.device.type == self.device

    def _settled(self) -> torch.Tensor | Elsewhere:
        """Return the source of all batches: the images moved to the device if they fit, or left in place."""
        import torch

        if isinstance(self.array, np.ndarray):
            with warnings.catch_warnings():
                # The tensor shares the read-only memory. torch warns that nobody may write to it.
                warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
                shared = torch.from_numpy(self.array)
            return shared.to(self.device) if self.fits else shared
        if self.device == "cpu" or not self.fits:
            return self.array
        read = reader(self.array)

        def fetched(start: int) -> Array:
            index = np.arange(start, min(start + PER_THREAD, len(self)))
            rows = np.empty((len(index), *self.array.shape[1:]), np.uint8)
            read(index, rows)
            return rows

        resident = torch.empty(self.array.shape, dtype=torch.uint8, device=self.device)
        starts = range(0, len(self), PER_THREAD)
        for start, rows in zip(starts, in_order(fetched, starts), strict=True):
            resident[start : start + len(rows)] = torch.from_numpy(rows).to(self.device)
        return resident


def free_bytes(device: str) -> int:
    """Return the free bytes of a CUDA device: those of the driver and those that torch reserved unused.

    What torch reserved for a CUDA graph serves nothing else, though it looks unused between two replays.
    """
    import torch

    free, _total = torch.cuda.mem_get_info(device)
    for segment in torch.cuda.memory_snapshot():  # type: ignore[no-untyped-call]
        if segment["segment_pool_id"] == NO_POOL:
            free += segment["total_size"] - segment["allocated_size"]
    return free


@dataclass(frozen=True, eq=False)
class Chosen:
    """A lazy subset of images: it fetches them from a memory map or an `Elsewhere` on request.

    base: all images, [n, channels, side, side].
    index: the images of the subset, int [m], in their order.
    """

    base: Array | Elsewhere
    index: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """[m, channels, side, side]."""
        return len(self.index), *self.base.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the base's numbers."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions of the base."""
        return self.base.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: slice | Array) -> Array:
        return np.asarray(self.base[self.index[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)


def reader(array: Array | Elsewhere) -> Reader:
    """Return a function `read(index, out)` that copies images into an array. Several threads may call it.

    Its index is int [m], from 0, and `out` is uint8 [m, channels, side, side]. Images in a file are read
    without its memory map. If the file was deleted, the map is read.
    """
    if isinstance(array, Chosen):
        read = reader(array.base)
        chosen = array.index
        return lambda index, out: read(chosen[index], out)
    if isinstance(array, np.ndarray) and has_readable_rows(array):
        with suppress(OSError):
            return MappedRows(array).read

    def copy_rows(index: Array, out: Array) -> None:
        out[:] = array[index]

    return copy_rows


class Vectors(Images):
    """Embeddings in the place of images: float32 [n, d] as images of one pixel and d channels.

    They are standardized once, here: each coordinate gets a mean of 0 and a standard deviation of 1. A
    constant coordinate becomes 0. Normalizing these images by `mean` and `std` then changes nothing.

    values: the embeddings, float32 [n, d]. They are copied.
    device: "cpu" or "cuda".
    like: vectors whose standardization is applied. None: it is computed from `values`.
    """

    def __init__(self, values: Array, *, device: str = "cpu", like: Vectors | None = None) -> None:
        self._moments: tuple[Array, Array] = like._moments if like else _moments(values)
        standardized = _standardized(values, *self._moments)
        standardized.setflags(write=False)
        self.array = standardized.reshape(*values.shape, 1, 1)
        self.mean = (0.0,) * values.shape[1]
        self.std = (1 / 255,) * values.shape[1]  # normalizing divides by 255 first
        self.device = device
        self._source = None

    def to(self, device: str) -> Vectors:
        """Return the same vectors, for use on `device`."""
        if device == self.device:
            return self
        return self._with(self.array, device)

    def take(self, index: Array) -> Vectors:
        """Return the vectors of `index` alone, int [m], standardized as all of these are."""
        return self._with(self.array[index], self.device)

    def _with(self, array: Array, device: str) -> Vectors:
        """Return vectors that are standardized like these."""
        other = copy(self)
        other.array = array
        other.device = device
        other._source = None
        return other


def _moments(values: Array) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of each coordinate, float64 [d]; 1 for a constant one."""
    std = values.std(axis=0, dtype=np.float64)
    return values.mean(axis=0, dtype=np.float64), np.where(std > 0, std, 1)


def _standardized(values: Array, mean: Array, std: Array) -> Array:
    """Return (values - mean) / std: float32 [n, d]."""
    standardized = np.empty(values.shape, np.float32)
    for start in range(0, len(values), TOGETHER):
        rows = slice(start, start + TOGETHER)
        standardized[rows] = values[rows] * (1 / std)
        standardized[rows] -= mean / std
    return standardized


PER_IMAGE = ("embeddings", "labels", "dynamics", "scores", "known_labels")


class Handed(Images):
    """The images that a part gets. Its slices are copies. `altered` is true once the part wrote to one.

    Such a write reaches no other stage. The core warns of it, because the author may believe it does.
    """

    def __init__(self, images: Images) -> None:
        vars(self).update(vars(images))
        self._last: torch.Tensor | None = None  # the latest slice. torch counts the writes to it
        self._altered = False

    def __getitem__(self, index: slice | Array | torch.Tensor) -> torch.Tensor:
        batch = super().__getitem__(index)
        if isinstance(index, slice):
            self._altered = self.altered
            self._last = batch
        return batch

    @property
    def altered(self) -> bool:
        """Whether the part changed a slice in place."""
        last = self._last
        written = last is not None and not last.is_inference() and last._version > 0
        return self._altered or written


def checksums(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return a CRC-32 by name of each input that holds arrays, to notice whether a part changed them.

    An `Elsewhere` is left out, because it hands out copies. A read-only memory map is left out, because the
    system refuses writes to it.
    """
    sums: dict[str, int] = {}
    for name, value in inputs.items():
        array = value.array if isinstance(value, Images) else value
        members = array.arrays()[0].values() if isinstance(array, Artefact) else [array]
        for member in members:
            if isinstance(member, np.ndarray) and not is_read_only_map(member):
                sums[name] = zlib.crc32(np.ascontiguousarray(member).data, sums.get(name, 0))
    return sums


def sliced(inputs: Mapping[str, Any], index: Array) -> dict[str, Any]:
    """Return a part's inputs for the images of `index` alone, int [m]."""
    subset = {name: value[index] if name in PER_IMAGE else value for name, value in inputs.items()}
    if "images" in subset:
        subset["images"] = subset["images"].take(index)
    if subset.get("names"):
        subset["names"] = tuple(subset["names"][position] for position in index)
    return subset
