"""Spellings of ids: numbers as other programs write them, invisible characters, words for missing values."""

import re
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from unicodedata import decimal

import polars as pl

from jaxrec.system.errors import UserError

KINDS = ("integer", "text")  # kinds of ids
ROLES = ("user", "item", "session")  # roles whose columns hold ids
#: how databases, spreadsheets and programs write a missing value
WORDS = (
    *("NA", "N/A", "n/a", "NaN", "nan", "NAN", "NaT", "NULL", "null", "Null", "None", "none", "NONE", "nil", "Nil"),
    *("NIL", "undefined", "Undefined", "UNDEFINED"),
)
#: errors of workbooks, and "not available" and the like as Excel writes them in other languages
ERRORS = (
    *("#N/A N/A", "1.#QNAN", "1.#IND", "-1.#IND", "#NA", "#N/A", "#NULL!", "#REF!", "#VALUE!", "#NAME?", "#NUM!"),
    *("#DIV/0!", "#SPILL!", "#CALC!", "#NV", "#N/D", "#N/D!", "#ND", "#N/B", "#I/T", "#YOK", "#WERT!", "#BEZUG!"),
    *("#ZAHL!", "#VALEUR!", "#NOM?", "#NUL!", "#NOMBRE!", "#VALOR!", "#VALORE!", "#RIF!", "#NOME?", "#NULLO!"),
    *("#SAKNAS!", "#ARG!", "#ADR!", "#LICZBA!", "#WAARDE!", "#VERW!", "#GETAL!", "#PUUTTUU!", "#\u00a1VALOR!"),
    *("#\u00a1REF!", "#\u00bfNOMBRE?", "#\u00a1NUM!", "#\u00a1NULO!", "#\u00a1DIV/0!", "#\u041d/\u0414"),
    *("#\u0417\u041d\u0410\u0427!", "#\u0421\u0421\u042b\u041b\u041a\u0410!", "#\u0418\u041c\u042f?"),
    *("#\u0427\u0418\u0421\u041b\u041e!", "#\u041f\u0423\u0421\u0422\u041e!", "#\u0414\u0415\u041b/0!"),
)
MISSING = (
    *WORDS,
    *(f"{opens}{word}{closes}" for word in WORDS for opens, closes in ("()", "[]", "<>")),
    *("-nan", "-NaN", r"\N", "-", "--", *ERRORS),
)
#: a number with a decimal point, an exponent, or a decimal comma that can't be a thousands separator
FLOAT = (
    r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?[0-9]+(?:,[0-9]+)?[eE][-+]?[0-9]+$"
    r"|^[-+]?[0-9]+,(?:0{1,2}|0{4,})$"
)
#: a large number in scientific notation, which nobody uses as a name
ROUNDED = r"^[-+]?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,3}$"
INTEGER = r"^[-+]?[0-9]+$"
PADDED = "^-?0+[0-9]+$"
EXACT = {pl.Float32: 2**24, pl.Float64: 2**53}  # integers below these are exact as floats
THOUSANDS = (
    r"^[-+]?[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?:,[0-9]{2})+,[0-9]{3}|(?:\.[0-9]{3}){2,}"
    r"|(?:['\u2019][0-9]{3})+|(?: [0-9]{3})+)$"
)
#: a number kept as text in a workbook by a formula or an apostrophe: ="007", '007
TOLD = r"^(?:=\"([^\"]*)\"|'([0-9]+))$"
#: words that `as_seen` may change
ODD = r"[^\x21-\x7e]|^\+[0-9]|^-0+$|^[-+]?[0-9]{1,3}(?:[,'][0-9]{2,3}|(?:\.[0-9]{3}){2,}$)|^=\"|^'[0-9]"
#: an id with invisible characters: blanks at its ends, or blanks other than a space within
UNSEEN = r"^[\s\p{Z}\p{Cf}]|[\s\p{Z}\p{Cf}]$|[\u00a0\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\ufeff]"


def as_seen(words: pl.Series) -> pl.Series:
    """Returns words as they look, [n]: no blanks at the ends, plain spaces within, and one spelling for numbers.

    >>> as_seen(pl.Series(["1,234", "1'234", "+7", "-0", "\u0661\u0662", " 10\u200b", "a\xa0b", "1,5", "07"])).to_list()
    ['1234', '1234', '7', '0', '12', '10', 'a b', '1,5', '07']
    """
    return _changed(words, ODD, _plain)


def _plain(odd: pl.Series) -> pl.Series:
    odd = _changed(odd, r"[\p{Nd}&&[^0-9]]", lambda text: text.str.replace_many(_digits()))
    blank = lambda text: text.str.replace_all(r"\p{Cf}", "").str.replace_all(r"\p{Zs}", " ")
    odd = _changed(odd, r"[\p{Cf}\p{Zs}&&[^ ]]", blank).str.strip_chars()
    odd = _changed(odd, TOLD, lambda text: text.str.replace(TOLD, "${1}${2}"))
    odd = _changed(odd, THOUSANDS, lambda text: text.str.replace_all("[,.'\u2019 ]", ""))
    return odd.str.replace(r"^\+([0-9])", "${1}").str.replace("^-(0+)$", "${1}")


def _changed(words: pl.Series, pattern: str, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Returns the words, with `change` applied to those that contain a pattern."""
    found = words.str.contains(pattern).fill_null(False)
    return words.clone().scatter(found.arg_true(), change(words.filter(found))) if found.any() else words


@cache
def _digits() -> dict[str, str]:
    """Returns {digit: ASCII digit} for the decimal digits of all other scripts."""
    return {chr(at): str(decimal(chr(at))) for at in range(128, sys.maxunicode + 1) if chr(at).isdecimal()}


def integers(text: pl.Series) -> pl.Series:
    """Converts text to Int64 where it is an integer in any spelling, a whole float below 2^53, or like 1e+05.

    Other text is null. `1,000` is 1000, but `1,0` is 1, since programs with decimal commas write it so.
    """
    whole = text.str.strip_prefix("+").cast(pl.Int64, strict=False).set(~text.str.contains(INTEGER), None)
    if whole.null_count() == text.null_count():
        return whole
    text = as_seen(text)
    stem = text.str.replace(r"^\+?(-?[0-9]+)(?:\.0*|,0{1,2}|,0{4,})$", "${1}")
    found = stem.cast(pl.Int64, strict=False)
    inexact = (found.abs() >= 2**53) & ~text.str.contains(INTEGER)
    whole = whole.fill_null(found.set(inexact.fill_null(False), None))
    rest = text.filter(whole.is_null() & text.is_not_null()).unique()
    exact = {token: number for token in rest.to_list() if (number := _scientific(token)) is not None}
    if exact:
        whole = whole.fill_null(text.replace_strict(exact, default=None, return_dtype=pl.Int64))
    return whole


def respelled(text: pl.Series, numbers: pl.Series) -> str | None:
    """Returns the first text that its number is not written as; None if there is none. `numbers`: by `integers`."""
    return next(iter(text.filter((numbers.cast(pl.String) != text).fill_null(False)).head(1)), None)


def _scientific(token: str) -> int | None:
    """Returns the integer that a token in scientific notation spells; None if it isn't one, or digits were lost."""
    token = token.replace(",", ".", 1)
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,3}", token, re.ASCII):
        return None
    number = Decimal(token)
    if abs(number) >= 2**53 or number != number.to_integral_value():
        return None
    exponent = number.as_tuple().exponent
    hidden = isinstance(exponent, int) and exponent > 0 and len(number.normalize().as_tuple().digits) > 1
    return None if hidden else int(number)


def kind_of(ids: str, role: str) -> str:
    """Returns the given kind of a role's ids; "" if none is given.

    >>> kind_of("text", "item"), kind_of("user=integer", "user"), kind_of("user=integer", "item")
    ('text', 'integer', '')

    Args:
        ids: one kind for all roles, such as "integer", or kinds by role, such as "user=integer,item=text".
        role: one of ROLES.

    Raises:
        UserError: if there is no such kind, or no such role.
    """
    return kinds(ids)[role]


def kinds(ids: str) -> dict[str, str]:
    """Returns {role: kind of its ids} for all ROLES; `ids` as for `kind_of`.

    Raises:
        UserError: as `kind_of`.
    """
    given = ids if "=" in ids else ",".join(f"{each}={ids}" for each in ROLES)
    parts = [part.partition("=") for part in given.split(",")]
    found = {name.strip(): kind.strip() for name, _, kind in parts}
    if not (found.keys() <= {*ROLES} and {*found.values()} <= {"", *KINDS}):
        raise UserError(f"no ids {ids!r}: choose one of {', '.join(KINDS)}, or say it of a role, as user=integer")
    return dict.fromkeys(ROLES, "") | found
