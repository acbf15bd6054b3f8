"""Parquet files, where the package pyarrow is installed."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.errors import PrunebenchError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LACKING = "needs pyarrow: pip install 'prunebench[parquet]'"


def written(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a file of columns of equal length. None is a missing value.

    kinds: "string" or "double", by column. None: as the values are.

    Raise PrunebenchError if there is no pyarrow.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import write_table
    except ImportError:
        raise PrunebenchError(f"a .parquet {LACKING}") from None
    schema = kinds and pa.schema({name: pa.type_for_alias(kind) for name, kind in kinds.items()})
    file = io.BytesIO()
    write_table(pa.table(dict(columns), schema=schema), file)
    return file.getvalue()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of pyarrow into one line. Raise PrunebenchError if there is no pyarrow."""
    try:
        from pyarrow import ArrowException
    except ImportError:
        raise PrunebenchError(f"{path} {LACKING}") from None
    try:
        yield
    except (ArrowException, OSError, ValueError) as error:  # the last for text that is no UTF-8
        reason = " ".join(str(error).split())
        raise PrunebenchError(f"{path} is not a whole Parquet file: {reason}. Get it again.") from None


def columns(path: Path) -> dict[str, str]:
    """Return "list", "number" or "other" for each column of a file, by name. Raise as `read`."""
    with reading(path):
        from pyarrow import types
        from pyarrow.parquet import read_schema

        schema = read_schema(path.expanduser())
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        numbers = (types.is_integer, types.is_floating)
        kinds = {}
        for field in schema:
            is_list = any(holds(field.type) for holds in lists)
            is_number = any(holds(field.type) for holds in numbers)
            kinds[field.name] = "list" if is_list else "number" if is_number else "other"
    return kinds


def read(path: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Return columns of a file as text, by name. A missing value is "".

    Raise PrunebenchError if there is no pyarrow, if the file cannot be read, or if it lacks a column.
    """
    table = _table(path, names)
    lists = {name: table.column(name).to_pylist() for name in names}
    return {name: ["" if value is None else str(value) for value in values] for name, values in lists.items()}


def vectors(path: Path, name: str) -> NDArray[np.float32]:
    """Return a column of lists of numbers: float32 [rows, d]. A missing number is NaN.

    Raise PrunebenchError as `read`, and if the lists have different lengths, or hold no numbers.
    """
    column = _table(path, [name]).column(name)
    with reading(path):
        from pyarrow import compute, types

        if not (types.is_nested(column.type) and hasattr(column.type, "value_type")):
            raise PrunebenchError(f"{path} has {column.type} in column {name!r}, expected lists of numbers")
        widths = compute.list_value_length(column).unique().to_pylist()
        if len(widths) != 1 or not widths[0]:
            raise PrunebenchError(
                f"{path} has lists of different lengths in column {name!r}, expected one length for all"
            )
        flat = compute.list_flatten(column).to_numpy()
    if flat.dtype.kind not in "fiu":
        raise PrunebenchError(f"{path} has lists of {flat.dtype} in column {name!r}, expected numbers")
    vectors: NDArray[np.float32] = flat.reshape(-1, widths[0]).astype("float32")
    return vectors


def _table(path: Path, names: Collection[str]) -> Any:
    """Return columns of a file as a table of pyarrow. Raise as `read`."""
    with reading(path):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path.expanduser()) as file:
            present = file.schema_arrow.names
            if lacking := [name for name in names if name not in present]:
                raise unknown(f"column of {path}", lacking[0], present, "docs/exchange.md")
            return file.read(columns=list(names))
