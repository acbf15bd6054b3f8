"""Tables in .csv files: read as people and spreadsheets save them, written so that nothing in them runs.

A spreadsheet takes text for a formula that begins with = + - @ or with a tab or line break. Such text is
written with a single quote before it, and reading takes one off again: what was written is what is read.
A plain number such as -0.5 is no formula and stays as it is.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prunebench.errors import PrunebenchError

DELIMITERS = (",", ";", "\t")
STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are the same signs at full width
FORMULA = re.compile(f"'*[{STARTS}]")
GUARDED = re.compile(f"'+[{STARTS}]")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SPECIAL = re.compile('[",;\t\r\n]')

Row = tuple[int, list[str]]


def written(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the text of a .csv: with commas, lines ended by line feeds, no entry a formula."""
    return "".join(",".join(map(_spelled, row)) + "\n" for row in (header, *rows))


def _spelled(entry: str) -> str:
    runs = FORMULA.match(entry) and not NUMBER.fullmatch(entry)
    safe = f"'{entry}" if runs else entry
    return '"' + safe.replace('"', '""') + '"' if SPECIAL.search(safe) else safe


def _meant(entry: str) -> str:
    return entry[1:] if GUARDED.match(entry) else entry


def read(path: Path, *columns: str) -> list[Row]:
    """Return these columns of a table with a header: for each row its line, and its entries in this order.

    It is UTF-8, or UTF-16 with a byte order mark. Commas, semicolons or tabs separate its entries: that by
    which the header has the columns. A column is called as asked, or else so but for case and spaces around
    it. Blank lines are passed over. Raise PrunebenchError where the file cannot be read or is no
    such table, where a column is absent or there twice, and for a row that does not fit the header.
    """
    text = _text(path)
    delimiter = max(DELIMITERS, key=lambda each: _fitting(text, each, columns))
    records = _records(path, text, delimiter)
    _, header = next(records, (1, []))
    places = [_place(path, header, column) for column in columns]
    found, wrong = [], []
    for line, entries in records:
        if len(entries) < len(header) or any(entries[len(header) :]):
            wrong.append((line, len(entries)))
        else:
            found.append((line, [entries[place] for place in places]))
    if wrong:
        line, count = wrong[0]
        raise PrunebenchError(
            f"{path} has {count} entries in line {line}, but {len(header)} in its header "
            f"({len(wrong)} such lines); an entry with {delimiter!r} in it needs quotes"
        )
    return found


def _text(path: Path) -> str:
    try:
        content = path.expanduser().read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PrunebenchError(f"{path} is no table ({error}); save it as a .csv in UTF-8") from None


def _fitting(text: str, delimiter: str, columns: Sequence[str]) -> int:
    """Return how many of the columns the header has, if entries are separated in this way."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = next(filter(None, reader), [])
    except csv.Error:
        return 0
    return sum(bool(_called(header, column)) for column in columns)


def _records(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    """Yield the line in which each record begins, and its entries."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1
    try:
        for entries in reader:
            if entries:
                yield line, list(map(_meant, entries))
            line = reader.line_num + 1
    except csv.Error as error:
        raise PrunebenchError(
            f"{path} cannot be read from line {line} on ({error}); is a quote there opened and not closed?"
        ) from None


def _place(path: Path, header: Sequence[str], column: str) -> int:
    places = _called(header, column)
    if len(places) != 1:
        raise PrunebenchError(
            f"{path} needs one column {column!r} and has {len(places) or 'none'}; "
            f"its first line is {','.join(header)!r}"
        )
    return places[0]


def _called(header: Sequence[str], column: str) -> list[int]:
    same = [place for place, name in enumerate(header) if name == column]
    return same or [place for place, name in enumerate(header) if _loosely(name) == _loosely(column)]


def match(listed: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Return which of the `names` of files each of the `listed` ones means, as far as that is certain.

    It is the same name. Else it is the only one that differs in Unicode form, in "\\" for "/" or in a
    leading "./" alone; else the only one that differs in these, in case or in spaces around it.
    """
    there = set(names)
    left = set(listed)
    found = {name: name for name in left & there}
    for form in (_plainly, _loosely):
        left -= found.keys()
        if not left:
            break
        alike = defaultdict(list)
        for name in there:
            alike[form(name)].append(name)
        found |= {name: alike[form(name)][0] for name in left if len(alike[form(name)]) == 1}
    return found


def _plainly(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _loosely(name: str) -> str:
    return _plainly(name.strip()).casefold()
