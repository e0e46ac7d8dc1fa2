"""Printed text: nothing is styled, obeyed or hidden; every text can be encoded and is bounded."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

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


def test_text_is_never_markup_nor_emoji():
    out = io.StringIO()
    console.make(file=out, width=200).print("runs/[red]a[/] :smile: [x] [/]")
    assert out.getvalue() == "runs/[red]a[/] :smile: [x] [/]\n"
