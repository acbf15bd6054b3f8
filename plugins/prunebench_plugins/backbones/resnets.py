"""ResNets in torchvision's layout: SwAV's, trained without labels, and ImageNet's own ResNet-18."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import IMAGENET_IMAGES, PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn

# Layers behind the pooled features, in either of the two files.
DROPPED = ("fc.", "projection_head.", "prototypes.")


@dataclass(frozen=True, kw_only=True)
class TorchvisionResnet(PretrainedBackbone):
    """A ResNet without its last layer; its features are the mean of the last feature map."""

    architecture: ClassVar[str]
    url: ClassVar[str]

    def kept_weights(self) -> Path:
        """Return the file of `url` from torch.hub's folder."""
        return self.from_torch(self.url)

    def network(self, weights: Path) -> nn.Module:
        """Return the ResNet, its last layer replaced by nothing."""
        import torch
        from torchvision import models

        network: nn.Module = models.get_model(self.architecture, weights=None)
        network.fc = torch.nn.Identity()
        stored = torch.load(weights, map_location="cpu", weights_only=True)
        # SwAV's names begin with that of the wrapper it was trained in.
        named = {name.removeprefix("module."): tensor for name, tensor in stored.items()}
        network.load_state_dict({name: t for name, t in named.items() if not name.startswith(DROPPED)})
        return network


@dataclass(frozen=True, kw_only=True)
class SwavRn50(TorchvisionResnet):
    """SwAV's ResNet-50 after 800 epochs, 2048 features.

    The reference loads it into a ResNet-50 whose last layer is random, and takes that layer's output
    for features; here it is the layer before.
    """

    name: ClassVar[str] = "swav_rn50"
    architecture: ClassVar[str] = "resnet50"
    url: ClassVar[str] = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
    # 800 epochs of 3 min 40 s on 64 V100: the running times in SwAV's repository.
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=IMAGENET_IMAGES,
        labels="none",
        classes=0,
        gpu_hours=3129,
        source="ImageNet-1K; Caron et al. 2020, arXiv 2006.09882",
    )


@dataclass(frozen=True, kw_only=True)
class Resnet18Imagenet(TorchvisionResnet):
    """Torchvision's ResNet-18, 512 features: the other half of what ZCore looks at."""

    name: ClassVar[str] = "resnet18_imagenet"
    architecture: ClassVar[str] = "resnet18"
    url: ClassVar[str] = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=IMAGENET_IMAGES,
        labels="supervised",
        classes=1000,
        gpu_hours=None,
        source="ImageNet-1K; torchvision, IMAGENET1K_V1",
    )
