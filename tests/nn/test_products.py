"""Products of matrices: right by oneDNN too, with gradients, and PyTorch's own for narrow vectors."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from prunebench.nn import products
from prunebench.nn.products import Linear, linear, relative_squares, squared_distances

WIDE = (16, products.WIDTH, products.COLUMNS)
NARROW = (16, products.WIDTH - 1, products.COLUMNS)
FEW_COLUMNS = (16, products.WIDTH, products.COLUMNS - 1)


def drawn(shape, device):
    """Random rows [m, d], columns [n, d] and numbers [n]."""
    m, d, n = shape
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(m, d)), rng.normal(size=(n, d)), rng.normal(size=n)
    return [torch.tensor(array, dtype=torch.float32, device=device) for array in arrays]


@pytest.fixture
def taken(monkeypatch):
    """What oneDNN computed: the shapes of its rows, as they come."""
    shapes = []
    by_onednn = products._onednn
    monkeypatch.setattr(
        products, "_onednn", lambda rows, *rest: shapes.append(rows.shape) or by_onednn(rows, *rest)
    )
    return shapes


@pytest.mark.parametrize("shape", [WIDE, NARROW, FEW_COLUMNS], ids=["wide", "narrow", "few columns"])
def test_products_are_right(device, shape):
    rows, columns, numbers = drawn(shape, device)
    exact = rows.double() @ columns.double().T
    torch.testing.assert_close(
        linear(rows, columns, numbers), (exact + numbers).float(), rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(linear(rows, columns, None), exact.float(), rtol=1e-4, atol=1e-3)
    norms = columns.square().sum(1)
    squares = squared_distances(rows, columns, rows.square().sum(1), norms)
    torch.testing.assert_close(squares, torch.cdist(rows, columns).square(), rtol=1e-4, atol=1e-2)


def test_a_cpu_hands_wide_vectors_to_onednn_and_no_others(taken):
    for shape in (WIDE, NARROW, FEW_COLUMNS):
        linear(*drawn(shape, "cpu"))
        relative_squares(*drawn(shape, "cpu"))
    assert taken == [WIDE[:2]] * 2


def test_narrow_vectors_give_what_they_always_gave():
    """The labels of ELFS on digits follow from their last digit."""
    rows, columns, numbers = drawn((300, 64, 300), "cpu")
    assert linear(rows, columns, numbers).equal(functional.linear(rows, columns, numbers))
    assert relative_squares(rows, columns, numbers).equal(torch.addmm(numbers, rows, columns.T, alpha=-2))


def test_gradients_are_those_of_a_linear_layer(device):
    rows, columns, numbers = drawn(WIDE, device)
    found = []
    for function in (linear, functional.linear):
        leaves = [one.clone().requires_grad_() for one in (rows, columns, numbers)]
        function(*leaves).square().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-1)


def test_a_layer_takes_a_batch_of_any_size_in_any_mode(device):
    _, d, n = WIDE
    layer = Linear(d, n).to(device)
    assert layer(torch.zeros(0, d, device=device)).shape == (0, n)
    with torch.inference_mode():
        assert layer(torch.zeros(3, d, device=device)).equal(layer.bias.expand(3, n))
    with torch.autocast(device.split(":")[0], torch.bfloat16):
        assert layer(torch.zeros(3, d, device=device)).dtype == torch.bfloat16


def test_the_same_product_is_the_same_to_the_last_digit(taken):
    rows, columns, numbers = drawn(WIDE, "cpu")
    assert linear(rows, columns, numbers).equal(linear(rows.clone(), columns.clone(), numbers.clone()))
    assert len(taken) == 2
