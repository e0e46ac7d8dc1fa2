"""Recognises files that aren't text by their first bytes, and says how to convert them."""

import re

from jaxrec.data.files.opener import PACKINGS
from jaxrec.system.errors import UserError

UNPACK = "unpack it if it is packed, or save it as text in UTF-8"
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")  # bytes that rarely occur in text, whatever its encoding
FOLDER, ONCE, EXPORT = "unpack it, and name the folder", "unpack it", "export its rows as .csv"
UNCOMMENT = "leave out the lines that begin with #, as `grep -v '^#'` does, and take its columns by numbers"
HEAD = 1 << 12  # bytes examined to recognise text that isn't a log
SIGNATURES = (  # (place, bytes there, what it is, the cure)
    (257, b"ustar", "a tar archive", "unpack it, as with `tar -xf`, and name the folder"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", FOLDER),
    (0, b"Rar!\x1a\x07", "a rar archive", FOLDER),
    (0, b"PK\3\4", "a zip or a workbook", "unzip it, or save its sheet as .csv, and name that"),
    (0, b"\xd0\xcf\x11\xe0", "an old workbook (.xls), or one with a password", "save its sheet as .csv, and name that"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4", ONCE),
    (0, b"\xff\x06\0\0sNaPpY", "compressed by snappy", ONCE),
    *(
        (0, mark, f"compressed twice, by {each.name} within", "unpack it once")
        for each in PACKINGS
        for mark in each.marks
    ),
    (0, b"PAR1\x15", "a Parquet file", "rename it, so that its name ends in .parquet"),
    (0, b"ARROW1\0\0", "an Arrow file", "rename it, so that its name ends in .arrow"),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", "rename it, so that its name ends in .arrow"),
    (0, b"Obj\x01", "an Avro file", EXPORT),
    (0, b"SQLite format 3\0", "an SQLite database", EXPORT),
    (0, b"\x89HDF\r\n", "an HDF5 file", EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", EXPORT),
    (0, b"%PDF-", "a PDF", EXPORT),
)
STATEMENT = rb"(?:CREATE|DROP|LOCK)[ ]+(?:TABLE|DATABASE|SCHEMA)|INSERT[ ]+INTO|COPY \S+ .*FROM stdin"
SQL = rb"(?im)^[ \t]*(?:" + STATEMENT + rb")\b"
DUMPS = (  # (pattern of the beginning, pattern found in the first lines, what it is, the cure)
    (
        rb"(?i)\s*(?:--[^,;\t\n]*\n|/\*|SET \S+ ?=|BEGIN\b[^,\t\n]*;|PRAGMA \w+ ?=|" + STATEMENT + rb")",
        SQL,
        "an SQL dump",
        EXPORT,
    ),
    (rb"(?i)\s*<(?:\?xml\s|!doctype\s|html(?:\s[^>]*)?>\s*<)", rb"", "XML or HTML", EXPORT),
    (rb"\s*<[A-Za-z][\w:.-]*(?: +[\w:.-]+=[^>\n]*)?>[ \t]*\r?\n\s*<", rb"", "XML or HTML", EXPORT),
    (rb"#(?:Software|Version|Date|Fields): ", rb"(?m)^#Fields: ", "a web server's log in W3C format", UNCOMMENT),
    (rb"(?s:.{8})DUCK(?s:.)\0{7}", rb"", "a DuckDB database", EXPORT),
    (rb"ORC(?s:.{0,99}?)[\0\x04-\x08\x0e-\x1f]", rb"", "an ORC file", "write it as Parquet"),
)


def check(file: object, start: bytes) -> None:
    """Raises UserError if a file is an archive, a workbook, a dump or the like. `start`: its first bytes, unpacked."""
    for place, mark, what, cure in SIGNATURES:
        if start.startswith(mark, place):
            raise UserError(f"{file}: {what}, where text is expected: {cure}")
    head = start[:HEAD]
    for begins, holds, what, cure in DUMPS:
        if re.match(begins, head) and re.search(holds, head):
            raise UserError(f"{file}: {what}, where rows of a log are expected: {cure}")


def conversion(text: bytes) -> str:
    """Returns advice on how to convert text in another encoding, or bytes that are hardly text, to UTF-8."""
    zeros = sorted((text[::2].count(0), text[1::2].count(0)))
    is_wide = sum(zeros) > len(text) // 4 and zeros[0] <= zeros[1] // 8  # UTF-16: the same byte of every two is zero
    if not is_wide and CONTROL.search(text):
        return UNPACK
    if is_wide:
        return "convert it, as with `iconv -f utf-16 -t utf-8`"
    return "convert it from its encoding, as with `iconv -f latin1 -t utf-8` (or -f cp1251, gb18030, shift_jis)"
