"""Backbones: turn images into embeddings."""

from __future__ import annotations

from prunebench.parts.base import Backbone
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.backbones.any_of_timm import Timm
from prunebench_plugins.backbones.clip import ClipVitb32, ClipVitl14
from prunebench_plugins.backbones.dino import Dinov2Vitb14, DinoVitb16, DinoVits16
from prunebench_plugins.backbones.efficientnet import EfficientnetLite0
from prunebench_plugins.backbones.file import File
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.backbones.resnets import Resnet18Imagenet, SwavRn50
from prunebench_plugins.backbones.swav.part import Swav


@hookimpl
def register_backbones() -> list[type[Backbone]]:
    """Return the built-in backbones."""
    pretrained = [DinoVitb16, DinoVits16, Dinov2Vitb14, ClipVitl14, ClipVitb32, SwavRn50, Resnet18Imagenet]
    return [*pretrained, EfficientnetLite0, Timm, Pixels, Swav, File]
