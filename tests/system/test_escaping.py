"""Text of strangers where it is shown: it steers no terminal, and makes no markup."""

import pytest

from prunebench.runs.format import table
from prunebench.system.escaping import latex, markdown, plain

ESC = "\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Semi-AUM+Cutoff, 10 % (ä, 狗, 👩‍🔬)", "Semi-AUM+Cutoff, 10 % (ä, 狗, 👩‍🔬)"),
        (f"red {ESC}[31m", r"red \x1b[31m"),
        (f"{ESC}]0;title\a", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),  # the same in one character
        ("one\r\ntwo\u2028three", r"one\r\ntwo\u2028three"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("\udcff.png", r"\udcff.png"),  # a file name that is not UTF-8
    ],
)
def test_nothing_steers_a_terminal(text, shown):
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*Random*, 90.1 ± 0.5 [1]", "*Random*, 90.1 ± 0.5 [1]"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("`code`", r"\`code\`"),
        ("![x](http://host/pixel)", r"![x\](http://host/pixel)"),
        ("text\n\n## Injected", r"text\\n\\n## Injected"),
        ("# Injected", r"\# Injected"),
    ],
)
def test_nothing_is_markup(text, shown):
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Semi-AUM, 10 % (ä)", r"Semi-AUM, 10 \% (ä)"),
        ("90.1 ± 0.5 · −1 × 2", r"90.1 $\pm$ 0.5 $\cdot$ $-$1 $\times$ 2"),
        (r"\input{x} % a & b_1 #2 $", r"\textbackslash{}input\{x\} \% a \& b\_1 \#2 \$"),
        ('~^<|>"', r"\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}''"),
        ("[1] *", "{[}1] {*}"),  # the line above a cell ends in \\\\, which takes both for its own
        ("a\n\nb", r"a\textbackslash{}n\textbackslash{}nb"),
    ],
)
def test_nothing_is_a_command_of_latex(text, shown):
    assert latex(text) == shown


def test_a_table_on_a_terminal_shows_what_is_in_names():
    assert table([[f"a{ESC}b", 1]], ["name", "n"]).splitlines()[1].split() == [r"a\x1bb", "1"]
