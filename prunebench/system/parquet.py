"""Parquet files, where the package pyarrow is installed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError

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
