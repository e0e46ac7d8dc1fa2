"""Detects the dialect of a delimited file: its separator, quotes and header."""

import csv
import re
from typing import NamedTuple

from jaxrec.data import columns as cols
from jaxrec.data.files.text import File, csv_rows, short, some
from jaxrec.data.formats import tables
from jaxrec.system.errors import UserError

SEPARATORS = (tables.LONG, "\t", ",", ";", "|")  # candidates; a space is used if none of them occurs
WORDS = {"tab": "\t", "\\t": "\t", "space": " "}
SAMPLE = 1000  # lines used for detection
ABOVE = 50  # lines searched for a header that isn't in the first line
SPACED = re.compile(r' +"[^"]*" *')  # a quoted field with blanks around the quotes
MARK = re.compile(r"\s*(#|//|%)+\s*")  # comment mark, which some headers begin with


class Dialect(NamedTuple):
    """The dialect of a delimited file."""

    separator: str
    quote: str  #: '"', or "" if quotes are plain characters
    names: list[str]  #: column names; numbers if there is no header
    header: bool  #: whether the first row is a header
    before: int  #: number of lines before the first row
    first: str  #: the first row


def separator(text: str) -> str:
    r"""Parses --separator: one character, "::", or a word for a separator.

    Raises:
        UserError: for anything else.
    """
    found = WORDS.get(text.lower(), text)
    if found != tables.LONG and not (len(found) == 1 and found.isascii() and found not in '"\r\n\0'):
        raise UserError(f"--separator {text}: one character is expected (as ',' or ';'), or '::', tab, space")
    return found


def find(file: File, given: dict[str, str], separator: str | None = None, quote: str = '"') -> Dialect:
    """Detects the dialect of a file from its first lines.

    Args:
        file: the file.
        given: {role: column name, or number from 1}, as given by the user.
        separator: the separator; None to detect it.
        quote: '"', or "" if quotes are plain characters.

    Raises:
        UserError: if separators tie on every row, or columns are given by number but the first row looks like a header.
    """
    told, lines = first_rows(file)
    _check_comment(file, lines, given)
    separator = separator or told
    if separator is None:
        separator, *others = candidates(lines, given, quote)
        if others:
            raise _tie(file, lines, [separator, *others], given)
    names = names_of(lines[0], separator, quote)
    _check_lists(file, names, separator)
    _check_rows(file, lines, separator, quote)
    numbered = cols.are_numbers(given)
    called = "0" in given.values() and cols.are_counted(names)
    header = not numbered or called or _names_columns(names, lines, separator, quote, given)
    if header:
        _check_names(file, lines, names, separator, quote, given, before=1 if told else 0)
    else:
        _check_headless(file, lines, separator, quote, given)
        names = cols.numbered(len(names))
    return Dialect(separator, quote, names, header, before=1 if told else 0, first=lines[0])


def first_rows(file: File) -> tuple[str | None, list[str]]:
    """Returns the separator from Excel's `sep=` line (None without it), and the first lines that hold rows.

    Raises:
        UserError: if there are none, or the file is not text.
    """
    line, lines = tables.first_line(file), tables.first_lines(file)[: SAMPLE + 1]
    if not (told := tables.names_separator(line)):
        return None, lines
    if not any(map(str.strip, lines[1:])):
        raise UserError(f"{file}, line 2: nothing follows the line {short(line)}: put a header and rows there")
    if not lines[1].strip():
        raise UserError(f"{file}, line 2: a blank line before the first row: remove it")
    return told, lines[1:]


def names_of(line: str, separator: str, quote: str = '"') -> list[str]:
    """Returns the fields of a first row, without a comment mark if column names follow it."""
    bare = MARK.match(line)
    if bare and any(map(cols.known, names := tables.fields(line[bare.end() :], separator, quote))):
        return names
    return tables.fields(line, separator, quote)


def typed(line: str) -> tuple[list[str], list[str]]:
    """Returns the names and the types of the columns in a RecBole header, such as `user_id:token`."""
    mark = MARK.match(line)
    parts = [name.strip().partition(":") for name in line[mark.end() if mark else 0 :].split("\t")]
    return [name for name, _, _ in parts], [kind for _, _, kind in parts]


def with_lists(names: list[str], kinds: list[str], given: dict[str, str]) -> dict[str, str]:
    """Adds a column of item lists, such as item_id_list:token_seq, to `given`, if there is no other item column."""
    if "item" in given or any(cols.plain(name) in cols.KNOWN["item"].split() for name in names):
        return given
    lists = [name for name, kind in zip(names, kinds, strict=True) if kind == "token_seq"]
    known = [name for name in lists if cols.plain(name.removesuffix("_list")) in cols.KNOWN["item"].split()]
    return given | {"item": known[0]} if known else given


def candidates(lines: list[str], given: dict[str, str], quote: str = '"') -> list[str]:
    """Returns the separators that fit the first lines equally well; more than one is a tie.

    Prefers separators with which the first line holds column names, then those that give every line the same number of
    fields, then the one that does so for the most lines.
    """
    names = {each: names_of(lines[0], each, quote) for each in SEPARATORS}
    found = [each for each in SEPARATORS if len(names[each]) > 1]
    found = [each for each in found if are_names(names[each], given)] or found
    if len(found) < 2:
        return found or [" "]
    fit = {each: _fit(lines, each, quote) for each in found}
    if everywhere := [each for each in found if fit[each] == 1]:
        return everywhere
    return [max(found, key=lambda each: (fit[each], lines[0].count(each)))]


def are_names(names: list[str], given: dict[str, str]) -> bool:
    """Returns whether a row names the user and item columns, by common names or by the given ones."""
    named = any(cols.places(name, names) for name in given.values() if name and not name.isdecimal())
    if not (named or any(map(cols.known, names))):
        return False
    try:
        cols.choose(names, given, "")
    except UserError:
        return False
    return True


def _fit(lines: list[str], separator: str, quote: str) -> float:
    """Returns the share of rows with as many fields as the first row, not counting empty ones at the end."""
    if tables.quoted(separator, quote):
        rows = csv_rows((f"{line}\n" for line in lines), delimiter=separator)
    else:
        rows = (line.split(separator) for line in lines)
    try:
        rows = [row for row in rows if any(row)]
    except csv.Error:  # a quoted field beyond the size limit
        return 0.0
    width = len(rows[0])
    return sum(len(row) >= width and not any(map(str.strip, row[width:])) for row in rows) / len(rows)


def _tie(file: File, lines: list[str], found: list[str], given: dict[str, str]) -> UserError:
    readings = ", ".join(f"{flag(each)} makes {short(some(_shown(lines[0], each)))} of it" for each in found)
    cure = " or ".join(f"--separator {flag(each)}" for each in found)
    more = "" if given else " (with --user 1 --item 2 and so on where there is no header)"
    where = f"{file}, line 1: {short(lines[0])}"
    return UserError(f"{where}: more than one separator fits every row: {readings}: prepare it with {cure}{more}")


def _shown(line: str, separator: str) -> list[str]:
    return [f"[{field}]" for field in tables.fields(line, separator)]


def flag(separator: str) -> str:
    """Returns a separator as it is written for --separator."""
    return {"\t": "tab", " ": "space"}.get(separator, f"'{separator}'")


def _check_comment(file: File, lines: list[str], given: dict[str, str]) -> None:
    """Checks that the first line isn't a comment above a header."""
    marked = MARK.match(lines[0]) and len(lines) > 1
    if not marked or any(are_names(names_of(lines[0], each), given) for each in (*SEPARATORS, " ")):
        return
    if any(are_names(names_of(lines[1], each), given) for each in (*SEPARATORS, " ")):
        raise UserError(f"{file}, line 1: {short(lines[0])}: seems to be a comment above the header: remove that line")


def _check_names(
    file: File, lines: list[str], names: list[str], separator: str, quote: str, given: dict[str, str], before: int
) -> None:
    """Checks that a header without known names isn't misread, nor in a later line. `before`: lines above it."""
    if are_names(names, given):
        return
    named = lambda line, each: are_names(names_of(line, each, quote), given)
    where = f"{file}, line {before + 1}: {short(lines[0])}"
    within = lines[0].strip().removeprefix('"').removesuffix('"')
    if len(names) == 1 and len(lines[0].strip()) - len(within) == 2 and any(named(within, s) for s in SEPARATORS):
        cure = r"""remove them, as `sed 's/^"//; s/"\r*$//; s/""/"/g'` does"""
        raise UserError(f"{where}: quotes around a whole line: {cure}")
    marks = dict.fromkeys(each for each in lines[0] if each.isascii() and not each.isalnum() and each not in "_-.'\"")
    if len(names) == 1 and (other := next((each for each in marks if named(lines[0], each)), None)):
        raise UserError(f"{where}: its names are separated by {flag(other)}: prepare it with --separator {flag(other)}")
    for at, line in enumerate(lines[1:ABOVE], 1):
        for each in dict.fromkeys((separator, *SEPARATORS)):
            filled = lambda line, each=each: sum(map(bool, names_of(line, each, quote)))  # in a title, one field
            if named(line, each) and all(filled(above) < filled(line) for above in lines[:at]):
                cure = f"remove the lines above it, as `sed 1,{before + at}d` does"
                raise UserError(f"{where}: the names of columns are in line {before + at + 1}: {cure}")


def _check_rows(file: File, lines: list[str], separator: str, quote: str) -> None:
    """Checks that no blanks surround the quotes, and that rows don't all have one field more than the header."""
    lines = [line for line in lines if len(line) < csv.field_size_limit()]
    if not tables.quoted(separator, quote) or not lines:
        return
    spaced = [line for line in lines if ' "' in line and any(map(SPACED.fullmatch, _plain(line, separator)))]
    if separator != " " and 2 * len(spaced) > len(lines):
        each = "[\\t]" if separator == "\t" else f"[{separator}]"
        cure = f"""remove them, as `sed -E 's/(^|{each}) +"/\\1"/g; s/" +({each}|$)/"\\1/g'` does"""
        raise UserError(f"{file}: {short(spaced[0])}: blanks before quotes, which would be parts of the fields: {cure}")
    if not lines[1:] or not lines[1].startswith('"'):
        return
    width, rows = len(_plain(lines[0], separator)), [_plain(line, separator) for line in lines[1:] if line.strip()]
    ends, names = {row[-1] for row in rows}, {row[0] for row in rows}
    if {len(row) for row in rows} == {width + 1} and ends != {""} and len(names) == len(rows) > 1:
        cure = "write it with write.table(..., row.names = FALSE), or put a name for it before the others"
        raise UserError(f"{file}, line 1: {short(lines[0])}: no name for the first column, R's row names: {cure}")


def _plain(line: str, separator: str) -> list[str]:
    """Returns the fields of a line, without stripping spaces."""
    return next(csv_rows([line], delimiter=separator), [""])


def _check_lists(file: File, names: list[str], separator: str) -> None:
    """Checks that no item column holds RecBole lists, as item_id_list:token_seq does."""
    kinds = (name.partition(":")[2] for name in names)
    known = cols.KNOWN["item"].split()
    for name, kind in zip(names, kinds, strict=True):
        if kind == "token_seq" and cols.plain(name.partition(":")[0].removesuffix("_list")) in known:
            tabs = "" if separator == "\t" else "separate its columns by tabs, and "
            cure = f"{tabs}prepare each such file alone, with --format recbole"
            raise UserError(f"{file}: {name} holds lists of items, as RecBole writes them: {cure}")


def _names_columns(names: list[str], lines: list[str], separator: str, quote: str, given: dict[str, str]) -> bool:
    """Returns whether the first row is a header, although the columns are given by number.

    It is if two of the given columns have a common name of their role. It also is if any field is a common name, unless
    the row may be data: all its common names recur in their columns below, and some other field recurs or is a number.
    """
    known = [at for at, name in enumerate(names) if cols.known(name)]
    numbers = {role: int(name) - 1 for role, name in given.items() if name}
    own = [role for role, at in numbers.items() if at < len(names) and cols.fits(role, names[at])]
    if len(own) > 1 or not known:
        return bool(known)
    below = [tables.fields(line, separator, quote) for line in lines[1:] if line != lines[0]]
    again = [any(at < len(row) and row[at] == name for row in below) for at, name in enumerate(names)]
    others = [at for at in range(len(names)) if at not in known]
    return not (all(again[at] for at in known) and any(again[at] or is_number(names[at]) for at in others))


def _check_headless(file: File, lines: list[str], separator: str, quote: str, given: dict[str, str]) -> None:
    """Checks that the first row doesn't look like a header: words where the second row has numbers."""
    rows = [tables.fields(line, separator, quote) for line in lines[:2]]
    at = [int(name) - 1 for name in given.values() if name]
    if len(rows) == 2 and max(at) < min(map(len, rows)):
        first, second = ([is_number(row[number]) for number in at] for row in rows)
        if all(second) and not any(first):
            raise UserError(f"{file}, line 1: {short(','.join(rows[0]))}: looks like a header: use its column names")


def is_number(text: str) -> bool:
    """Returns whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_rating(text: str) -> bool:
    """Returns whether a text is a number from 0 to 10."""
    return is_number(text) and 0 <= float(text) <= 10
