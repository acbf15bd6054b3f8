"""Images: uint8 in, uint8 tensors out, never a copy of what belongs to the caller."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from prunebench import Images, PrunebenchError
from prunebench.parts import images

GRAY = {"mean": (0.5,), "std": (0.25,)}


def ramp(n: int) -> np.ndarray:
    return np.arange(n * 4, dtype=np.uint8).reshape(n, 1, 2, 2)


@pytest.mark.parametrize("index", [np.array([2, 0]), slice(1, 3)])
def test_indexing_gives_the_pictures_of_the_index(index) -> None:
    assert Images(ramp(4), **GRAY)[index].numpy().tolist() == ramp(4)[index].tolist()


def test_an_index_may_be_a_tensor() -> None:
    import torch

    assert Images(ramp(4), **GRAY)[torch.tensor([3])].flatten().tolist() == [12, 13, 14, 15]


def test_facts() -> None:
    images = Images(ramp(4), **GRAY)
    assert (len(images), images.channels, images.resolution, images.mean, images.std) == (
        4,
        1,
        2,
        (0.5,),
        (0.25,),
    )


def test_the_array_is_shared_and_read_only() -> None:
    array = ramp(2)
    images = Images(array, **GRAY)
    assert np.shares_memory(images.array, array)
    with pytest.raises(ValueError, match="read-only"):
        images.array[0] = 0


def test_a_memory_map_stays_one(tmp_path) -> None:
    np.save(tmp_path / "images.npy", ramp(4))
    images = Images(np.load(tmp_path / "images.npy", mmap_mode="r"), **GRAY)
    assert images[np.array([1])].flatten().tolist() == [4, 5, 6, 7]
    assert isinstance(images.array, np.memmap)


def test_take_gives_the_images_of_an_index_in_its_order() -> None:
    assert Images(ramp(4), **GRAY).take(np.array([3, 1])).array[:, 0, 0, 0].tolist() == [12, 4]


@pytest.mark.parametrize(
    ("array", "mean"), [(ramp(2).astype(np.float32), (0.5,)), (ramp(2)[:, 0], (0.5,)), (ramp(2), (0.5, 0.5))]
)
def test_what_is_no_uint8_batch_with_its_means_is_refused(array, mean) -> None:
    with pytest.raises(PrunebenchError):
        Images(array, mean=mean, std=mean)


class Fetched:
    """Images that are fetched when asked for, and how many were."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim, self.asked = array, array.shape, array.dtype, 4, 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index) -> np.ndarray:
        rows = self.array[index].copy()
        self.asked += len(rows)
        return rows


def mapped(tmp_path, n: int) -> np.ndarray:
    np.save(tmp_path / "images.npy", ramp(n))
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_what_is_no_array_is_asked_for_what_is_wanted() -> None:
    import torch

    source = Fetched(ramp(9))
    shown = Images(source, **GRAY)
    assert (len(shown), shown.channels, shown.resolution, source.asked) == (9, 1, 2, 0)
    assert shown[np.array([5, 0])].numpy().tolist() == ramp(9)[[5, 0]].tolist()
    assert shown[torch.tensor([7])].numpy().tolist() == ramp(9)[[7]].tolist()
    assert shown[2:4].numpy().tolist() == ramp(9)[2:4].tolist()
    assert source.asked == 5
    part = shown.take(np.array([8, 1, 3])).take(np.array([2, 0]))
    assert source.asked == 5
    assert part[np.array([1])].numpy().tolist() == ramp(9)[[8]].tolist()
    assert np.asarray(part.array).tolist() == ramp(9)[[3, 8]].tolist()


@pytest.mark.parametrize("view", [lambda array: array, lambda array: np.asarray(array)[1:]])
def test_some_of_a_memory_map_are_not_read_before_they_are_asked_for(tmp_path, view) -> None:
    array = view(mapped(tmp_path, 5))
    shown = Images(array, **GRAY)
    part = shown.take(np.array([3, 1]))
    assert isinstance(part.array, images.Chosen)
    assert (len(part), part.resolution) == (2, 2)
    assert part[:].numpy().tolist() == array[[3, 1]].tolist()
    assert part[np.array([1])].numpy().tolist() == array[[1]].tolist()


def test_taking_all_copies_nothing(tmp_path) -> None:
    for array in (ramp(5), mapped(tmp_path, 5)):
        shown = Images(array, **GRAY)
        assert shown.take(np.arange(5)) is shown
        assert shown.take(np.arange(5)[::-1])[:1].flatten().tolist() == [16, 17, 18, 19]


HUGE = """
import sys
import numpy as np
from prunebench import Images

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

images = Images(np.memmap(sys.argv[1], np.uint8, "r", shape=(2**14, 1, 256, 256)), mean=(0.5,), std=(0.5,))
images[np.array([0])]
before = resident()
images[np.array([5, 16000])], images[100:102], images.take(np.arange(2**13))[np.array([1])]
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel how much is in memory")
def test_of_a_memory_map_only_what_is_asked_for_is_read(tmp_path) -> None:
    """1 GiB of nothing on disk; a look at five images must not bring it into memory."""
    with (tmp_path / "pixels").open("wb") as file:
        file.truncate(2**30)
    command = [sys.executable, "-c", HUGE, str(tmp_path / "pixels")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**26


@pytest.mark.parametrize("source", ["array", "map", "fetched"])
@pytest.mark.parametrize(("free", "resident"), [(48, True), (47, False)])
def test_images_live_on_a_device_if_they_take_half_of_its_free_memory(
    tmp_path, monkeypatch, source, free, resident
) -> None:
    """A device that computes nothing stands in for a GPU: 6 images of 4 bytes."""
    import torch

    monkeypatch.setattr(images, "free_bytes", lambda _device: free)
    monkeypatch.setattr(images, "TOGETHER", 4)
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda rows: pinned.append(len(rows)) or rows)
    array = {"array": ramp, "map": lambda n: mapped(tmp_path, n), "fetched": lambda n: Fetched(ramp(n))}
    shown = Images(array[source](6), **GRAY).to("meta")
    for index in (np.array([2, 0]), torch.tensor([1, 5]), slice(2, 4)):
        assert (shown[index].shape, shown[index].device.type) == ((2, 1, 2, 2), "meta")
    assert pinned == ([] if resident else [2] * 6)


def test_memory_of_a_cuda_graph_is_not_free(monkeypatch) -> None:
    import torch

    segments = [
        {"segment_pool_id": pool, "total_size": 100, "allocated_size": used}
        for pool, used in (((0, 0), 70), ((0, 0), 100), ((0, 1), 10), ((3, 0), 0))
    ]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)
    assert images.free_bytes("cuda") == 1030


@pytest.mark.gpu(real=True)
def test_memory_that_torch_holds_unused_is_free() -> None:
    import torch

    whole = torch.zeros(2**28, dtype=torch.uint8, device="cuda")
    used = images.free_bytes("cuda")
    del whole
    assert images.free_bytes("cuda") - used == pytest.approx(2**28, rel=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("free", [0, 2**40])
def test_images_that_do_not_fit_are_moved_batch_by_batch(tmp_path, monkeypatch, free) -> None:
    import torch

    monkeypatch.setattr(images, "free_bytes", lambda _device: free)
    for array in (ramp(6), mapped(tmp_path, 6), Fetched(ramp(6))):
        shown = Images(array, **GRAY, device="cuda")
        for index in (np.array([2, 0]), torch.tensor([2, 0]), torch.tensor([2, 0], device="cuda")):
            assert shown[index].is_cuda
            assert shown[index].cpu().numpy().tolist() == ramp(6)[[2, 0]].tolist()
        assert shown[1:3].cpu().numpy().tolist() == ramp(6)[1:3].tolist()


@pytest.mark.gpu
def test_images_live_on_the_device() -> None:
    images = Images(ramp(4), **GRAY).to("cuda")
    assert images[np.array([1])].is_cuda
    assert images[slice(0, 2)].cpu().numpy().tolist() == ramp(2).tolist()
