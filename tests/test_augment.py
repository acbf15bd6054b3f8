"""Batched augmentations against what they would do to one image at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from prunebench import PrunebenchError, Recipe
from prunebench.augment import augment, crop, flip, normalise


def batch(count: int = 64, side: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.arange(count * channels * side * side).reshape(count, channels, side, side).to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_normalise_is_in_units_of_the_standard_deviation() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)
    out = normalise(images, (0.5, 0.2), (0.5, 0.1))
    torch.testing.assert_close(out, torch.tensor([[[[-1.0, 1.0]], [[0.0, 0.0]]]]))


@pytest.mark.parametrize(
    "recipe", [{"crop": 2}, {"crop": 1, "padding": "zero", "flip": True}, {"flip": True}]
)
def test_augmentation_follows_its_generator_alone(recipe: dict) -> None:
    settings = Recipe(network="cnn", epochs=1, **recipe)
    first, again, other = (augment(batch(), settings, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8


def test_a_recipe_without_augmentation_changes_nothing() -> None:
    assert torch.equal(augment(batch(), Recipe(network="cnn", epochs=1), seeded()), batch())


def test_an_image_cannot_be_reflected_further_than_its_side() -> None:
    with pytest.raises(PrunebenchError, match="cannot reflect 6 pixels of images of 6 x 6"):
        crop(batch(), 6, "reflect", seeded())


def test_an_unknown_padding_is_named() -> None:
    with pytest.raises(PrunebenchError, match="no padding named 'wrap'"):
        crop(batch(), 1, "wrap", seeded())
