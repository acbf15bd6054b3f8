"""The networks that a recipe may name: small CNNs, CIFAR and wide ResNets, torchvision's, and those of timm.

Each is a `Network`. `features(x)` returns the penultimate features, [b, d]. `head` is the last, linear layer.
The logits are head(features(x)). Initial weights are PyTorch's default, unless a builder sets others.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from prunebench.errors import PrunebenchError, unknown
from prunebench.nn.products import Linear
from prunebench.nn.wide_resnet import WideResNet
from prunebench.parts.artefacts import Array

Tensor = torch.Tensor


class Network(nn.Module):
    """An image classifier that gives access to its penultimate features.

    body: maps images, float [b, channels, r, r], to features, float [b, width].
    width: number of features.
    classes: number of classes.
    """

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the penultimate features: float [b, d]."""
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: float [b, classes]."""
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """A residual block: two 3x3 convolutions and a shortcut (He et al. 2016).

    The shortcut is a 1x1 convolution if the shape changes, else the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride)
        self.second = convolution(outputs, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, stride, side=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: [b, outputs, r / stride, r / stride]."""
        y = functional.relu_(self.first(x))
        y = self.second(y)
        return functional.relu_(y.add_(self.shortcut(x)))


def convolution(inputs: int, outputs: int, stride: int, side: int = 3) -> nn.Sequential:
    """Return a convolution without bias, then BatchNorm. At stride 1 it keeps the resolution.

    side: of the kernel, in pixels, odd.
    """
    layer = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def pooled(*layers: nn.Module) -> nn.Sequential:
    """Return the layers, followed by the mean over all positions."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small_cnn(channels: int, classes: int) -> Network:
    """Return three 3x3 convolutions of 16, 32 and 64 channels, with max pooling between.

    The network has 24,000 parameters.
    """
    body = pooled(
        convolution(channels, 16, 1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        convolution(16, 32, 1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        convolution(32, 64, 1),
        nn.ReLU(inplace=True),
    )
    return Network(body, width=64, classes=classes)


def cifar_resnet(
    channels: int, classes: int, *, widths: tuple[int, ...], depth: int, stride: int = 1
) -> Network:
    """Return a ResNet with a 3x3 stem. The resolution halves from one width to the next.

    Widths (16, 32, 64) are the ResNets of He et al. 2016, section 4.2. Widths (64, 128, 256, 512) with depth
    2 are the ResNet-18 of dataset pruning on CIFAR (SemiPrune, appendix A.1).

    widths: channels of each stage.
    depth: residual blocks per stage.
    stride: of the stem.
    """
    blocks = []
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for block in range(depth):
            halves = stage > 0 and block == 0
            blocks.append(Residual(inputs, outputs, stride=2 if halves else 1))
            inputs = outputs
    stem = convolution(channels, widths[0], stride)
    return Network(pooled(stem, nn.ReLU(inplace=True), *blocks), width=inputs, classes=classes)


class ThreeChannels(nn.Module):
    """Repeats the channel of gray images three times."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its channel three times: [b, 3, r, r]."""
        return x.expand(-1, 3, -1, -1)


def mlp(channels: int, classes: int) -> Network:
    """Return a perceptron with one hidden layer of 256, for vectors stored as the channels of one pixel."""
    hidden = 256
    layer = Linear(channels, hidden, bias=False)
    body = nn.Sequential(nn.Flatten(), layer, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True))
    return Network(body, hidden, classes)


def linear(channels: int, classes: int) -> Network:
    """Return a linear classifier, for vectors stored as the channels of one pixel."""
    return Network(nn.Flatten(), channels, classes)


def wrn_28(channels: int, classes: int, *, widen: int) -> Network:
    """Return a wide ResNet of 28 layers. Its head is initialized as in USB, the code base of FixMatch.

    widen: widening factor.
    """
    body = WideResNet(channels, widen)
    network = Network(body, body.width, classes)
    nn.init.xavier_normal_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


def from_torchvision(channels: int, classes: int, *, name: str, small: bool = False) -> Network:
    """Return torchvision's ResNet with random weights and a new last layer.

    name: torchvision's name of the network.
    small: whether images have 32 pixels. The stem is then a 3x3 convolution of stride 1 without pooling.
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


def from_timm(channels: int, classes: int, *, name: str, resolution: int) -> Network:
    """Return timm's network with random weights, for images of `resolution` pixels.

    Networks that are made for one size of images, such as most transformers, are made for this one. Others
    take any that their strides leave a pixel of.

    name: timm's name of the network.

    Raise PrunebenchError if timm has no such network, or if it cannot see such images.
    """
    import timm

    if name not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PrunebenchError(f"timm has no network named {name!r}.{hint} See: timm.list_models()")
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    known = timm.get_pretrained_cfg(name)
    if known is not None and known.fixed_input_size:
        options["img_size"] = resolution
    try:
        body = timm.create_model(name, **options).eval()
        with torch.no_grad():
            features = body(torch.zeros(1, channels, resolution, resolution))
    except Exception as error:  # each family of networks has errors of its own
        reason = " ".join(str(error).split()).rstrip(".")
        raise PrunebenchError(
            f"timm's {name} cannot see images of {resolution} pixels ({reason}); choose another network"
        ) from error
    return Network(body.train(), features.shape[1], classes)


class Pixels(nn.Module):
    """Turns images that are normalized by `mean` and `std` back into pixels in 0..255.

    mean, std: per channel, in 0..1.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        shape = 1, len(mean), 1, 1
        self.register_buffer("scale", 255 * torch.tensor(std).view(shape), persistent=False)
        self.register_buffer("shift", 255 * torch.tensor(mean).view(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pixels of x: float [b, channels, r, r]."""
        return x * self.scale + self.shift


def on_pretrained(
    body: nn.Module,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    classes: int,
    resolution: int,
    generator_seed: int,
) -> Network:
    """Return a pretrained network with a new last layer.

    body: maps pixels in 0..255, float [b, channels, r, r], to features, float [b, d].
    mean, std: by which the images are normalized, per channel.
    classes: number of classes.
    resolution: of the images, in pixels.
    generator_seed: decides the weights of the new layer.
    """
    body = nn.Sequential(Pixels(mean, std), body).eval()
    with torch.no_grad():
        features = body(torch.zeros(1, len(mean), resolution, resolution))
    with seeded(generator_seed):
        return Network(body.train(), features.shape[1], classes)


TIMM = "timm:"  # before the name of a network of timm
HEADS = ("mlp", "linear")  # networks on vectors

BUILDERS: Mapping[str, Callable[[int, int], Network]] = {
    "cnn": small_cnn,
    "mlp": mlp,
    "linear": linear,
    "resnet8": partial(cifar_resnet, widths=(16, 32, 64), depth=1),
    "resnet8_stride2": partial(cifar_resnet, widths=(16, 32, 64), depth=1, stride=2),
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
    """Return the names of all networks, without those of timm."""
    return tuple(BUILDERS)


def build(name: str, *, channels: int, classes: int, resolution: int, generator_seed: int) -> Network:
    """Return the network `name` with fresh weights. They depend on `generator_seed` alone.

    name: one of `names()`, or "timm:NAME" for a network of timm.
    channels: of the images.
    classes: number of classes.
    resolution: of the images, in pixels. 1 for vectors.

    Raise PrunebenchError for an unknown name.
    Raise PrunebenchError if the network cannot see such images: they are smaller than 4 pixels, which are too
    few for the poolings, or timm's network does not take them, or it is one on vectors.
    """
    builder = _builder(name, resolution)
    with seeded(generator_seed):
        return builder(channels, classes)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let layers draw their weights by a seed. They draw from the global generator, which is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _builder(name: str, resolution: int) -> Callable[[int, int], Network]:
    if name.startswith(TIMM):
        return partial(from_timm, name=name.removeprefix(TIMM), resolution=resolution)
    if name not in BUILDERS:
        raise unknown("network", name, names(), "prunebench.nn.networks.names()")
    if name in HEADS and resolution > 1:
        raise PrunebenchError(f"network {name!r} sees embeddings, and no images of {resolution} pixels")
    if name not in HEADS and resolution < 4:
        raise PrunebenchError(f"network {name!r} needs images of 4 pixels or more, not {resolution}")
    return BUILDERS[name]


def state(network: nn.Module) -> dict[str, Array]:
    """Return copies of all parameters and buffers, by name."""
    return {name: array(tensor) for name, tensor in network.state_dict().items()}


def array(tensor: Tensor) -> Array:
    """Return a copy of `tensor` in C order. It may have any number of dimensions."""
    return tensor.detach().cpu().contiguous().numpy().copy()


def restore(network: nn.Module, weights: Mapping[str, Array]) -> None:
    """Set all parameters and buffers to the values that `state` returned."""
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
