"""Images: uint8 in, uint8 tensors out, never a copy of what belongs to the caller."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench import Images, PrunebenchError

GREY = {"mean": (0.5,), "std": (0.25,)}


def ramp(n: int) -> np.ndarray:
    return np.arange(n * 4, dtype=np.uint8).reshape(n, 1, 2, 2)


@pytest.mark.parametrize("index", [np.array([2, 0]), slice(1, 3)])
def test_indexing_gives_the_pictures_of_the_index(index) -> None:
    assert Images(ramp(4), **GREY)[index].numpy().tolist() == ramp(4)[index].tolist()


def test_an_index_may_be_a_tensor() -> None:
    import torch

    assert Images(ramp(4), **GREY)[torch.tensor([3])].flatten().tolist() == [12, 13, 14, 15]


def test_facts() -> None:
    images = Images(ramp(4), **GREY)
    assert (len(images), images.channels, images.resolution, images.mean, images.std) == (
        4,
        1,
        2,
        (0.5,),
        (0.25,),
    )


def test_the_array_is_shared_and_read_only() -> None:
    array = ramp(2)
    images = Images(array, **GREY)
    assert np.shares_memory(images.array, array)
    with pytest.raises(ValueError, match="read-only"):
        images.array[0] = 0


def test_a_memory_map_stays_one(tmp_path) -> None:
    np.save(tmp_path / "images.npy", ramp(4))
    images = Images(np.load(tmp_path / "images.npy", mmap_mode="r"), **GREY)
    assert images[np.array([1])].flatten().tolist() == [4, 5, 6, 7]
    assert np.shares_memory(images[:].numpy(), images.array)


def test_take_gives_the_images_of_an_index_in_its_order() -> None:
    assert Images(ramp(4), **GREY).take(np.array([3, 1])).array[:, 0, 0, 0].tolist() == [12, 4]


@pytest.mark.parametrize(
    ("array", "mean"), [(ramp(2).astype(np.float32), (0.5,)), (ramp(2)[:, 0], (0.5,)), (ramp(2), (0.5, 0.5))]
)
def test_what_is_no_uint8_batch_with_its_means_is_refused(array, mean) -> None:
    with pytest.raises(PrunebenchError):
        Images(array, mean=mean, std=mean)


@pytest.mark.gpu
def test_images_live_on_the_device() -> None:
    images = Images(ramp(4), **GREY).to("cuda")
    assert images[np.array([1])].is_cuda
    assert images[slice(0, 2)].cpu().numpy().tolist() == ramp(2).tolist()
