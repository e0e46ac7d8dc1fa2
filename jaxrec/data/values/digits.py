"""Dates written as numbers, with nothing between their parts: 20140401, 201710180733, 25122020.

A form is a strftime format for such numbers: "%Y%m%d%H".
"""

import re

import numpy as np
import polars as pl

LIKELY = 0.95  # minimum share of a column's values that must be of one kind
COMPACT = ("%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S%f")  # forms that could also be times in some unit
TURNED = ("%d%m%Y", "%m%d%Y")  # forms whose numeric order isn't the order of days
SHORT = ("%d%m%y", "%m%d%y", "%y%m%d")  # forms that many small numbers fit
YEARLESS = "%m%d"
#: part of a form -> its number of digits, its smallest and its largest value; %f is in milliseconds
PARTS = {
    "Y": (4, 1995, 2100),
    "y": (2, 0, 99),
    "m": (2, 1, 12),
    "d": (2, 1, 31),
    "H": (2, 0, 23),
    "M": (2, 0, 59),
    "S": (2, 0, 59),
    "f": (3, 0, 999),
}
DAYS = 19_500_101, 21_001_231  # the range of days like 20140401
DAY = 86_400_000_000  # microseconds


def of_form(values: np.ndarray, form: str) -> np.ndarray:
    """Returns the values that are dates in a form, as integers, in the given order.

    >>> of_form(np.array([2017101807, 2017101899, 5]), "%Y%m%d%H")
    array([2017101807])
    """
    low, high = bounds(form)
    found = values[(values >= low) & (values <= high) & (values == np.floor(values))].astype(np.int64)
    rest = found
    for part in reversed(form.split("%")[1:]):
        digits, least, most = PARTS[part]
        above = rest // 10**digits
        here = rest - above * 10**digits
        good = (here >= least) & (here <= most)
        found, rest = found[good], above[good]
    return found


def bounds(form: str) -> tuple[int, int]:
    """Returns the smallest and the largest number that may be a date in a form."""
    first, *others = (PARTS[part] for part in form.split("%")[1:])
    below = 10 ** sum(digits for digits, _, _ in others)
    return first[1] * below, (first[2] + 1) * below - 1


def width(form: str) -> int:
    """Returns the number of digits in a form's dates, without %f at its end; 0 if the format has other parts.

    >>> width("%d%m%Y"), width("%Y%m%d%H%M%S%f"), width("%d/%m/%Y")
    (8, 14, 0)
    """
    parts = re.fullmatch(rf"((?:%[{''.join(PARTS)}])+?)(?:%f)?", form)
    return sum(PARTS[part][0] for part in parts[1].split("%")[1:]) if parts else 0


def compact(values: np.ndarray) -> str:
    """Returns the form with a time of day, such as 201710180733, that nearly all values have; "" if there is none.

    >>> compact(np.array([201710180733, 201710190000])), compact(np.array([1508311980]))
    ('%Y%m%d%H%M', '')
    """
    likely = (form for form in COMPACT if len(of_form(values, form)) >= LIKELY * len(values))
    return next(likely, "") if len(values) else ""


def shown(value: int, form: str) -> str:
    """Formats a date that is given as a number, for messages.

    >>> shown(2017101807, "%Y%m%d%H"), shown(1022020, "%d%m%Y")
    ('2017-10-18 07:00', '2020-02-01')
    """
    parts = {}
    for part in reversed(form.split("%")[1:]):
        digits = PARTS[part][0]
        value, parts[part] = value // 10**digits, f"{value % 10**digits:0{digits}}"
    day = "-".join(parts[part] for part in ("Y" if "Y" in parts else "y", "m", "d"))
    clock = [parts[part] for part in "HMS" if part in parts]
    return f"{day} {':'.join(clock if clock[1:] else [*clock, '00'])}" if clock else day


def days(numbers: pl.Series) -> pl.Series:
    """Returns microseconds, [n] Int64, of days from 1950 to 2100 written like 20140401; null for other numbers.

    >>> days(pl.Series([20140401, 20140230, 5])).to_list()
    [1396310400000000, None, None]
    """
    values = numbers.fill_null(-1).to_numpy()
    good = (values >= DAYS[0]) & (values <= DAYS[1]) & (values == np.floor(values))
    whole = np.where(good, values, DAYS[0]).astype(np.int64)
    months = (whole // 10_000 - 1970) * 12 + whole // 100 % 100 - 1
    month = months.astype("datetime64[M]")
    day = month.astype("datetime64[D]") + (whole % 100 - 1)
    good &= (whole // 100 % 100 - 1 <= 11) & (whole // 100 % 100 >= 1) & (day.astype("datetime64[M]") == month)
    return pl.Series(day.astype(np.int64) * DAY).set(pl.Series(~good), None)
