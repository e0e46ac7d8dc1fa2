"""Finds text that fast readers alter silently: broken quotes, and separators and line ends after a backslash."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

QUOTE = ord('"')
BROKEN = "a quote that does not end, or text after one: mend the quotes, or prepare with --quote none"
ESCAPED = r"""quotes escaped by backslashes: write "" for \", as `sed 's/\\"/""/g'` does"""


def are_whole(text: bytes, separator: str) -> bool:
    r"""Returns whether all fields that begin with a quote are quoted as a whole, with inner quotes doubled (RFC 4180).

    >>> [are_whole(text, ",") for text in (b'a,"b,b"\n', b'a,5" b\n', b'a,"b"b\n')]
    [True, True, False]

    Args:
        text: UTF-8, each line ended by \n.
        separator: one ASCII character.
    """
    codes = np.frombuffer(text, np.uint8)
    at = np.flatnonzero(codes == QUOTE)
    beside = np.zeros(256, bool)
    beside[[ord(separator), ord("\n"), QUOTE]] = True
    if len(at) % 2 == 0 and beside[codes[at[::2] - 1]].all() and beside[codes[at[1::2] + 1]].all():
        return True  # index -1 before the first byte is the last byte, a line end
    one = re.escape(separator)  # quotes within plain fields, or broken quotes
    fields = rf'\A(?:(?:"(?:[^"]|"")*"|[^"{one}\n][^{one}\n]*)?[{one}\n])*\z'
    return pl.Series([text], dtype=pl.Binary).cast(pl.String).str.contains(fields).item()


def flaw(row: str) -> str:
    """Returns what is wrong with a row whose quotes are broken, and a cure."""
    return ESCAPED if '\\"' in row else BROKEN


def are_split(text: bytes, separator: str, width: int) -> bool:
    r"""Returns whether a row may have other than `width` fields because of a separator or line end after a backslash.

    >>> are_split(b"a,\\,b\n", ",", 3), are_split(b"a,b\\,c\n", ",", 2)
    (False, True)
    """
    one = separator.encode()
    if b"\\" + one not in text and b"\\\n" not in text:
        return False
    after = (line for line in text.split(b"\n") if b"\\" + one in line or line.endswith(b"\\"))
    return any(line.count(one) + 1 != width or b'"' in line for line in after)


def is_split(values: Sequence[str], width: int) -> bool:
    """Returns whether fields are not `width`, after a backslash at the end of one (of the last, if they are fewer)."""
    ends = values[:-1] if len(values) > width else values[-1:] if len(values) < width else ()
    return any((len(value) - len(value.rstrip("\\"))) % 2 for value in ends)


def split(separator: str) -> str:
    """Returns what is wrong with a row of which `is_split` is true, and a cure."""
    one = "".join(f"\\x{ord(each):02x}" for each in separator)
    cure = rf"""perl -pe 's/(\\\\)|\\({one}|\r?\n)/$1||" "/ge'"""
    return f"separators or line ends escaped by backslashes: put spaces for them, as `{cure}` does"
