"""Tables in .csv files: reads those of people and spreadsheets, writes none that runs a formula.

A spreadsheet takes text that begins with = + - @, a tab or a line break for a formula. Such text is written
with a single quote before it. Reading removes one quote, so it returns the text as it was. A plain number
such as -0.5 is no formula and gets no quote.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.system.files import replace_file

DELIMITERS = (",", ";", "\t")
STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are the same signs at full width
FORMULA = re.compile(f"'*[{STARTS}]")
GUARDED = re.compile(f"'+[{STARTS}]")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SPECIAL = re.compile('[",;\t\r\n]')

Row = tuple[int, list[str]]  # its line in the file, and its entries


def filed(folder: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a table into a folder, and return its path.

    The path follows from the content, so that other content is another file.
    """
    content = written(columns, rows).encode()
    path = folder / f"{hashlib.sha256(content).hexdigest()}.csv"
    if not path.is_file():
        replace_file(path, content)
    return path


def written(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the text of a .csv file, with commas and line feeds. No entry is a formula."""
    return "".join(",".join(map(_guarded, row)) + "\n" for row in (header, *rows))


def _guarded(entry: str) -> str:
    is_formula = FORMULA.match(entry) and not NUMBER.fullmatch(entry)
    safe = f"'{entry}" if is_formula else entry
    if SPECIAL.search(safe):
        return '"' + safe.replace('"', '""') + '"'
    return safe


def _unguarded(entry: str) -> str:
    return entry[1:] if GUARDED.match(entry) else entry


def read(path: Path, *columns: str) -> list[Row]:
    """Read columns of a table with a header. Return the line of each row and its entries in these columns.

    The file is UTF-8, or UTF-16 with a byte order mark. Commas, semicolons or tabs separate its entries,
    whichever gives the header the most of the columns. If no column has exactly the name, case and outer
    spaces are ignored. Blank lines are skipped.

    Raise PrunebenchError if the file cannot be read or is no such table, if a column is absent or there
    twice, or if a row has too few or too many entries.

    path: of the file.
    columns: names of the columns to return, in this order.
    """
    text = _text(path)
    delimiter = max(DELIMITERS, key=lambda each: _fitting(text, each, columns))
    records = _records(path, text, delimiter)
    _, header = next(records, (1, []))
    indices = [_index(path, header, column) for column in columns]
    rows = []
    misfits = []
    for line, entries in records:
        # Spreadsheets may end a line with empty entries.
        if len(entries) < len(header) or any(entries[len(header) :]):
            misfits.append((line, len(entries)))
        else:
            rows.append((line, [entries[index] for index in indices]))
    if misfits:
        line, count = misfits[0]
        raise PrunebenchError(
            f"{path} has {count} entries in line {line}, but {len(header)} in its header "
            f"({len(misfits)} such lines); an entry with {delimiter!r} in it needs quotes"
        )
    return rows


def header(path: Path, column: str) -> list[str]:
    """Return the names of the columns of a table that has a certain column. Raise as `read`."""
    text = _text(path)
    delimiter = max(DELIMITERS, key=lambda each: _fitting(text, each, [column]))
    _, names = next(_records(path, text, delimiter), (1, []))
    _index(path, names, column)
    return names


def has(path: Path, column: str) -> bool:
    """Whether the header of a table has a column. Raise PrunebenchError if the file cannot be read."""
    text = _text(path)
    return any(_fitting(text, delimiter, [column]) for delimiter in DELIMITERS)


def _text(path: Path) -> str:
    try:
        content = path.expanduser().read_bytes()
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PrunebenchError(f"{path} is no text in UTF-8; save it as a .csv in UTF-8") from None


def _fitting(text: str, delimiter: str, columns: Sequence[str]) -> int:
    """Return how many of the columns the header has, if `delimiter` separates its entries."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = next(filter(None, reader), [])
    except csv.Error:
        return 0
    return len([column for column in columns if _indices(header, column)])


def _records(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    """Yield the first line of each record and its entries."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for entries in reader:
            if entries:
                yield line, list(map(_unguarded, entries))
            line = reader.line_num + 1
    except csv.Error as error:
        raise PrunebenchError(
            f"{path} cannot be read from line {line} on ({error}); is a quote there opened and not closed?"
        ) from None


def _index(path: Path, header: Sequence[str], column: str) -> int:
    if not header:
        raise PrunebenchError(f"{path} is empty, but needs a column {column!r}")
    indices = _indices(header, column)
    if len(indices) != 1:
        raise PrunebenchError(
            f"{path} needs one column {column!r} and has {len(indices) or 'none'}; "
            f"its first line is {','.join(header)!r}"
        )
    return indices[0]


def _indices(header: Sequence[str], column: str) -> list[int]:
    """Return the indices of the columns of a name, exact if possible, else without case and outer spaces."""
    exact = [index for index, name in enumerate(header) if name == column]
    if exact:
        return exact
    return [index for index, name in enumerate(header) if _loose_form(name) == _loose_form(column)]


def match(listed: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Match file names of a table to the names of files. Return {listed name: file name}, certain ones only.

    They are in the order of the table.

    The same name matches first. The second choice is the only file name that is equal after normalizing the
    Unicode form, "\\" for "/" and a leading "./". The third choice ignores case and outer spaces too.

    listed: names from a table.
    names: names of files.
    """
    existing = set(names)
    listed = list(dict.fromkeys(listed))
    unmatched = set(listed)
    matches = {name: name for name in unmatched & existing}
    for form in (_plain_form, _loose_form):
        unmatched -= matches.keys()
        if not unmatched:
            break
        by_form = defaultdict(list)
        for name in existing:
            by_form[form(name)].append(name)
        for name in unmatched:
            candidates = by_form.get(form(name), [])
            if len(candidates) == 1:
                matches[name] = candidates[0]
    return {name: matches[name] for name in listed if name in matches}


def _plain_form(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _loose_form(name: str) -> str:
    return _plain_form(name.strip()).casefold()
