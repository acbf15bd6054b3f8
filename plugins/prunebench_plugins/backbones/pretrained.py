"""What pretrained backbones share: finding a weights file without a network, preparing images, embedding."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbone, Progress
from prunebench.parts.images import Images

if TYPE_CHECKING:
    import torch
    from torch import nn

IMAGENET_IMAGES = 1_281_167
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH = 128


@dataclass(frozen=True, kw_only=True)
class PretrainedBackbone(Backbone):
    """Base of frozen networks that saw other images before.

    side: pixels to which the square images are resized, bicubic and antialiased, before the network
    sees them. weights: a file to use instead of the one where the network's library keeps it.
    """

    weights: Path | None = None
    side: int = 224
    patch: ClassVar[int] = 1  # `side` is a multiple of it
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD

    def __post_init__(self) -> None:
        whole = self.side > 0 and self.side % self.patch == 0
        require(whole, f"{self.name}.side", self.side, f"a multiple of {self.patch} above 0")

    def kept_weights(self) -> Path:
        """Return the file where the library keeps the weights; raise PrunebenchError if it is absent."""
        raise NotImplementedError

    def network(self, weights: Path) -> nn.Module:
        """Return the network with these weights: from float [b, 3, side, side] to float [b, d]."""
        raise NotImplementedError

    def ready(self) -> None:
        """Raise PrunebenchError where the weights are not on this machine."""
        self._file()

    def embed(self, images: Images, device: str, progress: Progress) -> Array:
        """Return the network's features in eval mode, neither scaled nor centred: float32 [n, d].

        Grey images are shown in each of three channels. Nothing is downloaded. Raise PrunebenchError
        where the weights are absent or do not fit, and for images of neither 1 nor 3 channels.
        """
        require(images.channels in (1, 3), f"{self.name}: channels of the images", images.channels, "1 or 3")
        network = self._loaded(device)
        import torch

        images, features = images.to(device), []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                batch = prepare(images[start : start + BATCH], self.side, self.mean, self.std)
                features.append(network(batch).float().cpu().numpy())
                progress(min(start + BATCH, len(images)), len(images))
        return np.concatenate(features)

    def _file(self) -> Path:
        if self.weights is None:
            return self.kept_weights()
        if not self.weights.is_file():
            raise PrunebenchError(f"{self.name}.weights is '{self.weights}', but there is no such file")
        return self.weights

    def _loaded(self, device: str) -> nn.Module:
        """Return the network, ready for use on the device."""
        file = self._file()
        import torch
        from safetensors import SafetensorError

        try:
            network = self.network(file)
        except (OSError, RuntimeError, LookupError, ValueError, UnpicklingError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            # Torch and timm, which wraps its error, advise to let the file run what is inside.
            if UnpicklingError in (type(error), type(error.__cause__)):
                reason = "it holds more than tensors, and nothing else is read"
            raise PrunebenchError(
                f"{file} does not hold the weights of {self.name} ({reason}); "
                "fetch it anew, or set another file as `weights`"
            ) from error
        return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]

    def absent(self, file: str, folder: Path, remedy: str) -> PrunebenchError:
        """Build the error for weights that are not on this machine."""
        return PrunebenchError(
            f"backbone {self.name!r} needs {file}, which is not in {folder}: {remedy}, "
            f"or name a copy of it: --set {self.name}.weights=FILE"
        )

    def from_hub(self, repository: str, file: str) -> Path:
        """Find a file of a Hugging Face repository in the local cache."""
        from huggingface_hub import constants, try_to_load_from_cache

        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
        remedy = f"run `hf download {repository} {file}`"
        raise self.absent(f"{repository}/{file}", Path(constants.HF_HUB_CACHE), remedy)

    def from_torch(self, url: str) -> Path:
        """Find a file in the folder where torch.hub and torchvision keep what they downloaded."""
        folder = _torch_hub() / "checkpoints"
        file = folder / url.rpartition("/")[2]
        if file.is_file():
            return file
        raise self.absent(file.name, folder, f"download {url} into it")


def _torch_hub() -> Path:
    """Return torch.hub's folder by the variables that it reads; importing torch to ask takes seconds."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return Path(home).expanduser() / "hub"


def prepare(batch: torch.Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Turn uint8 [b, 1 or 3, r, r] into normalised float32 [b, 3, side, side].

    As Pillow resizes: bicubic and antialiased, first the rows, then the columns, each time rounded and
    cut to 0..255.
    """
    from torch.nn import functional

    from prunebench.nn.augment import normalise

    pictures = batch.float()
    if (resolution := batch.shape[-1]) != side:
        for size in ((resolution, side), (side, side)):
            pictures = functional.interpolate(pictures, size=size, mode="bicubic", antialias=True)
            pictures = pictures.round_().clamp_(0, 255)
    return normalise(pictures.repeat(1, 3 // batch.shape[1], 1, 1), mean, std)
