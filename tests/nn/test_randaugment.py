"""RandAugment: the pixels Pillow gives, three operations and always a Cutout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from prunebench.nn import randaugment as module
from prunebench.nn.randaugment import OPERATIONS, apply, cutout, randaugment

AFFINE = Image.Transform.AFFINE
PILLOW = {
    "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Equalize": lambda image, v: ImageOps.equalize(image),
    "Identity": lambda image, v: image,
    "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "Rotate": lambda image, v: image.rotate(v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "ShearX": lambda image, v: image.transform(image.size, AFFINE, (1, v, 0, 0, 1, 0)),
    "ShearY": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, v, 1, 0)),
    "Solarize": lambda image, v: ImageOps.solarize(image, v),
    "TranslateX": lambda image, v: image.transform(image.size, AFFINE, (1, 0, v * image.width, 0, 1, 0)),
    "TranslateY": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, v * image.height)),
}


def pictures(count: int, channels: int, side: int) -> torch.Tensor:
    """Return noise, of a different range of values in every image; some are of one color."""
    rng = np.random.default_rng(side)
    low, high = np.sort(rng.integers(256, size=(2, count, channels, 1, 1)), axis=0)
    return torch.tensor(rng.integers(low, high + 1, size=(count, channels, side, side)), dtype=torch.uint8)


def to_pillow(image: torch.Tensor) -> Image.Image:
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def from_pillow(images: list[Image.Image]) -> torch.Tensor:
    batch = torch.tensor(np.stack([np.asarray(image) for image in images]))
    return batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [8, 14, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_pixel_is_that_of_pillow(device: str, name: str, channels: int, side: int) -> None:
    images = pictures(300, channels, side)
    uniform = torch.rand(300, generator=seeded(side), dtype=torch.float64)
    place = list(OPERATIONS).index(name)
    _, low, high = OPERATIONS[name]
    expected = [
        PILLOW[name](to_pillow(image), low + (high - low) * u)
        for image, u in zip(images, uniform.tolist(), strict=True)
    ]
    places = torch.full((300,), place, device=device)
    done = apply(images.to(device), places, uniform.to(device))
    assert torch.equal(done.cpu(), from_pillow(expected))


def test_fourteen_operations_without_inversion() -> None:
    assert len(OPERATIONS) == 14
    assert "Invert" not in OPERATIONS


def test_strengths_have_the_ranges_of_the_released_code() -> None:
    ranges = {name: (low, high) for name, (_, low, high) in OPERATIONS.items()}
    enhancers = ("Brightness", "Color", "Contrast", "Sharpness")
    moves = ("ShearX", "ShearY", "TranslateX", "TranslateY")
    used = dict.fromkeys(enhancers, (0.05, 0.95)) | dict.fromkeys(moves, (-0.3, 0.3))
    used |= {"Posterize": (4, 8), "Rotate": (-30, 30), "Solarize": (0, 256)}
    assert {name: ranges[name] for name in used} == used
    assert set(ranges) - set(used) == {"AutoContrast", "Equalize", "Identity"}


def test_posterize_keeps_four_to_seven_bits() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(9, -1, -1, -1)
    uniform = torch.tensor([0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 0.99, 0.9999], dtype=torch.float64)
    done = apply(ramp, torch.full((9,), list(OPERATIONS).index("Posterize")), uniform)
    assert [len(image.unique()) for image in done] == [16, 16, 32, 32, 64, 64, 128, 128, 128]


def test_three_operations_are_drawn_for_each_image_with_replacement_all_as_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, strengths = [], []

    def spy(batch: torch.Tensor, chosen: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        drawn.append(chosen)
        strengths.append(uniform)
        return batch

    monkeypatch.setattr(module, "apply", spy)
    randaugment(torch.zeros(14000, 1, 4, 4, dtype=torch.uint8), seeded())
    chosen, uniform = torch.stack(drawn), torch.stack(strengths)
    assert chosen.shape == uniform.shape == (3, 14000)
    for place in chosen:  # 1000 expected of each, with a deviation of 30
        assert (place.bincount(minlength=14) - 1000).abs().max() < 150
    assert ((chosen[0] == chosen[1]).double().mean() - 1 / 14).abs() < 0.01
    assert uniform.min() < 0.001 and uniform.max() > 0.999 and abs(uniform.mean() - 0.5) < 0.01
    assert uniform.unique().numel() > 41000, "each operation has a strength of its own"


def test_each_image_gets_its_own_operation_and_stays_at_its_place() -> None:
    images = pictures(14, 3, 8)
    chosen = torch.arange(14).flip(0)
    uniform = torch.full((14,), 0.3, dtype=torch.float64)
    alone = [apply(images[i : i + 1], chosen[i : i + 1], uniform[i : i + 1]) for i in range(14)]
    assert torch.equal(apply(images, chosen, uniform), torch.cat(alone))


@pytest.mark.parametrize(("channels", "color"), [(1, (123,)), (3, (125, 123, 114))])
def test_cutout_comes_after_the_operations_and_never_fails_to(
    channels: int, color: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPERATIONS", {"Identity": (module.identity, 0, 1)})
    white = torch.full((5000, channels, 8, 8), 255, dtype=torch.uint8)
    done = randaugment(white, seeded())
    painted = (done == torch.tensor(color).view(-1, 1, 1)).all(1)
    assert ((done == 255).all(1) | painted).all()
    areas = painted.flatten(1).sum(1)
    assert areas.min() == 1 and areas.max() == 16, "one pixel at least, half of the width at most"


@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_paints_the_rectangle_of_the_released_code(channels: int) -> None:
    width, color = 14, (125, 123, 114) if channels == 3 else 123
    images = pictures(300, channels, width)
    side, right, down = torch.rand(3, 300, generator=seeded(), dtype=torch.float64)
    side = side / 2
    expected = []
    for image, v, x, y in zip(images, *(t.tolist() for t in (side * width, right, down)), strict=True):
        # numpy.random.uniform(w) is uniform(low=w, high=1)
        x0, y0 = (int(max(0, width + (1 - width) * u - v / 2)) for u in (x, y))
        painted = to_pillow(image)
        ImageDraw.Draw(painted).rectangle((x0, y0, min(width, x0 + v), min(width, y0 + v)), color)
        expected.append(painted)
    assert torch.equal(cutout(images, side, right, down), from_pillow(expected))


def test_cutout_is_always_there() -> None:
    white = torch.full((2000, 1, 8, 8), 255, dtype=torch.uint8)
    # Nothing makes 123 of white but Cutout, Brightness, and what follows it.
    side, right, down = torch.rand(3, 2000, generator=seeded(), dtype=torch.float64)
    assert ((cutout(white, side / 2, right, down) == 123).flatten(1).any(1)).all()


def test_a_gray_image_is_treated_as_one_of_three_equal_channels() -> None:
    """Cutout's green is its luma, so that the green channel tells."""
    gray = pictures(400, 1, 14)
    color = randaugment(gray.expand(-1, 3, -1, -1), seeded())
    assert torch.equal(randaugment(gray, seeded()), color[:, 1:2])


def test_it_follows_its_generator_alone() -> None:
    images = pictures(50, 3, 8)
    first, again, other = (randaugment(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8


# Without a wait for the device


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 32, 33])
def test_each_operation_is_to_the_pixel_what_it_is_among_images_sorted_by_operation(channels, side) -> None:
    generator = torch.Generator().manual_seed(side + channels)
    count = 40 * len(OPERATIONS)
    batch = torch.randint(256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    batch[::7] //= 8  # dark, and few values
    batch[::11] = batch[::11, :, :1, :1]  # of one color
    chosen = torch.arange(count) % len(OPERATIONS)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    uniform[:28], uniform[28:56] = 0, 1
    expected = apply(batch, chosen, uniform)
    found = module.apply_without_waiting(batch, chosen, uniform)
    differs = (found != expected).flatten(1).any(1)
    names = [list(OPERATIONS)[number] for number in chosen[differs].unique()]
    assert names == []
