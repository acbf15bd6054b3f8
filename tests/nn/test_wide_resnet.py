"""Wide ResNets: their size, their shapes, and a BatchNorm that remembers long."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunebench.nn.wide_resnet import WideResNet


@pytest.mark.parametrize(("widen", "size"), [(2, 1.47e6), (8, 23.4e6)])
def test_sizes_are_those_of_the_literature(widen: int, size: float) -> None:
    network = WideResNet(3, widen)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(size, rel=0.02)
    assert network.width == 64 * widen


def test_images_become_one_feature_vector_each() -> None:
    assert WideResNet(1, 2).eval()(torch.zeros(2, 1, 16, 16)).shape == (2, 128)


def test_every_parameter_has_a_gradient() -> None:
    network = WideResNet(3, 2)
    network(torch.rand(4, 3, 16, 16)).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_batchnorm_remembers_a_thousand_steps() -> None:
    layers = [layer for layer in WideResNet(3, 2).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.momentum for layer in layers} == {0.001}
    assert [layer.eps for layer in layers][-1] == 0.001
    assert {layer.eps for layer in layers[:-1]} == {1e-5}
