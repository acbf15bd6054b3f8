"""The device: which there are, and whether torch is asked."""

import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.runs import places


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """driver("/dev/dxg") lets this file of a driver be there, and none of the others."""
    there = tmp_path / "there"
    there.touch()
    known = places.DRIVER_FILES

    def install(*files):
        found = [there if file in files else tmp_path / "absent" for file in known]
        monkeypatch.setattr(places, "DRIVER_FILES", tuple(map(str, found)))

    return install


@pytest.mark.parametrize("file", ["/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg"])
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_driver_is_found_by_any_of_its_files(driver, monkeypatch, file, name):
    """Linux has the first two, WSL2 the last alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    driver(file)
    assert places.pick_device(name) == "cuda"


def test_without_a_driver_torch_is_not_asked(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", None)
    driver()
    assert places.pick_device("auto") == "cpu"


def test_a_driver_without_a_device_is_no_device(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    driver("/dev/dxg")
    assert places.pick_device("auto") == "cpu"
    with pytest.raises(PrunebenchError, match="--device cuda: this machine has no CUDA device; use --device"):
        places.pick_device("cuda")
