"""Parses dates into microseconds: ISO 8601, other unambiguous formats, and a given strftime format.

Recognised formats are 2014-04-01, 2014/4/1 and 2014.04.01, 20140401T030000Z, and those with the month as a word
(1 April 2014, Apr 1, 2014, 01-Apr-2014, Tue Apr 01 03:00:00 +0000 2014), each with or without a time of day and a
zone. A time of day may follow days like 20140401 as 10:00, 1000 or 100000. An ambiguous date like 1/4/2014 is only
parsed with a given format.
"""

import datetime
import re

import polars as pl

from jaxrec.data.values import digits
from jaxrec.system.errors import UserError

DAY = "%Y-%m-%d"
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%dT%H:%M", DAY)
HALF_DAYS = tuple(f"%Y-%m-%dT%I:%M{rest} %p{zone}" for rest in (":%S%.f", "") for zone in ("%#z", ""))
FIRST = -30_610_224_000_000_000  # the year 1000; years before it are taken for years that lost digits
LATEST = 7_258_118_400_000_000  # the year 2200
NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: f"{number:02}" for number, name in enumerate(NAMES, 1)}
#: endings of the names, in languages that share the beginnings; other words don't match, as Finnish marraskuu
ENDINGS = (
    *("uary", "uar", "uari", "vier", "eiro", "ruary", "ruar", "ruari", "rero", "braio", "ch", "s", "zo", "t", "il"),
    *("ile", "ilie", "o", "e", "i", "io", "ho", "y", "ust", "ustus", "tember", "tembre", "tiembre", "tembro", "ober"),
    *(
        "obre",
        "ubre",
        "ember",
        "embre",
        "iembre",
        "embro",
        "embrie",
        "ombrie",
        "v",
        "r",
        "ruarie",
        "tie",
        "ts",
        "ca",
        "ec",
    ),
    *("zec", "et", "ill", "ij", "usti", "usts", "usztus", "tembrie", "tembar", "tembris", "embar", "embris"),
)
MONTH = rf"({'|'.join(MONTHS)})(?:{'|'.join(ENDINGS)})?\.?"
SPACE = r"[\x{a0}\x{202f}]", " "  # non-breaking spaces, such as before PM
HALF_DAY = r"(?i)([ap])\.? ?m\.?( *(?:UTC|GMT|Z)?(?:[+-]\d.*)?)$", "${1}m$2"
OTHERS = {  # other formats -> ISO 8601, with the month still as a word
    HALF_DAY[0]: HALF_DAY[1],
    r"(?i)^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +": "",
    r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})": "$1-$2-$3",
    r"^(\d{4})(\d\d)(\d\d)[T _](\d\d):?(\d\d):?(\d\d)": "$1-$2-${3}T$4:$5:$6",
    r"^(\d{4})(\d\d)(\d\d)[T _](\d\d):?(\d\d)": "$1-$2-${3}T$4:$5",
    rf"(?i)^(\d{{1,2}})(?:st|nd|rd|th)?[ /-]{MONTH}[ /-](\d{{4}})": "$3-$2-$1",
    rf"(?i)^{MONTH} +(\d{{1,2}})(?:st|nd|rd|th)?,? +(\d{{4}})": "$3-$1-$2",
    rf"(?i)^{MONTH} +(\d{{1,2}}) +(\d\d:\d\d:\d\d) +((?:UTC|GMT|[+-]\d\d:?\d\d) )?(\d{{4}})$": "$5-$1-${2}T$3$4",
    rf"(?i)^(\d{{4}})[ /-]{MONTH}[ /-](\d{{1,2}})": "$1-$2-$3",
    r"^(\d{4}-\w{1,3}-\d{1,2})(?:,? +(?:at )?)": "${1}T",
    r" +\(.*\)$": "",
    r" *(?:UTC|GMT) *$": "Z",
    r" *(?:UTC|GMT)([+-])(\d)(?::?00)?$": "${1}0$2:00",
    r" *(?:UTC|GMT)([+-]\d\d)$": "$1:00",
    r" *(?:UTC|GMT)?([+-]\d\d:?\d\d) *$": "$1",
}


MARKED = r"(?P<mark>[^\w%])%f"  # fraction of a second in a strftime format, with the mark before it


class Dates:
    """Parses a column of dates batch by batch; tries formats first that fitted earlier batches.

    Args:
        named: the strftime format of all dates; None to detect the formats.
    """

    def __init__(self, named: str | None = None):
        self.named = None if named is None else checked(named)
        self.minutes = " 00" if self.named and self.named != _chrono(named or "") else ""  # for `checked`'s %M
        self.mark, self.fraction = _fraction(named or "")
        self.width = digits.width(named or "")
        self.formats = FORMATS
        self.zoneless = self.zoned = False  # whether any date with a time of day had no zone; had one

    def read(self, text: pl.Series) -> pl.Series:
        """Parses text into Int64 microseconds since 1970, as UTC if there is no zone; null where it is not a date."""
        text = text.str.strip_chars()
        if self.named:
            self.note_zone(any(zone in self.named for zone in ("z", "%s")))
            if "." not in self.named:
                text = text.str.replace(r"^(\d+)\.0*$", "${1}")  # whole numbers that became floats
            if self.width and not self.named.startswith("%Y"):  # numbers have lost their leading zeros
                lost = text.str.contains(r"^\d+$" if self.named.startswith("%y") else rf"^\d{{{self.width - 1}}}$")
                text = text.zip_with(~lost.fill_null(False), text.str.zfill(self.width))
            if "%p" in self.named:
                text = text.str.replace_all(*SPACE).str.replace(*HALF_DAY)
            text = text.str.replace(self.mark, self.fraction) if self.mark else text
            text = text + self.minutes if self.minutes else text
            return _of_four_digits(text.str.to_datetime(self.named, strict=False, time_unit="us").dt.epoch("us"))
        iso = text.str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T").str.replace(r" ?UTC$", "Z")
        iso = iso.str.replace(r" ([+-]\d\d)", "$1")
        found, self.formats = self._by(self.formats, iso)
        if found.null_count() > text.null_count():
            rest = (found.is_null() & text.is_not_null()).arg_true()
            others, _ = self._by((*FORMATS, *HALF_DAYS), _as_iso(text.gather(rest)))
            found = found.scatter(rest, others) if others.count() else found
        return _of_four_digits(found)

    def note_zone(self, zoned: bool) -> None:
        """Records whether a date had a zone."""
        self.zoneless, self.zoned = self.zoneless or not zoned, self.zoned or zoned

    def _by(self, formats: tuple[str, ...], text: pl.Series) -> tuple[pl.Series, tuple[str, ...]]:
        """Returns microseconds, by the first format that fits each date, and the formats, those that fitted first."""
        found, fits = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(text)), []
        for format in formats:
            if found.null_count() == text.null_count():
                break
            dates = text.str.to_datetime(format, strict=False, time_unit="us")
            if not dates.count():
                continue
            if format != DAY:
                self.note_zone("%#z" in format)
            fits.append(format)
            found = found.fill_null(dates.dt.epoch("us"))
        return found, (*fits, *(format for format in formats if format not in fits))


def checked(named: str) -> str:
    """Returns the chrono equivalent of a strftime format; appends %M if it has hours but no minutes.

    Raises:
        UserError: if it is invalid, or doesn't include the year.
    """
    form = _chrono(named)
    plain = form.replace("%%", "")
    if re.search("%[-_0]?[HIkl]", plain) and not re.search("%[-_0]?[MTRXcr]", plain):
        form += " %M"  # polars reads hours only with minutes
    moment = datetime.datetime(2014, 11, 23, 17, 45, 56)
    try:
        written = pl.Series([moment]).dt.replace_time_zone("UTC" if "z" in named else None).dt.to_string(form)
        (back,) = written.str.to_datetime(form, strict=False, time_unit="us")
    except pl.exceptions.PolarsError:
        back = None
    if back is None or back.year != moment.year:
        raise UserError(f"--time-format {named}: tells no date: write it as strftime does, as in '%d/%m/%Y %H:%M:%S'")
    return form


def _chrono(named: str) -> str:
    """Returns the format in chrono's form. A fraction after a mark becomes `%.f`: a point and any number of digits.

    So does a fraction at the end of digits alone, where `_fraction` finds the place of the point.
    """
    if digits.width(named) and named.endswith("%S%f"):
        return named.replace("%f", "%.f")
    return re.sub(rf"{MARKED}|%f", lambda found: "%.f" if found["mark"] else "%6f", named)


def _fraction(named: str) -> tuple[str, str]:
    """Returns a regular expression and a replacement that put a point before the fraction; "" if none is needed."""
    if (width := digits.width(named)) and named.endswith("%S%f"):
        return rf"^(\d{{{width}}})(\d)", "${1}.$2"
    plain = re.sub("%[-_0]", "%", named).replace("%T", "%H:%M:%S").replace("%R", "%H:%M")
    found = re.search(MARKED, plain)
    if not found or found["mark"] == ".":
        return "", ""
    mark = re.escape(found["mark"])
    before = plain[: found.start()].count(found["mark"])
    return rf"^((?:[^{mark}]*{mark}){{{before}}}[^{mark}]*){mark}(\d)", "${1}.$2"


def _as_iso(text: pl.Series) -> pl.Series:
    text = text.str.replace_all(*SPACE)
    for form, as_iso in OTHERS.items():
        text = text.str.replace(form, as_iso)
    return text.str.replace_many(
        [f"-{name}-" for name in MONTHS], [f"-{number}-" for number in MONTHS.values()], ascii_case_insensitive=True
    )


def _of_four_digits(micro: pl.Series) -> pl.Series:
    early = (micro < FIRST).fill_null(False)
    return micro.set(early, None) if early.any() else micro
