"""Recognises text that looks like dates which `dates` can't read, and proposes strftime formats for it."""

import re
from collections.abc import Iterator
from itertools import chain

import polars as pl

from jaxrec.data.values.dates import MONTH, SPACE, Dates

LIKELY = 0.95  # minimum share of a column's values that look like times
SAMPLE = 1000  # values on which proposed formats are tested
SHAPES = 50  # values from which formats are derived
NOON = "(?:上午|下午|오전|오후|午前|午後)"  # AM and PM, written before the hour
#: beginnings of month names in other languages
MONTHS = (
    *("janu", "janv", "mär", "mrz", "mrt", "mai", "okt", "dez", "fév", "avr", "juin", "juil", "août", "déc", "ene"),
    *("abr", "ago", "dic", "gen", "mag", "giu", "lug", "set", "ott", "fev", "out", "mei", "sty", "lut", "kwi", "maj"),
    *("cze", "lip", "sie", "wrz", "paź", "lis", "gru", "led", "úno", "bře", "dub", "kvě", "čer", "srp", "zář", "říj"),
    *("pro", "tam", "hel", "maa", "huh", "tou", "kes", "hei", "elo", "syy", "lok", "jou", "már", "ápr", "máj", "jún"),
    *("júl", "sze", "oca", "şub", "nis", "haz", "tem", "ağu", "eyl", "eki", "kas", "ara", "ian", "iun", "iul", "noi"),
)
CYRILLIC = "\u0400-\u04ff"
WORD = rf"(?:{MONTH}|(?:{'|'.join(MONTHS)})[^\W\d_]{{0,8}}|[{CYRILLIC}]{{3,9}})"
NUMBER = "(?:0?[1-9]|[12][0-9]|3[01])"  # day of the month
DAY = "|".join(  # a day, or a week
    (
        r"(?:19|20)\d\d[/.-]\d{1,2}[/.-]\d{1,2}",
        r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d\d)",  # 1/4/2014, in January or April
        rf"\d{{1,2}}(?:st|nd|rd|th)?[/ .-]+{MONTH}[/ ,-]*(?:\d{{4}}|\d\d)|\d\d{MONTH}\d{{4}}",
        rf"{MONTH} +\d{{1,2}}(?:st|nd|rd|th)?(?:,? +\d{{4}}| +\d\d:\d\d:\d\d [\w:+-]+ \d{{4}})",
        rf"{MONTH}[/ -]{NUMBER}[/, -]+(?:\d{{4}}|\d\d)",
        rf"{NUMBER}\.?[ /-](?:de )?{WORD}\.?,?[ /-](?:de )?(?:19|20)\d\d",
        r"(?:19|20)\d\d[年년.] ?\d{1,2}[月월.] ?\d{1,2}[日일.]",
        r"(?:19|20)\d\d:\d\d:\d\d(?: \d\d:\d\d:\d\d)",  # as cameras write them
        r"(?:19|20)\d{6}T\d{2,6}.*",
        r"(?:19|20)\d\d-?W\d\d(?:-?[1-7])?",
    )
)
#: text that is only a day, perhaps after its name, and before a time of day, a zone or a word
LIKE = (
    rf"(?i)^[\['/]?(?:date\(\d{{10,13}}(?:[+-]\d{{4}})?\)/|(?:\d{{1,2}}:\d\d(?::\d\d)?,? +)?"
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?(?:{DAY})(?:[ T,:@]+(?:at |à |{NOON} ?)?\d{{1,6}}(?:\D.*)?"
    r"|-\d\d\.\d\d\.\d\d.*|[ T,]+[^\W\d_]{1,9}\.?|Z|[+-]\d\d:?\d\d)?)\]?$"
)
#: the parts of such text that strftime can name
WRITTEN = re.compile(
    r"""(?P<open>\[)?(?:(?P<weekday>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?P<long>[a-z]*))(?P<after>,?[ ]+))?
    (?P<one>\d{4}|\d{1,2}|[A-Za-z]{3,9})(?P<gap>[/.: -]?)(?P<two>\d{1,2}|[A-Za-z]{3,9})(?P<comma>,?)(?P=gap)
    (?P<three>\d{4}|\d{1,2})
    (?P<clock>(?P<space>[ ]@[ ]|[ T,:]+|-)\d{1,2}(?:(?P<minutes>[:.]\d\d)(?P<seconds>[:.]\d\d)?(?P<part>[.,:]\d+)?
        |h(?P<after_h>\d\d)|(?P<h>h))?
    (?P<blank>[ ])?(?P<half>[AaPp]\.?[ ]?[Mm]\b\.?)?(?P<away>[ ])?(?P<zone>[+-]\d\d:?\d\d)?(?P<end>Z)?)?
    (?P<close>\[[A-Za-z/_]+\]|\])?""",
    re.VERBOSE,
)
CLOCK = {"minutes": "%M", "seconds": "%S", "part": "%f"}  # parts of WRITTEN, each of which begins with its separator
SIGNS = {"年년": "%Y", "月월": "%m", "日일": "%d", "時时시": "%H", "分분": "%M", "秒초": "%S"}  # after each part
REST = {"h": "h", "blank": " ", "half": "%p", "away": " ", "zone": "%z", "end": "Z"}
#: kinds of the parts of a day (n: one or two digits, Y: four, b: a word) -> the orders they may be in
ORDERS = {
    "nnY": ("dmY", "mdY"),
    "nnn": ("dmy", "mdy", "ymd"),
    "Ynn": ("Ymd", "Ydm"),
    "nbY": ("dbY",),
    "nbn": ("dby",),
    "bnY": ("bdY",),
    "bnn": ("bdy",),
    "Ybn": ("Ybd",),
}


def looks_like_times(values: pl.Series) -> bool:
    """Returns whether nearly all values are text that looks like times, even if it can't be read."""
    text = _text(values)
    return len(text) > 0 and text.str.contains(LIKE).sum() >= LIKELY * len(text)


def forms_of(values: pl.Series) -> str:
    """Returns the strftime formats, for a message, that read the most values that look like times; "" if none does.

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
    proposed = chain(filter(None, map(_of_signs, text.head(SHAPES))), chain.from_iterable(map(_candidates, found)))
    forms = {form: Dates(form).read(text).count() for form in dict.fromkeys(proposed)}
    most = max(forms.values(), default=0)
    good = [form for form, count in forms.items() if count == most >= len(text) / 2]
    return " or ".join(f"'{form}'" for form in good)


def _of_signs(given: str) -> str:
    """Returns the strftime format of 2024年1月5日 or 2024. 1. 5., which mark their parts; "" for others."""
    if re.search(NOON, given):  # no format has these
        return ""
    text = re.sub(r"^\d{4}\.( ?)\d{1,2}\.( ?)\d{1,2}\.", r"%Y.\1%m.\2%d.", given)
    form = re.sub(r"\d{1,2}:\d\d:\d\d$", "%H:%M:%S", re.sub(r"(?<![\d:])\d{1,2}:\d\d$", "%H:%M", text))
    for signs, part in SIGNS.items():
        form = re.sub(rf"\d+(?=[{signs}])", part, form)
    return "" if form == given or re.search(r"\d", form) or "%Y" not in form else form


def _text(values: pl.Series) -> pl.Series:
    """Returns the values that are text, stripped and without blank ones."""
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return pl.Series([], dtype=pl.String)
    text = values.cast(pl.String).str.strip_chars().str.replace_all(*SPACE)
    return text.filter(text != "")


def _candidates(found: re.Match) -> Iterator[str]:
    """Yields the strftime formats that a date may have, from its parts."""
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
        first, second, third = (f"%{part}" for part in order)
        day = f"{first}{found['gap']}{second}{found['comma']}{found['gap']}{third}"
        yield f"{found['open'] or ''}{weekday}{day}{clock}{found['close'] or ''}"
