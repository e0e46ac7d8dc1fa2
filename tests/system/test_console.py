"""Printed text: nothing in it is styled, obeyed or hidden, it can be encoded, and its length is bounded."""

import io
import unicodedata

import pytest
from hypothesis import given, strategies as st
from rich.table import Table

from jaxrec.system import console

anything = st.text(st.characters(codec=None, exclude_categories=()))


@given(anything)
def test_what_is_printable_has_no_control_character_and_can_be_encoded(text):
    shown = console.printable(text)
    shown.encode()
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in shown if char not in "\n\t")
    assert not set(shown) & set("\u2028\u2029\u202a\u202e\u2066\u2069\u200e\u200f\ufeff")  # ends of lines, directions
    assert shown.count("\n") == text.count("\n")


@given(anything, st.integers(0, 20))
def test_a_line_is_cut_and_says_so(text, most):
    for line, whole in zip(console.printable(text, most).split("\n"), console.printable(text).split("\n"), strict=True):
        assert line == whole or (line.startswith(whole[:most]) and "more characters" in line)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays_as_it_is(text):
    assert console.printable(text) == text


@pytest.mark.parametrize(
    "text", ["a\tb", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f52c"]
)
def test_tabs_and_what_joins_letters_and_emoji_stay(text):
    assert console.printable(text) == text


def test_text_is_never_markup_nor_emoji():
    out = io.StringIO()
    console.make(file=out, width=200).print("runs/[red]a[/] :smile: [x] [/]")
    assert out.getvalue() == "runs/[red]a[/] :smile: [x] [/]\n"


def test_what_is_shown_is_text_and_html_for_a_notebook():
    table = Table(title="<b> [red]")
    table.add_column("x & y")
    table.add_row("1")
    text, page = (make(lambda shown: shown.print(table)) for make in (console.as_text, console.as_html))
    assert "x & y" in text and "<b> [red]" in text and "\x1b" not in text
    assert page.startswith("<pre") and "x &amp; y" in page and "&lt;b&gt; [red]" in page


@pytest.mark.parametrize(
    ("options", "widgets", "moves"),
    [
        ({"force_terminal": True}, False, True),
        ({"force_terminal": False, "force_jupyter": False}, True, False),
        ({"force_jupyter": True}, True, True),
        ({"force_jupyter": True}, False, False),
    ],
)
def test_a_bar_moves_in_a_terminal_and_in_a_notebook_that_has_widgets(options, widgets, moves, monkeypatch):
    monkeypatch.setattr(console.importlib.util, "find_spec", lambda name: object() if widgets else None)
    assert console.can_show_bars(console.make(file=io.StringIO(), **options)) == moves
