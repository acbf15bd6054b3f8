"""The networks a recipe may name: small CNNs, CIFAR and wide ResNets, and torchvision's for 224 pixels.

Each is a `Network`: `features(x)` are the penultimate features [b, d], `head` is the last, linear
layer, and the logits are head(features(x)). Weights are drawn as PyTorch draws them by default, or as
the builder says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from prunebench.errors import PrunebenchError, unknown
from prunebench.nn.wide_resnet import WideResNet
from prunebench.parts.artefacts import Array

Tensor = torch.Tensor


class Network(nn.Module):
    """An image classifier whose penultimate features can be read.

    body maps images, float [b, channels, r, r], to features, float [b, width].
    """

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the penultimate features: float [b, d]."""
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: float [b, classes]."""
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016; projected where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride)
        self.second = convolution(outputs, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, stride, side=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: [b, outputs, r / stride, r / stride]."""
        return functional.relu_(self.second(functional.relu_(self.first(x))).add_(self.shortcut(x)))


def convolution(inputs: int, outputs: int, stride: int, side: int = 3) -> nn.Sequential:
    """Return a convolution that keeps the resolution (at stride 1), without bias, then BatchNorm."""
    layer = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def pooled(*layers: nn.Module) -> nn.Sequential:
    """Return the layers followed by the mean over all places."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small_cnn(channels: int, classes: int) -> Network:
    """Return three 3x3 convolutions, 16-32-64 channels, with two poolings between: 24,000 parameters."""
    return Network(
        pooled(
            *(convolution(channels, 16, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(convolution(16, 32, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(convolution(32, 64, 1), nn.ReLU(inplace=True)),
        ),
        width=64,
        classes=classes,
    )


def cifar_resnet(channels: int, classes: int, *, widths: tuple[int, ...], depth: int) -> Network:
    """Return a ResNet with a 3x3 stem and `depth` residual blocks per width, halving between widths.

    (16, 32, 64) are the ResNets of He et al. 2016, section 4.2; (64, 128, 256, 512) with depth 2 is the
    ResNet-18 that dataset pruning uses on CIFAR (SemiPrune, appendix A.1).
    """
    blocks, inputs = [], widths[0]
    for place, outputs in enumerate(widths):
        for block in range(depth):
            blocks.append(Residual(inputs, outputs, stride=2 if place and not block else 1))
            inputs = outputs
    stem = convolution(channels, widths[0], 1)
    return Network(pooled(stem, nn.ReLU(inplace=True), *blocks), width=inputs, classes=classes)


class ThreeChannels(nn.Module):
    """Shows grey images as colour."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x, its one channel seen three times: [b, 3, r, r]."""
        return x.expand(-1, 3, -1, -1)


def mlp(channels: int, classes: int) -> Network:
    """Return a perceptron of one hidden layer of 256, for vectors that come as channels of one pixel."""
    hidden = 256
    layer = nn.Linear(channels, hidden, bias=False)
    body = nn.Sequential(nn.Flatten(), layer, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True))
    return Network(body, hidden, classes)


def wrn_28(channels: int, classes: int, *, widen: int) -> Network:
    """Return a wide ResNet of 28 layers, its head drawn as in the code base of FixMatch (USB)."""
    body = WideResNet(channels, widen)
    network = Network(body, body.width, classes)
    nn.init.xavier_normal_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


def from_torchvision(channels: int, classes: int, *, name: str, small: bool = False) -> Network:
    """Return torchvision's ResNet, randomly initialised, its last layer replaced.

    small: for images of 32 pixels, with a 3x3 convolution of stride 1 before the first block, and no
    pooling there.
    """
    from torchvision import models

    body = models.get_model(name, weights=None)
    if small:
        body.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
        body.maxpool = nn.Identity()
    width = body.fc.in_features
    body.fc = nn.Identity()
    return Network(nn.Sequential(ThreeChannels(), body) if channels == 1 else body, width, classes)


BUILDERS: Mapping[str, Callable[[int, int], Network]] = {
    "cnn": small_cnn,
    "mlp": mlp,
    "resnet8": partial(cifar_resnet, widths=(16, 32, 64), depth=1),
    "resnet20": partial(cifar_resnet, widths=(16, 32, 64), depth=3),
    "resnet18_cifar": partial(cifar_resnet, widths=(64, 128, 256, 512), depth=2),
    "resnet50_cifar": partial(from_torchvision, name="resnet50", small=True),
    "wrn_28_2": partial(wrn_28, widen=2),
    "wrn_28_8": partial(wrn_28, widen=8),
    "resnet18": partial(from_torchvision, name="resnet18"),
    "resnet34": partial(from_torchvision, name="resnet34"),
    "resnet50": partial(from_torchvision, name="resnet50"),
}


def names() -> tuple[str, ...]:
    """Return the names of all networks."""
    return tuple(BUILDERS)


def build(name: str, *, channels: int, classes: int, resolution: int, generator_seed: int) -> Network:
    """Return the network `name` with fresh weights, which depend on `generator_seed` alone.

    Raise PrunebenchError for an unknown name and for images too small to be pooled that often.
    """
    if name not in BUILDERS:
        raise unknown("network", name, names(), "prunebench.nn.networks.names()")
    if resolution < 4 and name != "mlp":
        raise PrunebenchError(f"network {name!r} needs images of 4 pixels or more, not {resolution}")
    # Layers draw from the global generator, which is handed back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator_seed)
        return BUILDERS[name](channels, classes)


def state(network: nn.Module) -> dict[str, Array]:
    """Return copies of all parameters and buffers, by name."""
    return {name: array(tensor) for name, tensor in network.state_dict().items()}


def array(tensor: Tensor) -> Array:
    """Return a copy of `tensor` in C order, of any number of dimensions."""
    return tensor.detach().cpu().contiguous().numpy().copy()


def restore(network: nn.Module, weights: Mapping[str, Array]) -> None:
    """Set all parameters and buffers to what `state` returned."""
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
