"""Wide ResNets of depth 28, as in the code bases of semi-supervised learning.

Source: Zagoruyko and Komodakis 2016, in the variant of MixMatch and FixMatch of the USB code base. It has
leaky ReLUs, a BatchNorm with slow running statistics, and a stem with a bias.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor
BLOCKS = 4  # per stage: 28 layers are 3 stages of 4 blocks of 2 convolutions, 3 shortcuts and the stem
SLOPE = 0.1  # of the leaky ReLUs below 0
MOMENTUM = 0.001  # of BatchNorm: running statistics average about the last thousand steps
FINAL_EPS = 0.001  # of the last BatchNorm


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, each after BatchNorm and LeakyReLU, and a shortcut.

    If the width changes and `shared` is false, the input is not activated at all. The reference code computes
    that activation in the first blocks of the second and third stage, but does not use it.

    shared: whether the shortcut gets the activated input too. True in the first block of the network.
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
    """Maps images, float [b, channels, r, r], to features, float [b, 64 * widen].

    Convolutions are initialized by the fan-out rule of He et al. 2015.

    channels: of the images.
    widen: widening factor.
    """

    def __init__(self, channels: int, widen: int) -> None:
        super().__init__()
        self.width = 64 * widen
        blocks = []
        inputs = 16
        for stage, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for number in range(BLOCKS):
                halves = stage > 0 and number == 0
                blocks.append(Block(inputs, outputs, 2 if halves else 1, shared=stage == 0 and number == 0))
                inputs = outputs
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.blocks = nn.Sequential(*blocks)
        self.final = activation(self.width, FINAL_EPS)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, averaged over all positions."""
        y = self.final(self.blocks(self.stem(x)))
        return functional.adaptive_avg_pool2d(y, 1).flatten(1)
