"""Recognises text that looks like dates which `dates` can't read, and proposes strftime formats for it."""

import re
from collections.abc import Iterator

import polars as pl

from jaxrec.data.values.dates import MONTH, SPACE, Dates

LIKELY = 0.95  # minimum share of a column's values that look like times
SAMPLE = 1000  # values by which formats are proposed
SHAPES = 50  # values that formats are made of
DAY = "|".join(  # a day, or a week
    (
        r"(?:19|20)\d\d[/.-]\d{1,2}[/.-]\d{1,2}",
        r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d\d)",  # 1/4/2014, which may be in January or April
        rf"\d{{1,2}}(?:st|nd|rd|th)?[/ .-]+{MONTH}[/ ,-]*(?:\d{{4}}|\d\d)|\d\d{MONTH}\d{{4}}",
        rf"{MONTH} +\d{{1,2}}(?:st|nd|rd|th)?(?:,? +\d{{4}}| +\d\d:\d\d:\d\d [\w:+-]+ \d{{4}})",
        r"(?:19|20)\d{6}T\d{2,6}.*",
        r"(?:19|20)\d\d-?W\d\d(?:-?[1-7])?",
    )
)
#: nothing but a day, with its name before it, or a time of day, a zone or a word after it
LIKE = (
    rf"(?i)^\[?(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?(?:{DAY})"
    r"(?:[ T,:]+(?:at )?\d{1,6}(?:\D.*)?|[ T,]+[a-z]{1,9}|Z|[+-]\d\d:?\d\d)?\]?$"
)
#: the parts of such text that strftime can name
WRITTEN = re.compile(
    r"""(?P<open>\[)?(?:(?P<weekday>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?P<long>[a-z]*))(?P<after>,?[ ]+))?
    (?P<one>\d{4}|\d{1,2}|[A-Za-z]{3,9})(?P<gap>[/. -]?)(?P<two>\d{1,2}|[A-Za-z]{3,9})(?P=gap)(?P<three>\d{4}|\d{1,2})
    (?P<clock>(?P<space>[ T,:]+)\d{1,2}(?:(?P<minutes>[:.]\d\d)(?P<seconds>[:.]\d\d)?(?P<part>[.,:]\d+)?
        |h(?P<after_h>\d\d)|(?P<h>h))?
    (?P<blank>[ ])?(?P<half>[AaPp]\.?[ ]?[Mm]\b\.?)?(?P<away>[ ])?(?P<zone>[+-]\d\d:?\d\d)?(?P<end>Z)?)?
    (?P<close>\[[A-Za-z/_]+\]|\])?""",
    re.VERBOSE,
)
CLOCK = {"minutes": "%M", "seconds": "%S", "part": "%f"}  # parts of WRITTEN, after the character before each
REST = {"h": "h", "blank": " ", "half": "%p", "away": " ", "zone": "%z", "end": "Z"}
#: kinds of the parts of a day (n: one or two digits, Y: four, b: a word) -> the orders that these may have
ORDERS = {
    "nnY": ("dmY", "mdY"),
    "nnn": ("dmy", "mdy", "ymd"),
    "Ynn": ("Ymd", "Ydm"),
    "nbY": ("dbY",),
    "nbn": ("dby",),
    "bnY": ("bdY",),
    "Ybn": ("Ybd",),
}


def looks_like_times(values: pl.Series) -> bool:
    """Returns whether nearly all values are text that looks like times, whether or not it can be read."""
    text = _text(values)
    return len(text) > 0 and text.str.contains(LIKE).sum() >= LIKELY * len(text)


def forms_of(values: pl.Series) -> str:
    """Returns the strftime formats, for a message, by which most of the values that look like times can be read.

    >>> forms_of(pl.Series(["18/10/2017 07:33"]))
    "'%d/%m/%Y %H:%M'"
    >>> forms_of(pl.Series(["1/4/2014"]))
    "'%d/%m/%Y' or '%m/%d/%Y'"
    >>> forms_of(pl.Series(["soon"]))
    ''
    """
    text = _text(values)
    text = text.filter(text.str.contains(LIKE)).head(SAMPLE)
    found = (match for each in text.head(SHAPES) if (match := WRITTEN.fullmatch(each)))
    forms = {form: Dates(form).read(text).count() for match in found for form in _candidates(match)}
    most = max(forms.values(), default=0)
    good = [form for form, count in forms.items() if count == most >= len(text) / 2]
    return " or ".join(f"'{form}'" for form in good)


def _text(values: pl.Series) -> pl.Series:
    """Returns the values that are text, without blank ones and the spaces around them."""
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return pl.Series([], dtype=pl.String)
    text = values.cast(pl.String).str.strip_chars().str.replace_all(*SPACE)
    return text.filter(text != "")


def _candidates(found: re.Match) -> Iterator[str]:
    """Yields the strftime formats that the parts of a date may have."""
    clock = ""
    if found["clock"]:
        clock = found["space"] + ("%I" if found["half"] else "%H")
        clock += "".join(found[part][0] + form for part, form in CLOCK.items() if found[part])
        clock += "h%M" if found["after_h"] else ""
        clock += "".join(form for part, form in REST.items() if found[part])
    weekday = f"{'%A' if found['long'] else '%a'}{found['after']}" if found["weekday"] else ""
    parts = found["one"], found["two"], found["three"]
    kinds = "".join("b" if part.isalpha() else "Y" if len(part) == 4 else "n" for part in parts)
    for order in ORDERS.get(kinds, ()):
        day = found["gap"].join(f"%{part}" for part in order)
        yield f"{found['open'] or ''}{weekday}{day}{clock}{found['close'] or ''}"
