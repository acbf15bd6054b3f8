"""DINO and DINOv2: vision transformers trained without labels, through timm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import IMAGENET_IMAGES, PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn

DINO = Pretraining(
    images=IMAGENET_IMAGES,
    labels="none",
    classes=0,
    gpu_hours=None,
    source="ImageNet-1K; Caron et al. 2021, arXiv 2104.14294",
)


@dataclass(frozen=True, kw_only=True)
class TimmTransformer(PretrainedBackbone):
    """A vision transformer of timm. Its features are the class token after the last LayerNorm.

    Position embeddings are interpolated to `side`, as timm does.

    architecture: name of the network in timm.
    """

    architecture: ClassVar[str]

    def kept_weights(self) -> Path:
        """Return model.safetensors of timm's repository in the Hugging Face cache.

        Raise PrunebenchError if it is absent.
        """
        return self.from_hub(f"timm/{self.architecture}", "model.safetensors")

    def network(self, weights: Path) -> nn.Module:
        """Return the transformer with these weights, without a classifier."""
        import timm
        from timm.models import load_checkpoint
        from timm.models.vision_transformer import checkpoint_filter_fn

        network: nn.Module = timm.create_model(self.architecture, num_classes=0, img_size=self.side)
        # create_model would skip tensors whose names do not match, and leave random weights there.
        load_checkpoint(
            network, str(weights), use_ema=False, filter_fn=checkpoint_filter_fn, weights_only=True
        )
        return network


@dataclass(frozen=True, kw_only=True)
class DinoVitb16(TimmTransformer):
    """DINO ViT-B/16, 768 features: the encoder of ELFS and SemiPrune."""

    name: ClassVar[str] = "dino_vitb16"
    architecture: ClassVar[str] = "vit_base_patch16_224.dino"
    patch: ClassVar[int] = 16
    pretraining: ClassVar[Pretraining | None] = DINO


@dataclass(frozen=True, kw_only=True)
class DinoVits16(TimmTransformer):
    """DINO ViT-S/16, 384 features."""

    name: ClassVar[str] = "dino_vits16"
    architecture: ClassVar[str] = "vit_small_patch16_224.dino"
    patch: ClassVar[int] = 16
    pretraining: ClassVar[Pretraining | None] = DINO


@dataclass(frozen=True, kw_only=True)
class Dinov2Vitb14(TimmTransformer):
    """DINOv2 ViT-B/14 without registers, 768 features.

    It sees 224 pixels, but was pretrained at up to 518.
    """

    name: ClassVar[str] = "dinov2_vitb14"
    architecture: ClassVar[str] = "vit_base_patch14_dinov2.lvd142m"
    patch: ClassVar[int] = 14
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=142_000_000,
        labels="none",
        classes=0,
        gpu_hours=None,
        source="LVD-142M, ImageNet-1K and -22K among it; Oquab et al. 2023, arXiv 2304.07193",
    )
