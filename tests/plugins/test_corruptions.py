"""The corruptions against OpenCV and Pillow, called as the published code describes them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from prunebench.errors import PrunebenchError
from prunebench.nn import corruptions
from prunebench_plugins.datasets.digits import Digits
from prunebench_plugins.datasets.views.corrupted import CORRUPTIONS, Corrupted, corruption_of


def pictures(n, channels, side):
    """Return noise of values 1 modulo 3.

    The motion kernel sums to 10720 / 15360, so a smeared value is (10720 + 3 i) / 15360: never exactly
    between two integers, where versions of OpenCV differ among themselves.
    """
    return 1 + 3 * np.random.default_rng(0).integers(0, 85, (n, channels, side, side), dtype=np.uint8)


def turned_line(size):
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), 45, 1)
    return cv2.warpAffine(np.eye(size), turn, (size, size))


def opencv_blur(image):
    return cv2.normalize(cv2.filter2D(image, -1, turned_line(15) / 15), None, 0, 255, cv2.NORM_MINMAX)


def pillow_low_resolution(image):
    side = len(image)
    small = Image.fromarray(image).resize((side // 4, side // 4))
    return np.array(small.resize((side, side)))


def pillow_rectangle(image):
    picture, last = Image.fromarray(image), 20 if len(image) == 32 else 45
    ImageDraw.Draw(picture).rectangle((5, 5, last, last), fill=0)
    return np.array(picture)


def published_noise(image, rng):
    noisy = image / 255 + rng.normal(0.2, 1.0, image.shape)
    noisy = np.clip(noisy, -1 if noisy.min() < 0 else 0, 1)
    return (noisy * 255).astype(np.int32) & 0xFF


def published(images):
    """Corrupt images [n, side, side, channels] one after another, in the order in which they are drawn."""
    rng, each = np.random.default_rng(0), len(images) * 6 // 100
    corrupted = images.copy()
    for place, i in enumerate(rng.choice(len(images), 5 * each, replace=False)):
        result = [
            lambda image: opencv_blur(image),
            lambda image: np.zeros_like(image),
            lambda image: pillow_low_resolution(image),
            lambda image: pillow_rectangle(image),
            lambda image: published_noise(image, rng),
        ][place // each](images[i].squeeze())
        corrupted[i] = result.reshape(images[i].shape)
    return corrupted


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_reference_is_bit_faithful(side, channels):
    images, labels = pictures(100, channels, side), np.arange(100)
    ours, same_labels = Corrupted(name="c", base=Digits()).alter(images, labels)
    theirs = published(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    kinds = corruption_of(100)
    for kind, name in enumerate(CORRUPTIONS):
        np.testing.assert_array_equal(ours[kinds == kind], theirs[kinds == kind], err_msg=name)
    assert same_labels is labels


def test_motion_blur_leaves_only_exact_ties_to_opencv():
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    theirs = np.stack([opencv_blur(image) for image in images.transpose(0, 2, 3, 1)]).transpose(0, 3, 1, 2)
    assert (corruptions.motion_blur(images) != theirs).mean() < 1e-4


@pytest.mark.parametrize("size", [1, 3, 7, 13, 15, 30, 105])
def test_motion_kernel_is_that_of_opencv(size):
    np.testing.assert_array_equal(corruptions.motion_kernel(size), turned_line(size) * 1024)


def test_stretch_is_that_of_opencv_whatever_the_extremes():
    for high in range(256):
        for low in range(high + 1):
            values = np.arange(low, high + 1, dtype=np.uint8)
            theirs = cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX).ravel()
            ours = corruptions.stretch(values[None, None, None].astype(float)).ravel()
            assert np.array_equal(ours, theirs), (low, high)


@pytest.mark.parametrize("side", [8, 14, 28, 96])
def test_low_resolution_is_that_of_pillow_at_any_side(side):
    low = corruptions.constants(side).low
    image = pictures(1, 1, side)
    theirs = Image.fromarray(image[0, 0]).resize((low, low)).resize((side, side))
    np.testing.assert_array_equal(corruptions.low_resolution(image)[0, 0], theirs)


def test_six_percent_each():
    assert np.bincount(corruption_of(50_000)).tolist() == [35_000, 3000, 3000, 3000, 3000, 3000]
    assert np.bincount(corruption_of(1347)).tolist() == [1347 - 5 * 80, 80, 80, 80, 80, 80]


@pytest.mark.parametrize("side, center, corner", [(8, 114, 108), (32, 114, 108), (64, 122, 116)])
def test_reference_fog_is_black_and_fixed_fog_is_gray(side, center, corner):
    """At 32 pixels exp(-0.4 * sqrt(32)) = 0.104 of the center shows through, and 0.149 of the corner."""
    black = np.zeros((1, 1, side, side), np.uint8)
    assert corruptions.fog(~black, fixed=False).max() == 0
    foggy = corruptions.fog(black, fixed=True)[0, 0]
    assert (foggy[side // 2, side // 2], foggy[0, 0]) == (center, corner)
    assert corruptions.fog(~black, fixed=True)[0, 0, 0, 0] == 255 - corner - 1  # both are rounded down


def test_reference_noise_wraps_and_fixed_noise_is_cut():
    class Darkening:
        def normal(self, mean, std, size):
            return np.full(size, -0.5)

    gray = np.full((1, 1, 32, 32), 51, np.uint8)  # 0.2 - 0.5 = -0.3; int(-76.5) = -76 = 180 modulo 256
    assert (corruptions.noise(gray, Darkening(), fixed=False) == 180).all()
    assert (corruptions.noise(gray, Darkening(), fixed=True) == 0).all()


def test_variants_differ_in_fog_and_noise_only():
    images, labels = pictures(100, 1, 8), np.zeros(100)
    reference, fixed = (
        Corrupted(name="c", base=Digits(), variant=variant).alter(images, labels)[0]
        for variant in ("reference", "fixed")
    )
    differs = (reference != fixed).any(axis=(1, 2, 3))
    assert {CORRUPTIONS[kind] for kind in corruption_of(100)[differs]} == {"fog", "noise"}


@pytest.mark.parametrize(
    "side, kernel, low, box",
    [(8, 3, 2, (1, 5)), (28, 13, 7, (4, 18)), (32, 15, 8, (5, 21)), (64, 15, 16, (5, 46))],
)
def test_constants(side, kernel, low, box):
    found = corruptions.constants(side)
    assert (found.kernel, found.low, (found.box.start, found.box.stop)) == (kernel, low, box)


def test_images_handed_in_are_not_altered():
    images = pictures(100, 1, 8)
    before = images.copy()
    Corrupted(name="c", base=Digits()).alter(images, np.zeros(100))
    np.testing.assert_array_equal(images, before)


def test_unknown_variant():
    with pytest.raises(PrunebenchError, match=r"c\.variant is 'mended', expected 'reference' or 'fixed'"):
        Corrupted(name="c", base=Digits(), variant="mended")
