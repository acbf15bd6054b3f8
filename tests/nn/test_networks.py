"""Networks: their shapes, sizes, and weights that depend on their seed alone."""

from __future__ import annotations

import pytest
import torch

from prunebench import PrunebenchError
from prunebench.nn import networks


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore")  # torchvision's own, on import
@pytest.mark.parametrize(
    ("name", "channels", "resolution", "size"),
    [
        ("cnn", 1, 8, 24_000),
        ("resnet8", 3, 32, 78_000),
        ("resnet8_stride2", 3, 32, 78_000),
        ("resnet20", 3, 32, 272_000),
        ("resnet18_cifar", 3, 32, 11_170_000),
        ("wrn_28_2", 3, 32, 1_470_000),
        ("wrn_28_8", 3, 32, 23_400_000),
        ("resnet50_cifar", 3, 32, 23_520_000),
        ("mlp", 768, 1, 200_000),
    ],
)
def test_sizes_are_those_of_the_literature(name: str, channels: int, resolution: int, size: int) -> None:
    network = networks.build(name, channels=channels, classes=10, resolution=resolution, generator_seed=0)
    assert parameters(network) == pytest.approx(size, rel=0.02)
    logits = network(torch.zeros(2, channels, resolution, resolution))
    assert logits.shape == (2, 10)


def test_logits_are_the_head_of_the_features() -> None:
    network = networks.build("cnn", channels=1, classes=4, resolution=8, generator_seed=0).eval()
    x = torch.rand(3, 1, 8, 8)
    assert network.features(x).shape == (3, 64)
    torch.testing.assert_close(network.head(network.features(x)), network(x))


def test_weights_depend_on_the_seed_and_disturb_nobody() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, again, other = (
        networks.build("cnn", channels=1, classes=4, resolution=8, generator_seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_state_and_restore_are_inverse() -> None:
    first, other = (
        networks.build("cnn", channels=1, classes=4, resolution=8, generator_seed=seed) for seed in (0, 1)
    )
    networks.restore(other, networks.state(first))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(first.eval()(x), other.eval()(x))


@pytest.mark.filterwarnings("ignore")  # torchvision's own, on import
def test_torchvision_networks_take_gray_images_and_lose_their_last_layer() -> None:
    network = networks.build("resnet18", channels=1, classes=5, resolution=64, generator_seed=0).eval()
    assert network.features(torch.zeros(1, 1, 64, 64)).shape == (1, 512)
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 5)


@pytest.mark.filterwarnings("ignore")  # torchvision's own, on import
@pytest.mark.parametrize(
    ("name", "width", "size"),
    [("resnet18", 512, 11.69e6), ("resnet34", 512, 21.80e6), ("resnet50", 2048, 25.56e6)],
)
def test_the_networks_for_photos_are_those_of_torchvision(name: str, width: int, size: float) -> None:
    """At 224 pixels and at 64; their features are what torchvision's last layer sees."""
    from torchvision import models

    network = networks.build(name, channels=3, classes=5, resolution=224, generator_seed=0).eval()
    assert parameters(network) == pytest.approx(size - width * 1001 + (width + 1) * 5, rel=1e-3)
    original = models.get_model(name, weights=None).eval()
    original.load_state_dict(network.body.state_dict(), strict=False)
    seen: list[torch.Tensor] = []
    original.fc.register_forward_pre_hook(lambda layer, given: seen.extend(given))
    for side in (64, 224):
        x = torch.rand(1, 3, side, side)
        with torch.no_grad():
            original(x)
            torch.testing.assert_close(network.features(x), seen.pop())
            assert network(x).shape == (1, 5)


def test_an_unknown_network_is_one_line_with_the_nearest_name() -> None:
    with pytest.raises(PrunebenchError, match=r"no network named 'resnet19'. Did you mean"):
        networks.build("resnet19", channels=3, classes=2, resolution=32, generator_seed=0)


def test_images_can_be_too_small() -> None:
    with pytest.raises(PrunebenchError, match="needs images of 4 pixels or more, not 2"):
        networks.build("cnn", channels=3, classes=2, resolution=2, generator_seed=0)


def test_a_wide_resnets_head_begins_without_bias() -> None:
    network = networks.build("wrn_28_2", channels=3, classes=10, resolution=32, generator_seed=0)
    assert network.head.bias.count_nonzero() == 0 and network.head.weight.std() > 0


@pytest.mark.filterwarnings("ignore")  # torchvision's own, on import
def test_the_small_resnet50_keeps_the_resolution_to_its_first_block() -> None:
    network = networks.build("resnet50_cifar", channels=3, classes=10, resolution=32, generator_seed=0)
    stem = torch.nn.Sequential(network.body.conv1, network.body.bn1, network.body.maxpool)
    assert stem(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 32, 32)


@pytest.mark.filterwarnings("ignore")  # timm's own, on import
def test_networks_of_timm_have_fresh_weights_for_the_images() -> None:
    first, again, other = (
        networks.build("timm:test_efficientnet", channels=1, classes=5, resolution=8, generator_seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.training and first.body.training
    assert first(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert torch.equal(first.body.conv_stem.weight, again.body.conv_stem.weight)
    assert not torch.equal(first.body.conv_stem.weight, other.body.conv_stem.weight)


@pytest.mark.filterwarnings("ignore")
def test_a_transformer_of_timm_is_made_for_the_size_of_the_images() -> None:
    network = networks.build(
        "timm:vit_tiny_patch16_224", channels=3, classes=5, resolution=32, generator_seed=0
    )
    assert network.body.patch_embed.grid_size == (2, 2)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:vit_tiny_patch16_224", "timm's vit_tiny_patch16_224 cannot see images of 8 pixels"),
        ("timm:resnet_18", "timm has no network named 'resnet_18'. Did you mean 'resnet18'?"),
        ("timm:vit_tiny_patch16_224.augreg_in21k", "timm has no network named"),  # it would say pretrained
        ("timm:hf-hub:some/network", "timm has no network named"),  # it would ask the network
        ("linear", "network 'linear' sees embeddings, and no images of 8 pixels"),
    ],
)
def test_a_network_that_cannot_see_the_images_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(PrunebenchError) as refused:
        networks.build(name, channels=3, classes=5, resolution=8, generator_seed=0)
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
