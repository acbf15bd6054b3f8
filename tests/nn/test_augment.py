"""Batched augmentations against what they would do to one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from prunebench import PrunebenchError, Recipe
from prunebench.nn.augment import (
    augment,
    center,
    crop,
    flip,
    normalize,
    random_boxes,
    random_resized_crop,
    resized_crop,
    rounded_crop,
)

Tensor = torch.Tensor


def batch(count: int = 64, side: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.arange(count * channels * side * side).reshape(count, channels, side, side).to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, side: int = 8) -> Tensor:
    return torch.randint(256, (count, channels, side, side), generator=seeded(side), dtype=torch.uint8)


def recipe(**fields: Any) -> Recipe:
    return Recipe(network="cnn", epochs=1, **fields)


@pytest.mark.parametrize(("mode", "torch_mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_each_crop_is_a_window_of_the_padded_image(mode: str, torch_mode: str) -> None:
    images = batch()
    padded = functional.pad(images.float(), (2,) * 4, mode=torch_mode).to(torch.uint8)
    cropped = crop(images, 2, mode, seeded())
    places = set()
    for image, window in zip(padded, cropped, strict=True):
        found = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(image[:, down : down + 6, right : right + 6], window)
        ]
        assert found
        places.add(found[0])
    assert len(places) > 15, "64 images should see most of the 25 places"


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = batch(1000, side=3, channels=1)
    flipped = flip(images, seeded())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 400 < mirrored.sum() < 600


def test_normalize_is_in_units_of_the_standard_deviation() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)
    out = normalize(images, (0.5, 0.2), (0.5, 0.1))
    torch.testing.assert_close(out, torch.tensor([[[[-1.0, 1.0]], [[0.0, 0.0]]]]))


@pytest.mark.parametrize(
    "fields",
    [
        {"crop": 2},
        {"crop": 1, "padding": "zero", "flip": True},
        {"flip": True},
        {"crop": 2, "side": 4},
        {"resized_crop": (0.08, 1.0), "flip": True},
        {"resized_crop": (0.08, 1.0), "side": 4},
        {"resized_crop": (0.5, 1.0), "side": 9},
    ],
)
def test_augmentation_follows_its_generator_alone(fields: dict[str, Any]) -> None:
    settings = recipe(**fields)
    first, again, other = (augment(batch(), settings, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    side = settings.side or 6
    assert first.shape == (64, 3, side, side)


def test_a_recipe_without_augmentation_changes_nothing() -> None:
    assert torch.equal(augment(batch(), recipe(), seeded()), batch())


def test_a_recipe_with_a_side_alone_shows_the_middle() -> None:
    assert torch.equal(augment(batch(), recipe(side=4), seeded()), batch()[:, :, 1:5, 1:5])


def test_more_than_there_is_can_be_seen_only_of_a_resized_crop() -> None:
    with pytest.raises(PrunebenchError) as error:
        augment(batch(), recipe(side=7, crop=1), seeded())
    assert str(error.value) == (
        "recipe.side is 7, but the images have 6 pixels; set recipe.side to 6 or less, "
        "or recipe.resized_crop, which enlarges"
    )


def test_an_image_cannot_be_reflected_further_than_its_side() -> None:
    with pytest.raises(PrunebenchError, match="cannot reflect 6 pixels of images of 6 x 6"):
        crop(batch(), 6, "reflect", seeded())


def test_an_unknown_padding_is_named() -> None:
    with pytest.raises(PrunebenchError, match="no padding named 'wrap'"):
        crop(batch(), 1, "wrap", seeded())


# Part of a larger image


@pytest.mark.parametrize("padding", [0, 2])
def test_a_crop_may_be_smaller_than_the_image(padding: int) -> None:
    """Every place comes up, as with torchvision's RandomCrop(4, padding), and no other."""
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(2000, -1, -1, -1) + 1
    padded = functional.pad(images[:1], (padding,) * 4)[0]
    places = 6 + 2 * padding - 4 + 1
    windows = {
        tuple(padded[0, down : down + 4, right : right + 4].flatten().tolist())
        for down in range(places)
        for right in range(places)
    }
    cut = crop(images, padding, "zero", seeded(), side=4)
    assert cut.shape == (2000, 1, 4, 4)
    assert {tuple(image.flatten().tolist()) for image in cut} == windows


@pytest.mark.parametrize("stored", range(32, 41))
def test_the_middle_is_that_of_torchvision(stored: int) -> None:
    """Where it cannot be exact, too: it rounds half to even."""
    images = pictures(3, side=stored)
    assert torch.equal(center(images, 32), v2.CenterCrop(32)(images))
    assert torch.equal(center(images, None), images)


@pytest.mark.new_torch
def test_a_smaller_image_is_enlarged_as_torchvision_does() -> None:
    images = pictures(20, side=7)
    difference = center(images, 12).int() - v2.Resize(12, antialias=True)(images).int()
    assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.05


# Crops that are resized


@pytest.mark.parametrize(("source", "side"), [(8, 8), (14, 14), (8, 11), (40, 16)])
def test_a_crop_is_resized_as_torchvision_does(source: int, side: int) -> None:
    """Enlarged, shrunk with antialiasing, or both at once."""
    images = pictures(100, side=source)
    boxes = random_boxes(100, source, (0.08, 1.0), seeded())
    expected = [
        reference.resized_crop(image.float(), *box, [side, side], antialias=True)
        for image, box in zip(images, torch.stack(boxes, 1).tolist(), strict=True)
    ]
    torch.testing.assert_close(resized_crop(images, boxes, side), torch.stack(expected), atol=1e-3, rtol=0)


def test_boxes_are_drawn_as_torchvision_draws_them() -> None:
    top, left, height, width = random_boxes(20_000, 32, (0.14, 0.5), seeded())
    assert torch.stack((top, left)).min() == 0
    assert (top + height).max() == (left + width).max() == 32
    area, aspect = height * width / 32**2, width / height
    assert 0.12 < area.min() < area.mean() < area.max() < 0.53
    assert area.mean() == pytest.approx(0.32, abs=0.01), "uniform between the two"
    assert 0.70 < aspect.min() < 0.79 and 1.27 < aspect.max() < 1.42, "from 3:4 to 4:3 in whole pixels"
    assert aspect.log().mean() == pytest.approx(0, abs=0.01)


def test_an_image_into_which_no_box_fits_is_taken_whole() -> None:
    """A box of the full area fits only if it is square."""
    top, left, height, width = random_boxes(100, 100, (1.0, 1.0), seeded())
    assert not top.any() and not left.any()
    assert set(height.tolist()) == set(width.tolist()) == {100}


def as_pillow(image: Tensor, box: list[int], side: int) -> Tensor:
    """Return the box of an image, resized by Pillow, as the transforms of published code do."""
    opened = Image.fromarray(image.permute(1, 2, 0).numpy())
    return torch.tensor(np.array(reference.resized_crop(opened, *box, [side, side]))).permute(2, 0, 1)


@pytest.mark.new_torch
@pytest.mark.parametrize(("source", "side"), [(64, 64), (40, 32), (20, 40), (256, 224)])
def test_a_rounded_crop_has_the_pixels_of_torchvision_and_pillow(source: int, side: int) -> None:
    """Nearly all: the weights are rounded in three ways. Theirs differ from one another as much."""
    images = pictures(30, side=source)
    boxes = random_boxes(30, source, (0.08, 1.0), seeded())
    ours = rounded_crop(images, boxes, side)
    each = list(zip(images, torch.stack(boxes, 1).tolist(), strict=True))
    tensors = [reference.resized_crop(image, *box, [side, side], antialias=True) for image, box in each]
    for theirs in (tensors, [as_pillow(image, box, side) for image, box in each]):
        difference = ours.int() - torch.stack(theirs).int()
        assert difference.abs().max() <= 2
        assert (difference != 0).float().mean() < 0.08


def test_rounding_once_at_the_end_would_be_another_picture() -> None:
    """That the test above can fail: floats rounded once differ in a sixth of the pixels."""
    images, boxes = pictures(30, side=64), random_boxes(30, 64, (0.08, 1.0), seeded())
    once = resized_crop(images, boxes, 64).round()
    assert (rounded_crop(images, boxes, 64) != once).float().mean() > 0.1


def test_a_random_resized_crop_sees_boxes_of_all_images() -> None:
    """Images of one shade keep it; others show something else each time."""
    shades = torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    cut = random_resized_crop(shades, (0.08, 1.0), 12, seeded())
    assert cut.dtype == torch.uint8 and cut.shape == (200, 3, 12, 12)
    assert torch.equal(cut, shades[:, :, :12, :12])
    ramp = torch.arange(64, dtype=torch.uint8).expand(500, 1, 64, 64)
    ranges = random_resized_crop(ramp, (0.08, 1.0), 12, seeded()).flatten(1).float()
    widths = (ranges.amax(1) - ranges.amin(1)) / 64
    # A share of 0.54 on average; the width is its square root, times that of the aspect ratio.
    assert widths.min() < 0.35 and widths.max() > 0.85
    assert ranges.min() <= 1 and ranges.max() >= 62


def test_no_images_are_no_crops() -> None:
    assert random_resized_crop(batch()[:0], (0.08, 1.0), 4, seeded()).shape == (0, 3, 4, 4)


@pytest.mark.gpu
def test_a_gpu_makes_the_same_resized_crops_of_the_same_boxes() -> None:
    images, boxes = pictures(50, side=40), random_boxes(50, 40, (0.08, 1.0), seeded())
    there = rounded_crop(images.to("cuda"), tuple(box.to("cuda") for box in boxes), 32)  # type: ignore[arg-type]
    difference = there.cpu().int() - rounded_crop(images, boxes, 32).int()
    assert difference.abs().max() <= 2 and (difference != 0).float().mean() < 0.05
