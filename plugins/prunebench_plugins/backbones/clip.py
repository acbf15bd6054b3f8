"""CLIP: vision transformers trained on images with their captions, through open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import BATCH, PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn

SOURCE = "400 million captioned images of the web (WIT); Radford et al. 2021, arXiv 2103.00020"


@dataclass(frozen=True, kw_only=True)
class Clip(PretrainedBackbone):
    """OpenAI's CLIP; its features are the image embedding after the projection, not normalised.

    Position embeddings are interpolated to `side`, as open_clip does.
    """

    architecture: ClassVar[str]
    repository: ClassVar[str]
    mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)

    def kept_weights(self) -> Path:
        """Return open_clip_model.safetensors of open_clip's repository, from the Hugging Face cache."""
        return self.from_hub(self.repository, "open_clip_model.safetensors")

    def network(self, weights: Path) -> nn.Module:
        """Return both towers with these weights; `embed` sees one of them, `describe` the other."""
        import open_clip

        network: nn.Module = open_clip.create_model(
            self.architecture, pretrained=str(weights), force_image_size=self.side, weights_only=True
        )
        return network

    def describe(self, sentences: Sequence[str], device: str) -> Array:
        """Return the embeddings of one or more sentences, projected, not normalised: float32 [k, d].

        They share a space with what `embed` returns. A sentence of more than 75 tokens is cut there,
        as CLIP's context is 77 with its two marks. Raise PrunebenchError where the weights are absent
        or do not fit.
        """
        network: Any = super()._loaded(device)
        import open_clip
        import torch

        tokens, features = open_clip.get_tokenizer(self.architecture)(list(sentences)).to(device), []
        with torch.inference_mode():
            for batch in tokens.split(BATCH):
                features.append(network.encode_text(batch).float().cpu().numpy())
        return np.concatenate(features)

    def _loaded(self, device: str) -> nn.Module:
        """Return the image tower alone: the memory of the other is free again while images pass."""
        return cast("nn.Module", super()._loaded(device).visual)


@dataclass(frozen=True, kw_only=True)
class ClipVitl14(Clip):
    """CLIP ViT-L/14, 768 features: half of what ZCore looks at."""

    name: ClassVar[str] = "clip_vitl14"
    architecture: ClassVar[str] = "ViT-L-14-quickgelu"
    repository: ClassVar[str] = "timm/vit_large_patch14_clip_224.openai"
    patch: ClassVar[int] = 14
    # 256 V100 for 12 days: Radford et al., section 2.5.
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=400_000_000, labels="text", classes=0, gpu_hours=73_728, source=SOURCE
    )


@dataclass(frozen=True, kw_only=True)
class ClipVitb32(Clip):
    """CLIP ViT-B/32, 512 features."""

    name: ClassVar[str] = "clip_vitb32"
    architecture: ClassVar[str] = "ViT-B-32-quickgelu"
    repository: ClassVar[str] = "timm/vit_base_patch32_clip_224.openai"
    patch: ClassVar[int] = 32
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=400_000_000, labels="text", classes=0, gpu_hours=None, source=SOURCE
    )
