"""Base of pretrained backbones: finds the weights file offline, prepares images and embeds them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts import work
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbone, Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench.parts.precision import arithmetic
from prunebench.system.cores import in_order

if TYPE_CHECKING:
    from torch import nn

IMAGENET_IMAGES = 1_281_167
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH = 128  # images per forward pass on a GPU
# Images per forward pass on a CPU, where more take longer and hold more memory. Fewer round otherwise.
PASS = 16


@dataclass(frozen=True, kw_only=True)
class PretrainedBackbone(Backbone):
    """Base of frozen networks that were trained on other images.

    weights: weights file. None = the file in the cache of the network's library.
    side: side to which the square images are resized, in pixels, bicubic and antialiased. A multiple of
        `patch`.
    """

    weights: Path | None = None
    side: int = 224
    patch: ClassVar[int] = 1  # `side` is a multiple of it
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD

    def __post_init__(self) -> None:
        whole_patches = self.side > 0 and self.side % self.patch == 0
        require(whole_patches, f"{self.name}.side", self.side, f"a multiple of {self.patch} above 0")

    def kept_weights(self) -> Path:
        """Return the weights file in the library's cache. Raise PrunebenchError if it is absent."""
        raise NotImplementedError

    def network(self, weights: Path) -> nn.Module:
        """Return the network with these weights. It maps float [b, 3, side, side] to float [b, d]."""
        raise NotImplementedError

    @property
    def shown(self) -> int:
        """Side of the squares that the network is shown, in pixels."""
        return self.side

    @property
    def frozen(self) -> bool:
        """Always True: nothing is trained here."""
        return True

    def ready(self) -> None:
        """Raise PrunebenchError if the weights are not on this machine."""
        self._file()

    def pinned(self) -> Self:
        """Return this backbone with its weights file named. As it is if the file is absent."""
        try:
            return replace(self, weights=self._file())
        except PrunebenchError:
            return self

    def trainable(self, channels: int) -> nn.Module:
        """Return the network with its weights, behind the preparation of its images: float [b, d].

        Raise PrunebenchError if the weights are absent or do not fit, or if images have neither 1 nor 3
        channels.
        """
        self._check(channels)
        from prunebench_plugins.backbones.preparing import Prepared

        return Prepared(self._loaded("cpu"), self.shown, self.mean, self.std)

    def embed(self, images: Images, device: str, progress: Progress, checkpoint: Checkpoint) -> Array:
        """Return the network's features in eval mode, neither scaled nor centered: float32 [n, d].

        A GPU computes them in TF32. A CPU computes on all its cores, each pass on one of them, so that their
        number changes no result. The channel of gray images is repeated three times. Nothing is downloaded.

        checkpoint: holds the features so far, of the device that computed them.

        Raise PrunebenchError if the weights are absent or do not fit, or if images have neither 1 nor 3
        channels.
        """
        self._check(images.channels)
        network = self._loaded(device)
        import torch

        from prunebench.nn.loop import Saver
        from prunebench_plugins.backbones.preparing import prepare

        images = images.to(device)
        state = checkpoint.load()
        features = [state["features"]] if state and state["device"] == device else []
        begun = done = sum(map(len, features))
        saver = Saver(checkpoint)

        def features_of(bounds: tuple[int, int]) -> Array:
            with torch.inference_mode():
                batch = prepare(images[slice(*bounds)], self.shown, self.mean, self.std)
                found: Array = network(batch).float().cpu().numpy()
            return found

        rest = [bounds for bounds in passes(len(images), device) if bounds[0] >= begun]
        with arithmetic("tf32"), work.passes() as counted:
            for found in in_order(features_of, rest) if device == "cpu" else map(features_of, rest):
                features.append(found)
                done += len(found)
                work.see(len(found))
                progress(done, len(images))
                if done < len(images) and saver.due():
                    features = [np.concatenate(features)]
                    state = {"features": features[0], "device": device, "step": done, "steps": len(images)}
                    saver.save(state)
        # Those of the rest, scaled to all: one that was interrupted counts as any other.
        per_image = counted.multiply_adds / (len(images) - begun)
        work.add(images_forward=len(images), multiply_adds=per_image * len(images))
        return np.concatenate(features)

    def _check(self, channels: int) -> None:
        require(channels in (1, 3), f"{self.name}: channels of the images", channels, "1 or 3")

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
            # The messages of torch, and of timm, which wraps torch's error, advise to run the file's code.
            if UnpicklingError in (type(error), type(error.__cause__)):
                reason = "it holds more than tensors, and nothing else is read"
            raise PrunebenchError(
                f"{file} does not hold the weights of {self.name} ({reason}); "
                "fetch it anew, or set another file as `weights`"
            ) from error
        return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]

    def absent(self, file: str, folder: Path, remedy: str) -> PrunebenchError:
        """Build the error for weights that are not on this machine.

        file: name of the missing file.
        folder: folder that was searched.
        remedy: how to get the file.
        """
        return PrunebenchError(
            f"backbone {self.name!r} needs {file}, which is not in {folder}: {remedy}, "
            f"or name a copy of it: --set {self.name}.weights=FILE"
        )

    def from_hub(self, repository: str, file: str) -> Path:
        """Return a file of a Hugging Face repository in the local cache.

        Raise PrunebenchError if it is absent.
        """
        from huggingface_hub import constants, try_to_load_from_cache

        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return Path(path)
        remedy = f"run `hf download {repository} {file}`"
        raise self.absent(f"{repository}/{file}", Path(constants.HF_HUB_CACHE), remedy)

    def from_torch(self, url: str) -> Path:
        """Return the file of `url` in the download folder of torch.hub and torchvision.

        Raise PrunebenchError if it is absent.
        """
        folder = _torch_hub() / "checkpoints"
        file = folder / url.rpartition("/")[2]
        if file.is_file():
            return file
        raise self.absent(file.name, folder, f"download {url} into it")


def _torch_hub() -> Path:
    """Return torch.hub's folder by the environment variables that torch reads."""
    # Not torch.hub.get_dir(): the import takes seconds.
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return Path(home).expanduser() / "hub"


def passes(images: int, device: str) -> list[tuple[int, int]]:
    """Return where each forward pass over so many images begins and ends.

    On a CPU a batch of a GPU is made in several passes of PASS images. The last of them takes what is left
    over, and so rounds as one pass on the whole batch would.
    """
    size = PASS if device == "cpu" else BATCH
    starts = [start for start in range(0, images, size) if start % BATCH == 0 or images - start >= size]
    return list(pairwise([*starts, images]))
