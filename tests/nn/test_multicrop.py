"""Random crops of whole batches against torchvision, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional

from prunebench.nn import multicrop
from prunebench.nn.augment import random_boxes, resized_crop
from prunebench.nn.multicrop import OPERATIONS, Crops, blur, column, distort, jitter, random_blur

Tensor = torch.Tensor
PUBLISHED = Crops(count=2, side=8, smallest=0.08, largest=1.0, flip=True, jitter=0.8, blur=2.0)
# Our weights of red, green and blue sum to 1, torchvision's to 0.9999.
REFERENCES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": lambda image, amount: functional.adjust_brightness(image, 1 + amount),
    "contrast": lambda image, amount: functional.adjust_contrast(image, 1 + amount),
    "saturation": lambda image, amount: functional.adjust_saturation(image, 1 + amount),
    "hue": lambda image, amount: functional.adjust_hue(image, amount / 4),
}
BY_NAME = {operation.__name__: operation for operation in OPERATIONS}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, side: int = 8) -> Tensor:
    return torch.randint(256, (count, channels, side, side), generator=seeded(side), dtype=torch.uint8)


@pytest.mark.parametrize("name", REFERENCES)
def test_colors_change_as_torchvision_changes_them(name: str) -> None:
    images, amounts = pictures(100).float(), torch.linspace(-0.8, 0.8, 100)
    images[:10] = 128  # gray, without a hue
    expected = [REFERENCES[name](image / 255, a) for image, a in zip(images, amounts.tolist(), strict=True)]
    changed = BY_NAME[name](images, column(amounts))
    torch.testing.assert_close(changed, 255 * torch.stack(expected), atol=0.05, rtol=0)


def test_each_image_has_an_order_of_its_own() -> None:
    orders = list(permutations(range(4)))
    images, amounts = pictures(24).float(), torch.linspace(-0.7, 0.8, 96).view(4, 24)
    expected = images.clone()
    for place, order in enumerate(orders):
        for operation in order:
            amount = amounts[operation, place].view(1, 1, 1, 1)
            expected[place] = OPERATIONS[operation](expected[place, None], amount)[0]
    torch.testing.assert_close(jitter(images, torch.tensor(orders).T, amounts), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_waiting_each_image_is_jittered_as_among_images_sorted_by_operation(channels: int) -> None:
    orders = torch.tensor(list(permutations(range(4)))).T.repeat(1, 20)  # all of them, twenty times
    images = pictures(orders.shape[1], channels).float()
    images[::7] = images[::7, :, :1, :1]  # of one color
    images[::11] = images[::11].mean(1, keepdim=True)  # gray, without a hue
    amounts = 1.6 * torch.rand(orders.shape, generator=seeded()) - 0.8
    amounts[:, ::5] = 0  # 20 % are not jittered
    expected = jitter(images, orders, amounts)
    found = multicrop.jitter_without_waiting(images, orders, amounts)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    changed = ((expected - images).abs() > 1).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.8, abs=0.01)


def test_most_images_are_distorted_and_some_are_gray() -> None:
    images = pictures(5000, side=2).float()
    distorted = distort(images, 0.8, seeded())
    gray = ((distorted - distorted.mean(1, keepdim=True)).abs() < 1e-3).flatten(1).all(1)
    unchanged = ((distorted - images).abs() < 1e-3).flatten(1).all(1)
    assert gray.float().mean() == pytest.approx(0.2, abs=0.02)
    assert unchanged.float().mean() == pytest.approx(0.2 * 0.8, abs=0.02)


@pytest.mark.parametrize("side", [14, 32])
def test_blur_is_that_of_torchvision_with_a_wide_kernel(side: int) -> None:
    images, sigma = pictures(50, side=side).float(), torch.linspace(0.1, 2, 50)
    expected = [
        functional.gaussian_blur(image, [23, 23], [s, s])
        for image, s in zip(images, sigma.tolist(), strict=True)
    ]
    torch.testing.assert_close(blur(images, sigma), torch.stack(expected), atol=1e-2, rtol=0)


def test_blur_reaches_as_far_as_a_small_image_and_its_reflection() -> None:
    """torchvision's kernel of 23 pixels cannot be had in an image of 4."""
    images = pictures(2, side=4).float()
    distance = torch.arange(-3, 7) - torch.arange(4)[:, None]
    weights = (-(distance**2) / (2 * 1.5**2)).exp()
    weights /= weights.sum(1, keepdim=True)
    expected = weights @ functional.pad(images, [3], padding_mode="reflect") @ weights.T
    torch.testing.assert_close(blur(images, torch.tensor([1.5, 0.0])), torch.stack((expected[0], images[1])))


def test_half_of_the_images_are_blurred() -> None:
    images = pictures(2000, side=4).float()
    same = (random_blur(images, 2.0, seeded()) == images).flatten(1).all(1)
    assert same.float().mean() == pytest.approx(0.5, abs=0.05)


def test_crops_come_in_rounds_of_one_of_every_image() -> None:
    """Images of one color stay what they are, whatever is cut out of them."""
    images = torch.tensor([10, 200], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    plain = Crops(count=3, side=5, smallest=0.1, largest=0.5, flip=True, jitter=0.0, blur=2.0)
    crops = multicrop.multicrop(images, plain, seeded())
    assert crops.shape == (6, 1, 5, 5)
    assert crops.mean((1, 2, 3)).round().tolist() == [10, 200, 10, 200, 10, 200]


def test_a_gray_image_is_treated_as_one_of_three_equal_channels() -> None:
    gray = pictures(200, channels=1)
    color = multicrop.multicrop(gray.expand(-1, 3, -1, -1), PUBLISHED, seeded())
    alone = multicrop.multicrop(gray, PUBLISHED, seeded())
    torch.testing.assert_close(alone.expand(-1, 3, -1, -1), color, atol=1e-2, rtol=0)


def test_it_follows_its_generator_alone() -> None:
    images = pictures(50)
    first, again, other = (multicrop.multicrop(images, PUBLISHED, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 255 + 1e-3


@pytest.mark.gpu
def test_a_gpu_makes_the_same_crops_of_the_same_draws() -> None:
    images, boxes = pictures(50), random_boxes(50, 8, (0.08, 1.0), seeded())
    amounts, sigma = torch.linspace(-0.8, 0.8, 200).view(4, 50), torch.linspace(0, 2, 50)
    order = torch.rand(4, 50, generator=seeded()).argsort(0)

    def made(device: str) -> Tensor:
        cropped = resized_crop(images.to(device), tuple(box.to(device) for box in boxes), 8)
        return blur(jitter(cropped, order.to(device), amounts.to(device)), sigma.to(device)).cpu()

    torch.testing.assert_close(made("cuda"), made("cpu"), atol=0.1, rtol=0)
