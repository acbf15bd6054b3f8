"""Wide ResNets of depth 28, as the code bases of semi-supervised learning have them.

Zagoruyko and Komodakis 2016, in the variant of MixMatch and FixMatch that the USB code base trains:
leaky ReLUs, a BatchNorm that remembers long, and a stem with a bias.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor
BLOCKS = 4  # per stage: 28 layers are 3 stages of 4 blocks of 2 convolutions, 3 shortcuts and the stem
SLOPE = 0.1
MOMENTUM = 0.001  # of BatchNorm: its running statistics are those of about the last thousand steps
FINAL_EPS = 0.001


class Block(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and LeakyReLU, beside a shortcut.

    shared: the shortcut sees the activated input too (in the first block). Where the width changes
    without it, the input is not activated at all: the reference computes that activation in the first
    blocks of the second and third stage, and does not use it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, shared: bool) -> None:
        super().__init__()
        same = inputs == outputs
        self.shared = shared
        self.before = activation(inputs) if same or shared else nn.Identity()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.between = activation(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: [b, outputs, r / stride, r / stride]."""
        activated = self.before(x)
        y = self.second(self.between(self.first(activated)))
        return self.shortcut(activated if self.shared else x) + y  # type: ignore[no-any-return]


def activation(channels: int, eps: float = 1e-5) -> nn.Sequential:
    """Return BatchNorm and a leaky ReLU."""
    return nn.Sequential(
        nn.BatchNorm2d(channels, eps=eps, momentum=MOMENTUM), nn.LeakyReLU(SLOPE, inplace=True)
    )


class WideResNet(nn.Module):
    """Maps images, float [b, channels, r, r], to features, float [b, width], width being 64 * widen.

    Convolutions are drawn by He's rule for the fan out (He et al. 2015).
    """

    def __init__(self, channels: int, widen: int) -> None:
        super().__init__()
        self.width = 64 * widen
        blocks, inputs = [], 16
        for stage, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for place in range(BLOCKS):
                stride = 2 if stage and not place else 1
                blocks.append(Block(inputs, outputs, stride, shared=not stage and not place))
                inputs = outputs
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.blocks = nn.Sequential(*blocks)
        self.final = activation(self.width, FINAL_EPS)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, averaged over all places."""
        y = self.final(self.blocks(self.stem(x)))
        return functional.adaptive_avg_pool2d(y, 1).flatten(1)
