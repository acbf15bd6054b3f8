"""Tables in .csv files: whoever saved them, and nothing in those that are written runs."""

import csv
import io
import itertools

import pytest

from prunebench.errors import PrunebenchError
from prunebench.photos.folder import read_labels
from prunebench.system import tables

WANTED = [(2, ["a.png", "cat"]), (3, ["b, c.png", "dog"])]


@pytest.fixture
def table(tmp_path):
    """table("file,label\\n") writes a .csv, in UTF-8 unless it is bytes."""

    def made(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return made


# Reading


@pytest.mark.parametrize(
    "content",
    [
        'file,label\na.png,cat\n"b, c.png",dog\n',
        'file,label\r\na.png,cat\r\n"b, c.png",dog\r\n',
        'file,label\ra.png,cat\r"b, c.png",dog\r',
        "\ufefffile;label\na.png;cat\nb, c.png;dog\n",
        '"file"\t"label"\na.png\tcat\nb, c.png\tdog\n',
        " File , LABEL \na.png,cat\n'b, c.png',dog\n".replace("'", '"'),
        "note;Label;FILE;\nx;cat;a.png;\nfile,label;dog;b, c.png;;\n",
        'file,label\na.png,cat\n"b, c.png",dog\n'.encode("utf-16"),
        "file\tlabel\na.png\tcat\nb, c.png\tdog\n".encode("utf-16"),
        b"\xfe\xff" + "file;label\na.png;cat\nb, c.png;dog\n".encode("utf-16-be"),
    ],
)
def test_a_table_is_read_however_it_was_saved(table, content):
    assert tables.read(table(content), "file", "label") == WANTED


def test_blank_lines_are_passed_over_and_lines_are_those_of_the_file(table):
    path = table('\nfile,label\n\n"a\nb",cat\n\nc,dog\n')
    assert tables.read(path, "label", "file") == [(4, ["cat", "a\nb"]), (7, ["dog", "c"])]


def test_a_column_is_called_exactly_so_before_it_is_called_nearly_so(table):
    path = table("Label,label,LABEL ,file\na,b,c,d\n")
    assert tables.read(path, "label", "file") == [(2, ["b", "d"])]
    with pytest.raises(PrunebenchError, match=r"needs one column 'laBel' and has 3"):
        tables.read(path, "laBel")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('file,label\na,cat\nb,"dog\nc,cat\nd,dog\n', r"cannot be read from line 3 on .*quote there opened"),
        ('file,label\n"a,cat\nb,dog\nc,"cat"\n', r"cannot be read from line 2 on"),
        ("file,label\na,Käse, alt\nb,c\n", r"has 3 entries in line 2, but 2 in its header \(1 such"),
        ("file;label\na,b;c;d\ne\n", r"has 3 entries in line 2, .*\(2 such lines\); an entry with ';' in it"),
        ("file|label\na|b\n", r"needs one column 'file' and has none; its first line is 'file\|label'"),
        (b"file,label\n\xff,cat\n", r"is no text in UTF-8; save it as a .csv in UTF-8"),
        (b"\xff\xfef\x00i\x00l", r"is no text in UTF-8; save it as a .csv in UTF-8"),
    ],
)
def test_what_is_no_table_is_one_line_that_names_its_own(table, content, message):
    with pytest.raises(PrunebenchError, match=message) as told:
        tables.read(table(content), "file", "label")
    assert "\n" not in str(told.value)


def test_a_quote_that_is_closed_too_late_makes_no_label(table):
    with pytest.raises(
        PrunebenchError, match=r"a label of several lines in line 2: 'cat\\nb,dog'; is a quote"
    ):
        read_labels(table('file,label\na,"cat\nb,dog"\nc,"eel\n"\n'))


# Writing

FORMULAS = ["=1+1", "+cmd", "-cmd", "@SUM(A1)", "\ttab", "\rreturn", "\nfeed", "\uff1d1+1", "=a|' /C b'!A0"]
NUMBERS = ["-0.5", "+1e-05", "-.5"]
PLAIN = ["", "1", "Käse", "NA", "#N/A", " a ", '"', "a\rb.png", "a\nb.png", "a,b;c\td", "'", "'tis", "''tis"]
NASTY = [*FORMULAS, *NUMBERS, *PLAIN, "-1+1", "-1e", "-", "'-", "'=1", "''=1", '="']


def test_what_was_written_is_read(table):
    rows = list(itertools.product(NASTY, repeat=2))
    path = table(tables.written(["file", "label"], rows))
    assert [tuple(row) for _, row in tables.read(path, "file", "label")] == rows


def test_no_entry_runs_in_a_spreadsheet(table):
    text = tables.written(["=a"], [[entry] for entry in NASTY if entry])
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert len(cells) == len(NASTY)
    running = [cell for cell in cells if cell[:1] in set("=+-@\t\r\n\uff1d")]
    assert running == NUMBERS


def test_what_is_no_formula_is_written_as_it_is():
    assert tables.written(["file", "score"], [["a.png", "-0.5"]]) == "file,score\na.png,-0.5\n"
    assert tables.written(["file"], [["=a.png"], ['"b".png']]) == 'file\n\'=a.png\n"""b"".png"\n'


# Names


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ("a/b.png", "a/b.png"),
        ("./a/b.png", "a/b.png"),
        ("a\\b.png", "a/b.png"),
        (".\\A\\B.PNG ", "a/b.png"),
        ("cafe\u0301.png", "caf\xe9.png"),
        ("CAFE\u0301.PNG", "caf\xe9.png"),
        ("X.png", "X.png"),
        ("./x.png", "x.png"),
    ],
)
def test_a_name_means_the_file_that_it_can_only_mean(listed, meant):
    assert tables.match([listed], ["a/b.png", "caf\xe9.png", "x.png", "X.png"]) == {listed: meant}


@pytest.mark.parametrize("listed", ["x.PNG", "b.png", "a/c.png", ""])
def test_a_name_that_means_none_or_several_is_not_matched(listed):
    assert tables.match([listed], ["a/b.png", "x.png", "X.png"]) == {}


def test_matches_are_in_the_order_of_the_table():
    listed = [f"{number}.png" for number in (5, 3, 8, 1, 9, 2)]
    assert [*tables.match(["A.png", *listed], ["a.png", *sorted(listed)])] == ["A.png", *listed]
