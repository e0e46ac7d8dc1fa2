"""Tells apart text whose quotes enclose whole fields and text with broken quotes, which fast readers alter silently."""

import re

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
