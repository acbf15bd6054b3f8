"""The energy of a GPU: what its driver says, and when it is nobody's."""

import sys
from types import SimpleNamespace

import pytest
import torch

from prunebench.pipeline import jobs
from prunebench.pipeline.energy import Meter
from prunebench.pipeline.store import Store


class NVMLError(Exception):
    """As the driver's package calls its errors."""


@pytest.fixture
def driver(monkeypatch):
    """A driver whose counters, in millijoules, are `driver.counts`, one after the other."""
    counts = [1000, 251_000]

    def total(handle):
        assert handle == "GPU-e0"
        if not counts:
            raise NVMLError("not supported")
        return counts.pop(0)

    stub = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=str,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )
    monkeypatch.setitem(sys.modules, "pynvml", stub)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(uuid="e0"))
    return SimpleNamespace(counts=counts)


@pytest.fixture
def metered(monkeypatch):
    """All stages take 5 joules."""
    monkeypatch.setattr(Meter, "joules", lambda _self: 5.0)


def test_the_driver_counts_millijoules_of_the_gpu_that_torch_uses(driver):
    assert Meter("cuda").joules() == 250.0


@pytest.mark.parametrize("counts", [[], [1000]])
def test_a_gpu_that_does_not_count_has_none(driver, counts):
    driver.counts[:] = counts
    assert Meter("cuda").joules() is None


def test_neither_a_cpu_nor_a_gpu_without_the_package_has_any(driver, monkeypatch):
    assert Meter("cpu").joules() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter("cuda").joules() is None


def test_a_row_has_the_energy_of_its_stages(matrix, make, metered):
    work = make(matrix("dual")).rows[0].work
    assert {units["gpu_joules"] for units in work.values()} == {5.0}


def test_a_gpu_that_others_use_counts_for_nobody(metered):
    meter = Meter("cpu")
    assert jobs._energy(SimpleNamespace(shares_gpu=False, processes=1), meter) == {"gpu_joules": 5.0}
    assert jobs._energy(SimpleNamespace(shares_gpu=True, processes=1), meter) == {}
    assert jobs._energy(SimpleNamespace(shares_gpu=False, processes=2), meter) == {}  # it is of one GPU


def test_a_row_has_the_energy_of_all_its_stages_on_a_gpu_or_none(matrix, make, metered, monkeypatch):
    read = Store.manifest

    def one_unmetered(store, key):
        manifest = read(store, key)
        if manifest["kind"] == "dynamics":
            del manifest["work"]["gpu_joules"]
            manifest["device"] = "cuda"
        return manifest

    monkeypatch.setattr(Store, "manifest", one_unmetered)
    work = make(matrix("dual")).rows[0].work
    assert work["dynamics"] and not any("gpu_joules" in units for units in work.values())
