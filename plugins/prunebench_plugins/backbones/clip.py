"""CLIP: vision transformers trained on images and their captions, through open_clip."""

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
    """OpenAI's CLIP. Its features are the image embedding after the projection, not normalized.

    Position embeddings are interpolated to `side`, as open_clip does.

    architecture: name of the network in open_clip.
    repository: Hugging Face repository of the weights.
    """

    architecture: ClassVar[str]
    repository: ClassVar[str]
    mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)

    def kept_weights(self) -> Path:
        """Return open_clip_model.safetensors of `repository` in the Hugging Face cache.

        Raise PrunebenchError if it is absent.
        """
        return self.from_hub(self.repository, "open_clip_model.safetensors")

    def network(self, weights: Path) -> nn.Module:
        """Return the image tower and the text tower with these weights."""
        import open_clip

        network: nn.Module = open_clip.create_model(
            self.architecture, pretrained=str(weights), force_image_size=self.side, weights_only=True
        )
        return network

    def describe(self, sentences: Sequence[str], device: str) -> Array:
        """Return the projected embeddings of one or more sentences, not normalized: float32 [k, d].

        They share a space with the embeddings of `embed`. A sentence is cut after 75 tokens, since CLIP's
        context is 77 tokens, with a start and an end token.

        Raise PrunebenchError if the weights are absent or do not fit.
        """
        network: Any = super()._loaded(device)
        import open_clip
        import torch

        tokenizer = open_clip.get_tokenizer(self.architecture)
        tokens = tokenizer(list(sentences)).to(device)
        features = []
        with torch.inference_mode():
            for batch in tokens.split(BATCH):
                features.append(network.encode_text(batch).float().cpu().numpy())
        return np.concatenate(features)

    def _loaded(self, device: str) -> nn.Module:
        """Return the image tower alone, which frees the memory of the text tower."""
        return cast("nn.Module", super()._loaded(device).visual)


@dataclass(frozen=True, kw_only=True)
class ClipVitl14(Clip):
    """CLIP ViT-L/14, 768 features. ZCore reads it beside ResNet-18."""

    name: ClassVar[str] = "clip_vitl14"
    architecture: ClassVar[str] = "ViT-L-14-quickgelu"
    repository: ClassVar[str] = "timm/vit_large_patch14_clip_224.openai"
    patch: ClassVar[int] = 14
    # 256 V100 for 12 days (Radford et al., section 2.5).
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
