"""What jaxrec.data.formats.workbooks reads from workbooks, and what it says about those that it can't read."""

import sys
import zipfile
from xml.sax.saxutils import escape

import polars as pl
import pytest

import jaxrec
from jaxrec.data import columns as cols
from jaxrec.data.formats import workbooks
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

DAY = 43_831  # 2020-01-01, as workbooks count
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


class Date(float):
    """A number that is shown as a date."""


def cell(value, place):
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}" s="{int(isinstance(value, Date))}"><v>{value}</v></c>'


def sheet(rows):
    lines = (
        f'<row r="{at}">{"".join(cell(value, f"{chr(65 + number)}{at}") for number, value in enumerate(row))}</row>'
        for at, row in enumerate(rows, 1)
    )
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def workbook(path, **sheets):
    """Write a workbook by hand: {name of a sheet: rows}."""
    numbers = range(1, len(sheets) + 1)
    names = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in zip(numbers, sheets, strict=True)
    )
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{DOCUMENT}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    styles = f'<Relationship Id="s" Type="{DOCUMENT}/styles" Target="styles.xml"/>'
    formats = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
    top = f'<Relationship Id="r" Type="{DOCUMENT}/officeDocument" Target="xl/workbook.xml"/>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    types = f'<Override PartName="/xl/workbook.xml" ContentType="{kind}"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        f'<Default Extension="xml" ContentType="application/xml"/>{types}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{top}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f"{relations}{styles}</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}">{formats}</styleSheet>',
    }
    parts |= {f"xl/worksheets/sheet{n}.xml": sheet(rows) for n, rows in zip(numbers, sheets.values(), strict=True)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + part)
    return path


HEADER = ["user", "item", "time"]
ROWS = [["a", 1, Date(DAY + 0.5)], ["a", 2.0, Date(DAY + 1)], ["b", 1, Date(DAY + 2)]]


@pytest.fixture
def engine():
    return pytest.importorskip("fastexcel")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["log.xlsx", "log.XLSX", "log.xlsm", "log.csv", "log"])
def test_a_sheet_is_a_table(tmp_path, name):
    path = workbook(tmp_path / name, Log=[HEADER, *ROWS], Notes=[], More=[["title"]])
    data = read(path)
    assert data.users.tolist() == ["a", "b"] and data.catalogue.ids.tolist() == [1, 2]
    assert data.items.tolist() == [1, 2, 1] and data.offsets.tolist() == [0, 2, 3]
    first = 1_577_836_800_000_000
    assert data.times.tolist() == [first + 43_200_000_000, first + 86_400_000_000, first + 172_800_000_000]


@pytest.mark.usefixtures("engine")
def test_times_of_day_are_no_times(tmp_path):
    rows = [["a", 1, Date(DAY), Date(0.5)], ["a", 2, Date(DAY + 1), Date(0.25)]]
    path = workbook(tmp_path / "a.xlsx", A=[["user", "item", "Date", "Time"], *rows])
    with pytest.raises(UserError, match=r"Time holds times of day .*, and Date the dates: join"):
        read(path)
    assert read(path, columns={"time": "Date"}).items.tolist() == [1, 2]
    path = workbook(tmp_path / "b.xlsx", A=[HEADER, ["a", 1, Date(0.5)], ["a", 2, Date(0.25)]])
    with pytest.raises(UserError, match=r"row 2: .* time is a time of day without a date"):
        read(path)


def test_a_workbook_is_not_read_in_little_memory(tmp_path):
    workbook(tmp_path / "log.xlsx", Sheet1=[HEADER, *ROWS])
    with pytest.raises(UserError, match=r"log.xlsx: a workbook, which is read into memory whole: leave out --memory"):
        jaxrec.prepare(tmp_path / "log.xlsx", output=tmp_path / "out", memory="1GiB")


@pytest.mark.usefixtures("engine")
def test_ids_are_what_the_sheet_shows(tmp_path):
    rows = [[1.0, "x7"], [2, 3], ["007", 4.0], [1, 12_345_678_901]]
    data = read(workbook(tmp_path / "a.xlsx", A=[["user", "item"], *rows]))
    assert sorted(data.users.tolist()) == ["007", "1", "2"]
    assert sorted(data.catalogue.ids.tolist()) == ["12345678901", "3", "4", "x7"]
    path = workbook(tmp_path / "b.xlsx", A=[["user", "item"], [1, 2**60], [1, 5]])
    with pytest.raises(UserError, match=r"column item holds numbers from 2\^53 on: workbooks keep 15 digits"):
        read(path)
    text = workbook(tmp_path / "c.xlsx", A=[["user", "item"], [1, str(2**60 + 1)], [1, "5"]])
    assert read(text).catalogue.ids.tolist() == [5, 2**60 + 1]
    path = workbook(tmp_path / "d.xlsx", A=[["user", "item"], [1, 1e20], [1, 5]])
    with pytest.raises(UserError, match=r"d\.xlsx: "):
        read(path)
    with pytest.raises(UserError, match="holds floats"):
        read(workbook(tmp_path / "e.xlsx", A=[["user", "item"], [1, 1.5], [1, 5]]))


@pytest.mark.usefixtures("engine")
def test_bad_rows_have_the_numbers_of_the_sheet(tmp_path):
    path = workbook(tmp_path / "a.xlsx", A=[HEADER, *ROWS[:2], [], [None, 3, Date(DAY)], ROWS[2]])
    with pytest.raises(UserError, match=r"row 5: .*user is empty"):
        read(path)
    assert len(read(path, skip_bad_rows=True).items) == 3


@pytest.mark.usefixtures("engine")
def test_a_sheet_without_a_header_is_read_by_numbers(tmp_path):
    path = workbook(tmp_path / "a.xlsx", A=[[1, 5, 9], [1, 6, 8], [2, None, 7]])
    with pytest.raises(UserError, match="give numbers, such as --user 1 --item 2"):
        read(path)
    columns = {"user": "1", "item": "2"}
    with pytest.raises(UserError, match=r"row 3: .*column 2 is empty"):
        read(path, columns=columns)
    assert read(path, columns=columns, skip_bad_rows=True).catalogue.ids.tolist() == [5, 6]


@pytest.mark.usefixtures("engine")
@pytest.mark.usefixtures("engine")
def test_names_of_columns_are_the_sheet_s(tmp_path):
    rows = [["user", "item", "user", "", None], ["a", 1, "x", 5, None], ["b", 2, "y", 6, None]]
    twice = workbook(tmp_path / "a.xlsx", A=rows)
    with pytest.raises(UserError, match=r"two columns are called user: rename one, or choose one by .*, --user 1 or 3"):
        read(twice)
    assert read(twice, columns={"user": "3"}).users.tolist() == ["x", "y"]
    data = read(workbook(tmp_path / "b.xlsx", A=[["user", "item", "item_1"], ["a", 1, 3], ["a", 2, 4]]))
    assert data.catalogue.ids.tolist() == [1, 2]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("title", [["Report of May"], ["User"], ["Report", "Item"], ["Time", 2024]], ids=str)
@pytest.mark.parametrize("names", [HEADER, ["Client", "Article number", "Day"], ["Nr", "Art", "Bought"]], ids=str)
def test_a_title_above_the_names_of_columns_is_refused(tmp_path, title, names):
    named = dict(zip(HEADER, names, strict=True))
    numbered = dict(zip(HEADER, "123", strict=True))
    asked = [{}, named] if names == HEADER else [named]
    asked += [numbered] if names == HEADER and not any(cols.known(str(cell)) for cell in title) else []
    for columns in asked:
        for blank in ([], [[]]):
            path = workbook(tmp_path / "log.xlsx", A=[title, *blank, names, *ROWS])
            told = rf"names of columns \({', '.join(names)}\) are in row {2 + len(blank)}: remove the rows above it"
            with pytest.raises(UserError, match=told):
                read(path, columns=columns, skip_bad_rows=True)
    data = read(workbook(tmp_path / "cured.xlsx", A=[names, *ROWS]), columns=named)
    assert len(data.items) == len(ROWS) and data.times is not None


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    two = workbook(tmp_path / "two.xlsx", May=[HEADER, *ROWS], June=[HEADER, *ROWS])
    with pytest.raises(UserError, match=r"the sheets May, June all hold data: save the one to read as \.csv"):
        read(two)
    with pytest.raises(UserError, match=r"no column for the user|no rows"):
        read(workbook(tmp_path / "none.xlsx", A=[]))
    with pytest.raises(UserError, match="no rows"):
        read(workbook(tmp_path / "header.xlsx", A=[HEADER]))
    with pytest.raises(UserError, match=r"not delimited text: leave out --separator"):
        read(two, separator=",")
    monkeypatch.setattr(workbooks, "LARGEST", 100)
    with pytest.raises(UserError, match=r"two\.xlsx: the workbook has [\d,]+ bytes, unpacked: save its sheet as \.csv"):
        read(two)


def test_a_damaged_workbook_is_said(tmp_path):
    data = workbook(tmp_path / "a.xlsx", A=[HEADER, *ROWS]).read_bytes()
    for at in (0, 10, len(data) // 2, len(data) - 5):
        path = tmp_path / f"{at}.xlsx"
        path.write_bytes(data[:at])
        with pytest.raises(UserError, match=r"\.xlsx: .*: save it again, or save its sheet as \.csv"):
            read(path)
    if "fastexcel" in sys.modules:
        for at in range(0, len(data), 97):
            path = tmp_path / "flipped.xlsx"
            path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
            try:
                assert len(read(path).items) == 3
            except UserError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(("offset", "value"), [(6, 99), (9, 8)], ids=["version", "name"])
def test_a_workbook_with_a_damaged_directory_is_said(tmp_path, offset, value):
    """Breaks its first entry: a version that doesn't exist, or a name declared as UTF-8 that isn't."""
    data = bytearray(workbook(tmp_path / "a.xlsx", A=[HEADER, *ROWS]).read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + offset], data[entry + 46] = value, 0xFF
    path = tmp_path / "b.xlsx"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"b\.xlsx: .*: save it again, or save its sheet as \.csv"):
        read(path)


def test_without_its_reader_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    path = workbook(tmp_path / "a.xlsx", A=[HEADER, *ROWS])
    with pytest.raises(UserError, match=r"which needs fastexcel .*: pip install 'jaxrec\[excel\]', or save"):
        read(path)
    pl.DataFrame({"user": ["a", "a"], "item": [1, 2]}).write_csv(tmp_path / "a.csv")
    assert len(read(tmp_path / "a.csv").items) == 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            r"an old workbook \(\.xls\), or one with a password",
        ),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "one with a password: save it as .xlsx without"),
        ("a.ods", b"PK\x03\x04mimetype", r"a workbook \(\.ods\): save it as \.xlsx, or as \.csv"),
        ("a.xlsb", b"PK\x03\x04", r"a workbook \(\.xlsb\): save it as \.xlsx"),
    ],
)
def test_other_workbooks_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


def test_a_whole_ods_is_no_zip_of_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<x/>")
    with pytest.raises(UserError, match=r"a workbook \(\.ods\): save it as \.xlsx, or as \.csv"):
        read(tmp_path / "a.ods")


def test_a_zip_of_data_is_no_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("log.csv", "user,item\n1,5\n1,6\n")
    assert len(read(tmp_path / "a.zip").items) == 2


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("again", [HEADER, ["User", "ITEM", "Time"]])
def test_a_header_that_comes_again_is_left_out(tmp_path, again):
    said = []
    path = workbook(tmp_path / "a.xlsx", A=[HEADER, [1, 10, "2020-01-01"], again, [1, 20, "2020-01-02"]])
    data = read(path, say=said.append)
    assert data.users.tolist() == [1] and data.catalogue.ids.tolist() == [10, 20]
    assert f"{path}: the header comes again and is left out: once, first in row 3" in said


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("others", [[], ["guest"], ["12345678901234567", 7]])
@pytest.mark.parametrize("role", [0, 1])
def test_long_numbers_lose_digits_whatever_stands_beside_them(tmp_path, others, role):
    ids = [2**53 + 1, *others, 5, 2**53 + 3]
    rows = [[id, "a"][:: 1 if role == 0 else -1] for id in ids]
    path = workbook(tmp_path / "a.xlsx", A=[["user", "item"], *rows])
    with pytest.raises(UserError, match=rf"column {['user', 'item'][role]} holds numbers from 2\^53 on: .* as text"):
        read(path)
    texts = [[str(value) for value in row] for row in rows]  # the cure
    texts[0][1 - role] = "b"
    data = read(workbook(tmp_path / "a.xlsx", A=[["user", "item"], *texts]))
    found = (data.users, data.catalogue.ids)[role]
    assert {str(id) for id in found.tolist()} == {str(id) for id in ids}
