"""Laws of data.files.signatures: files that aren't text are reported as what they are, and the cure works."""

import bz2
import gzip
import io
import lzma
import random
import re
import tarfile
import zipfile

import numpy as np
import polars as pl
import pytest

from jaxrec.data.attributes import items
from jaxrec.data.files.signatures import UNPACK, conversion
from jaxrec.data.files.text import File
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

zstd = pytest.importorskip("backports.zstd")
LOG = b"user,item,time\nu,a,1\nu,b,2\nv,a,3\n"
TABLE = pl.DataFrame({"item": ["a", "b"], "title": ["One", "Two"]})
NOISE = random.Random(0).randbytes(1000)


def made(write) -> bytes:
    write(out := io.BytesIO())
    return out.getvalue()


def tar(out) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("days/1.csv")
        info.size = len(LOG)
        archive.addfile(info, io.BytesIO(LOG))


def zipped(name: str) -> bytes:
    def write(out):
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, LOG)

    return made(write)


TAR = made(tar)
KINDS = {  # name: (content, expected message)
    "a.tar": (TAR, "a tar archive, .*: unpack it, as with `tar -xf`, and name the folder"),
    "a.tar.gz": (gzip.compress(TAR), "a tar archive"),
    "a.tgz": (gzip.compress(TAR), "a tar archive"),
    "a.tar.zst": (zstd.compress(TAR), "a tar archive"),
    "a.csv.tar.xz": (lzma.compress(TAR), "a tar archive"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c" + NOISE, "a 7z archive, .*: unpack it, and name the folder"),
    "a.rar": (b"Rar!\x1a\x07\x01\0" + NOISE, "a rar archive"),
    "a.csv.lz4": (b"\x04\x22\x4d\x18" + NOISE, "compressed by lz4, .*: unpack it"),
    "a.sz": (b"\xff\x06\0\0sNaPpY" + NOISE, "compressed by snappy, .*: unpack it"),
    "a.csv.snappy": (b"\0\0\0\x22\0\0\0\x24\x22\x84" + LOG, UNPACK),  # as Hadoop writes it, without a signature
    "a.csv.gz": (gzip.compress(gzip.compress(LOG)), "compressed twice, by gzip within, .*: unpack it once"),
    "a.csv.bz2": (gzip.compress(bz2.compress(LOG)), "compressed twice, by bzip2 within"),
    "b.csv.gz": (gzip.compress(zipped("1.csv")), "a zip or a workbook, .*: unzip it"),
    "a.db": (b"SQLite format 3\0" + NOISE, "an SQLite database, .*: export its rows as .csv"),
    "a.npy": (made(lambda out: np.save(out, np.ones((9, 3)))), "a NumPy array"),
    "a.avro": (b"Obj\x01" + NOISE, "an Avro file"),
    "a.bin": (NOISE, UNPACK),
    "a.duckdb": (bytes(8) + b"DUCK\x40" + bytes(4000), "a DuckDB database, .*: export its rows as .csv"),
    "a.orc": (b"ORC\n\x03\0\0" + NOISE, "an ORC file, .*: write it as Parquet"),
    "a.sql": (b"INSERT INTO events VALUES(1,101,'2024-01-05');\n" * 3, "an SQL dump, .*: export its rows as .csv"),
    "dump.txt": (b"-- MySQL dump 10.13\n\nDROP TABLE IF EXISTS `events`;\nINSERT INTO `events` VALUES (1,2);\n", "SQL"),
    "pg.txt": (b"--\n-- PostgreSQL dump\n--\n\nCOPY public.e (u, i) FROM stdin;\n1\t2\n", "an SQL dump"),
    "page.txt": (b"<!DOCTYPE html>\n<html><body>a b</body></html>\n", "XML or HTML"),
    "rows.txt": (b"<rows>\n  <row u='1'/>\n</rows>\n", "XML or HTML"),
    "web.log": (
        b"#Software: IIS\n#Version: 1.0\n#Fields: date time ip\n2024-01-01 10:00:00 1.2.3.4\n",
        "grep -v '\\^#'",
    ),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("options", [{}, {"format": "table"}, {"columns": {"user": "1", "item": "2"}}])
def test_a_log_that_is_no_text_is_said_to_be_what_it_is(tmp_path, name, options):
    content, said = KINDS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(name)}[:,].*{said}") as caught:
        read(tmp_path / name, **options)
    assert "iconv" not in str(caught.value)


TABLES = {
    "items.xlsx": (zipped("xl/workbook.xml"), "a zip or a workbook, .*: unzip it, or save its sheet as .csv"),
    "items.xls": (b"\xd0\xcf\x11\xe0" + NOISE, "an old workbook"),
    "items.txt": (made(TABLE.write_parquet), "a Parquet file, .*: rename it, so that its name ends in .parquet"),
    "items.data": (made(TABLE.write_ipc), "an Arrow file, .*: rename it, so that its name ends in .arrow"),
    "items": (made(TABLE.write_ipc_stream), "an Arrow stream, .*: rename it, so that its name ends in .arrow"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_no_text_is_said_to_be_what_it_is_and_its_cure_works(tmp_path, name):
    content, said = TABLES[name]
    (file := tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(name)}: {said}") as caught:
        items.table(File(file))
    if renamed := re.search(r"ends in (\.\w+)", str(caught.value)):
        assert items.table(File(file.rename(tmp_path / f"items{renamed[1]}")))["title"].to_list() == ["One", "Two"]


@pytest.mark.parametrize(
    "lines",
    ["-- 1\na 2\n", "<a> <b>\n<a> <c>\n", "SET x\nDROP y\n", "#1 2\n#1 3\n", "ORC 1\nORC 2\n", "a234567 DUCK4\nb 2\n"],
)
def test_words_that_a_dump_begins_with_may_be_ids(tmp_path, lines):
    (tmp_path / "a.txt").write_text(lines)
    assert len(read(tmp_path / "a.txt", keep_na_ids=True).items) == 2


def test_what_is_unpacked_as_is_said_is_read(tmp_path):
    with tarfile.open(fileobj=io.BytesIO(TAR)) as archive:
        archive.extractall(tmp_path / "log", filter="data")
    (tmp_path / "once.csv.gz").write_bytes(gzip.decompress(KINDS["a.csv.gz"][0]))
    (tmp_path / "once.zip").write_bytes(gzip.decompress(KINDS["b.csv.gz"][0]))
    for path in ("log", "once.csv.gz", "once.zip"):
        assert len(read(tmp_path / path).items) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_in_another_encoding_is_to_be_converted(encoding):
    name = "latin1" if encoding == "latin-1" else "utf-16"
    text = "user\titem\r\nAmélie\tÉté\r\n".encode(encoding)
    assert f"as with `iconv -f {name} -t utf-8`" in conversion(text)
    assert conversion(NOISE) == UNPACK
