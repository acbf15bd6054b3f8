"""Products of matrices. On a CPU oneDNN computes those of wide vectors.

PyTorch has MKL compute them, which is half as fast on a CPU of AMD: see `benchmarks/speed/products.py`. All
other products are PyTorch's.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor
WIDTH = 384  # numbers per vector from which oneDNN computes. The copy to it costs what narrower ones gain
COLUMNS = 64  # columns of the result from which it does


def relative_squares(rows: Tensor, columns: Tensor, squared_norms: Tensor) -> Tensor:
    """Return |column|^2 - 2 row.column: float32 [m, n].

    That is the squared distance of row and column, less |row|^2. So the nearest column has the least.

    rows: float32 [m, d].
    columns: float32 [n, d].
    squared_norms: of the columns, float32 [n].
    """
    if _by_onednn(rows, columns):
        return _onednn(-2 * rows, columns, squared_norms)
    return torch.addmm(squared_norms, rows, columns.T, alpha=-2)


def squared_distances(rows: Tensor, columns: Tensor, row_norms: Tensor, column_norms: Tensor) -> Tensor:
    """Return the squared distance of each row to each column: float32 [m, n], 0 or more.

    row_norms, column_norms: squared, float32 [m] and [n].
    """
    return relative_squares(rows, columns, column_norms).add_(row_norms[:, None]).clamp_(min=0)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias: float [b, outputs].

    x: float [b, inputs]. weight: float [outputs, inputs]. bias: float [outputs].
    """
    if _by_onednn(x, weight):
        return _onednn(x, weight, bias)
    return functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """A linear layer that takes these products."""

    def forward(self, x: Tensor) -> Tensor:
        """Return its outputs: float [b, outputs]."""
        return linear(x, self.weight, self.bias)


def _by_onednn(rows: Tensor, columns: Tensor) -> bool:
    """Whether oneDNN computes the product of these."""
    return (
        rows.device.type == "cpu"
        and rows.dtype == columns.dtype == torch.float32
        and rows.shape[1] >= WIDTH
        and len(columns) >= COLUMNS
        and len(rows) > 0
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _onednn(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows columns^T + bias."""
    # PyTorch hands a product to oneDNN where one of the tensors is in oneDNN's own layout.
    return functional.linear(rows.to_mkldnn(), columns, bias).to_dense()
