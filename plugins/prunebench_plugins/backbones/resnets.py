"""ResNets in torchvision's layout: SwAV's ResNet-50 and torchvision's supervised ResNet-18."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import IMAGENET_IMAGES, PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn

# Prefixes of the layers after the pooled features, in either of the two weights files.
DROPPED = ("fc.", "projection_head.", "prototypes.")


@dataclass(frozen=True, kw_only=True)
class TorchvisionResnet(PretrainedBackbone):
    """A ResNet without its last layer. Its features are the mean of the last feature map.

    architecture: name of the network in torchvision.
    url: origin of the weights file.
    """

    architecture: ClassVar[str]
    url: ClassVar[str]

    def kept_weights(self) -> Path:
        """Return the file of `url` in torch.hub's folder. Raise PrunebenchError if it is absent."""
        return self.from_torch(self.url)

    def network(self, weights: Path) -> nn.Module:
        """Return the ResNet with these weights and an identity as last layer."""
        import torch
        from torchvision import models

        network: nn.Module = models.get_model(self.architecture, weights=None)
        network.fc = torch.nn.Identity()
        stored = torch.load(weights, map_location="cpu", weights_only=True)
        state = {}
        for stored_name, tensor in stored.items():
            # SwAV was trained in a DistributedDataParallel wrapper, which adds this prefix.
            name = stored_name.removeprefix("module.")
            if not name.startswith(DROPPED):
                state[name] = tensor
        network.load_state_dict(state)
        return network


@dataclass(frozen=True, kw_only=True)
class SwavRn50(TorchvisionResnet):
    """SwAV's ResNet-50 after 800 epochs, 2048 features.

    The features are the input of the last layer. The reference code takes the output of a last layer with
    random weights instead.
    """

    name: ClassVar[str] = "swav_rn50"
    architecture: ClassVar[str] = "resnet50"
    url: ClassVar[str] = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
    # 800 epochs of 3 min 40 s on 64 V100, by the running times in SwAV's repository.
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=IMAGENET_IMAGES,
        labels="none",
        classes=0,
        gpu_hours=3129,
        source="ImageNet-1K; Caron et al. 2020, arXiv 2006.09882",
    )


@dataclass(frozen=True, kw_only=True)
class Resnet18Imagenet(TorchvisionResnet):
    """Torchvision's ResNet-18, 512 features. ZCore reads it beside CLIP."""

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
