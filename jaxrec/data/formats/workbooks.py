"""Reads the sheet of an .xlsx workbook; refuses other kinds of workbooks, and says how to convert them."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import dialects, headers
from jaxrec.data.log import Batch
from jaxrec.system.errors import UserError

SUFFIXES = (".xlsx", ".xlsm")
PART = "xl/workbook.xml"  # member by which a zip is a workbook
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
OTHERS = {".xls": OLE, ".ods": ZIP, ".xlsb": ZIP, ".numbers": ZIP}
LARGEST = 1 << 30  # maximum unpacked bytes of a workbook
ABOVE = 50  # rows searched for a header that isn't in the first row
EXACT = 2**53  # numbers in workbooks are floats, exact only below it
CELL = re.compile(
    rb"<(\w+:)?c\b(?P<kind>[^>]*)>(<(\w+:)?f\b[^>]*(/>|>[^<]*</(\w+:)?f>))?<(\w+:)?v>(?P<value>[-+.0-9eE]+)<"
)
TEXT = re.compile(rb"\bt=[\"'](?!n[\"'])")  # type of a cell that doesn't hold a number
EXPORT = "save its sheet as .csv"


def recognise(file: File) -> bool:
    """Returns whether a file is an .xlsx workbook, by its name or its bytes.

    Raises:
        UserError: if it is a workbook of another kind.
    """
    suffix = file.name[file.name.rfind(".") :].lower()
    other = next((suffix for suffix in OTHERS if file.name.lower().endswith(suffix)), "")
    if _begins(file, OLE):
        raise UserError(
            f"{file}: an old workbook (.xls), or one with a password: save it as .xlsx without a password, or as .csv"
        )
    if other and _begins(file, OTHERS[other]):
        raise UserError(f"{file}: a workbook ({other}): save it as .xlsx, or as .csv")
    return suffix in SUFFIXES or (
        _begins(file, ZIP) and PART in _parts(file, "the zip is damaged ({}): fetch it again")
    )


def _begins(file: File, mark: bytes) -> bool:
    try:
        return file.start(len(mark)) == mark
    except UserError:  # truncated or damaged, which the reader will report
        return False


def _parts(file: File, damaged: str) -> dict[str, int]:
    """Returns {name: unpacked size} of a zip's members. `damaged`: the message if it can't be read."""
    place = file.on_disk()
    try:
        with zipfile.ZipFile(io.BytesIO(place) if isinstance(place, bytes) else place) as archive:
            return {part.filename: part.file_size for part in archive.infolist()}
    except OSError as error:
        raise UserError(f"{file}: can't be read: {error.strerror or error}") from error
    # in a damaged directory, a name may not be UTF-8 (ValueError), and a version may be unknown to zipfile
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{file}: {damaged.format(error)}") from None


def read(
    file: File, given: dict[str, str], odd: Oddities
) -> tuple[list[str], Callable[[dict[str, int]], Iterator[Batch]]]:
    """Returns the column names of a workbook, and the function that reads them: {role: index} -> batches.

    Args:
        file: the file.
        given: {role: column name, or number from 1}; if all are numbers and the first row has no known names, the sheet
            has no header.
        odd: records rows that repeat the header.

    Raises:
        UserError: if the library for workbooks isn't installed, the file is damaged, or several sheets hold data.
    """
    frame = _sheet(file, header=True)
    if cols.are_numbers(given) and not any(map(cols.known, frame.columns)):
        frame = _sheet(file, header=False)
        names = [f"column {number}" for number in range(1, frame.width + 1)]
        _check_above(file, frame, 1, {}, False)
        return names, lambda chosen: iter([_batch(file, frame, 1, names, chosen)])
    names = list(_header(file, frame, given))

    def batches(chosen):
        odd.begin(file)
        named = {role: names[at] for role, at in chosen.items()}
        yield headers.left_out(_batch(file, frame, 2, names, chosen), named, odd)

    return names, batches


def _header(file: File, frame: pl.DataFrame, given: dict[str, str]) -> list[str]:
    """Returns the column names from a sheet's first row.

    Raises:
        UserError: if they are in a later row.
    """
    names = frame.columns
    if any(re.fullmatch(r"(.*)_\d+", name) and name.rpartition("_")[0] in names for name in names):
        names = [name if value is None else str(value) for name, value in zip(names, _first_row(file), strict=True)]
    if not dialects.are_names(names, given):
        is_bare = not any(map(cols.known, names)) and not any(cols.places(each, names) for each in given.values())
        _check_above(file, frame, 2, given, is_bare)
    return names


def _check_above(file: File, frame: pl.DataFrame, first: int, given: dict[str, str], any_known: bool) -> None:
    """Checks that no row of a sheet holds the column names, below rows such as a title.

    Args:
        file: the file.
        frame: the sheet.
        first: the number of the frame's first row in the workbook.
        given: as for `read`.
        any_known: whether a single common name is enough.

    Raises:
        UserError: if one does.
    """
    for number, row in enumerate(frame.head(ABOVE).iter_rows(), first):
        names = [value for value in row if isinstance(value, str)]
        if dialects.are_names(names, given) or (any_known and any(map(cols.known, names))):
            raise UserError(
                f"{file}: the names of columns ({some(names)}) are in row {number}: remove the rows above it"
            )


def _first_row(file: File) -> tuple:
    """Returns the first row of the sheet with data, in which column names may repeat."""
    return _sheet(file, header=False).row(0)


def _sheet(file: File, header: bool) -> pl.DataFrame:
    """Returns the only sheet with data, including blank rows."""
    size = sum(_parts(file, f"the workbook is damaged ({{}}): save it again, or {EXPORT}").values())
    if size > LARGEST:
        raise UserError(f"{file}: the workbook has {size:,} bytes, unpacked: {EXPORT}")
    try:
        import fastexcel
    except ModuleNotFoundError:
        raise UserError(
            f"{file}: a workbook, which needs fastexcel to be read: pip install 'jaxrec[excel]', or {EXPORT}"
        ) from None
    try:
        sheets = pl.read_excel(
            file.on_disk(),
            sheet_id=0,
            has_header=header,
            infer_schema_length=None,
            drop_empty_rows=False,
            raise_if_empty=False,
        )
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError) as error:
        why = str(error).strip().partition("\n")[0][:120]
        raise UserError(f"{file}: the workbook cannot be read ({why}): {EXPORT}") from None
    full = {name: sheet for name, sheet in sheets.items() if len(sheet)}
    if len(full) > 1:
        raise UserError(f"{file}: the sheets {some(full)} all hold data: save the one to read as .csv, and name that")
    return next(iter((full or sheets).values()))


def _loses_digits(file: File, ids: pl.Series) -> bool:
    """Returns whether any id is a number from 2^53 on, which may have lost digits, even in a column with text."""
    if ids.dtype != pl.String:
        return ids.dtype.is_integer() and bool((ids.abs() >= EXACT).any())
    long = ids.filter(ids.str.contains(r"^-?\d{16,}$")).unique()
    return len(long) > 0 and not {*map(float, long)}.isdisjoint(_long_numbers(file))


def _long_numbers(file: File) -> Iterator[float]:
    """Yields the numbers from 2^53 on of all cells that hold numbers rather than text."""
    place = file.on_disk()
    with zipfile.ZipFile(io.BytesIO(place) if isinstance(place, bytes) else place) as archive:
        for part in archive.namelist():
            for cell in CELL.finditer(archive.read(part) if part.startswith("xl/worksheets/") else b""):
                if not TEXT.search(cell["kind"]) and abs(number := float(cell["value"])) >= EXACT:
                    yield number


def _batch(file: File, frame: pl.DataFrame, first: int, names: list[str], chosen: dict[str, int]) -> Batch:
    """Returns the non-blank rows of a sheet. `first`: the number of the frame's first row in the workbook."""
    filled = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()
    rows = filled.arg_true().to_numpy()
    found = frame.filter(filled).select(**{role: pl.nth(at) for role, at in chosen.items()})
    for role in ("user", "item", "session"):
        if role in chosen and _loses_digits(file, found[role]):
            cure = "workbooks keep 15 digits of a number: write such ids as text"
            raise UserError(f"{file}: column {names[chosen[role]]} holds numbers from 2^53 on: {cure}")

    def row(index):
        values = {names[chosen[role]]: value for role, value in found.row(index, named=True).items()}
        return f"row {int(rows[index]) + first}", str(values)

    return Batch(found, file, row)
